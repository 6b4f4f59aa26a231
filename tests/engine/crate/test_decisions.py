"""The pure part: where segments lie, what belongs together, who is held out, what is said. Mostly properties, over any track."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.crate import splits
from engine.crate.captions import Words, caption, spoken_genres, token_for
from engine.crate.groups import base_title, group
from engine.crate.windows import Course, Crop, Limits, first_seconds, plan, section_of
from engine.music.analysis import Section

KINDS = ("intro", "main", "build", "breakdown", "drop", "outro")
seconds = st.floats(0, 400, allow_nan=False)
spans = st.lists(st.tuples(seconds, st.floats(0.5, 20)), max_size=4).map(lambda found: tuple((a, a + b) for a, b in found))


@st.composite
def courses(draw: st.DrawFn) -> Course:
    duration_s = draw(st.floats(5, 400))
    kind_of_grid = draw(st.sampled_from(["steady", "steady", "bent", "none"]))
    bars_s = None
    if kind_of_grid != "none":
        bar_s = 240 / draw(st.floats(90, 180))
        bars_s = np.arange(draw(st.floats(0, bar_s)), duration_s, bar_s)
        if kind_of_grid == "bent" and len(bars_s) > 2:
            bars_s = bars_s + 0.05 * np.sin(np.arange(len(bars_s)) / 3)
            bars_s = bars_s[(bars_s >= 0) & (bars_s < duration_s)]
    edges = sorted(draw(st.lists(st.floats(0, duration_s), max_size=5)))
    edges = [0.0, *edges, duration_s]
    sections = [
        Section(a, b, draw(st.sampled_from(KINDS)), 0.5)  # type: ignore[arg-type]
        for a, b in pairwise(edges)
        if b > a
    ]
    return Course(duration_s, bars_s, sections, draw(spans), draw(spans))


@given(courses(), st.sampled_from([(512, 640), (1500, 640), (300, 320)]), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_every_segment_is_where_it_may_be(course: Course, window: tuple[int, int], seed: int) -> None:
    frames, hop = window
    limits = Limits(frames * hop, hop, 32000)
    crops = plan(course, limits, np.random.default_rng(seed))
    assert crops == plan(course, limits, np.random.default_rng(seed))
    end_of_track = course.duration_s * 32000
    for before, after in pairwise(crops):
        assert before.end <= after.start
    for crop in crops:
        assert 0 <= crop.start < crop.end <= end_of_track
        assert crop.end - crop.start <= limits.window_samples
        assert (crop.end - crop.start) % hop == 0
        start_s, end_s = crop.start / 32000, crop.end / 32000
        if course.bars_s is not None and len(course.bars_s) > 1:
            assert np.min(np.abs(course.bars_s - start_s)) < 1e-4
            lines = np.append(course.bars_s, course.bars_s[-1] + np.median(np.diff(course.bars_s)))
            short_s = lines[lines > end_s - 1e-4].min() - end_s
            assert short_s < hop / 32000 + 1e-3
            assert crop.bars == int(np.sum((lines > start_s + 1e-3) & (lines < end_s + hop / 32000 + 1e-3)))
        for bad_start, bad_end in course.bad:
            assert min(end_s, bad_end) - max(start_s, bad_start) < 1e-6
        quiet = sum(max(0.0, min(end_s, b) - max(start_s, a)) for a, b in course.silences)
        assert quiet <= 0.1 * len(course.silences) * (end_s - start_s) + 0.2


def track_of(minutes: float, *sections: Section) -> Course:
    return Course(minutes * 60, np.arange(0, minutes * 60, 1.875), sections)


LIMITS = Limits(30 * 32000, 640, 32000)


def test_the_body_is_cut_and_intro_and_outro_are_not() -> None:
    course = track_of(6, Section(0, 60, "intro", 0.3), Section(60, 300, "main", 0.9), Section(300, 360, "outro", 0.3))
    crops = plan(course, LIMITS, np.random.default_rng(0))
    assert [(crop.end - crop.start) / 32000 for crop in crops] == [30.0] * 8
    assert {crop.bars for crop in crops} == {16}
    assert crops[0].start >= 45 * 32000
    assert crops[-1].end <= 315 * 32000
    assert sum(crop.end - crop.start for crop in crops) == 240 * 32000


def test_the_experiment_took_the_intro() -> None:
    crops = first_seconds(360.0, LIMITS, segment_s=10.0, first_s=20.0)
    assert crops == (Crop(0, 320000, 0), Crop(320000, 640000, 0))
    assert first_seconds(9.0, LIMITS, segment_s=10.0, first_s=20.0) == ()


def test_a_track_of_nothing_but_intro_still_gives_one() -> None:
    assert len(plan(track_of(2, Section(0, 120, "intro", 0.2)), LIMITS, np.random.default_rng(0))) == 1


def test_no_segment_where_all_is_clipped() -> None:
    course = Course(100.0, np.arange(0, 100, 1.875), (), (), ((0.0, 100.0),))
    assert plan(course, LIMITS, np.random.default_rng(0)) == ()


def test_a_short_track_gives_what_it_has() -> None:
    (crop,) = plan(Course(15.1, np.arange(0, 15.1, 1.875)), LIMITS, np.random.default_rng(0))
    assert (crop.start, crop.bars) == (0, 8)


def test_the_section_that_most_of_it_is() -> None:
    sections = [Section(0, 10, "build", 0.5), Section(10, 40, "drop", 0.9)]
    assert section_of(sections, 5, 30) == "drop"
    assert section_of(sections, 0, 12) == "build"
    assert section_of([], 0, 12) is None


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_held_out_are_whole_groups_and_enough(sizes: list[int], seed: int) -> None:
    groups = [[f"{number:04d}-{member}" for member in range(size)] for number, size in enumerate(sizes)]
    held = splits.hold_out(groups, seed)
    total = sum(sizes)
    for members in groups:
        assert len(held & set(members)) in (0, len(members))
    assert len(held) <= max(1, total // 2)
    if len(groups) >= 15:
        assert len(held) >= max(5, total / 10)
    if len(groups) == 1:
        assert not held


def test_a_crate_that_grows_keeps_most_of_what_was_held_out() -> None:
    small = splits.hold_out([[f"{number:064x}"] for number in range(50)], 0)
    large = splits.hold_out([[f"{number:064x}"] for number in range(60)], 0)
    assert len(small) == 5
    assert len(small & large) >= 4


@pytest.mark.parametrize(("tracks", "held"), [(1, 0), (2, 1), (6, 2), (12, 4), (15, 5), (40, 5), (100, 10), (101, 11)])
def test_how_many_are_held_out(tracks: int, held: int) -> None:
    assert splits.wanted(tracks) == held


@dataclass(frozen=True)
class Track:
    title: str
    artist: str | None = None
    remixer: str | None = None
    duration_s: float = 300.0
    bpm: float | None = 130.0


@pytest.mark.parametrize(
    ("a", "b", "together"),
    [
        (Track("Alpha", "Ann"), Track("Alpha (Beta Remix)", "Ann"), True),
        (Track("Álpha - Original Mix", "ANN"), Track("alpha [HTN 004]", "Ann & Carl"), True),
        (Track("Alpha (Beta Remix)", "Beta"), Track("Alpha (Beta Dub)", "Ann"), True),
        (Track("Alpha feat. Dora", "Ann"), Track("Alpha", None), True),
        (Track("Alpha", "Ann"), Track("Alpha", "Quite Another"), False),
        (Track("Alpha", "Ann"), Track("Alpha II", "Ann"), False),
        (Track("(Remix)", "Ann"), Track("[Dub]", "Ann"), False),
    ],
)
def test_what_belongs_together_by_name(a: Track, b: Track, together: bool) -> None:
    found = group([a, b], lambda _number: None)
    assert (found.group_of[0] == found.group_of[1]) is together


@given(st.lists(st.sampled_from(["One", "One (X Remix)", "Two", "Three [VIP]", "Three"]), max_size=12))
@settings(deadline=None)
def test_groups_partition_the_crate(titles: list[str]) -> None:
    found = group([Track(title, "Ann") for title in titles], lambda _number: None)
    assert sorted(number for members in found.members() for number in members) == list(range(len(titles)))
    by_title: dict[str, set[int]] = {}
    for title, number in zip(titles, found.group_of, strict=True):
        by_title.setdefault(base_title(title), set()).add(number)
    assert all(len(numbers) == 1 for numbers in by_title.values())


def test_captions_vary_and_keep_the_token() -> None:
    words = Words("Alice_hash", "Techno (Peak Time / Driving)", 131.6, "A minor", ("Dark", "Warehouse"), "breakdown")
    said = [caption(words, np.random.default_rng(seed)) for seed in range(200)]
    assert said == [caption(words, np.random.default_rng(seed)) for seed in range(200)]
    assert all(text.startswith("Alice_hash, ") for text in said)
    assert len(set(said)) > 150
    for part in ("132", "A minor", "peak time techno", "driving techno", "dark", "break"):
        assert 0.1 < sum(part in text for text in said) / 200 < 0.95, part
    assert caption(Words("Alice_hash"), np.random.default_rng(0)) == "Alice_hash, techno"


def test_genres_as_a_person_says_them() -> None:
    assert spoken_genres("Techno (Peak Time / Driving)") == ("peak time techno", "driving techno")
    assert spoken_genres("Hard Techno/Schranz") == ("hard techno", "schranz")
    assert spoken_genres(None) == spoken_genres("  ") == ("techno",)
    assert token_for("alice") == "Alice_hash"
    assert token_for("peak-time_2") == "Peaktime2_hash"
