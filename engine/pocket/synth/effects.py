"""Room, echo and dirt. Reverb and delay are linear, so applying them to one bar and overlapping the tails is the same as applying
them to the whole track, at a fraction of the work; what is not linear (saturation) is applied to one voice or to the finished mix."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve, resample_poly

from engine.pocket.synth.voices import SAMPLE_RATE, Signal, fixed_filter


def with_tail(x: Signal, tail_s: float) -> Signal:
    """`x` with silence behind it, for what follows to ring in."""
    return np.concatenate([x, np.zeros(int(tail_s * SAMPLE_RATE))])


def reverb(x: Signal, rng: np.random.Generator, *, t60_s: float = 1.2, lowpass_hz: float = 5000, highpass_hz: float = 250,
           predelay_s: float = 0.015) -> Signal:  # fmt: skip
    """Convolution with decaying noise; only the wet part, as long as `x`: give `x` a tail first."""
    n = int(t60_s * SAMPLE_RATE)
    response = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    response = fixed_filter(fixed_filter(response, lowpass_hz), highpass_hz, "high")
    response /= np.sqrt((response**2).sum()) + 1e-9
    wet = oaconvolve(x, response)
    return np.concatenate([np.zeros(int(predelay_s * SAMPLE_RATE)), wet])[: len(x)]


def delay(
    x: Signal, delay_samples: int, *, feedback: float = 0.5, lowpass_hz: float = 2800, highpass_hz: float = 300, repeats: int = 6
) -> Signal:
    """Echoes that get darker; only the wet part, as long as `x`."""
    y, echo = np.zeros_like(x), x
    for i in range(1, repeats + 1):
        if delay_samples * i >= len(x):
            break
        echo = fixed_filter(fixed_filter(echo, lowpass_hz, "low", 1), highpass_hz, "high", 1) * feedback
        y[delay_samples * i :] += echo[: len(x) - delay_samples * i]
    return y


def saturate(x: Signal, drive: float) -> Signal:
    """tanh, scaled so that full scale stays full scale."""
    return np.tanh(drive * x) / np.tanh(drive)


def played_at(x: NDArray[np.float32], speed: Fraction) -> NDArray[np.float32]:
    """As from a turntable: tempo and pitch times `speed`, and as much shorter."""
    return x if speed == 1 else resample_poly(x, speed.denominator, speed.numerator).astype(np.float32)
