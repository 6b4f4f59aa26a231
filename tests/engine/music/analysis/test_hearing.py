"""Tempo, bars, key, sections, fingerprints and cards of tracks whose truth is known: the benchmark's own, short."""

from __future__ import annotations

import io
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pyloudnorm
import pytest
import soundfile

from engine.cli import main
from engine.music.analysis import SAME, AnalysisError, Hints, TrackAnalysis, analyse, same_recording
from engine.music.analysis.bench import measure, summarise, table
from engine.music.analysis.bench_tracks import BenchTrack, make_track
from engine.music.analysis.cards import COLUMNS, Envelope, draw_card
from engine.music.analysis.levels import measure_levels
from engine.music.audio import Audio
from engine.pocket.synth import voices

RATE = 32000
NUMBERS = {"four on the floor": 8, "broken": 1, "half-time": 2, "swung": 3}


@pytest.fixture(scope="module")
def tracks() -> dict[str, BenchTrack]:
    return {kind: make_track(number, bars=16) for kind, number in NUMBERS.items()}


@pytest.fixture(scope="module")
def heard(tracks: dict[str, BenchTrack]) -> dict[str, TrackAnalysis]:
    return {kind: analyse(track.audio) for kind, track in tracks.items()}


def clicks(times: list[float], seconds: float) -> Audio:
    """A short burst of noise at each moment."""
    rng = np.random.default_rng(0)
    samples = np.zeros(round(seconds * RATE) + RATE, dtype=np.float32)
    for moment in times:
        start = round(moment * RATE)
        samples[start : start + 2000] += 0.5 * rng.standard_normal(2000) * np.exp(-np.arange(2000) / 400)
    return Audio(samples[None, : round(seconds * RATE)], RATE)


@pytest.mark.parametrize("kind", NUMBERS)
def test_tempo_and_bars_of_each_kind(kind: str, tracks: dict[str, BenchTrack], heard: dict[str, TrackAnalysis]) -> None:
    track, grid = tracks[kind], heard[kind].grid
    assert track.kind == kind
    assert grid is not None
    assert grid.bpm == pytest.approx(track.bpm, abs=0.1)
    assert grid.steady
    bar_s = 240.0 / track.bpm
    away = (grid.bars_s(track.audio.duration_s) - track.downbeat_s + bar_s / 2) % bar_s - bar_s / 2
    assert np.abs(away).max() < 0.02


def test_key_and_record(heard: dict[str, TrackAnalysis], tracks: dict[str, BenchTrack]) -> None:
    exact = [kind for kind in NUMBERS if heard[kind].key and heard[kind].key.name == tracks[kind].key.name]  # type: ignore[union-attr]
    assert len(exact) >= 3
    found = heard["broken"]
    assert TrackAnalysis.from_record(json.loads(json.dumps(found.record()))).record() == found.record()


def test_sections_cover_the_track_on_bar_lines(heard: dict[str, TrackAnalysis]) -> None:
    for found in heard.values():
        assert found.grid is not None
        edges = [section.start_s for section in found.sections]
        assert edges[0] == 0.0
        assert [section.end_s for section in found.sections] == [*edges[1:], found.duration_s]
        lines = found.grid.bars_s(found.duration_s)
        assert all(np.abs(lines - edge).min() < 1e-6 for edge in edges[1:])


def test_a_break_is_a_breakdown_and_what_follows_a_drop() -> None:
    rng = np.random.default_rng(1)
    beat = round(0.5 * RATE)  # 120 BPM
    t = np.arange(beat) / RATE
    kick = np.sin(2 * np.pi * (50 * t + 4 * (1 - np.exp(-t / 0.02)))) * np.exp(-t / 0.12)
    kick[:100] += 0.5 * rng.standard_normal(100)
    hat = np.concatenate([np.zeros(beat // 2), 0.1 * rng.standard_normal(beat - beat // 2) * np.exp(-np.arange(beat - beat // 2) / 900)])
    pad = 0.2 * voices.pad([57.0, 60.0, 64.0], 4 * beat, cutoff_hz=1500)
    groove = np.tile(kick + hat, 4) + pad
    audio = Audio(np.concatenate([*[groove] * 16, *[pad] * 8, *[groove] * 16]).astype(np.float32)[None] * 0.4, RATE)
    found = analyse(audio)
    assert [section.kind for section in found.sections] == ["main", "breakdown", "drop"]
    assert [section.start_s for section in found.sections] == pytest.approx([0.0, 32.0, 48.0], abs=0.02)


def test_no_beat_is_no_grid() -> None:
    rng = np.random.default_rng(3)
    assert analyse(Audio(rng.normal(0, 0.2, (1, 12 * RATE)).astype(np.float32), RATE)).grid is None
    pads = np.concatenate(
        [voices.pad([48.0 + d, 51.0 + d, 55.0 + d], round(s * RATE), cutoff_hz=900) for d, s in ((0, 4.1), (5, 5.3), (3, 3.7))]
    )
    found = analyse(Audio(pads.astype(np.float32)[None], RATE))
    assert found.grid is None
    assert analyse(clicks([at for at in np.cumsum(rng.uniform(0.15, 0.9, 60)) if at < 20.0], 20.0)).grid is None


def test_a_cut_within_a_beat_is_not_steady() -> None:
    whole = [0.5 * beat for beat in range(60)]
    assert analyse(clicks(whole, 30.0)).grid.steady  # type: ignore[union-attr]
    found = analyse(clicks([at if at < 15 else at + 0.19 for at in whole], 30.5))
    assert found.grid is not None
    assert not found.grid.steady
    assert found.grid.bpm == pytest.approx(120.0, abs=0.6)


def test_a_tempo_that_is_told_is_kept(tracks: dict[str, BenchTrack]) -> None:
    track = tracks["half-time"]
    grid = analyse(track.audio, Hints(bpm=track.bpm, source="rekordbox")).grid
    assert grid is not None
    assert (grid.bpm, grid.source, grid.steady) == (track.bpm, "rekordbox", True)


def test_fingerprints_tell_recordings_apart(tracks: dict[str, BenchTrack], heard: dict[str, TrackAnalysis]) -> None:
    prints = {kind: found.fingerprint for kind, found in heard.items()}
    audio = tracks["broken"].audio
    late = Audio(np.tanh(2.5 * audio.samples[:, round(2.3 * audio.sample_rate) :]) * np.float32(0.4), audio.sample_rate)
    changed = analyse(late).fingerprint
    assert same_recording(prints["broken"], changed) >= SAME
    assert same_recording(changed, prints["broken"]) >= SAME
    assert max(same_recording(changed, other) for kind, other in prints.items() if kind != "broken") < SAME


def test_levels_agree_with_pyloudnorm() -> None:
    rng = np.random.default_rng(5)
    shape = np.repeat(rng.uniform(0.001, 0.5, 31), RATE // 2)
    samples = (rng.standard_normal((2, len(shape))) * 0.3 * shape).astype(np.float32)
    samples[0, 1000:1010] = 1.0
    samples[0, 2000] = -1.0
    samples[:, 64000:96000] = 0.0
    found = measure_levels(Audio(samples, RATE))
    assert found.lufs == pytest.approx(pyloudnorm.Meter(RATE).integrated_loudness(samples.T.astype(np.float64)), abs=0.05)
    assert (found.peak_dbfs, found.clipped_share * samples.size) == (0.0, pytest.approx(10))
    assert found.silences == ((2.0, 3.0),)
    assert len(found.energy) == 16
    assert found.energy[2] == 0.0
    assert max(found.energy) == 1.0


def test_cards(tracks: dict[str, BenchTrack], heard: dict[str, TrackAnalysis]) -> None:
    audio, found = tracks["swung"].audio, heard["swung"]
    outline = Envelope.of(audio)
    png = draw_card(outline, found, title="Alice – Nacht 🎧")
    assert matplotlib.image.imread(io.BytesIO(png), format="png").shape == (420, 1000, 4)
    assert draw_card(audio, found, title="Alice – Nacht 🎧") == png
    assert Envelope.from_record(json.loads(json.dumps(outline.record()))) == outline
    assert len(outline.low) == COLUMNS
    empty = Audio(np.zeros((1, 0), dtype=np.float32), 44100)
    assert draw_card(empty, analyse(empty)).startswith(b"\x89PNG")
    with pytest.raises(AnalysisError, match="again"):
        Envelope.from_record({"low": "", "high": "", "rms": ""})


def test_the_benchmark_counts(tracks: dict[str, BenchTrack]) -> None:
    rows = [measure(track, with_librosa=False) for track in list(tracks.values())[:2]]
    summary = summarise(rows)
    assert (summary[0]["tracks"], summary[0]["count"], summary[0]["heard_tempo"], summary[0]["heard_octave"]) == ("all", 2, 2, 0)
    assert "| all | 2 | 100 % | 0 | 100 % |" in table({"summary": summary, "librosa": None})


def test_the_command(tracks: dict[str, BenchTrack], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    track = tracks["broken"]
    soundfile.write(tmp_path / "one.wav", track.audio.samples.T, track.audio.sample_rate)
    (tmp_path / "two.mp3").write_text("no music")
    code = main(["analyse", str(tmp_path / "one.wav"), str(tmp_path / "two.mp3"), "--pictures", str(tmp_path / "cards")])
    out, err = capsys.readouterr()
    assert code == 2
    assert float(out.splitlines()[1].split()[1]) == pytest.approx(track.bpm, abs=0.1)
    assert "two.mp3" in err
    assert [path.name for path in (tmp_path / "cards").iterdir()] == ["one.png"]
    assert main(["analyse", str(tmp_path / "one.wav"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["grid"]["bpm"] == pytest.approx(track.bpm, abs=0.1)
