"""Seams in real music: no click, no jump in level, the track's own samples untouched."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.music.audio import Audio
from engine.music.loudness import k_weighted_power
from engine.music.seam import burg, correlation, crossfade, extrapolate, join, level_curve

RATE = 32000
PART = 4 * RATE


def part(audio: Audio, begin: int, length: int = PART) -> Audio:
    return Audio(audio.samples[:, begin : begin + length], audio.sample_rate)


def steepest(samples: np.ndarray, order: int) -> float:
    """Largest difference of that order between neighbouring samples: a step shows in the first, a corner in the higher ones."""
    return float(np.abs(np.diff(samples, n=order, axis=1)).max())


def seams(music: list[Audio]) -> list[tuple[Audio, Audio, Audio, Audio]]:
    """Tracks cut anywhere and continued by other music, louder or with a constant offset: (before, overlap, new, the track's future)."""
    rng = np.random.default_rng(11)
    found = []
    for one, other in itertools.product(music, music):
        cut, begin = rng.integers(PART, one.length_samples - PART), rng.integers(PART, other.length_samples - PART)
        scale, offset = rng.choice([0.3, 1.0, 2.0]), rng.choice([0.0, 0.05])
        changed = Audio((other.samples * scale + offset).astype(np.float32), RATE)
        found.append((part(one, cut - PART), part(changed, begin - 3200, 3200), part(changed, begin), part(one, cut)))
    return found


@pytest.mark.parametrize("with_overlap", [False, True])
def test_no_click(music: list[Audio], with_overlap: bool) -> None:
    """Differences around the seam are no larger than those of the two pieces of music there, to a fifth."""
    naive = []
    for before, overlap, new, future in seams(music):
        gain = level_curve(before, new)
        joined, _ = join(before, new, overlap=overlap if with_overlap else None)
        around = slice(PART - 2000, PART + 2000)
        hers = np.concatenate([before.samples, future.samples], axis=1)[:, around]
        news = np.concatenate([overlap.samples * gain[0], new.samples * gain], axis=1)[:, 3200 - 2000 : 3200 + 2000]
        blunt = np.concatenate([before.samples, new.samples * gain], axis=1)[:, around]
        for order in (1, 4):
            own = max(steepest(hers, order), steepest(news, order))
            assert steepest(joined.samples[:, around], order) <= 1.2 * own
            naive.append(steepest(blunt, order) / own)
    assert max(naive) > 2.0  # the same seams without a fade do click: the measure can tell


@pytest.mark.parametrize("with_overlap", [False, True])
def test_no_jump_in_level(music: list[Audio], with_overlap: bool) -> None:
    """The second before and the second after differ by at most 1 dB of K-weighted loudness, though the music came in 10 dB off."""
    for before, overlap, new, _ in seams(music):
        joined, _ = join(before, new, overlap=overlap if with_overlap else None)
        power = k_weighted_power(joined)
        step_db = 10 * np.log10(power[PART : PART + RATE].mean() / power[PART - RATE : PART].mean())
        assert abs(step_db) < 1.0


def test_the_tracks_own_samples_stay(music: list[Audio]) -> None:
    before, overlap, new, _ = seams(music)[0]
    joined, seam_s = join(before, new)
    assert seam_s == before.duration_s == 4.0
    assert joined.length_samples == before.length_samples + new.length_samples
    np.testing.assert_array_equal(joined.samples[:, :PART], before.samples)
    joined, seam_s = join(before, new, overlap=overlap, fade_s=0.02)
    own = round(seam_s * RATE)
    assert own == PART - 640
    assert joined.length_samples == before.length_samples + new.length_samples
    np.testing.assert_array_equal(joined.samples[:, :own], before.samples[:, :own])


def test_music_that_simply_goes_on_goes_on(music: list[Audio]) -> None:
    """The track's own continuation, as ``new``: what comes out is the track, but for a slow change of gain."""
    track = part(music[0], RATE, 2 * PART)
    before, new = part(track, 0), part(track, PART)
    joined, _ = join(before, new, overlap=part(track, PART - 3200, 3200))
    gain = level_curve(before, new)
    np.testing.assert_allclose(joined.samples[:, PART:], new.samples * gain, atol=1e-6)
    assert abs(20 * np.log10(gain[-1])) < 3.0


def test_a_break_after_the_seam_does_not_make_the_rest_too_loud() -> None:
    rng = np.random.default_rng(0)
    before = Audio(rng.normal(0, 0.1, (1, PART)).astype(np.float32), RATE)
    new = rng.normal(0, 0.1, (1, 3 * PART)).astype(np.float32)
    new[:, :RATE] *= 0.02  # the model starts with a second of near silence, then plays as loud as the track
    gain = level_curve(before, Audio(new, RATE))
    assert 20 * np.log10(gain[-1]) == pytest.approx(0.4, abs=0.3)
    assert 20 * np.log10(gain.max()) <= 12.001


def test_edges() -> None:
    def noise(length: int, channels: int = 1, rate: int = RATE) -> Audio:
        return Audio(np.random.default_rng(length).normal(0, 0.1, (channels, length)).astype(np.float32), rate)

    silence = Audio(np.zeros((1, 1000), dtype=np.float32), RATE)
    for before, new in (
        (noise(0), noise(50)),
        (noise(50), noise(0)),
        (noise(1), noise(1)),
        (noise(5), noise(9000)),
        (silence, noise(9000)),
    ):
        joined, seam_s = join(before, new)
        assert joined.length_samples == before.length_samples + new.length_samples
        assert seam_s == before.duration_s
        assert np.isfinite(joined.samples).all()
    np.testing.assert_array_equal(join(silence, silence)[0].samples, np.zeros((1, 2000), dtype=np.float32))
    joined, _ = join(noise(9000), noise(9000), overlap=noise(20))  # too short to be of use
    np.testing.assert_array_equal(joined.samples[:, :9000], noise(9000).samples)
    for odd in (noise(100, channels=2), noise(100, rate=44100)):
        with pytest.raises(ValueError, match="can't join"):
            join(noise(100), odd)


def test_extrapolation_carries_a_chord_on_and_never_grows() -> None:
    time = np.arange(2 * RATE) / RATE
    chord = sum(0.2 * np.sin(2 * np.pi * hertz * time) for hertz in (110.0, 220.0, 277.18, 1318.5))
    past, future = chord[:RATE], chord[RATE : RATE + 640]
    guessed = extrapolate(Audio(past.astype(np.float32)[None], RATE), 640)[0]
    assert float(np.abs(guessed - future).max()) < 0.05
    wild = Audio(np.random.default_rng(3).uniform(-1, 1, (2, 8000)).astype(np.float32), RATE)
    assert float(np.abs(extrapolate(wild, 2000)[:, -200:]).max()) < 0.1


def test_burg_finds_the_filter_that_made_a_signal() -> None:
    noise = np.random.default_rng(1).standard_normal(20000)
    signal = np.zeros(20000)
    for n in range(2, 20000):
        signal[n] = 1.6 * signal[n - 1] - 0.8 * signal[n - 2] + noise[n]
    np.testing.assert_allclose(burg(signal, 2), [1.6, -0.8], atol=0.02)
    np.testing.assert_array_equal(burg(np.zeros(100), 8), np.zeros(8))


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 400), channels=st.integers(1, 2), seed=st.integers(0, 999))
def test_fading_between_the_same_changes_nothing(length: int, channels: int, seed: int) -> None:
    same = np.random.default_rng(seed).normal(0, 0.3, (channels, length)).astype(np.float32)
    np.testing.assert_allclose(crossfade(same, same), same, atol=1e-6)
    assert correlation(same, same) == pytest.approx(1.0)


@settings(max_examples=20, deadline=None)
@given(likeness=st.floats(0.0, 1.0), seed=st.integers(0, 999))
def test_power_stays_constant_through_a_fade_whatever_the_correlation(likeness: float, seed: int) -> None:
    one, other = np.random.default_rng(seed).normal(0, 0.2, (2, 1, 32000))
    other = likeness * one + np.sqrt(1 - likeness**2) * other
    power = np.square(crossfade(one.astype(np.float32), other.astype(np.float32))[0])
    pieces = power.reshape(8, -1).mean(axis=1)  # eight moments of the fade
    np.testing.assert_allclose(10 * np.log10(pieces / 0.04), 0.0, atol=0.5)
