"""What the ear calls a beat, in figures: onsets, tempo, steadiness, phase. Numpy only; nothing here knows where a clip comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 32_000
HOP = 160  # 5 ms


@dataclass(frozen=True, slots=True)
class Beat:
    """What the low end of a clip does."""

    bpm: float  # the strongest period between 100 and 165
    periodicity: float  # autocorrelation of the low-band onsets at that period, 1 = every beat the same
    hit: bool  # within 2 % of the tempo asked for (True if none was)


def onsets(x: NDArray[np.float32], *, low_hz: float = 0.0, high_hz: float = 150.0) -> NDArray[np.float64]:
    """Rises of log-magnitude in a band, summed, one value every 5 ms, zero mean."""
    n_fft = 1024
    padded = np.pad(x.astype(np.float64), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::HOP] * np.hanning(n_fft)
    f = np.arange(n_fft // 2 + 1) * SAMPLE_RATE / n_fft
    band = np.log1p(50 * np.abs(np.fft.rfft(frames)[:, (f >= low_hz) & (f < high_hz)]) / 32)
    rise = np.maximum(0, band[2:] - band[:-2]).sum(1)
    return rise - rise.mean()


def beat(x: NDArray[np.float32], asked_bpm: float | None = None) -> Beat:
    """Tempo and steadiness of a mono clip at 32 kHz. Octaves count apart: 65 for 130 is a miss."""
    o = onsets(x)
    spectrum = np.abs(np.fft.rfft(o, 2 * len(o))) ** 2
    ac = np.fft.irfft(spectrum)[: len(o)]
    if ac[0] <= 1e-9:
        return Beat(0.0, 0.0, False)
    ac = ac / ac[0] * len(o) / np.maximum(1, len(o) - np.arange(len(o)))  # unbiased: later lags have fewer pairs
    tempi = np.arange(100, 165, 0.25)
    lags = 60 / tempi * SAMPLE_RATE / HOP
    at = np.interp(lags, np.arange(len(ac)), ac)
    twice = np.interp(2 * lags, np.arange(len(ac)), ac)
    i = int(np.argmax(at + 0.5 * twice))
    bpm = float(tempi[i])
    return Beat(bpm, float(at[i]), asked_bpm is None or abs(bpm / asked_bpm - 1) <= 0.02)


def beat_phase_s(x: NDArray[np.float32], bpm: float) -> float:
    """Where in the beat the low end rises most, counted from the first sample: 0 … 60 / bpm."""
    o, period, bins = onsets(x), 60 / bpm, 200
    at = (np.arange(len(o)) * HOP / SAMPLE_RATE % period / period * bins).astype(int)
    folded = np.bincount(at, o, bins) / np.maximum(1, np.bincount(at, minlength=bins))
    smooth = np.convolve(np.tile(folded, 3), np.ones(7) / 7, "same")[bins : 2 * bins]
    return float(np.argmax(smooth) / bins * period)
