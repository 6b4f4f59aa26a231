"""Stretching and loops, by what can be counted: samples, clicks, steps at the seam; on made and on real music."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.music.analysis import Grid
from engine.music.audio import Audio
from engine.music.loops import around, cut_loop
from engine.music.loudness import normalise
from engine.music.stretch import attacks, stretch

RATE = 32000


def clicks(bpm: float, seconds: float, first_s: float, *, rate: int = RATE, channels: int = 1) -> Audio:
    """A click on each beat over a quiet bass: its first sample is the largest of all."""
    t = np.arange(round(seconds * rate)) / rate
    x = 0.05 * np.cos(2 * np.pi * 55 * t)
    for place in np.arange(first_s, seconds - 0.01, 60 / bpm):
        begin = round(place * rate)
        x[begin : begin + 60] += np.exp(-np.arange(60) / 10) * np.cos(np.arange(60))
    return Audio(np.repeat(x[None], channels, axis=0).astype(np.float32), rate)


def places(samples: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.flatnonzero(samples[0] > 0.9)


@settings(max_examples=25, deadline=None)
@given(
    own=st.floats(115, 145),
    apart=st.floats(-0.039, 0.039),
    bars=st.integers(1, 4),
    first_s=st.floats(0.0, 1.6),  # less than a bar: else one fits before the first click
    rate=st.sampled_from([16000, 32000, 44100]),
)
def test_a_loop_is_exact_to_the_sample_and_its_clicks_are_too(own: float, apart: float, bars: int, first_s: float, rate: int) -> None:
    bpm = own / (1 + apart)
    audio = clicks(own, (bars + 1) * 240 / own * 1.02 + 0.2, first_s, rate=rate)
    loop, facts = cut_loop(audio, Grid(own, first_s, True, 1.0), length_s=0.0, bars=bars, bpm=bpm)
    assert (facts.bars, facts.bpm) == (bars, bpm)
    assert loop.length_samples == round(bars * 4 * 60 / bpm * rate)
    found = places(loop.samples)
    assert len(found) == 4 * bars
    around_the_ring = np.diff(np.append(found, found[0] + loop.length_samples))
    np.testing.assert_allclose(around_the_ring, 60 / bpm * rate, atol=1.5)  # a whole sample is as near as it gets
    assert found[0] <= 0.002 * rate  # it starts on the bar line


def test_a_tempo_too_far_away_is_left_as_it_is_and_said() -> None:
    audio = clicks(120, 20, 0.5)
    loop, facts = cut_loop(audio, Grid(120, 0.5, True, 1.0), length_s=0.0, bars=4, bpm=130)
    assert (facts.bars, facts.bpm, facts.own_bpm) == (4, 120, 120)
    assert loop.length_samples == 8 * RATE
    np.testing.assert_array_equal(loop.samples[:, : 7 * RATE], audio.samples[:, RATE // 2 - 32 : RATE // 2 - 32 + 7 * RATE])


def test_half_the_tempo_is_the_same_music() -> None:
    loop, facts = cut_loop(clicks(130, 10, 0.2), Grid(65, 0.2, True, 1.0), length_s=0.0, bars=2, bpm=130)
    assert (facts.bars, facts.bpm, loop.length_samples) == (2, 130, round(2 * 240 / 130 * RATE))


def test_too_little_music_gives_fewer_bars_and_without_a_beat_the_length_alone() -> None:
    short = clicks(120, 9, 0.1)
    loop, facts = cut_loop(short, Grid(120, 0.1, True, 1.0), length_s=0.0, bars=8, bpm=None)
    assert (facts.bars, loop.length_samples) == (4, 8 * RATE)
    loop, facts = cut_loop(short, None, length_s=0.0, bars=4, bpm=120)
    assert (facts.bars, facts.bpm, facts.own_bpm, loop.length_samples) == (4, 120, None, 8 * RATE)
    loop, facts = cut_loop(short, None, length_s=5.0, bars=None, bpm=None)
    assert (facts.bars, facts.bpm, loop.length_samples) == (None, None, 5 * RATE)
    loop, facts = cut_loop(short, Grid(120, 0.1, True, 1.0), length_s=5.2, bars=None, bpm=None)
    assert (facts.bars, loop.length_samples) == (3, 6 * RATE)  # the nearest whole number of bars


def largest_step(samples: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(samples, axis=1)).max())


@pytest.mark.parametrize("bpm", [None, 126.0])
def test_the_end_of_real_music_meets_its_start_without_a_click(music: list[Audio], bpm: float | None) -> None:
    for piece in music:
        cut, _facts = cut_loop(piece, Grid(128.0, 0.7, True, 1.0), length_s=0.0, bars=4, bpm=bpm)
        loop = around(cut, normalise)
        assert loop.length_samples == cut.length_samples
        seam = loop.samples[:, [-1, 0]]
        near = np.concatenate([loop.samples[:, -320:], loop.samples[:, :320]], axis=1)
        rest = np.concatenate([np.abs(np.diff(near[:, :320], axis=1)), np.abs(np.diff(near[:, 320:], axis=1))], axis=1)
        assert largest_step(seam) <= 1.2 * float(rest.max())
        assert loop.peak_dbfs <= -0.9
        power = (
            np.square(np.roll(loop.samples, 1600, axis=1)[:, :3200]).mean(axis=0).reshape(20, -1).mean(axis=1)
        )  # 5 ms pieces round the seam
        assert power.min() > 1e-3 * power.max()  # no hole


def test_a_steady_tone_keeps_its_pitch_and_has_no_holes() -> None:
    t = np.arange(10 * RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 220 * t) + 0.2 * np.sin(2 * np.pi * 330 * t)).astype(np.float32)[None]
    for length in (round(7.7 * RATE), round(8.3 * RATE)):
        longer = stretch(tone, RATE, 9 * RATE, length, sample_rate=RATE)[0]
        spectrum = np.abs(np.fft.rfft(longer * np.hanning(length)))
        assert np.argmax(spectrum) / length * RATE == pytest.approx(220, abs=0.5)
        level = np.sqrt(np.square(longer[: length // 320 * 320]).reshape(-1, 320).mean(axis=1))
        assert level.min() > 0.7 * np.median(level)


def test_attacks_are_found_to_the_sample_in_stereo_too() -> None:
    found, _strength = attacks(clicks(130, 4, 0.25, channels=2).samples, RATE)
    np.testing.assert_allclose(found, np.round(np.arange(0.25, 3.99, 60 / 130) * RATE), atol=1)
    assert len(attacks(np.zeros((1, 10), dtype=np.float32), RATE)[0]) == 0
    assert len(attacks(np.zeros((2, RATE), dtype=np.float32), RATE)[0]) == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), start=st.integers(0, 2000), span=st.integers(200, 40000), percent=st.floats(-5, 5))
def test_any_piece_of_anything_gets_the_asked_length(seed: int, start: int, span: int, percent: float) -> None:
    noise = np.random.default_rng(seed).standard_normal((2, 45000)).astype(np.float32) * 0.2
    noise[:, ::4000] = 1.0
    length = max(1, round(span * (1 + percent / 100)))
    assert stretch(noise, start, start + span, length, sample_rate=RATE).shape == (2, length)
