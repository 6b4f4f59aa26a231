"""The gate passes what is better on unseen music and no worse anywhere, and says in words what failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.evaluation.distances import Interval
from engine.training.gate import Evidence, judge

GOOD = Evidence(
    held_out=2.0, base_held_out=2.3, kad=Interval(3, 2, 4), base_kad=Interval(8, 7, 9), near_copies=0.0, real_near_copies=0.04,
    silent=0.0, base_silent=0.0, collapsed=0.1, base_collapsed=0.1, training_tracks=30,
)  # fmt: skip


def test_better_everywhere_passes() -> None:
    verdict = judge(GOOD)
    assert verdict.passed
    assert verdict.advice == ()
    assert "13.0% lower" in verdict.checks[0].words


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"held_out": 2.3}, "held-out loss", "no better"),
        ({"kad": Interval(12, 10, 14)}, "distance", "farther"),
        ({"near_copies": 0.2}, "near-copies", "20% of clips"),
        ({"silent": 0.02}, "silence", "silent clips 2%"),
        ({"collapsed": 0.5}, "collapse", "stuck"),
    ],
)
def test_one_failure_keeps_the_base_and_says_why_and_what_helps(change: dict[str, object], name: str, words: str) -> None:
    verdict = judge(replace(GOOD, **change))  # type: ignore[arg-type]
    assert [check.name for check in verdict.checks if not check.passed] == [name]
    assert verdict.words.startswith("The base stays: ")
    assert words in verdict.words
    assert verdict.advice


def test_a_small_crate_is_told_so_when_it_fails() -> None:
    verdict = judge(replace(GOOD, held_out=2.4, training_tracks=6))
    assert verdict.advice[0].startswith("Add tracks: 6 are few")


def test_one_that_ended_too_early_is_told_to_go_on() -> None:
    assert judge(replace(GOOD, silent=0.2, ran_out=True)).advice[0].startswith("Let it run longer")
    assert judge(replace(GOOD, ran_out=True)).advice == ()


def test_a_distance_within_the_interval_is_no_failure() -> None:
    assert judge(replace(GOOD, kad=Interval(9, 7.5, 11))).passed


def test_what_chance_gives_few_clips_is_no_failure() -> None:
    few = replace(GOOD, clips=24, real_excerpts=40, real_near_copies=0.05)
    assert judge(replace(few, near_copies=3 / 24, silent=1 / 24)).passed
    failed = judge(replace(few, near_copies=8 / 24, silent=2 / 24))
    assert [check.name for check in failed.checks if not check.passed] == ["near-copies", "silence"]


def test_a_difference_against_the_same_draws_decides_where_it_is_known() -> None:
    nearer = judge(replace(GOOD, kad_change=Interval(-5, -6, -4)))
    assert nearer.passed
    assert "nearer by 5.00 (4.00 to 6.00)" in nearer.checks[1].words
    assert not judge(replace(GOOD, kad_change=Interval(0.5, 0.1, 0.9))).passed
