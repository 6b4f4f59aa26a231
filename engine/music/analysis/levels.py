"""How loud, how clipped, where silent: one pass over the samples in pieces, so that memory does not grow with the track.

Loudness is ITU-R BS.1770-4's, gated, as in engine/music/loudness.py, which needs several copies of a track; a test holds the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyloudnorm
from numpy.typing import NDArray
from scipy.signal import lfilter

from engine.music.audio import Audio, to_dbfs

ENERGY_S = 1.0
"""Step of the energy curve."""

_STEP_S = 0.1  # BS.1770: blocks of 0.4 s, a new one every 0.1 s
_STEPS_A_BLOCK = 4
_PIECE_STEPS = 100  # ten seconds at a time
_FULL_SCALE, _RUN = 0.999, 3  # one sample at full scale is a peak, three in a row are a flattened one
_SILENT_DBFS, _SILENT_S = -60.0, 0.5
_ENERGY_RANGE_DB = 40.0


@dataclass(frozen=True, slots=True)
class Levels:
    """What ``measure_levels`` found; units as in TrackAnalysis."""

    lufs: float | None
    peak_dbfs: float
    clipped_share: float
    silences: tuple[tuple[float, float], ...]
    energy: tuple[float, ...]


def measure_levels(audio: Audio) -> Levels:
    """Loudness, sample peak, share of clipped samples, silent spans and the energy curve."""
    rate = audio.sample_rate
    step = max(1, round(_STEP_S * rate))
    stages = [(stage.b, stage.a) for stage in pyloudnorm.Meter(rate)._filters.values()]  # the only handle on its K-weighting
    states = [[np.zeros(max(len(a), len(b)) - 1) for b, a in stages] for _ in range(audio.channels)]
    powers: list[NDArray[np.float64]] = []  # K-weighted, a step
    peaks: list[NDArray[np.float32]] = []  # a step
    clipped = 0
    for start in range(0, audio.length_samples, step * _PIECE_STEPS):
        piece = audio.samples[:, start : start + step * _PIECE_STEPS]
        edges = np.arange(0, piece.shape[1], step)
        weighted_power = np.zeros(piece.shape[1])
        for channel, state in zip(piece, states, strict=True):
            clipped += _clipped(channel)
            weighted: NDArray[np.float64] = channel.astype(np.float64)
            for number, (b, a) in enumerate(stages):
                weighted, state[number] = lfilter(b, a, weighted, zi=state[number])
            weighted_power += np.square(weighted)
        powers.append(np.add.reduceat(weighted_power, edges) / step)  # a last step that is short counts as padded with silence
        peaks.append(np.maximum.reduceat(np.abs(piece).max(axis=0), edges))
    power = np.concatenate(powers) if powers else np.zeros(0)
    peak = np.concatenate(peaks) if peaks else np.zeros(0, dtype=np.float32)
    return Levels(
        lufs=_gated(power[: audio.length_samples // step]),
        peak_dbfs=to_dbfs(float(np.max(peak, initial=0.0))),
        clipped_share=clipped / max(1, audio.samples.size),
        silences=_silences(peak, audio.duration_s, step / rate),
        energy=_energy(power),
    )


def _clipped(channel: NDArray[np.float32]) -> int:
    """Samples in runs of at least three at full scale."""
    full = np.abs(channel) >= _FULL_SCALE
    if not full.any():
        return 0
    turns = np.flatnonzero(np.diff(np.concatenate([[False], full, [False]]).astype(np.int8)))
    lengths = turns[1::2] - turns[::2]
    return int(lengths[lengths >= _RUN].sum())


def _gated(power: NDArray[np.float64]) -> float | None:
    """Integrated loudness of K-weighted power a tenth of a second: absolute gate at −70 LUFS, relative gate 10 LU below what is left."""
    if len(power) < _STEPS_A_BLOCK:
        return None
    blocks = np.convolve(power, np.full(_STEPS_A_BLOCK, 1.0 / _STEPS_A_BLOCK), mode="valid")
    loud = blocks[_lufs_of(blocks) >= -70.0]
    if not len(loud):
        return None
    kept = loud[_lufs_of(loud) >= float(_lufs_of(loud.mean())) - 10.0]
    return float(_lufs_of(kept.mean()))


def _lufs_of(power: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return np.asarray(-0.691 + 10.0 * np.log10(np.maximum(power, 1e-15)))


def _silences(peak: NDArray[np.float32], duration_s: float, step_s: float) -> tuple[tuple[float, float], ...]:
    quiet = peak < 10.0 ** (_SILENT_DBFS / 20.0)
    turns = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    spans = ((float(a * step_s), min(duration_s, float(b * step_s))) for a, b in zip(turns[::2], turns[1::2], strict=True))
    return tuple((start, end) for start, end in spans if end - start >= _SILENT_S - 1e-9)


def _energy(power: NDArray[np.float64]) -> tuple[float, ...]:
    a_step = round(ENERGY_S / _STEP_S)
    if not len(power):
        return ()
    seconds = np.add.reduceat(power, np.arange(0, len(power), a_step)) / a_step
    loudest = float(seconds.max())
    if loudest <= 1e-12:
        return (0.0,) * math.ceil(len(power) / a_step)
    decibels = 10.0 * np.log10(np.maximum(seconds / loudest, 1e-12))
    return tuple(float(value) for value in np.clip(1.0 + decibels / _ENERGY_RANGE_DB, 0.0, 1.0))
