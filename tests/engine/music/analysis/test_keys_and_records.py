"""Keys as DJs write them, the Camelot wheel, and records that come back as they went."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.music.analysis import AnalysisError, Grid, Hints, Key, TrackAnalysis, analyse, compatible, parse_key
from engine.music.audio import Audio

WRITTEN = {
    "A minor": ("Am", "A minor", "8A", "8a", "08A", "1m", "A min", "A-Moll", "a minor", "Amin", "A phrygian"),
    "Bb minor": ("Bbm", "A#m", "B♭ minor", "3A", "8m", "bb minor"),
    "F# minor": ("F#m", "Gb min", "11A", "Fis moll", "F♯m"),
    "C major": ("C", "8B", "1d", "C maj", "Cmajor", "C dur", "CM"),
    "C# major": ("Db", "3B", "C#", "Des-Dur"),
    "E major": ("12B", "E", "5d"),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRITTEN.items() for text in texts])
def test_keys_are_read_as_djs_write_them(name: str, text: str) -> None:
    key = parse_key(text, source="tag")
    assert key is not None
    assert (key.name, key.source) == (name, "tag")


@pytest.mark.parametrize("text", ["", None, "13A", "0A", "8C", "techno", "H#x", "a", "A minor " * 9, "All", "o1m"])
def test_what_is_no_key_is_none(text: str | None) -> None:
    assert parse_key(text) is None


def test_every_key_reads_its_own_names_back() -> None:
    for tonic in range(12):
        for mode in ("major", "minor"):
            key = Key(tonic, mode)  # type: ignore[arg-type]
            for text in (key.name, key.short, key.camelot):
                assert parse_key(text) == key


def test_camelot_neighbours() -> None:
    a_minor = Key(9, "minor")
    fitting = {key.camelot for key in (Key(t, m) for t in range(12) for m in ("major", "minor")) if compatible(a_minor, key)}  # type: ignore[arg-type]
    assert fitting == {"8A", "7A", "9A", "8B"}
    assert compatible(Key(8, "minor"), Key(1, "minor"))  # 1A and 12A: round the wheel


def test_bar_lines() -> None:
    grid = Grid(bpm=120.0, downbeat_s=1.25, steady=True, confidence=1.0)
    assert grid.bars_s(6.0).tolist() == [1.25, 3.25, 5.25]
    assert grid.beats_s(2.0).tolist() == [0.25, 0.75, 1.25, 1.75]
    early = Grid(bpm=120.0, downbeat_s=-0.002, steady=True, confidence=1.0)
    assert early.bars_s(3.0).tolist() == [0.0, pytest.approx(1.998)]


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3, 3.0])
def test_silence_and_fragments(seconds: float) -> None:
    found = analyse(Audio(np.zeros((2, round(seconds * 44100)), dtype=np.float32), 44100))
    assert (found.grid, found.key, found.lufs, found.peak_dbfs, found.clipped_share) == (None, None, None, -120.0, 0.0)
    assert found.silences == (((0.0, seconds),) if seconds >= 0.5 else ())
    assert TrackAnalysis.from_record(json.loads(json.dumps(found.record()))) == found


def test_hints_win_and_say_whose_they_are() -> None:
    noise = Audio(np.random.default_rng(0).normal(0, 0.1, (1, 64000)).astype(np.float32), 32000)
    grid, key = Grid(127.31, 0.2, True, 1.0, "rekordbox"), Key(3, "minor", 1.0, "rekordbox")
    found = analyse(noise, Hints(grid=grid, key=key))
    assert (found.grid, found.key) == (grid, key)


@pytest.mark.parametrize(
    "damage", [{"version": 0}, {"grid": {"bpm": 0}}, {"key": {"tonic": 12}}, {"sections": [{}]}, {"fingerprint": None}]
)
def test_damaged_records_are_refused(damage: dict[str, object]) -> None:
    record = analyse(Audio(np.zeros((1, 8000), dtype=np.float32), 8000)).record()
    with pytest.raises(AnalysisError, match="again"):
        TrackAnalysis.from_record(record | damage)
