"""The pure parts: words, times, bars, names, limits, charts."""

from __future__ import annotations

import struct

import pytest

from bot.charts import results_chart
from bot.limits import FILE_BYTES, delivery_bytes
from bot.messages import BAR_CELLS, Moment, code, plain, progress_bar, progress_line, rough, shorten
from bot.orders import clock, parse_time, several, text_order
from bot.refusal import Refusal, sentence
from engine.api import MAX_SEED
from storage import CategoryResult


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", None), ("90", 90), ("90.5 s", 90.5), ("1:30", 90), (" 0:02 ", 2), ("1:02:03.5", 3723.5), ("12,5", 12.5)],
)
def test_times_as_people_type_them(text: str, seconds: float | None) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["1:2:3:4", "-1", "1:", ":30", "nan", "inf", "1e9", "٣", "9999999999"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="must be a time in the track"):
        parse_time(text)


@pytest.mark.parametrize(("seconds", "text"), [(8, "8 s"), (8.25, "8.2 s"), (60, "1:00"), (61.9, "1:01"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "about 1 s"), (9.4, "about 9 s"), (42, "about 40 s"), (89, "about 90 s"), (200, "about 3 min")]
)
def test_expected_waits_have_no_more_digits_than_they_are_worth(seconds: float, text: str) -> None:
    assert rough(seconds) == text


def test_the_bar_is_full_only_at_the_end() -> None:
    assert progress_bar(0) == "▱" * BAR_CELLS
    assert "▱" in progress_bar(0.999)
    assert progress_bar(1) == progress_bar(7) == "▰" * BAR_CELLS


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (Moment(), "on its way to the engine"),
        (Moment(0, 12), "next · ready in about 10 s"),
        (Moment(1, 60), "waiting behind 1 other take · ready in about 60 s"),
        (Moment(3, 180), "waiting behind 3 other takes · ready in about 3 min"),
        (Moment(0, 4, 0.25), "▰▰▰▰▱▱▱▱▱▱▱▱▱▱▱▱  25 % · about 4 s left"),
    ],
)
def test_progress_in_words(moment: Moment, words: str) -> None:
    assert words in progress_line(moment)


def test_members_words_are_shown_as_typed() -> None:
    assert plain("a*b_c\n`d` @everyone <@1>").replace("\u200b", "") == r"a\*b\_c \`d\` @everyone <@1>"
    assert "@everyone" not in plain("@everyone")
    assert code("a`b") == "`aˋb`"
    assert shorten("abcdef", 4) == "abc…"
    assert sentence("no such thing") == "No such thing."


def test_several_takes_differ_by_seed_alone() -> None:
    orders = several(text_order("techno", seed=MAX_SEED), 3)
    assert [order.seed for order in orders] == [MAX_SEED, 0, 1]
    drawn = {order.seed for order in several(text_order("techno"), 4)}
    assert len(drawn) == 4 and None not in drawn


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((), FILE_BYTES), ((None, 8 * 2**20), 8 * 2**20), ((500 * 2**20, 10 * 2**20), 10 * 2**20), ((500 * 2**20,), 24 * 2**20)],
)
def test_a_clip_is_made_to_fit(limits: tuple[int | None, ...], expected: int) -> None:
    assert delivery_bytes(*limits) == expected


def test_the_chart_is_a_picture_whatever_the_ratings_are() -> None:
    results = [
        CategoryResult("A", 12, 41, 9, 3.9, 3.4, 4.3),
        CategoryResult("B", 1, 1, 1, 2.0, None, None),
        CategoryResult("C", 0, 0, 0, None, None, None),
        CategoryResult("D", 3, 9, 4, 1.0, 1.0, 1.0),
        CategoryResult("other", 1000, 99999, 500, 5.0, 4.9, 5.0),
    ]
    png = results_chart(results)
    assert png.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", png[16:24])
    assert width >= 1000 and 400 < height < 1000
