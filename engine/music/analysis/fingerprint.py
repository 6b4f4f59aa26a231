"""Whether two files hold the same recording: ``take_fingerprint``, ``same_recording``. Robust to codec, gain, and a few seconds of offset.

How each pitch class and each of four bands rises above and falls below its own last few seconds is what a re-encode keeps and another
track in the same key and tempo does not. Two such pictures are slid along each other; the best normalised correlation is the answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from engine.music.analysis.facts import Fingerprint
from engine.music.analysis.features import OCTAVES, PER_SEMITONE, PITCH_STEP_S, Features

SAME = 0.8
"""From here on two fingerprints are of one recording."""

_ROWS = 16  # 12 pitch classes, 4 bands of two octaves
_OVER_S = 12.0  # a row is measured against its own mean over this long
_MOST_OFFSET_S = 10.0
_LEAST_OVERLAP_S = 8.0


def take_fingerprint(features: Features) -> Fingerprint:
    """int8 [P, 16] every 0.2 s."""
    pitch = features.pitch  # [P, 8·12·5]
    if not len(pitch):
        return Fingerprint(b"", _ROWS, PITCH_STEP_S)
    octaves = pitch.reshape(len(pitch), OCTAVES, 12, PER_SEMITONE)
    classes = octaves.sum(axis=(1, 3))  # [P, 12]
    wide = octaves.reshape(len(pitch), 4, -1).sum(axis=2)  # [P, 4]
    decibels = 10.0 * np.log10(np.concatenate([classes, wide], axis=1) + 1e-7)
    moving = decibels - uniform_filter1d(decibels, size=round(_OVER_S / PITCH_STEP_S), axis=0, mode="nearest")
    return Fingerprint(np.clip(np.rint(8.0 * moving), -127, 127).astype(np.int8).tobytes(), _ROWS, PITCH_STEP_S)


def same_recording(a: Fingerprint, b: Fingerprint) -> float:
    """0 to 1; at least SAME for re-encodes and remasters of one recording, even when one starts up to ten seconds later."""
    if a.rows != b.rows or a.step_s != b.step_s:
        return 0.0
    one, other = a.frames().astype(np.float32), b.frames().astype(np.float32)
    shortest = min(len(one), len(other))
    if shortest * a.step_s < 1.0:
        return 0.0
    most = round(_MOST_OFFSET_S / a.step_s)
    least = min(shortest, round(_LEAST_OVERLAP_S / a.step_s))
    best = 0.0
    for offset in range(-most, most + 1):
        first, second = (one[offset:], other) if offset >= 0 else (one, other[-offset:])
        overlap = min(len(first), len(second))
        if overlap >= least:
            best = max(best, _correlation(first[:overlap], second[:overlap]))
    return best


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.vdot(a, b)) / size if size > 0 else 0.0
