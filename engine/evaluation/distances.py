"""How far one set of embeddings is from another: ``fad``, ``kad``, its interval and that of a difference, ``kl`` of tags; ``alike`` to
compare like with like.

All take sets as [windows, dimensions], compute in float64 and are deterministic: what draws takes a seed. All raise ValueError rather
than answer NaN. Which windows belong to one clip matters: they resemble each other, so that intervals are drawn over clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vectors = NDArray[np.float32] | NDArray[np.float64]
Clips = NDArray[np.int64]
"""[windows]: the number of the clip that each window is of."""

KAD_SCALE = 100.0
"""As the authors' toolkit, kadtk, multiplies MMD²."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and where it would fall in ``confidence`` of all draws of clips."""

    value: float
    low: float
    high: float
    confidence: float = 0.95

    def apart(self, other: Interval) -> bool:
        """Whether the two intervals have nothing in common."""
        return self.high < other.low or other.high < self.low


def stack(sets: Sequence[Vectors]) -> tuple[NDArray[np.float32], Clips]:
    """One array of windows per clip -> all windows, and which clip each is of."""
    if not sets:
        raise ValueError("there are no clips")
    windows = np.concatenate([np.asarray(one, dtype=np.float32) for one in sets])
    return windows, np.repeat(np.arange(len(sets)), [len(one) for one in sets])


def alike(a: Sequence[Vectors], b: Sequence[Vectors], seed: int = 0) -> tuple[list[Vectors], list[Vectors]]:
    """Both sets thinned to the same number of windows, drawn evenly over the clips; the clips' order stays.

    FAD grows as windows get fewer (its covariances have fewer to be made of), so that only sets of one size can be compared.
    Clips whose windows all had to go are left out.
    """
    size = min(sum(map(len, a)), sum(map(len, b)))
    rng = np.random.default_rng(seed)
    return _thin(a, size, rng), _thin(b, size, rng)


def fad(reference: Vectors, candidate: Vectors) -> float:
    """Fréchet distance of the Gaussians with the sets' means and covariances (Kilgour et al. 2019, arXiv 1812.08466).

    ::

        |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½

    With R the triangle of a set's QR decomposition, Σ = RᵀR / (n − 1), and the last trace is the sum of the singular values of R₁R₂ᵀ
    over √((n₁ − 1)(n₂ − 1)): no root of a nearly singular product is taken, nothing is complex, nothing is added to the diagonal.

    Raises ValueError for fewer than two windows, different dimensions, or what is no number.
    """
    a, b = _checked(reference, candidate)
    mean_a, mean_b = a.mean(0), b.mean(0)
    triangle_a, triangle_b = _triangle(a - mean_a), _triangle(b - mean_b)
    shared = float(np.linalg.svd(triangle_a @ triangle_b.T, compute_uv=False).sum())
    spread = float((triangle_a**2).sum() + (triangle_b**2).sum())
    distance = float(((mean_a - mean_b) ** 2).sum()) + spread - 2 * shared
    return _finite(max(0.0, distance))  # below zero by rounding only


def kad(
    reference: Vectors,
    candidate: Vectors,
    *,
    reference_clips: ArrayLike | None = None,
    candidate_clips: ArrayLike | None = None,
    bandwidth: float | None = None,
) -> float:
    """Kernel Audio Distance (Chung et al. 2025, arXiv 2502.15602): 100 × the unbiased estimate of MMD² with a Gaussian kernel.

    ``bandwidth`` is the median distance within the reference where it is not given: so candidates of one reference can be compared.
    About 0 for two sets of the same kind, below it half of the time.

    Where ``…_clips`` says which clip each window is of, pairs within one clip are left out as the paper leaves out a window with
    itself: they resemble each other more than two clips do, and would let no set be at distance 0 from its own kind.

    Raises ValueError as ``fad``, and where the reference's windows are all the same, or all of one clip.
    """
    clips_a, clips_b = _clips(reference, reference_clips), _clips(candidate, candidate_clips)
    return _by_clip(_kernels(*_checked(reference, candidate), bandwidth), clips_a, clips_b).distance()


def kad_interval(
    reference: Vectors,
    candidate: Vectors,
    *,
    reference_clips: ArrayLike | None = None,
    candidate_clips: ArrayLike | None = None,
    bandwidth: float | None = None,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """``kad``, and its interval over ``draws`` bootstrap draws of clips, with replacement, from both sets.

    A clip that is drawn twice is not compared with itself: that would count as resemblance what is identity. Raises ValueError as ``kad``.
    """
    if draws < 1 or not 0 < confidence < 1:
        raise ValueError("an interval needs at least one draw, and a confidence between 0 and 1")
    clips_a, clips_b = _clips(reference, reference_clips), _clips(candidate, candidate_clips)
    kernels = _by_clip(_kernels(*_checked(reference, candidate), bandwidth), clips_a, clips_b)
    rng = np.random.default_rng(seed)
    weights_a, weights_b = _draws(rng, len(kernels.size_a), draws), _draws(rng, len(kernels.size_b), draws)
    low, high = np.quantile(kernels.distances(weights_a, weights_b), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(kernels.distance(), float(low), float(high), confidence)


def kad_difference(
    reference: Vectors,
    one: Vectors,
    other: Vectors,
    *,
    reference_clips: ArrayLike | None = None,
    one_clips: ArrayLike | None = None,
    other_clips: ArrayLike | None = None,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """How much farther from ``reference`` one set is than another: the difference of their ``kad``, below 0 where ``one`` is nearer.

    Both are held against the same draw of the reference's clips each time, so that what its tracks happen to be, which is most of the
    width of ``kad_interval``, does not blur which of the two is nearer. Raises ValueError as ``kad``.
    """
    if draws < 1 or not 0 < confidence < 1:
        raise ValueError("an interval needs at least one draw, and a confidence between 0 and 1")
    rng = np.random.default_rng(seed)
    clips = _clips(reference, reference_clips)
    weights: NDArray[np.float64] | None = None
    values, drawn = [], []
    for vectors, numbers in ((one, one_clips), (other, other_clips)):
        kernels = _by_clip(_kernels(*_checked(reference, vectors), None), clips, _clips(vectors, numbers))
        if weights is None:
            weights = _draws(rng, len(kernels.size_a), draws)
        values.append(kernels.distance())
        drawn.append(kernels.distances(weights, _draws(rng, len(kernels.size_b), draws)))
    low, high = np.quantile(drawn[0] - drawn[1], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(values[0] - values[1], float(low), float(high), confidence)


def kl(reference: Vectors, candidate: Vectors) -> float:
    """Kullback–Leibler divergence of the candidate's tags from the reference's, in nats: Σ p log (p / q).

    p and q are the mean tag scores [windows, tags] of each set, made to add up to 1: how the set is distributed over the tags. 0 is
    the same. Raises ValueError as ``fad``, and for scores below 0.
    """
    a, b = _checked(reference, candidate, least=1)
    if a.min() < 0 or b.min() < 0:
        raise ValueError("tag scores are 0 or more")
    p, q = a.mean(0) + 1e-6, b.mean(0) + 1e-6  # a tag that is never heard has no logarithm
    p, q = p / p.sum(), q / q.sum()
    return _finite(max(0.0, float((p * np.log(p / q)).sum())))


# Below: the kernel, by window and by clip.


@dataclass(frozen=True, slots=True, eq=False)
class _Kernels:
    """Kernel values, summed over the windows of each pair of clips, with nothing of a clip with itself; and windows of each clip."""

    aa: NDArray[np.float64]
    bb: NDArray[np.float64]
    ab: NDArray[np.float64]
    size_a: NDArray[np.float64]
    size_b: NDArray[np.float64]

    def distances(self, weights_a: NDArray[np.float64], weights_b: NDArray[np.float64]) -> NDArray[np.float64]:
        """KAD of the sets in which each clip stands so many times: (draws, clips) twice -> (draws)."""
        n_a, n_b = weights_a * self.size_a, weights_b * self.size_b
        total_a, total_b = n_a.sum(1), n_b.sum(1)
        within_a = ((weights_a @ self.aa) * weights_a).sum(1) / (total_a**2 - (n_a**2).sum(1))
        within_b = ((weights_b @ self.bb) * weights_b).sum(1) / (total_b**2 - (n_b**2).sum(1))
        between = ((weights_a @ self.ab) * weights_b).sum(1) / (total_a * total_b)
        return np.asarray(KAD_SCALE * (within_a + within_b - 2 * between))

    def distance(self) -> float:
        """KAD of the sets as they are."""
        return _finite(float(self.distances(np.ones((1, len(self.size_a))), np.ones((1, len(self.size_b))))[0]))


def _kernels(
    a: NDArray[np.float64], b: NDArray[np.float64], bandwidth: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """exp(−d² / 2σ²) within a, within b, between them."""
    aa = _squares(a, a)
    if bandwidth is None:
        bandwidth = float(np.median(np.sqrt(aa[np.triu_indices(len(a), 1)])))
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        raise ValueError("the reference's windows are all the same: nothing can be compared with them")
    gamma = 1 / (2 * bandwidth**2)
    return np.exp(-gamma * aa), np.exp(-gamma * _squares(b, b)), np.exp(-gamma * _squares(a, b))


def _by_clip(kernels: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], clips_a: Clips, clips_b: Clips) -> _Kernels:
    aa, bb, ab = kernels
    order_a, starts_a, size_a = _runs(clips_a)
    order_b, starts_b, size_b = _runs(clips_b)
    if min(len(size_a), len(size_b)) < 2:
        raise ValueError("all windows are of one clip: at least two clips are needed on either side")

    def summed(values: NDArray[np.float64], rows: tuple[Clips, Clips], columns: tuple[Clips, Clips]) -> NDArray[np.float64]:
        ordered = values[np.ix_(rows[0], columns[0])]
        return np.asarray(np.add.reduceat(np.add.reduceat(ordered, rows[1], axis=0), columns[1], axis=1))

    a, b = (order_a, starts_a), (order_b, starts_b)
    sums_aa, sums_bb = summed(aa, a, a), summed(bb, b, b)
    np.fill_diagonal(sums_aa, 0.0)
    np.fill_diagonal(sums_bb, 0.0)
    return _Kernels(sums_aa, sums_bb, summed(ab, a, b), size_a, size_b)


def _runs(clips: Clips) -> tuple[Clips, Clips, NDArray[np.float64]]:
    """An order in which each clip's windows stand together, where each clip begins in it, and how many windows it has."""
    order = np.argsort(clips, kind="stable")
    _, starts, sizes = np.unique(clips[order], return_index=True, return_counts=True)
    return order, starts, sizes.astype(np.float64)


def _draws(rng: np.random.Generator, clips: int, draws: int) -> NDArray[np.float64]:
    """(draws, clips): how often each clip is drawn when as many are drawn as there are. Never one clip alone: it tells nothing."""
    weights = rng.multinomial(clips, np.full(clips, 1 / clips), size=draws)
    while (alone := (weights > 0).sum(1) < 2).any():
        weights[alone] = rng.multinomial(clips, np.full(clips, 1 / clips), size=int(alone.sum()))
    return weights.astype(np.float64)


def _squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances [len(a), len(b)]."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0))


def _triangle(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """R [≤ D, D] with RᵀR the covariance."""
    return np.asarray(np.linalg.qr(centred, mode="r") / np.sqrt(len(centred) - 1))


def _thin(sets: Sequence[Vectors], size: int, rng: np.random.Generator) -> list[Vectors]:
    excess = sum(map(len, sets)) - size
    if excess == 0:
        return [one for one in sets if len(one)]
    # Every window gets a place in its clip, at random; those in the last places of the fullest clips leave first.
    places = np.concatenate([rng.permutation(len(one)) + rng.random(len(one)) for one in sets])
    kept = np.zeros(len(places), dtype=bool)
    kept[np.argsort(places)[:size]] = True
    parts = np.split(kept, np.cumsum([len(one) for one in sets])[:-1])
    return [one[part] for one, part in zip(sets, parts, strict=True) if part.any()]


def _clips(vectors: Vectors, clips: ArrayLike | None) -> Clips:
    """Without word of clips every window is one of its own."""
    numbers = np.arange(len(vectors)) if clips is None else np.asarray(clips, dtype=np.int64)
    if numbers.shape != (len(vectors),):
        raise ValueError(f"{len(vectors)} windows, but {numbers.shape} clip numbers")
    return numbers


def _checked(reference: Vectors, candidate: Vectors, least: int = 2) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.shape[1] == 0:
        raise ValueError(f"sets of shapes {a.shape} and {b.shape} can't be compared")
    if min(len(a), len(b)) < least:
        raise ValueError(f"too little to compare: {len(a)} and {len(b)} windows, and {least} is the least")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a set holds what is no number")
    return a, b


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise ValueError("the distance is no number: the sets hold values too large to be embeddings")
    return value
