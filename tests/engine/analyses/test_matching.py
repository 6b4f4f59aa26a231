"""What fits what, in which order, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from engine.analyses.matching import Facts, closeness, match, similar
from engine.music.analysis import parse_key


def facts(name: str = "a", bpm: float | None = 128.0, key: str | None = "8A", vector: Any = (1.0, 0.0)) -> Facts:
    return Facts((name * 64)[:64], bpm, parse_key(key), vector)


HERE = facts("0")


@pytest.mark.parametrize(
    ("other", "fits", "reason"),
    [
        (facts(bpm=130.4, key="9A", vector=(0.9, 0.45)), True, "128.0 → 130.4 BPM, +1.9 %; 8A → 9A; sounds close"),
        (facts(), True, "128.0 → 128.0 BPM, ±0 %; both 8A; sounds very close"),
        (facts(bpm=120.32, key="7A", vector=(0.0, 1.0)), True, "128.0 → 120.3 BPM, −6.0 %; 8A → 7A; sounds different"),
        (facts(bpm=136.0), False, "128.0 → 136.0 BPM, +6.2 %: more than ±6 %; both 8A; sounds very close"),
        (facts(key="3B"), False, "128.0 → 128.0 BPM, ±0 %; 8A → 3B: the keys clash; sounds very close"),
        (facts(key="8B"), True, "128.0 → 128.0 BPM, ±0 %; 8A → 8B; sounds very close"),
        (facts(key=None, vector=None), True, "128.0 → 128.0 BPM, ±0 %; no clear key that could clash"),
        (facts(bpm=None), False, "it has no beat to match; both 8A; sounds very close"),
    ],
)
def test_one_beside_another(other: Facts, fits: bool, reason: str) -> None:
    found = match(HERE, other)
    assert (found.fits, found.reason) == (fits, reason)


def test_what_fits_comes_by_sound_and_no_more_than_asked_for() -> None:
    candidates = [facts("1", vector=(0.0, 1.0)), facts("2", vector=(1.0, 0.2)), facts("3", bpm=170.0), facts("4", vector=(1.0, 0.9))]
    found = similar(HERE, candidates, limit=2)
    assert [one.sha256[0] for one in found.matches] == ["2", "4"]
    assert found.nearest == [] and found.compared == 4
    assert (found.bpm, found.camelot) == (128.0, "8A")


def test_without_sound_tempo_and_key_decide() -> None:
    candidates = [facts("1", bpm=134.0, vector=None), facts("2", bpm=129.0, key="9A", vector=None), facts("3", bpm=129.0, vector=None)]
    assert [one.sha256[0] for one in similar(HERE, candidates, limit=5).matches] == ["3", "2", "1"]


def test_where_nothing_fits_the_nearest_are_named() -> None:
    candidates = [facts("1", bpm=170.0), facts("2", bpm=136.5), facts("3", key="2A"), facts("4", bpm=None)]
    found = similar(HERE, candidates, limit=5)
    assert found.matches == []
    assert [one.sha256[0] for one in found.nearest] == ["2", "3", "1"]


def test_a_beatless_track_fits_nothing_and_says_why() -> None:
    found = similar(facts("0", bpm=None), [facts("1")], limit=5)
    assert found.nearest[0].reason.startswith("no beat here; ")


def test_no_candidates() -> None:
    found = similar(HERE, [], limit=5)
    assert (found.matches, found.nearest, found.compared) == ([], [], 0)


def test_closeness_is_a_cosine_or_nothing() -> None:
    assert closeness((3.0, 4.0), (3.0, 4.0)) == pytest.approx(1.0)
    assert closeness((1.0, 0.0), (0.0, 2.0)) == pytest.approx(0.0)
    for one, other in ((None, (1.0,)), ((), (1.0,)), ((0.0,), (1.0,)), ((1.0,), (1.0, 2.0))):
        assert closeness(one, other) is None
