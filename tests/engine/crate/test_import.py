"""``crate import``, ``show``, ``list`` and ``remove``: what a DJ types, over real files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Type = Callable[..., Any]


def tracks_of(answer: Any) -> dict[str, dict[str, Any]]:
    return {Path(track["path"]).name: track for track in json.loads(answer.out)["tracks"]}


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(file.relative_to(folder)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_folder_with_something_broken_in_it(type_: Type, home: Path, music: Path) -> None:
    before = contents(music)
    answer = type_("import", str(music), "--crate", "alice", "--processes", "2")
    assert answer.code == 0
    assert answer.out.startswith("alice: 6 new; now 6 tracks, 1 min 36 s")
    assert "“broken.mp3” can't be played" in answer.err
    assert "export it anew" in answer.err
    assert contents(music) == before  # nothing is ever written there
    assert type_("list").out == "alice  6 tracks, 1 min 36 s\n"


def test_show_says_who_said_what(type_: Type, alice: Path) -> None:
    shown = tracks_of(type_("show", "alice", "--json"))
    first, copy = shown["Ann - First.wav"], shown["second.mp3"]
    assert (first["artist"], first["title"], first["sources"]["title"]) == ("Ann", "First", "file name")
    assert first["bpm"] == pytest.approx(128, abs=0.1)
    assert first["sources"]["bpm"] == "detected"
    assert (copy["artist"], copy["title"], copy["genre"]) == ("Ben", "Second", "Techno (Peak Time / Driving)")
    assert copy["sources"]["title"] == copy["sources"]["key"] == "tags"
    assert copy["key"]["camelot"] == "1A"
    assert copy["bpm"] == pytest.approx(132, abs=0.1)
    assert copy["sources"]["bpm"] == "detected"  # 132 is the same, rounded
    table = type_("show", "alice").out
    assert "Second" in table
    assert "1A" in table
    assert "TDT" in table
    assert "NDD" in table


def test_a_second_import_hears_nothing_anew(type_: Type, alice: Path, music: Path) -> None:
    findings = {file: file.stat().st_mtime_ns for file in alice.rglob("findings/**/*.json")}
    assert len(findings) == 6
    answer = type_("import", str(music), "--crate", "alice", "--processes", "1")
    assert answer.out.startswith("alice: 0 new, 6 again; now 6 tracks")
    assert {file: file.stat().st_mtime_ns for file in findings} == findings


def test_copies_stay_when_the_music_goes(type_: Type, alice: Path, music: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    for name in ("Ann - First.wav", "Ben - Second.wav"):
        shutil.copy(music / name, stick / name)
    assert type_("import", str(stick), "--crate", "kept", "--copy", "--processes", "1").code == 0
    assert type_("import", str(stick), "--crate", "lent", "--processes", "1").code == 0
    shutil.rmtree(stick)
    options = ("--segment-seconds", "6", "--processes", "1")
    assert type_("prepare", "kept", *options).code == 0
    lent = type_("prepare", "lent", *options)
    assert lent.code == 2
    assert "is not at" in lent.err
    assert "mount the stick" in lent.err
    assert type_("remove", "kept").out == "kept is forgotten, and 2 copies of its tracks are deleted. The music stays.\n"
    assert not (alice / "crates" / "kept").exists()


XML = """<?xml version="1.0" encoding="UTF-8"?>
<DJ_PLAYLISTS Version="1.0.0"><PRODUCT Name="rekordbox"/><COLLECTION Entries="3">
<TRACK TrackID="1" Name="First" Artist="Ann" Genre="Hard Techno" Comments="/* Dark / Peak */" AverageBpm="128.00" Tonality="8A" Rating="255"
 PlayCount="3" TotalTime="16" Location="file://localhost{music}/Ann%20-%20First.wav">
<TEMPO Inizio="0.469" Bpm="128.00" Metro="4/4" Battito="1"/></TRACK>
<TRACK TrackID="2" Name="Zweiter" Artist="Ben" AverageBpm="66.00" Tonality="Fm" Rating="51" TotalTime="16"
 Location="file://localhost{music}/Ben%20-%20Second.wav"/>
<TRACK TrackID="3" Name="Gone" Artist="Nobody" Rating="255" Location="file://localhost{music}/gone.wav"/></COLLECTION>
<PLAYLISTS><NODE Type="0" Name="ROOT" Count="1"><NODE Name="Peak time" Type="1" KeyType="0" Entries="2">
<TRACK Key="2"/><TRACK Key="1"/></NODE></NODE></PLAYLISTS></DJ_PLAYLISTS>
"""


@pytest.fixture
def collection(tmp_path: Path, music: Path) -> Path:
    """rekordbox.xml that knows two of the tracks, and one that is not there."""
    file = tmp_path / "rekordbox.xml"
    file.write_text(XML.format(music=music), encoding="utf-8")
    return file


def test_what_her_software_says_wins(type_: Type, home: Path, collection: Path, music: Path, tmp_path: Path) -> None:
    answer = type_("import", str(collection), "--crate", "alice", "--processes", "1")
    assert answer.code == 0
    assert "“Gone” is in the library, but its file is not here" in answer.err
    shown = tracks_of(type_("show", "alice", "--json"))
    first, second = shown["Ann - First.wav"], shown["Ben - Second.wav"]
    assert first["sources"] == {"title": "rekordbox", "artist": "rekordbox", "genre": "rekordbox", "bpm": "rekordbox", "key": "rekordbox"}
    assert (first["bpm"], first["key"]["camelot"], first["genre"], first["words"]) == (128.0, "8A", "Hard Techno", ["Dark", "Peak"])
    assert (first["rating"], first["played"]) == (5, True)
    assert first["word"]["grid"]["downbeat_s"] == pytest.approx(0.469, abs=1e-3)
    assert (second["title"], second["bpm"], second["sources"]["bpm"]) == ("Zweiter", 66.0, "rekordbox")

    # Only what is asked for, in the order that is asked for.
    both, one = ["Ben - Second.wav", "Ann - First.wav"], ["Ann - First.wav"]
    for number, (asked, names) in enumerate(
        [
            (["--playlist", "peak TIME"], both),
            (["--playlist", "Peak time", "--rated", "4"], one),
            (["--played"], one),
        ]
    ):
        assert type_("import", str(collection), "--crate", f"crate{number}", "--processes", "1", *asked).code == 0
        assert list(tracks_of(type_("show", f"crate{number}", "--json"))) == names
    # The same file from a plain folder, under two names: once, and what the stick said of it stays.
    (tmp_path / "moved").mkdir()
    for name in ("one.wav", "two.wav"):
        shutil.copy(music / "Ann - First.wav", tmp_path / "moved" / name)
    answer = type_("import", str(tmp_path / "moved"), "--crate", "alice", "--processes", "1")
    assert answer.out.startswith("alice: 0 new, 1 again, 1 twice the same file; now 2 tracks")
    moved = tracks_of(type_("show", "alice", "--json"))["two.wav"]
    assert (moved["title"], moved["key"]["camelot"], moved["sources"]["key"]) == ("First", "8A", "rekordbox")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["import", "nowhere", "--crate", "alice"], "nowhere does not exist: name a folder"),
        (["import", "{music}", "--crate", "alice", "--played"], "ask a DJ's stick or rekordbox.xml"),
        (["import", "{music}", "--crate", "../alice"], "can't be called '../alice'"),
        (["import", "{music}/cover.jpg", "--crate", "alice"], "is a picture"),
        (["import", "{empty}", "--crate", "alice"], "There is no audio in"),
        (["import", "{collection}", "--crate", "alice", "--playlist", "Peek time"], "Did you mean “Peak time”?"),
        (["show", "bob"], "There is no crate 'bob'; there are: none yet"),
        (["prepare", "bob"], "There is no crate 'bob'"),
        (["list", "--processes", "0"], None),
        (["import", "{music}", "--crate", "alice", "--processes", "0"], "--processes must be from 1 to 64"),
    ],
)
def test_mistakes_are_told_in_a_line(
    type_: Type,
    home: Path,
    music: Path,
    collection: Path,
    tmp_path: Path,
    words: list[str],
    told: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    words = [word.format(music=music, empty=tmp_path / "empty", collection=collection) for word in words]
    if told is None:
        with pytest.raises(SystemExit, match="2"):
            type_(*words)
        return
    answer = type_(*words)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert told in answer.err
    assert not (home / "crates").exists() or not list((home / "crates").glob("*/crate.json"))
