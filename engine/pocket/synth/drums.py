"""Drum hits, each one function from numbers (and noise from a seeded generator) to float64 `[N]`. What plays when is in manners.py."""

from __future__ import annotations

import numpy as np

from engine.pocket.synth.voices import SAMPLE_RATE, Signal, envelope, fixed_filter, oscillator


def kick(rng: np.random.Generator, *, floor_hz: float = 48, drop_hz: float = 180, bend_s: float = 0.035, decay_s: float = 0.22,
         click: float = 0.4, drive: float = 1.5, length_s: float = 0.42) -> Signal:  # fmt: skip
    """A sine that falls to `floor_hz`, a click of noise in front, `drive` for dirt."""
    n = int(length_s * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    frequency = floor_hz + drop_hz * np.exp(-t / bend_s) + 2.2 * drop_hz * np.exp(-t / 0.006)
    y = np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE) * envelope(n, 0.001, decay_s, 0.0, 0.03)
    y[:160] += click * rng.standard_normal(160) * np.linspace(1, 0, 160) ** 2
    return np.tanh(drive * y) / np.tanh(drive)


def hat(rng: np.random.Generator, *, decay_s: float = 0.03, highpass_hz: float = 7500, metal: float = 0.6) -> Signal:
    """Noise and six squares out of tune (the 808's recipe), high-passed. Long decays make open hats and rides."""
    n = int(min(0.9, decay_s * 6) * SAMPLE_RATE)
    partials = np.array([205.3, 304.4, 369.6, 522.7, 540.0, 800.0]) * rng.uniform(8, 14)
    squares = sum(np.sign(oscillator(float(f), n, "sine")) for f in partials) / 6
    x = 0.7 * rng.standard_normal(n) + metal * squares
    return fixed_filter(x, highpass_hz, "high", 3) * envelope(n, 0.0005, decay_s) * 0.5


def clap(rng: np.random.Generator, *, decay_s: float = 0.12, centre_hz: float = 1300) -> Signal:
    """Four bursts of band-passed noise, the last one long."""
    n = int(0.4 * SAMPLE_RATE)
    x = fixed_filter(rng.standard_normal(n), [centre_hz * 0.6, centre_hz * 2.8], "band", 1)
    e = np.zeros(n)
    for start_s, decay, gain in ((0.0, 0.008, 1.0), (0.011, 0.008, 1.0), (0.022, 0.008, 1.0), (0.03, decay_s, 0.8)):
        i = int(start_s * SAMPLE_RATE)
        e[i:] += gain * envelope(n - i, 0.0005, decay)
    return 1.2 * x * e


def snare(rng: np.random.Generator, *, tone_hz: float = 190, decay_s: float = 0.13) -> Signal:
    """Two sines and noise."""
    n = int(0.35 * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    body = np.sin(2 * np.pi * tone_hz * t) + 0.6 * np.sin(2 * np.pi * tone_hz * 1.78 * t)
    rattle = fixed_filter(rng.standard_normal(n), 1500, "high")
    return 0.5 * body * envelope(n, 0.001, decay_s * 0.6) + 0.5 * rattle * envelope(n, 0.001, decay_s)


def rim(*, tone_hz: float = 1700, decay_s: float = 0.02) -> Signal:
    """A wooden tick."""
    n = int(0.12 * SAMPLE_RATE)
    return 0.6 * (oscillator(tone_hz, n, "triangle") + 0.6 * oscillator(tone_hz * 0.53, n, "sine")) * envelope(n, 0.0005, decay_s)


def tom(*, tone_hz: float = 110, decay_s: float = 0.12) -> Signal:
    """A drum with a little bend."""
    n = int(0.4 * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    return 0.8 * np.sin(2 * np.pi * np.cumsum(tone_hz * (1 + 0.6 * np.exp(-t / 0.03))) / SAMPLE_RATE) * envelope(n, 0.001, decay_s)


def scrap(rng: np.random.Generator, *, tone_hz: float = 320, decay_s: float = 0.09, drive: float = 6.0) -> Signal:
    """Struck metal: inharmonic partials and noise, distorted. Industrial's percussion."""
    n = int(0.4 * SAMPLE_RATE)
    partials = tone_hz * np.array([1.0, 1.483, 2.127, 2.931, 4.271]) * rng.uniform(0.97, 1.03, 5)
    x = sum(oscillator(float(f), n, "sine", float(rng.random())) for f in partials) / 3 + 0.4 * rng.standard_normal(n)
    return 0.5 * np.tanh(drive * fixed_filter(x * envelope(n, 0.0005, decay_s), 180, "high"))
