"""The 95 % interval of a category's mean: right by hand, by scipy's t, and by how often it holds the truth."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.intervals import Scored, estimate, student_t

ratings_of_all_sizes = st.dictionaries(st.tuples(st.integers(0, 6), st.integers(0, 4)), st.integers(1, 5), max_size=30).map(
    lambda scores: [Scored(clip, member, score) for (clip, member), score in scores.items()]
)


def test_student_t_agrees_with_scipy() -> None:
    scipy_special = pytest.importorskip("scipy.special", reason="scipy comes with the engine")
    for degrees in (*range(1, 60), 100, 1000):
        assert student_t(degrees) == pytest.approx(scipy_special.stdtrit(degrees, 0.975), abs=1e-3)


def test_by_hand() -> None:
    """Two clips, two members, all four ratings: the sums are (−2, 2) by clip and (0, 0) by member, around a mean of 3."""
    ratings = [Scored("a", 1, 2), Scored("a", 2, 2), Scored("b", 1, 4), Scored("b", 2, 4)]
    clips, members, alone = 2 / 1 * 8, 0.0, 4.0
    variance = max(clips + members - alone, clips, members) / 16
    reach = 12.706205 * math.sqrt(variance)
    assert reach > 2, "so the interval is cut to the scale"
    assert estimate(ratings) == (3.0, 1, 5)


def test_what_can_not_be_said_is_not_said() -> None:
    assert estimate([]) == (None, None, None)
    assert estimate([Scored("a", 1, 4)]) == (4.0, None, None)
    assert estimate([Scored(clip, 1, 4) for clip in range(9)]) == (4.0, None, None), "one member says nothing about others"
    assert estimate([Scored("a", member, 4) for member in range(9)]) == (4.0, None, None), "one clip says nothing about others"


def test_a_few_equal_scores_are_no_certainty() -> None:
    mean, low, high = estimate([Scored(clip, member, 4) for clip in range(3) for member in range(3)])
    assert mean == 4
    assert low is not None
    assert high is not None
    assert high - low > 1


@given(ratings_of_all_sizes, st.randoms(use_true_random=False))
def test_properties(ratings: list[Scored], shuffle: random.Random) -> None:
    found = estimate(ratings)
    again = list(ratings)
    shuffle.shuffle(again)
    assert estimate(again) == pytest.approx(found) if None not in found else estimate(again) == found
    if found.mean is not None:
        assert found.mean == pytest.approx(statistics.fmean(rating.score for rating in ratings))
    if found.low is not None:
        assert found.high is not None
        assert found.mean is not None
        assert 1 <= found.low <= found.mean <= found.high <= 5
        assert found.low < found.high


def test_holds_the_truth_where_an_interval_over_clips_does_not() -> None:
    """Eight members, of whom each has heard half of 40 clips. Clips and members both differ by 0.5 to 0.6 points."""
    rng = random.Random(20240501)

    def score(clip: float, member: float) -> int:
        return min(5, max(1, round(3.3 + clip + member + rng.gauss(0, 0.8))))

    truth = statistics.fmean(score(rng.gauss(0, 0.6), rng.gauss(0, 0.5)) for _ in range(20_000))
    draws = 200
    ours = by_clip = 0
    for _ in range(draws):
        clips = [rng.gauss(0, 0.6) for _ in range(40)]
        members = [rng.gauss(0, 0.5) for _ in range(8)]
        ratings = [Scored(c, m, score(clips[c], members[m])) for c in range(40) for m in range(8) if rng.random() < 0.5]
        _, low, high = estimate(ratings)
        assert low is not None
        assert high is not None
        ours += low <= truth <= high
        means = [statistics.fmean(group) for clip in range(40) if (group := [r.score for r in ratings if r.clip == clip])]
        reach = student_t(len(means) - 1) * statistics.stdev(means) / math.sqrt(len(means))
        by_clip += abs(statistics.fmean(means) - truth) <= reach
    assert ours / draws >= 0.92
    assert by_clip / draws <= 0.85
