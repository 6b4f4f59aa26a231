"""``crate import STICK`` as a DJ types it: an export.pdb written byte by byte, its analysis files, and real audio beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.cli import main

ARTISTS, GENRES, KEYS = 2, 1, 5
RATE = 32000
FOLDER = "/Contents/Ann/Nights"
ANALYSIS = "/PIONEER/USBANLZ/P001/00000001/ANLZ0000.DAT"


def kicks(bpm: float, tonic: float) -> Any:
    """Eight seconds of kick and bass, ``[N]``."""
    t = np.arange(8 * RATE) / RATE
    at = t * bpm / 60 % 1
    bass = np.sign(np.sin(2 * np.pi * tonic * t))
    return (0.8 * np.tanh(2 * np.sin(2 * np.pi * 9 * np.exp(-at * 9)) * np.exp(-at * 6) + 0.3 * bass)).astype(np.float32)


@pytest.fixture
def played_stick(pdb: Any, anlz: SimpleNamespace, stick: Callable[[bytes], Path]) -> Path:
    """Four tracks: one with a beat grid and played, one rated and in a playlist, one neither, one whose file is gone."""
    pdb.name(ARTISTS, 1, "Ann")
    pdb.name(ARTISTS, 2, "Łukasz")
    pdb.name(GENRES, 1, "Hard Techno")
    pdb.name(KEYS, 1, "8A")
    pdb.track(1, f"{FOLDER}/1.wav", title="First", artist=1, genre=1, key=1, bpm=13200, duration=8, analysis=ANALYSIS)
    pdb.track(2, f"{FOLDER}/2.wav", title="Żółw", artist=2, bpm=6400, duration=8, rating=4)
    pdb.track(3, f"{FOLDER}/3.wav", title="Third", artist=1, duration=8)
    pdb.track(4, f"{FOLDER}/4.wav", title="Gone", artist=1, duration=8)
    pdb.track(5, f"{FOLDER}/5.wav", title="Deleted", present=False)
    pdb.branch(1, "Sets", folder=True)
    pdb.branch(2, "Peak time", parent=1)
    pdb.entries(2, [2, 1])
    pdb.history(1, [1, 4])
    root = stick(pdb.build())
    music = root / FOLDER.lstrip("/")
    music.mkdir(parents=True)
    for number, bpm in enumerate((132.0, 128.0, 126.0), 1):
        soundfile.write(music / f"{number}.wav", kicks(bpm, 45.0 + 5 * number), RATE, subtype="PCM_16")
    analysis = root / ANALYSIS.lstrip("/")
    analysis.parent.mkdir(parents=True)
    grid = [(beat % 4 + 1, 132.0, 0.25 + beat * 60 / 132) for beat in range(16)]
    analysis.write_bytes(anlz.file(anlz.path(f"{FOLDER}/1.wav"), anlz.beats(grid)))
    return root


def state(folder: Path) -> dict[str, tuple[str, int]]:
    return {str(f): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in folder.rglob("*") if f.is_file()}


def test_a_stick_becomes_a_crate(played_stick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, before = tmp_path / "data", state(played_stick)

    def type_(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["crate", *words, "--data", str(data)])
        return (code, *capsys.readouterr())

    def shown(crate: str) -> dict[str, dict[str, Any]]:
        return {track["title"]: track for track in json.loads(type_("show", crate, "--json")[1])["tracks"]}

    code, out, err = type_("import", str(played_stick), "--crate", "all", "--processes", "1")
    assert (code, out.splitlines()[0]) == (0, "all: 3 new; now 3 tracks, 24 s")
    assert "“Gone” is in the library, but its file is not here" in err
    tracks = shown("all")
    first = tracks["First"]
    assert (first["artist"], first["genre"], first["bpm"], first["key"]["camelot"]) == ("Ann", "Hard Techno", 132.0, "8A")
    assert {first["sources"][name] for name in ("title", "artist", "genre", "bpm", "key")} == {"rekordbox"}
    assert first["word"]["grid"]["downbeat_s"] == pytest.approx(0.25, abs=1e-3)
    assert (tracks["Żółw"]["artist"], tracks["Żółw"]["bpm"], tracks["Żółw"]["rating"]) == ("Łukasz", 64.0, 4)  # hers, even at half
    assert tracks["Third"]["sources"]["bpm"] == "detected"
    assert tracks["Third"]["bpm"] == pytest.approx(126.0, abs=0.1)
    table = type_("show", "all")[1]
    assert "132" in table
    assert "8A" in table

    for crate, asked, titles in (
        ("played", ["--played"], ["First"]),
        ("list", ["--playlist", "peak time"], ["Żółw", "First"]),
        ("rated", ["--rated", "4"], ["Żółw"]),
    ):
        assert type_("import", str(played_stick), "--crate", crate, "--processes", "1", *asked)[0] == 0
        assert list(shown(crate)) == titles
    assert state(played_stick) == before  # nothing is ever written on a stick


def test_a_torn_export_names_what_is_lost_and_imports_the_rest(
    pdb: Any, stick: Callable[[bytes], Path], played_stick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = played_stick / "PIONEER" / "rekordbox" / "export.pdb"
    damaged = bytearray(export.read_bytes())
    page, slot, place = pdb.places[0][2]  # the third track's row
    damaged[place : place + 400] = b"\xff" * 400
    export.write_bytes(damaged)
    assert main(["crate", "import", str(played_stick), "--crate", "torn", "--processes", "1", "--data", str(tmp_path / "data")]) == 0
    told = capsys.readouterr()
    assert "torn: 2 new" in told.out
    assert f"tracks, page {page}, row {slot}: its path lies outside the page. It is left out." in told.err
