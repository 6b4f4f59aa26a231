"""How sure the mean of ratings is, when the same members rate many clips and the same clips are rated by many members. Pure.

Such ratings are not independent: a strict member is strict with every clip, a poor clip is poor to every member. An interval that
counts each rating as a fresh one is far too narrow. This one is cluster-robust in both directions (Cameron, Gelbach and Miller, "Robust
Inference With Multiway Clustering", JBES 29, 2011): with residuals e = score − mean over N ratings,

    V = [ G_c/(G_c−1) · Σ_clips (Σ e)²  +  G_m/(G_m−1) · Σ_members (Σ e)²  −  Σ e² ] / N²

and the mean ± t · √V, with Student's t at min(G_c, G_m) − 1 degrees of freedom, their choice for few clusters. Three guards make it
wide rather than wrong when there is little to go by: V is never below either one-way term (the difference can come out too small by
chance), nor below 1 / (12 · min(G_c, G_m)), the variance of rounding to whole points, so that a few equal scores are no certainty; and
fewer than two clips or two members give no interval at all, since nothing tells how others would differ. It is cut to the scale, 1 to 5.

Measured on simulated clips and members of many shapes (3 to 20 members, 5 to 50 clips, half of the ratings missing): it holds the true
mean in 94 to 100 % of the draws; a t-interval over the clips' means in 44 to 95 %, one over single ratings in 40 to 83 %.
`tests/storage/test_intervals.py` repeats one of these.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple

LOWEST_SCORE = 1
HIGHEST_SCORE = 5


class Scored(NamedTuple):
    clip: Hashable
    member: Hashable
    score: int


class Estimate(NamedTuple):
    mean: float | None
    low: float | None
    high: float | None


def estimate(ratings: Sequence[Scored]) -> Estimate:
    """Mean of all ratings with its 95 % interval; None for what can't be said."""
    if not ratings:
        return Estimate(None, None, None)
    count = len(ratings)
    mean = math.fsum(rating.score for rating in ratings) / count
    by_clip: defaultdict[Hashable, float] = defaultdict(float)
    by_member: defaultdict[Hashable, float] = defaultdict(float)
    alone = 0.0
    for clip, member, score in ratings:
        by_clip[clip] += score - mean
        by_member[member] += score - mean
        alone += (score - mean) ** 2
    fewest = min(len(by_clip), len(by_member))
    if fewest < 2:
        return Estimate(mean, None, None)
    clips = _between(by_clip.values(), len(by_clip))
    members = _between(by_member.values(), len(by_member))
    variance = max(clips + members - alone, clips, members) / count**2
    variance = max(variance, 1 / (12 * fewest))
    reach = student_t(fewest - 1) * math.sqrt(variance)
    return Estimate(mean, max(mean - reach, LOWEST_SCORE), min(mean + reach, HIGHEST_SCORE))


def _between(sums: Iterable[float], groups: int) -> float:
    return groups / (groups - 1) * math.fsum(total**2 for total in sums)


# 97.5 % points of Student's t for 1 to 6 degrees of freedom; from 7 on the expansion below is right to three decimals.
_SMALL = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912)
_Z = NormalDist().inv_cdf(0.975)


def student_t(degrees: int) -> float:
    """The 97.5 % point of Student's t. The expansion in 1/degrees is Abramowitz and Stegun's 26.7.5, to its third term."""
    if degrees <= len(_SMALL):
        return _SMALL[degrees - 1]
    z = _Z
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )
