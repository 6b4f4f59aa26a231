"""How loud, and making it so: ``measure``, ``normalise``, both at once. Pure numpy, scipy and pyloudnorm.

    measure ─▶ gain to the target ─▶ peaks above the limit? ─▶ smooth gain curve around each (never a clipped sample) ─▶ made up for

Loudness is ITU-R BS.1770-4's (LUFS, gated). Peaks are true peaks: of the waveform between the samples too, found at four times
the rate, since that is what a player's converter and an MP3 encoder see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyloudnorm
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import resample_poly

from engine.music.audio import Audio, to_dbfs

TARGET_LUFS = -14.0
PEAK_DBFS = -1.0

_BLOCK_SECONDS = 0.4  # BS.1770's block: nothing shorter has a loudness
_OVERSAMPLING = 4  # BS.1770 annex 2
_MAX_GAIN_DB = 40.0  # a nearly silent clip is not blown up into noise
_MAX_LIMITING_DB = 6.0  # more would be heard as pumping; the loudness target is given up first
_LOOKAHEAD_SECONDS = 0.008
_SMOOTHINGS = 3
_MAKE_UP_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Loudness:
    """lufs: integrated loudness, None where there is none (shorter than 0.4 s, or silence). peak_dbfs: true peak, −120 at silence."""

    lufs: float | None
    peak_dbfs: float


def measure(audio: Audio) -> Loudness:
    """Integrated loudness and true peak."""
    return Loudness(lufs=_lufs(audio), peak_dbfs=to_dbfs(float(np.max(true_peaks(audio), initial=0.0))))


def normalise(audio: Audio, lufs: float = TARGET_LUFS, peak_dbfs: float = PEAK_DBFS) -> Audio:
    """``audio`` at ``lufs``, its true peak at most ``peak_dbfs``.

    Where the gain alone would break the peak limit, a smooth gain curve lowers what is around each peak, by up to 6 dB; a clip that
    would need more stays quieter than ``lufs``. A clip too short or too quiet to have a loudness only has its peaks lowered.
    ``measure`` of the result says what was reached.
    """
    return normalise_and_measure(audio, lufs, peak_dbfs)[0]


def normalise_and_measure(audio: Audio, lufs: float = TARGET_LUFS, peak_dbfs: float = PEAK_DBFS) -> tuple[Audio, Loudness]:
    """As ``normalise``, and ``measure`` of the result, most of which is known by then."""
    now_lufs, peaks = _lufs(audio), true_peaks(audio)
    if now_lufs is None:
        limited = _limit(audio, peak_dbfs, _lower(audio, peak_dbfs, peaks), peaks)
        return limited.audio, Loudness(_lufs(limited.audio), limited.peak_dbfs)
    peak_now_dbfs = to_dbfs(float(np.max(peaks)))
    most_db = min(_MAX_GAIN_DB, peak_dbfs + _MAX_LIMITING_DB - peak_now_dbfs)
    gain_db = min(lufs - now_lufs, most_db)
    for round_ in range(_MAKE_UP_ROUNDS + 1):  # limiting takes a little loudness away: make up for it, within the same bounds
        loud = _amplify(audio, gain_db)
        lowered = _lower(loud, peak_dbfs, peaks * _factor(gain_db))
        reached = _lufs(lowered)
        if reached is None or lufs - reached < 0.05 or gain_db >= most_db or round_ == _MAKE_UP_ROUNDS:
            break
        gain_db = min(gain_db + lufs - reached, most_db)
    limited = _limit(loud, peak_dbfs, lowered, peaks * _factor(gain_db))
    return limited.audio, Loudness(None if reached is None else reached + limited.changed_db, limited.peak_dbfs)


def true_peaks(audio: Audio) -> NDArray[np.float32]:
    """[N]: the largest magnitude of any channel around each sample, between the samples included."""
    if audio.length_samples == 0:
        return np.zeros(0, dtype=np.float32)
    fine = np.abs(resample_poly(audio.samples, _OVERSAMPLING, 1, axis=1))  # [C, 4N]
    peaks = np.abs(audio.samples).max(axis=0)  # [N]
    for phase in range(_OVERSAMPLING):  # the three between each sample and the next, and its own
        np.maximum(peaks, fine[:, phase::_OVERSAMPLING].max(axis=0), out=peaks)
    return np.asarray(peaks, dtype=np.float32)


def k_weighted_power(audio: Audio) -> NDArray[np.float64]:
    """[N]: instantaneous power after BS.1770's K-weighting, summed over channels. Its mean in dB, −0.691, is ungated loudness."""
    power = np.zeros(audio.length_samples, dtype=np.float64)
    meter = pyloudnorm.Meter(audio.sample_rate)
    for channel in audio.samples:
        weighted = channel.astype(np.float64)
        for stage in meter._filters.values():  # the only handle that pyloudnorm gives on its filters
            weighted = stage.apply_filter(weighted)
        power += np.square(weighted)
    return power


def _lufs(audio: Audio) -> float | None:
    if audio.duration_s < _BLOCK_SECONDS or audio.peak_dbfs <= -100.0:
        return None
    value = float(pyloudnorm.Meter(audio.sample_rate).integrated_loudness(audio.samples.T.astype(np.float64)))  # takes [N, C]
    return value if math.isfinite(value) else None


def _amplify(audio: Audio, gain_db: float) -> Audio:
    return Audio((audio.samples * _factor(gain_db)).astype(np.float32), audio.sample_rate)


def _factor(gain_db: float) -> np.float32:
    return np.float32(10.0 ** (gain_db / 20.0))


def _lower(audio: Audio, peak_dbfs: float, peaks: NDArray[np.float32]) -> Audio:
    """Lowers what is around each of ``peaks`` (its true peaks) above the limit, to a few hundredths of a dB; itself where none is.

    The gain that each sample needs is spread to a window around it (minimum) and smoothed by three running means that are together no
    wider, so the smoothed gain at a peak is still at most what it needs: peaks are met without a corner in the gain curve.
    """
    limit = 10.0 ** (peak_dbfs / 20.0)
    if np.max(peaks, initial=0.0) <= limit:
        return audio
    half = max(_SMOOTHINGS, round(_LOOKAHEAD_SECONDS * audio.sample_rate))
    gain = limit / np.maximum(peaks.astype(np.float64), limit)  # [N]: in double precision, whose running sums do not drift
    gain = minimum_filter1d(gain, size=2 * half + 1, mode="nearest")
    for _ in range(_SMOOTHINGS):
        gain = uniform_filter1d(gain, size=2 * (half // _SMOOTHINGS) + 1, mode="nearest")
    return Audio((audio.samples * gain).astype(np.float32), audio.sample_rate)


@dataclass(frozen=True, slots=True, eq=False)
class _Limited:
    """peak_dbfs: its true peak. changed_db: by how much the whole was made quieter for the last hundredths, at most 0."""

    audio: Audio
    peak_dbfs: float
    changed_db: float = 0.0


def _limit(audio: Audio, peak_dbfs: float, lowered: Audio, peaks: NDArray[np.float32]) -> _Limited:
    """What ``_lower`` made of ``audio``, its peaks now truly within the limit: a gain that changes moves them a little between samples."""
    limit = 10.0 ** (peak_dbfs / 20.0)
    rest = float(np.max(peaks if lowered is audio else true_peaks(lowered), initial=0.0))
    if rest <= limit:
        return _Limited(lowered, to_dbfs(rest))
    factor = np.float32(limit / rest * (1.0 - 1e-6))
    quieter = Audio((lowered.samples * factor).astype(np.float32), audio.sample_rate)
    return _Limited(quieter, to_dbfs(rest * float(factor)), 20.0 * math.log10(float(factor)))
