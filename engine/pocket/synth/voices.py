"""Oscillators, envelopes, filters and the pitched notes made of them. Drums live in drums.py, room and echo in effects.py.

Every function returns float64 `[N]` at SAMPLE_RATE and starts its phase at zero unless told otherwise: a note that is played twice is the
same samples twice, which the codec then gives the same codes. That is what makes a bar learnable by a small model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

SAMPLE_RATE = 32_000
Signal = NDArray[np.float64]


def hz(midi_note: float) -> float:
    """MIDI note number → Hz (69 = 440 Hz)."""
    return float(440.0 * 2 ** ((midi_note - 69) / 12))


def envelope(n: int, attack_s: float, decay_s: float, sustain: float = 0.0, release_s: float = 0.004) -> Signal:
    """Linear attack, exponential decay towards `sustain`, linear release at the end: `[n]` in 0…1."""
    t = np.arange(n) / SAMPLE_RATE
    e = np.minimum(1.0, t / max(attack_s, 1e-4)) * (sustain + (1 - sustain) * np.exp(-np.maximum(0, t - attack_s) / max(decay_s, 1e-4)))
    k = min(n, max(1, int(release_s * SAMPLE_RATE)))
    e[n - k :] *= np.linspace(1, 0, k)
    return e


def oscillator(frequency: float | Signal, n: int, kind: str = "saw", phase: float = 0.0) -> Signal:
    """Band-limited (polyBLEP, Välimäki 2007) 'saw' or 'square', or plain 'sine' or 'triangle'. `frequency` in Hz, scalar or `[n]`."""
    step = np.broadcast_to(np.asarray(frequency, dtype=np.float64), (n,)) / SAMPLE_RATE
    p = (phase + np.cumsum(step) - step) % 1.0
    if kind == "sine":
        return np.sin(2 * np.pi * p)
    if kind == "triangle":
        return 2 * np.abs(2 * p - 1) - 1
    saw = 2 * p - 1 - _blep(p, step)
    if kind == "saw":
        return saw
    shifted = (p + 0.5) % 1.0
    return saw - (2 * shifted - 1 - _blep(shifted, step))


def _blep(p: Signal, step: Signal) -> Signal:
    y = np.zeros_like(p)
    after, before = p < step, p > 1 - step
    x = p[after] / step[after]
    y[after] = x + x - x * x - 1
    x = (p[before] - 1) / step[before]
    y[before] = x * x + x + x + 1
    return y


def fixed_filter(x: Signal, cutoff_hz: float | list[float], kind: str = "low", order: int = 2) -> Signal:
    """Butterworth 'low', 'high' or 'band' pass."""
    return sosfilt(butter(order, cutoff_hz, kind, fs=SAMPLE_RATE, output="sos"), x)


def moving_lowpass(x: Signal, cutoff_hz: Signal, resonance: float, *, stages: int = 2, block: int = 64) -> Signal:
    """Resonant low-pass whose cut-off moves: RBJ biquads, new coefficients every `block` samples (2 ms, below what one hears as steps)."""
    y = x
    w = 2 * np.pi * np.clip(cutoff_hz[::block], 30, SAMPLE_RATE * 0.45) / SAMPLE_RATE
    cosine, sine = np.cos(w), np.sin(w)
    for stage in range(stages):
        alpha = sine / (2 * (resonance if stage == 0 else 0.7))
        a0 = 1 + alpha
        b = np.stack([(1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2], 1) / a0[:, None]  # (blocks, 3)
        a = np.stack([np.ones_like(w), -2 * cosine / a0, (1 - alpha) / a0], 1)  # (blocks, 3)
        z, out = np.zeros(2), np.empty_like(y)
        for i in range(len(w)):
            s = slice(i * block, (i + 1) * block)
            out[s], z = lfilter(b[i], a[i], y[s], zi=z)
        y = out
    return y


def bass_note(note: float, n: int, *, cutoff_hz: float, kind: str = "saw", decay_s: float = 0.2, resonance: float = 1.6) -> Signal:
    """A plucked bass note with a sine an octave's worth of weight below its edge."""
    t = np.arange(n) / SAMPLE_RATE
    x = 0.6 * oscillator(hz(note), n, kind) + 0.8 * oscillator(hz(note), n, "sine")
    x = moving_lowpass(x, cutoff_hz * (1 + 3 * np.exp(-t / 0.05)), resonance, stages=1)
    return x * envelope(n, 0.003, decay_s, 0.0, 0.02)


def acid_bar(notes: list[float], gates: list[bool], accents: list[bool], slides: list[bool], step_samples: int, *, cutoff_hz: float,
             resonance: float, kind: str, drive: float) -> Signal:  # fmt: skip
    """One bar of a 303-like line, `[len(notes) × step_samples]`: one oscillator, one filter, accents and slides as on the machine."""
    n, total = step_samples, step_samples * len(notes)
    frequency, loud, sweep = np.zeros(total), np.zeros(total), np.zeros(total)
    t = np.arange(n) / SAMPLE_RATE
    current = hz(notes[-1])
    for i, note in enumerate(notes):
        s, target = slice(i * n, (i + 1) * n), hz(note)
        frequency[s] = current + (target - current) * (1 - np.exp(-t / 0.025)) if slides[i] else target
        current = target
        if gates[i]:
            loud[s] = envelope(n, 0.002, 0.25 if slides[i] else 0.1, 0.25 if slides[i] else 0.02) * (1.3 if accents[i] else 1.0)
            sweep[s] = np.exp(-t / (0.05 if accents[i] else 0.09)) * (1.5 if accents[i] else 1.0)
    y = moving_lowpass(oscillator(frequency, total, kind) * loud, cutoff_hz * 2 ** (2.2 * sweep), resonance)
    return np.tanh(drive * y) / np.tanh(drive)


def stab(notes: list[float], n: int, *, cutoff_hz: float, kind: str = "saw", decay_s: float = 0.12, detune: float = 0.0) -> Signal:
    """A chord struck and let go; `detune` in semitones doubles every voice."""
    t = np.arange(n) / SAMPLE_RATE
    x = np.zeros(n)
    for i, note in enumerate(notes):
        x += oscillator(hz(note), n, kind, 0.17 * i)
        if detune:
            x += oscillator(hz(note + detune), n, kind, 0.31 * i)
    x = moving_lowpass(x, cutoff_hz * (0.35 + np.exp(-t / 0.07)), 1.3, stages=1)
    return x * envelope(n, 0.003, decay_s) / len(notes)


def pad(notes: list[float], n: int, *, cutoff_hz: float, swell: float = 0.6) -> Signal:
    """A slow chord of detuned saws that swells and falls within `n` samples."""
    x = np.zeros(n)
    for i, note in enumerate(notes):
        for j, cents in enumerate((-0.07, 0.0, 0.08)):
            x += oscillator(hz(note + cents), n, "saw", (0.13 * i + 0.29 * j) % 1)
    arc = np.sin(np.pi * np.arange(n) / n)
    x = moving_lowpass(x, cutoff_hz * (1 + swell * arc**2), 0.9, stages=1, block=256)
    edge = int(0.02 * SAMPLE_RATE)
    x[:edge] *= np.linspace(0, 1, edge)
    x[n - edge :] *= np.linspace(1, 0, edge)
    return x * (1 - 0.4 * swell + 0.4 * swell * arc) / (3 * len(notes))


def blip(note: float, n: int, *, ratio: float = 1.41, depth: float = 2.5, decay_s: float = 0.035) -> Signal:
    """A short bell by frequency modulation (Chowning 1973)."""
    p = 2 * np.pi * hz(note) * np.arange(n) / SAMPLE_RATE
    e = envelope(n, 0.001, decay_s)
    return np.sin(p + depth * e * np.sin(p * ratio)) * e


def noise_sweep(rng: np.random.Generator, n: int, low_hz: float, high_hz: float) -> Signal:
    """A riser: noise whose band climbs from `low_hz` to `high_hz` as it gets louder."""
    ramp = np.linspace(0, 1, n)
    x = moving_lowpass(rng.standard_normal(n), low_hz * (high_hz / low_hz) ** ramp, 2.0, stages=1, block=256)
    return fixed_filter(x, 200, "high") * ramp**2 * 0.25
