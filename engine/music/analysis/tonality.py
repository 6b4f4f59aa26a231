"""Which key a track is in, by ear: ``find_key``. What keys are is in keys.py.

    pitch power, five rows a semitone ─▶ how far each rises above its surroundings ─▶ tuning ─▶ 12 pitch classes ─▶ best of 24 profiles

What rises above its surroundings is a note; kick, hats and noise are broad and fall away (that alone took exact keys from 28 to 42 of 49).
A track that was pitched by a percent or two is not between two keys: its own tuning is found first.

Profiles: Á. Faraldo, S. Jordà, P. Herrera, 'A Multi-Profile Method for Key Estimation in EDM', AES Conference on Semantic Audio 2017
(bgate: means over Beatport tracks, weak degrees set to zero).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from engine.music.analysis.features import OCTAVES, PER_SEMITONE, Features
from engine.music.analysis.keys import Key, Mode

_MAJOR = np.array([1.00, 0.00, 0.42, 0.00, 0.53, 0.37, 0.00, 0.77, 0.00, 0.38, 0.21, 0.30])
_MINOR = np.array([1.00, 0.00, 0.36, 0.39, 0.00, 0.38, 0.00, 0.74, 0.27, 0.00, 0.42, 0.23])

_SURROUNDINGS = 12 * PER_SEMITONE + 1  # an octave
_FIRST_OCTAVE, _LAST_OCTAVE = 1, 6  # 65 Hz to 2 kHz
_MOST, _POWER = 2.0, 0.7  # so that one loud note does not drown the scale
_IN_TUNE = np.array([0.25, 0.7, 1.0, 0.7, 0.25])  # by fifths of a semitone from the middle of a pitch


def find_key(features: Features) -> Key | None:
    """The key, or None where nothing is pitched."""
    if len(features.pitch) < 5 or float(features.pitch.max(initial=0.0)) < 1e-9:
        return None
    return best_key(pitch_classes(features))


def pitch_classes(features: Features) -> NDArray[np.float64]:
    """[12], C first: how much each pitch class is heard over the whole track, in the track's own tuning."""
    magnitude = np.sqrt(features.pitch)  # [P, rows]
    around = uniform_filter1d(magnitude, size=_SURROUNDINGS, axis=1, mode="nearest")
    above = magnitude / (around + 1e-3 * float(magnitude.max())) - 1.0
    heard = np.clip(above, 0.0, _MOST).mean(axis=0)  # [rows]
    row = np.arange(len(heard))
    heard[(row < _FIRST_OCTAVE * 12 * PER_SEMITONE) | (row >= _LAST_OCTAVE * 12 * PER_SEMITONE)] = 0.0
    tuned = np.interp(row + _detuning(heard), row, heard)
    octaves = tuned.reshape(OCTAVES, 12, PER_SEMITONE)
    return np.asarray((octaves * _IN_TUNE).sum(axis=(0, 2)) ** _POWER, dtype=np.float64)


def _detuning(heard: NDArray[np.float64]) -> float:
    """How many rows the notes lie above A = 440 Hz, −2.5 to 2.5: the mean direction of all peaks around the semitone."""
    before, after = np.roll(heard, 1), np.roll(heard, -1)
    bend = np.minimum(before - 2.0 * heard + after, -1e-12)
    exact = np.arange(len(heard)) - PER_SEMITONE // 2 + np.clip(0.5 * (before - after) / bend, -0.5, 0.5)
    weight = np.where((heard > before) & (heard >= after), heard, 0.0)
    return float(np.angle((weight * np.exp(2j * np.pi * exact / PER_SEMITONE)).sum()) / (2.0 * np.pi) * PER_SEMITONE)


def best_key(classes: NDArray[np.float64]) -> Key | None:
    """The profile that correlates best with [12] pitch classes, C first."""
    scores: list[tuple[float, int, Mode]] = []
    profiles: tuple[tuple[Mode, NDArray[np.float64]], ...] = (("major", _MAJOR), ("minor", _MINOR))
    for mode, profile in profiles:
        scores += [(float(np.corrcoef(classes, np.roll(profile, tonic))[0, 1]), tonic, mode) for tonic in range(12)]
    scores.sort(reverse=True)
    (first, tonic, mode), (second, _, _) = scores[:2]
    return Key(tonic, mode, float(np.clip(first - second, 0.0, 1.0)))
