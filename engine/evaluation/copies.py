"""Near-copies: does a model recite what it was trained on? Two measures of a clip, each against what unrelated real music reaches.

::

    by ear     the clip's windows ─▶ nearest training window, by cosine of standardised embeddings
    by codes   the clip's first codebook ─▶ share of its n-grams that a training track has, and the longest stretch

Techno resembles techno, so neither figure means anything by itself: held-out tracks, which nobody can have copied, are measured against
the same training tracks, and a clip counts as a near-copy past what all but 5 % of their excerpts reach. The first measure hears
copies through changes of level and position; the second proves recitation, and needs the codes as the model made them: a clip that was
made louder and encoded again has others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.evaluation.distances import Vectors

NGRAM_FRAMES = 8
"""0.16 s at 50 frames a second: with the embedded model's codec, 0 to 1 % of the n-grams of unrelated tracks, 100 % of a recited one."""
REAL_SHARE = 0.05
"""Of real held-out excerpts, the share that is let past the threshold."""

Codes = NDArray[np.integer]
"""A track's first codebook: [frames]."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """How many clips go further than real music does."""

    clips: int
    beyond: int
    threshold: float
    real_clips: int
    real_beyond: int

    @property
    def share(self) -> float:
        return self.beyond / self.clips

    @property
    def real_share(self) -> float:
        return self.real_beyond / self.real_clips


def beyond_real(scores: ArrayLike, real_scores: ArrayLike, real_share: float = REAL_SHARE) -> Beyond:
    """Counts clips whose score is above what all but ``real_share`` of the real ones reach. Raises ValueError where either is empty."""
    clips, real = np.asarray(scores, dtype=np.float64), np.asarray(real_scores, dtype=np.float64)
    if clips.size == 0 or real.size == 0:
        raise ValueError("there is nothing to compare: no clips, or no real ones")
    # 'higher' is a score that was reached: with few excerpts the loudest of them, rather than something between two.
    threshold = float(np.quantile(real, 1 - real_share, method="higher"))
    return Beyond(clips.size, int((clips > threshold).sum()), threshold, real.size, int((real > threshold).sum()))


class Neighbours:
    """Training windows, to be asked for the nearest."""

    def __init__(self, training: Sequence[Vectors]) -> None:
        """``training``: windows [W, D] of each track. Raises ValueError where they are fewer than two, or all the same."""
        windows = np.concatenate([np.asarray(one, dtype=np.float32) for one in training]) if training else np.zeros((0, 1), np.float32)
        spread = windows.std(axis=0) if len(windows) > 1 else np.zeros(1)
        self._kept = np.flatnonzero(spread > 1e-4 * spread.max(initial=0.0))  # what never changes says nothing
        if len(self._kept) == 0:
            raise ValueError("there is nothing to compare with: the training tracks have no two different windows")
        self._mean, self._spread = windows[:, self._kept].mean(axis=0), spread[self._kept]
        self._windows = self._standardised(windows)  # [W, D'], each of length 1
        self._track = np.repeat(np.arange(len(training)), [len(one) for one in training])

    def nearest(self, clip: Vectors) -> tuple[float, int]:
        """The highest cosine (−1 to 1) of any of the clip's windows with any training window, and the index of that window's track."""
        likeness = self._standardised(np.asarray(clip, dtype=np.float32)) @ self._windows.T  # (w, W)
        return float(likeness.max()), int(self._track[int(likeness.max(axis=0).argmax())])

    def _standardised(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = (windows[:, self._kept] - self._mean) / self._spread
        return np.asarray(scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-9), dtype=np.float32)


class Ngrams:
    """All n-grams of the training tracks' first codebooks, as sorted 64-bit hashes: ten hours are 1.8 million, 14 MB."""

    def __init__(self, training: Sequence[Codes], frames: int = NGRAM_FRAMES) -> None:
        """Raises ValueError where no track is as long as one n-gram."""
        self._frames = frames
        hashes = [_hashes(codes, frames) for codes in training]
        self._known = np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
        if len(self._known) == 0:
            raise ValueError(f"no training track is as long as {frames} frames")

    def share(self, codes: Codes) -> float:
        """Of the clip's n-grams, those that a training track has: 0 to 1. 0 where the clip is shorter than one."""
        found = self._found(codes)
        return float(found.mean()) if len(found) else 0.0

    def longest(self, codes: Codes) -> int:
        """Frames of the longest stretch all of whose n-grams training tracks have; 0 where there is none."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self._found(codes).astype(np.int8), [0]])))
        return int((edges[1::2] - edges[::2]).max()) + self._frames - 1 if len(edges) else 0

    def _found(self, codes: Codes) -> NDArray[np.bool_]:
        hashes = _hashes(codes, self._frames)
        place = np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)
        return np.asarray(self._known[place] == hashes)


def excerpts(windows: Vectors, length: int) -> list[Vectors]:
    """A track's windows cut into stretches as long as a clip's, without the short end: a whole track has more chances."""
    return [windows[start : start + length] for start in range(0, max(1, len(windows) - length + 1), length)]


def _hashes(codes: Codes, frames: int) -> NDArray[np.uint64]:
    """One hash for each n-gram: Σ f(code) · Mᵢ modulo 2⁶⁴, with f and M fixed and far from regular."""
    if np.ndim(codes) != 1:
        raise ValueError(f"the first codebook is [frames], not {np.shape(codes)}")
    if len(codes) < frames:
        return np.zeros(0, np.uint64)
    values = _mixed(np.asarray(codes).astype(np.uint64))
    factors = _mixed(np.arange(1 << 32, (1 << 32) + frames, dtype=np.uint64)) | np.uint64(1)
    windows = np.lib.stride_tricks.sliding_window_view(values, frames)  # (T − n + 1, n)
    return np.asarray((windows * factors).sum(axis=1, dtype=np.uint64))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64 (Steele, Lea and Flood 2014): every bit depends on every other."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
