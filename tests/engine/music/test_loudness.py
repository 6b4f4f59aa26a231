"""Loudness and peaks: what is measured, what is reached, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.music.audio import Audio
from engine.music.loudness import measure, normalise, true_peaks

RATE = 32000


def tone(hertz: float, amplitude: float, seconds: float, rate: int = RATE, phase: float = 0.0) -> Audio:
    time = np.arange(round(seconds * rate)) / rate
    return Audio((amplitude * np.sin(2 * np.pi * hertz * time + phase)).astype(np.float32)[None], rate)


def test_the_meter_agrees_with_the_standard() -> None:
    """EBU Tech 3341, case 1: a stereo 1 kHz sine at −23 dBFS is −23 LUFS, within 0.1."""
    mono = tone(1000, 10 ** (-23 / 20), 20.0, rate=48000)
    stereo = Audio(np.repeat(mono.samples, 2, axis=0), 48000)
    loudness = measure(stereo)
    assert loudness.lufs == pytest.approx(-23.0, abs=0.1)
    assert loudness.peak_dbfs == pytest.approx(-23.0, abs=0.1)


def test_a_peak_between_the_samples_is_seen() -> None:
    """A sine at a quarter of the rate, 45° off: every sample is 3 dB below the wave's peak."""
    audio = tone(RATE / 4, 0.5, 1.0, phase=np.pi / 4)
    assert audio.peak_dbfs == pytest.approx(-9.03, abs=0.01)
    assert measure(audio).peak_dbfs == pytest.approx(-6.02, abs=0.3)
    assert true_peaks(audio).shape == (audio.length_samples,)


def test_music_reaches_the_target(music: list[Audio]) -> None:
    for audio in music:
        quiet = Audio(audio.samples * np.float32(0.1), audio.sample_rate)
        for variant in (audio, quiet):
            loudness = measure(normalise(variant))
            assert loudness.lufs == pytest.approx(-14.0, abs=0.1)
            assert loudness.peak_dbfs <= -1.0


def test_loud_music_with_high_peaks_is_limited_without_a_clipped_sample(music: list[Audio]) -> None:
    samples = normalise(music[0]).samples.copy()
    thump = 0.6 * np.hanning(240).astype(np.float32)
    for at in range(8000, samples.shape[1] - 300, 16000):
        samples[:, at : at + 240] += thump
    assert measure(Audio(samples, RATE)).peak_dbfs > 0.0
    result = normalise(Audio(samples, RATE), lufs=-12.0)
    assert measure(result).peak_dbfs <= -1.0
    assert measure(result).lufs == pytest.approx(-12.0, abs=0.2)
    top = np.abs(result.samples).max()
    assert int(np.sum(np.abs(result.samples) > 0.999 * top)) < 50  # clipping would leave runs of equal samples


def test_a_target_that_would_need_too_much_limiting_is_missed_and_the_measure_says_so() -> None:
    rng = np.random.default_rng(5)
    samples = (0.01 * rng.standard_normal((1, 4 * RATE))).astype(np.float32)
    samples[:, ::RATE] = 0.9  # one click a second over quiet noise
    result = normalise(Audio(samples, RATE))
    loudness = measure(result)
    assert loudness.peak_dbfs <= -1.0
    assert loudness.lufs is not None
    assert -40 < loudness.lufs < -20


def test_silence_and_scraps_are_left_alone() -> None:
    for samples in (np.zeros((2, 3 * RATE)), np.zeros((1, 0)), np.full((1, 3), 0.1)):
        audio = Audio(samples.astype(np.float32), RATE)
        assert measure(audio).lufs is None
        np.testing.assert_array_equal(normalise(audio).samples, audio.samples)
    assert measure(Audio(np.zeros((1, RATE), dtype=np.float32), RATE)).peak_dbfs == -120.0
    loud = tone(300, 1.0, 0.2)
    assert measure(loud).lufs is None
    assert measure(normalise(loud)).peak_dbfs <= -1.0


@settings(max_examples=15, deadline=None)
@given(
    seconds=st.floats(0.05, 2.0),
    amplitude=st.floats(1e-4, 4.0),
    channels=st.integers(1, 2),
    seed=st.integers(0, 1000),
    lufs=st.floats(-30.0, -5.0),
)
def test_the_peak_limit_holds_whatever_comes_in(seconds: float, amplitude: float, channels: int, seed: int, lufs: float) -> None:
    rng = np.random.default_rng(seed)
    samples = np.clip(amplitude * rng.standard_t(3, (channels, round(seconds * RATE))), -8, 8).astype(np.float32)
    result = normalise(Audio(samples, RATE), lufs=lufs)
    assert result.samples.shape == samples.shape
    assert measure(result).peak_dbfs <= -1.0 + 1e-3
