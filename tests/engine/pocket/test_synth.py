"""The synthesiser: the same seed gives the same bytes, and tempo and downbeats are exact."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest

from engine.pocket.rhythm import beat, onsets
from engine.pocket.synth import FRAME_SAMPLES, HELD_OUT_MANNERS, MANNERS, SAMPLE_RATE, TRAINING_MANNERS, Track, caption, render_track
from engine.pocket.synth.captions import spoken_bpm
from engine.pocket.synth.effects import played_at
from engine.pocket.synth.sections import form


@pytest.fixture(scope="module")
def tracks() -> dict[str, Track]:
    return {manner: render_track(manner, 3, bars=6) for manner in MANNERS}


def test_a_seed_gives_the_same_bytes(tracks: dict[str, Track]) -> None:
    again = render_track("acid", 3, bars=6)
    assert hashlib.sha256(again.samples.tobytes()).digest() == hashlib.sha256(tracks["acid"].samples.tobytes()).digest()
    assert (again.key, again.tags, again.kick_bars) == (tracks["acid"].key, tracks["acid"].tags, tracks["acid"].kick_bars)
    assert not np.array_equal(render_track("acid", 4, bars=6).samples[:32_000], again.samples[:32_000])


@pytest.mark.parametrize("manner", MANNERS)
def test_length_tempo_and_downbeats_are_exact(tracks: dict[str, Track], manner: str) -> None:
    track = tracks[manner]
    bar = track.bar_samples
    assert bar % (4 * FRAME_SAMPLES) == 0, "a beat of the grid is a whole number of frames"
    assert track.samples.dtype == np.float32
    assert len(track.samples) == 6 * bar
    assert track.bpm == pytest.approx(60 * SAMPLE_RATE / (bar / 4), abs=1e-9)
    assert track.downbeats_s == [b * bar / SAMPLE_RATE for b in range(6)]
    assert 0.5 < np.abs(track.samples).max() <= 1.0
    assert np.isfinite(track.samples).all()


@pytest.mark.parametrize(("manner", "bpm"), [("minimal", 128.0), ("acid", 127.3), ("dub", 110.0), ("hard", 160.0)])
def test_any_tempo_is_met_to_the_sample_of_a_sixteenth(manner: str, bpm: float) -> None:
    track = render_track(manner, 3, bars=6, bpm=bpm)
    assert track.bpm == pytest.approx(bpm, rel=2e-4) and len(track.samples) == 6 * 16 * track.step_samples
    assert beat(track.samples).bpm == pytest.approx(bpm, rel=0.005)
    slowest, fastest = MANNERS[manner].tempi
    assert slowest <= bpm <= fastest


def test_a_turntable_moves_tempo_and_length_alike() -> None:
    track = render_track("minimal", 3, bars=6, bpm=128)
    fast = played_at(track.samples, Fraction(330, 320))
    assert len(fast) == pytest.approx(len(track.samples) * 320 / 330, abs=1) and fast.dtype == np.float32
    assert beat(fast).bpm == pytest.approx(132, rel=0.004)
    assert played_at(fast, Fraction(1)) is fast


@pytest.mark.parametrize("manner", MANNERS)
def test_the_kick_stands_on_its_steps_of_its_bars(tracks: dict[str, Track], manner: str) -> None:
    track = tracks[manner]
    step_hops = track.step_samples / 160
    assert track.kick_steps == (0, 4, 8, 12) or manner == "breakbeat"
    (rises,) = onsets(track.samples)
    for bar in track.kick_bars:
        for step in track.kick_steps:
            at = round((16 * bar + step) * step_hops)
            nearby = rises[max(0, at - 4) : at + 5].max()
            assert nearby > np.quantile(rises, 0.9), f"no kick in bar {bar}, step {step}"


@pytest.mark.parametrize("manner", MANNERS)
def test_its_own_beat_is_measured_as_what_it_is(tracks: dict[str, Track], manner: str) -> None:
    track = tracks[manner]
    found = beat(track.samples, track.bpm, broken=manner == "breakbeat")
    assert found.hit, f"{found} for {track.bpm}"
    if manner != "breakbeat" and len(track.kick_bars) >= 5:
        assert found.periodicity > 0.35


def test_half_the_kicks_are_half_the_tempo() -> None:
    rng = np.random.default_rng(0)
    thump = (np.sin(2 * np.pi * 50 * np.arange(3200) / SAMPLE_RATE) * np.exp(-np.arange(3200) / 900)).astype(np.float32)
    clip = (0.001 * rng.standard_normal(10 * SAMPLE_RATE)).astype(np.float32)
    for at in range(0, len(clip) - 3200, 2 * 23 * FRAME_SAMPLES):  # 65.2 BPM
        clip[at : at + 3200] += thump
    found = beat(clip, 130.4)
    assert found.octave == -1 and not found.hit


def test_a_whole_track_has_a_form_and_its_kick_rests_in_breakdown_and_build() -> None:
    for seed in range(20):
        bars = form(np.random.default_rng(seed), 64)
        assert len(bars) == 64
        kinds = [bar.kind for bar in bars]
        assert kinds[0] == "intro" and kinds[-1] == "outro" and set(kinds) == {"intro", "main", "breakdown", "build", "drop", "outro"}
        assert all(("kick" in bar.roles) == (bar.kind not in ("breakdown", "build")) for bar in bars)
        starts = [i for i, bar in enumerate(bars) if bar.begins]
        assert all(kinds[i] == "drop" for i in starts if kinds[i - 1] == "build"), "what is built up has to drop"
        assert len(form(np.random.default_rng(seed), 8)) == 8 and form(np.random.default_rng(seed), 3)[0].begins


def test_a_track_tells_where_its_sections_start() -> None:
    track = render_track("hypnotic", 1, bars=48, bpm=3000 / 19)
    starts = [bar for bar, _ in track.sections]
    assert starts[0] == 0 and starts == sorted(set(starts)) and track.sections[-1][1] == "outro"
    resting = {b for (first, kind), end in zip(track.sections, [*starts[1:], 48], strict=True) for b in range(first, end) if kind[0] == "b"}
    assert resting and resting.isdisjoint(track.kick_bars) and len(resting) + len(track.kick_bars) == 48
    (rises,), bar = onsets(track.samples), 4 * 19 * FRAME_SAMPLES // 160
    loud = [rises[b * bar : b * bar + 8].max() for b in range(48)]
    assert min(loud[b] for b in track.kick_bars if b) > np.median([loud[b] for b in resting])


def test_a_build_thins_the_bass_out_and_a_breakdown_opens() -> None:
    track = render_track("melodic", 5, bars=48)
    bar = track.bar_samples

    def share_above(hz: float, first: int, last: int) -> float:
        power = np.abs(np.fft.rfft(track.samples[first * bar : last * bar])) ** 2
        return float(power[int(hz * (last - first) * bar / SAMPLE_RATE) :].sum() / power.sum())

    ends = [first for first, _ in track.sections[1:]] + [48]
    spans = {kind: (first, end) for (first, kind), end in zip(track.sections, ends, strict=True)}
    first, end = spans["breakdown"]
    assert share_above(2000, end - 1, end) > 2 * share_above(2000, first, first + 1)
    _, end = spans["build"]
    main, _ = spans["drop"]
    assert 1 - share_above(250, end - 1, end) < 0.2 * (1 - share_above(250, main, main + 1))


def test_noise_has_no_beat() -> None:
    assert beat(np.random.default_rng(0).standard_normal(10 * SAMPLE_RATE).astype(np.float32)).periodicity < 0.2
    assert beat(np.zeros(SAMPLE_RATE, np.float32)).periodicity == 0


def test_one_manner_is_kept_for_finetuning() -> None:
    assert set(HELD_OUT_MANNERS) and not set(HELD_OUT_MANNERS) & set(TRAINING_MANNERS)
    assert set(HELD_OUT_MANNERS) | set(TRAINING_MANNERS) == set(MANNERS)


def test_spoken_tempo_is_nearest_to_its_own() -> None:
    rng = np.random.default_rng(0)
    for frames in range(19, 28):
        for _ in range(50):
            spoken = spoken_bpm(frames, rng)
            nearest = min(range(18, 29), key=lambda f: abs(3000 / f - spoken))
            assert nearest == frames
            assert abs(spoken / (3000 / frames) - 1) < 0.027


def test_captions_vary_and_the_bare_word_is_common() -> None:
    rng = np.random.default_rng(0)
    said = [caption("acid", 3000 / 23, "A minor", ("303", "dark"), rng) for _ in range(400)]
    assert 20 < said.count("techno") < 90
    assert len(set(said)) > 150
    assert any("A minor" in s for s in said) and any("130" in s for s in said) and any("acid" in s for s in said)


def test_off_the_grid_a_tempo_is_called_by_its_own_number_and_no_key_is_made_up() -> None:
    rng = np.random.default_rng(0)
    said = [caption("acid", 128.3, "", ("303",), rng, tempo=True, grid=False) for _ in range(100)]
    assert all("128" in s for s in said) and not any("minor" in s or "key" in s for s in said)
