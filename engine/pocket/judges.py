"""Who judges clips: the musicnn tagger, a classifier of manners, FAD and KAD, and matching codes. What is judged is in evaluate.py.

clip ─▶ musicnn ─▶ windows [W, 200] ─▶ mean ─▶ manner            (softmax regression on synthesised tracks, through the codec)
               └▶ tags [W, 50]    ─▶ mean ─▶ top three          └▶ FAD, KAD to held-out tracks
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from engine.evaluation.distances import Interval, alike, fad, kad_interval, stack
from engine.evaluation.embeddings import Musicnn
from engine.music.audio import Audio
from engine.pocket.rhythm import SAMPLE_RATE, Sound

TECHNO_TAGS = frozenset({"techno", "electronic", "beat"})


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What musicnn makes of a set of clips."""

    windows: list[NDArray[np.float32]]  # [W, 200] each
    top_three: list[tuple[str, ...]]

    @property
    def means(self) -> NDArray[np.float64]:
        """[clips, 200]"""
        return np.stack([w.mean(0) for w in self.windows]).astype(np.float64)

    @property
    def techno_share(self) -> float:
        """Of the clips, those with one of techno's tags among their first three."""
        return float(np.mean([bool(TECHNO_TAGS & set(tags)) for tags in self.top_three]))


class Ears:
    """musicnn, loaded once. Raises EmbedderUnavailable, in words, where its weights are not installed."""

    def __init__(self) -> None:
        self._network = Musicnn(hop_s=3.0)

    def hear(self, sounds: Sequence[Sound]) -> Heard:
        """Windows of 3 s, end to end. Raises AudioError for a clip shorter than that."""
        windows, top = [], []
        for sound in sounds:
            vectors, tags = self._network.listen(Audio(np.ascontiguousarray(sound[None], dtype=np.float32), SAMPLE_RATE))
            windows.append(vectors)
            best = np.argsort(tags.scores.mean(0))[::-1][:3]
            top.append(tuple(tags.names[i] for i in best))
        return Heard(windows, top)


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a set of clips is from held-out tracks."""

    fad: float
    kad: Interval


def distance(reference: Heard, candidate: Heard) -> Distance:
    """FAD and KAD of equally many windows."""
    a, b = alike(reference.windows, candidate.windows)
    (x, of_x), (y, of_y) = stack(a), stack(b)
    return Distance(fad(x, y), kad_interval(x, y, reference_clips=of_x, candidate_clips=of_y, draws=300))


class MannerClassifier:
    """Softmax regression from a clip's mean embedding to its manner, with an L2 penalty that few tracks a manner need."""

    def __init__(self, means: NDArray[np.float64], manners: Sequence[str], penalty: float = 0.01) -> None:
        self.names = tuple(dict.fromkeys(manners))
        self._mean, self._spread = means.mean(0), means.std(0) + 1e-6
        x = self._features(means)
        y = np.array([self.names.index(m) for m in manners])
        K, D = len(self.names), x.shape[1]

        def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            w = flat.reshape(D, K)
            z = x @ w
            z -= z.max(1, keepdims=True)
            p = np.exp(z)
            p /= p.sum(1, keepdims=True)
            nats = -np.log(p[np.arange(len(y)), y] + 1e-12).mean() + penalty * (w**2).sum()
            p[np.arange(len(y)), y] -= 1
            return float(nats), (x.T @ p / len(y) + 2 * penalty * w).ravel()

        self._weights = minimize(loss, np.zeros(D * K), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x.reshape(D, K)

    def _features(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        x = (means - self._mean) / self._spread
        return np.concatenate([x, np.ones((len(x), 1))], 1)

    def name(self, means: NDArray[np.float64]) -> list[str]:
        """The likeliest manner of each clip [clips, 200]."""
        return [self.names[i] for i in (self._features(means) @ self._weights).argmax(1)]
