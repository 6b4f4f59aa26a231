"""Which key a track is in, by ear: ``find_key``. What keys are is in keys.py.

Pitch power over the whole track ─▶ tuning ─▶ 12 pitch classes ─▶ the best of 24 profiles.

Profiles: Á. Faraldo, S. Jordà, P. Herrera, 'A Multi-Profile Method for Key Estimation in EDM', AES Conference on Semantic Audio 2017
(bgate: means over Beatport tracks, weak degrees set to zero).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.music.analysis.features import LOWEST_PITCH, OCTAVES, PER_SEMITONE, Features
from engine.music.analysis.keys import Key, Mode

_MAJOR = np.array([1.00, 0.00, 0.42, 0.00, 0.53, 0.37, 0.00, 0.77, 0.00, 0.38, 0.21, 0.30])
_MINOR = np.array([1.00, 0.00, 0.36, 0.39, 0.00, 0.38, 0.00, 0.74, 0.27, 0.00, 0.42, 0.23])


def find_key(features: Features) -> Key | None:
    """The key, or None where nothing is pitched."""
    if len(features.pitch) < 5 or float(features.pitch.max(initial=0.0)) < 1e-9:
        return None
    spectrum = np.sqrt(features.pitch).mean(axis=0)  # [rows]
    classes = spectrum.reshape(OCTAVES, 12, PER_SEMITONE).sum(axis=(0, 2))
    return best_key(np.roll(classes, int(LOWEST_PITCH) % 12))


def best_key(classes: NDArray[np.float64]) -> Key | None:
    """The profile that correlates best with [12] pitch classes, C first."""
    scores: list[tuple[float, int, Mode]] = []
    profiles: tuple[tuple[Mode, NDArray[np.float64]], ...] = (("major", _MAJOR), ("minor", _MINOR))
    for mode, profile in profiles:
        scores += [(float(np.corrcoef(classes, np.roll(profile, tonic))[0, 1]), tonic, mode) for tonic in range(12)]
    scores.sort(reverse=True)
    (first, tonic, mode), (second, _, _) = scores[:2]
    return Key(tonic, mode, float(np.clip(first - second, 0.0, 1.0)))
