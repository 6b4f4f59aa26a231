"""Where a track ends and new audio begins, without a click or a jump in level: ``join``. Pure.

    before:   ─────track's own samples─────┤                      seam_s
    overlap:                        ╲ fade ┤  (the model's rendering of the track's last moments, if the caller has it)
    new:                                   ├──────new audio──────▶   gain: level-matched at the seam, settling to the whole's

With ``overlap`` the fade lies before the seam's end, between the track and the model's own rendering of the same moments. Without it
the track's last 100 ms are extrapolated past the seam by linear prediction, and the fade runs from that into the new audio, so that every
sample of the track stays as it was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.music.audio import Audio
from engine.music.loudness import k_weighted_power

FADE_SECONDS = 0.03
_LEVEL_SECONDS = 1.0  # two beats at 120 BPM: one kick more or less in the window does not decide
_LONG_SECONDS = 30.0
_SETTLE_SECONDS = 4.0
_MAX_GAIN_DB = 12.0
_AUDIBLE_POWER = 1e-6  # −60 dB: a pause has no level to match
_HISTORY_SECONDS = 0.1
_ORDER = 256


def join(before: Audio, new: Audio, *, overlap: Audio | None = None, fade_s: float = FADE_SECONDS) -> tuple[Audio, float]:
    """``before`` and then ``new``, and the second at which the track's own samples end (the fade begins there).

    All at the same rate and channel count. overlap: audio that ends where ``new`` begins; used if it is at least 5 ms long.
    Length is exactly the sum of both. Raises ValueError when rates or channels differ.
    """
    rate = before.sample_rate
    for other in (new, overlap):
        if other is not None and (other.sample_rate, other.channels) != (rate, before.channels):
            raise ValueError(f"can't join {before.sample_rate} Hz × {before.channels} with {other.sample_rate} Hz × {other.channels}")
    if before.length_samples == 0 or new.length_samples == 0:
        return Audio(np.concatenate([before.samples, new.samples], axis=1), rate), before.duration_s
    gain = level_curve(before, new)  # [N]
    levelled = new.samples * gain
    fade = min(round(fade_s * rate), before.length_samples, new.length_samples)
    if overlap is not None and min(overlap.length_samples, before.length_samples) >= round(0.005 * rate):
        fade = max(1, min(fade, overlap.length_samples))
        own, tail = before.samples[:, :-fade], before.samples[:, -fade:]
        mixed = crossfade(tail, overlap.samples[:, -fade:] * gain[0])
        joined = np.concatenate([own, mixed, levelled], axis=1)
        return Audio(joined.astype(np.float32), rate), own.shape[1] / rate
    if fade > 0:
        levelled[:, :fade] = crossfade(extrapolate(before, fade), levelled[:, :fade])
    return Audio(np.concatenate([before.samples, levelled], axis=1).astype(np.float32), rate), before.duration_s


def crossfade(out: NDArray[np.float32], into: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fades from ``out`` [C, F] to ``into`` [C, F] at constant power, whatever their correlation.

    Raised-cosine weights a and b, divided by √(a² + b² + 2·r·a·b): linear where the two are alike (r = 1), equal-power where they have
    nothing in common (r = 0).
    """
    length = out.shape[1]
    b = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 1) / (length + 1))  # [F], strictly between 0 and 1
    a = 1.0 - b
    norm = np.sqrt(a * a + b * b + 2.0 * correlation(out, into) * a * b)
    return np.asarray((out * a + into * b) / norm, dtype=np.float32)


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Normalised correlation at lag 0, in [0, 1]: opposite phases count as unrelated, since fading them must not amplify."""
    scale = float(np.sqrt(np.sum(np.square(one, dtype=np.float64)) * np.sum(np.square(other, dtype=np.float64))))
    return float(np.clip(np.sum(one.astype(np.float64) * other) / scale, 0.0, 1.0)) if scale > 1e-12 else 1.0


def level_curve(before: Audio, new: Audio) -> NDArray[np.float32]:
    """[N]: gain for ``new``, at most 12 dB up or down.

    At the seam it makes the second before and the second after equally loud; over 4 s it settles to what makes the whole of ``new`` as
    loud as the last 30 s of ``before``. So there is no jump at the seam, and a break just there does not make the rest too loud.
    """
    rate = before.sample_rate
    window = round(_LEVEL_SECONDS * rate)
    power_before, power_new = k_weighted_power(before), k_weighted_power(new)
    at_seam_db = _match_db(power_before[-window:], power_new[:window])
    later_db = _match_db(power_before[-round(_LONG_SECONDS * rate) :], power_new)
    settle = np.minimum(np.arange(new.length_samples) / (_SETTLE_SECONDS * rate), 1.0)
    shape = 0.5 - 0.5 * np.cos(np.pi * settle)
    return np.asarray(10.0 ** ((at_seam_db + (later_db - at_seam_db) * shape) / 20.0), dtype=np.float32)


def _match_db(target: NDArray[np.float64], of: NDArray[np.float64]) -> float:
    goal, now = float(np.mean(target)), float(np.mean(of))
    if goal < _AUDIBLE_POWER or now < _AUDIBLE_POWER:
        return 0.0
    return float(np.clip(10.0 * np.log10(goal / now), -_MAX_GAIN_DB, _MAX_GAIN_DB))


def extrapolate(audio: Audio, length: int) -> NDArray[np.float32]:
    """[C, length]: how the audio would go on, by linear prediction (Burg's method, whose filter is stable: it dies away, never grows)."""
    history = min(audio.length_samples, round(_HISTORY_SECONDS * audio.sample_rate))
    order = min(_ORDER, history // 3)
    result = np.zeros((audio.channels, length), dtype=np.float32)
    if order < 1:
        return result
    for channel, samples in enumerate(audio.samples[:, -history:].astype(np.float64)):
        coefficients = burg(samples, order)  # x[n] ≈ Σ c[k]·x[n−1−k]
        line = np.concatenate([samples[-order:], np.zeros(length)])
        for n in range(order, order + length):
            line[n] = coefficients @ line[n - order : n][::-1]
        limit = float(np.max(np.abs(samples)))
        result[channel] = np.clip(line[order:], -limit, limit)
    return result


def burg(samples: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """[order] prediction coefficients by Burg's method (Kay, Modern Spectral Estimation, 7.5). Zeros for silence."""
    forward, backward = samples[1:].copy(), samples[:-1].copy()
    polynomial = np.ones(1)
    for _ in range(order):
        energy = float(forward @ forward + backward @ backward)
        if energy < 1e-12:
            break
        reflection = -2.0 * float(backward @ forward) / energy
        padded = np.append(polynomial, 0.0)
        polynomial = padded + reflection * padded[::-1]
        forward, backward = (forward + reflection * backward)[1:], (backward + reflection * forward)[:-1]
    result = np.zeros(order)
    result[: len(polynomial) - 1] = -polynomial[1:]
    return result
