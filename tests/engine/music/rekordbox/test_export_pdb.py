"""export.pdb from the front door: exports written byte by byte are read back, whole ones and damaged ones."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.music.rekordbox import History, Library, LibraryError, LibraryTrack, Playlist, find_library

TRACKS, GENRES, ARTISTS, ALBUMS, LABELS, KEYS, COLORS, PLAYLISTS, ENTRIES = range(9)
HISTORY_ENTRIES, ARTWORK, COLUMNS, HISTORY = 12, 13, 16, 19
LONG = "A comment that goes on. " * 20
Stick = Callable[[bytes], Path]


def read(stick: Stick, export: bytes) -> Library:
    library = find_library(stick(export))
    assert library is not None
    return library


def test_a_track_with_everything(pdb: Any, stick: Stick) -> None:
    pdb.name(ARTISTS, 3, "Ältere Maschine")
    pdb.name(ARTISTS, 4, "Far Away", far=True)
    pdb.name(ALBUMS, 5, "Pale Room", far=True)
    pdb.name(ALBUMS, 6, "Near Room")
    pdb.name(GENRES, 7, "Techno (Peak Time / Driving)")
    pdb.name(LABELS, 8, "Ω-Werk")
    pdb.name(KEYS, 9, "F#m")
    pdb.track(
        12, "/Contents/Ältere Maschine/夜.flac", title="夜 🜂 (Remix)", artist=3, remixer=4, album=5, genre=7, label=8, key=9,
        bpm=13250, duration=421, rating=4, year=2023, plays=7, comment=LONG, isrc="GBAYE6700149",
        analysis="/PIONEER/USBANLZ/P016/0000875E/ANLZ0000.DAT",
    )  # fmt: skip
    library = read(stick, pdb.build())
    assert library.problems == ()
    assert library.tracks == {
        12: LibraryTrack(
            id=12,
            path="/Contents/Ältere Maschine/夜.flac",
            title="夜 🜂 (Remix)",
            artist="Ältere Maschine",
            album="Pale Room",
            genre="Techno (Peak Time / Driving)",
            label="Ω-Werk",
            remixer="Far Away",
            key="F#m",
            bpm=132.5,
            duration_s=421.0,
            rating=4,
            comment=LONG,
            year=2023,
            added="2024-05-01",
            analysis_path="/PIONEER/USBANLZ/P016/0000875E/ANLZ0000.DAT",
            plays=7,
            isrc="GBAYE6700149",
        )
    }


def test_a_track_with_next_to_nothing(pdb: Any, stick: Stick) -> None:
    pdb.track(1, title="", added="")
    assert read(stick, pdb.build()).tracks == {1: LibraryTrack(id=1, path="/Contents/Someone/Something/1.mp3")}


@pytest.mark.parametrize("form", ["short", "long", "utf16"])
@pytest.mark.parametrize("name", ["", "x", "Techno", "n" * 126])
def test_every_form_of_text(pdb: Any, stick: Stick, name: str, form: str) -> None:
    pdb.name(GENRES, 1, name, form=form)
    pdb.track(1, genre=1)
    library = read(stick, pdb.build())
    assert library.tracks[1].genre == (name or None)
    assert library.problems == ()


def test_only_present_rows_count(pdb: Any, stick: Stick) -> None:
    for number in range(1, 101):
        pdb.name(ARTISTS, number, f"Artist {number}", present=number % 3 > 0)
        pdb.track(number, artist=number, present=number % 7 > 0)
    pdb.branch(1, "Stale", present=False)
    pdb.branch(1, "Fresh")
    library = read(stick, pdb.build())
    assert list(library.tracks) == [number for number in range(1, 101) if number % 7]
    assert {number for number, track in library.tracks.items() if track.artist is None} == {
        n for n in range(1, 101) if n % 7 and n % 3 == 0
    }
    assert [playlist.name for playlist in library.playlists] == ["Fresh"]
    assert library.problems == ()


def test_tables_of_many_pages(pdb: Any, stick: Stick) -> None:
    for number in range(1, 501):
        for kind in (ARTISTS, ALBUMS, GENRES, LABELS, KEYS):
            pdb.name(kind, number, f"{kind} {number} {'~' * (number % 50)}")
        pdb.track(number, artist=number, album=number, genre=number, label=number, key=number)
        pdb.branch(number, f"Playlist {number}", position=500 - number)
        pdb.history(number, [number, 501 - number])
        pdb.add(ARTWORK, struct.pack("<I", number) + b"\x09foo")  # tables that a library does not need lie between
        pdb.add(HISTORY, bytes(40))
        pdb.name(COLORS, number % 9, "Pink")
        pdb.name(COLUMNS, number % 27, "\ufffaGENRE\ufffb")
    pdb.entries(77, list(range(500, 0, -1)))
    library = read(stick, pdb.build())
    assert all(len(pdb.chains[kind]) > 1 for kind in (TRACKS, ARTISTS, ALBUMS, GENRES, LABELS, KEYS, PLAYLISTS, ENTRIES, HISTORY_ENTRIES))
    assert library.problems == ()
    for number, track in library.tracks.items():
        ends = {f"{kind} {number} {'~' * (number % 50)}" for kind in (ARTISTS, ALBUMS, GENRES, LABELS, KEYS)}
        assert {track.artist, track.album, track.genre, track.label, track.key} == ends
    assert [playlist.id for playlist in library.playlists] == list(range(500, 0, -1))
    assert library.playlist("Playlist 77").track_ids == tuple(range(500, 0, -1))
    assert library.histories[9] == History(10, "HISTORY 010", (10, 491))
    assert library.played() == tuple(number for pair in zip(range(1, 251), range(500, 250, -1), strict=True) for number in pair)


def plant(pdb: Any) -> None:
    for number in range(1, 7):
        pdb.track(number, rating=number % 6, plays=(0, 0, 9, 2)[number % 4])
    pdb.branch(1, "Sets", folder=True, position=1)
    pdb.branch(2, "2024", folder=True, parent=1)
    pdb.branch(3, "Peak Time", parent=2, position=1)
    pdb.branch(4, "Warm-up", parent=2, position=0)
    pdb.branch(5, "Warm-up", parent=1, position=5)
    pdb.branch(6, "Ideas", position=0)
    pdb.branch(7, "Empty", folder=True, position=2)
    pdb.branch(8, "ideas", position=9)
    pdb.entries(3, [5, 1, 5])
    pdb.entries(4, [2])
    pdb.history(2, [6, 3])
    pdb.history(1, [1, 6, 1])


def test_playlists_stand_in_their_folders_and_order(pdb: Any, stick: Stick) -> None:
    plant(pdb)
    library = read(stick, pdb.build())
    assert library.playlists == (
        Playlist(6, "Ideas", (), ()),
        Playlist(4, "Warm-up", ("Sets", "2024"), (2,)),
        Playlist(3, "Peak Time", ("Sets", "2024"), (5, 1, 5)),
        Playlist(5, "Warm-up", ("Sets",), ()),
        Playlist(8, "ideas", (), ()),
    )
    for name, number in {"Peak Time": 3, " peak time ": 3, "sets/2024/PEAK TIME": 3, "Sets/Warm-up": 5, "Ideas": 6, "ideas": 8}.items():
        assert library.playlist(name).id == number


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Warm-up", "Several playlists are called “Warm-up”: name one of “Sets/2024/Warm-up” and “Sets/Warm-up”."),
        ("Peek Time", "There is no playlist “Peek Time” in this library. Did you mean “Sets/2024/Peak Time”?"),
        (
            "2024",
            "“Sets/2024” is a folder: name one of its playlists, “Sets/2024/Warm-up” and “Sets/2024/Peak Time”.",
        ),
        ("empty", "“Empty” is an empty folder."),
        (
            "zzz",
            "There is no playlist “zzz” in this library. It has “Ideas”, “Sets/2024/Warm-up”, “Sets/2024/Peak Time”, “Sets/Warm-up” "
            "and “ideas”.",
        ),
    ],
)
def test_a_playlist_that_is_none_says_which_there_are(pdb: Any, stick: Stick, name: str, words: str) -> None:
    plant(pdb)
    with pytest.raises(LibraryError) as error:
        read(stick, pdb.build()).playlist(name)
    assert str(error.value) == words


def test_played_and_rated(pdb: Any, stick: Stick) -> None:
    plant(pdb)
    library = read(stick, pdb.build())
    assert [history.track_ids for history in library.histories] == [(1, 6, 1), (6, 3)]
    assert library.played() == (1, 6, 3, 2)  # then by play count
    assert library.rated(4) == (5, 4)
    assert library.rated(1) == (5, 4, 3, 2, 1)
    with pytest.raises(LibraryError, match="1 to 5 stars"):
        library.rated(6)


# Where it lies


def test_it_is_found_from_the_stick_its_folders_and_itself(pdb: Any, stick: Stick, tmp_path: Path) -> None:
    pdb.track(1)
    root = stick(pdb.build())
    audio = root / "Contents" / "Someone" / "Something" / "1.mp3"
    audio.parent.mkdir(parents=True)
    audio.write_bytes(b"music")
    for path in (root, root / "PIONEER", root / "PIONEER" / "rekordbox", root / "PIONEER" / "rekordbox" / "export.pdb"):
        library = find_library(path)
        assert library is not None
        assert library.root == root
        assert library.audio_file(1) == audio.resolve()
    (root / "PIONEER").rename(root / ".PIONEER")  # as a Mac formats sticks
    assert find_library(root) is not None
    copied = tmp_path / "Export.PDB"
    copied.write_bytes(pdb.build())
    library = find_library(copied)
    assert library is not None
    assert (library.root, library.audio_file(1)) == (tmp_path, None)


def test_folders_and_files_without_a_library_are_none(tmp_path: Path) -> None:
    (tmp_path / "PIONEER" / "rekordbox").mkdir(parents=True)  # a player makes these on any stick
    (tmp_path / "song.mp3").write_bytes(b"music")
    assert find_library(tmp_path) is None
    assert find_library(tmp_path / "song.mp3") is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("export.pdb", b"", "interrupted"),
        ("export.pdb", b"SQLite format 3\0" * 600, "not a rekordbox export.pdb"),
        ("export.pdb", bytes(8192), "not a rekordbox export.pdb"),
        ("export.pdb", struct.pack("<7I", 0, 4096, 0, 2, 0, 0, 0).ljust(8192, b"\0"), "lists no tracks"),
        ("exportLibrary.db", b"\x01" * 4096, "Device Library too"),
        ("exportExt.pdb", bytes(4096), "beside it"),
    ],
)
def test_what_is_no_library_says_what_to_do(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    folder = tmp_path / "PIONEER" / "rekordbox"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    with pytest.raises(LibraryError, match=re.escape(words)):
        find_library(folder / name if name == "exportExt.pdb" else tmp_path)


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="Is the stick in"):
        find_library(tmp_path / "gone")
    (tmp_path / "export.pdb").mkdir()
    with pytest.raises(LibraryError, match="not a file"):
        find_library(tmp_path)


@pytest.mark.parametrize("path", ["/Contents/../../secret.mp3", "../secret.mp3", "/Contents/link.mp3", "/", "", "/a\0b", "/" + "x" * 5000])
def test_no_path_leads_out_of_the_stick(pdb: Any, stick: Stick, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.mp3").write_bytes(b"not on the stick")
    pdb.track(1, "/x" if len(path) > 2000 else path, analysis=path.replace(".mp3", ".DAT")[:1000])
    root = stick(pdb.build())
    (root / "Contents").mkdir()
    (root / "Contents" / "link.mp3").symlink_to(tmp_path / "secret.mp3")
    library = find_library(root)
    assert library is not None
    for number in library.tracks:
        assert library.audio_file(number) is None
        assert library.analysis(number) is None


def test_nothing_is_written(pdb: Any, stick: Stick, anlz: Any) -> None:
    """Under an audit hook that ends the process at the first attempt to open a file for writing, or to make, change or remove one."""
    plant(pdb)
    pdb.track(9, analysis="/PIONEER/USBANLZ/P001/ANLZ0000.DAT")
    root = stick(pdb.build())
    folder = root / "PIONEER" / "USBANLZ" / "P001"
    folder.mkdir(parents=True)
    (folder / "ANLZ0000.DAT").write_bytes(anlz.file(anlz.beats([(1, 130, 0.1)])))
    program = """
import os, sys
from pathlib import Path
from engine.music.rekordbox import find_library
import engine.music.rekordbox.xml
def refuse(event, arguments):
    writes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
    changes = {f"os.{name}" for name in "remove rename mkdir rmdir utime chmod truncate link symlink".split()}
    if writes or event in changes:
        print(event, arguments, file=sys.stderr)
        os._exit(7)
sys.addaudithook(refuse)
library = find_library(Path(sys.argv[1]))
print(len(library.tracks), library.analysis(9).grid.beats_s.tolist(), library.audio_file(1), library.played())
"""
    done = subprocess.run([sys.executable, "-B", "-c", program, str(root)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("7 [0.1] None")


# Speed and memory


def many_tracks(pdb: Any, count: int) -> bytes:
    for number in range(1, 1201):
        pdb.name(ARTISTS, number, f"Artist number {number}")
        pdb.name(ALBUMS, number, f"Album number {number} of a long name")
        pdb.name(LABELS, number, f"Label {number}")
    for number in range(1, 25):
        pdb.name(GENRES, number, f"Genre {number}")
        pdb.name(KEYS, number, f"{number}A")
    for number in range(1, count + 1):
        pdb.track(
            number, f"/Contents/Artist number {number % 1200}/Album {number % 1200}/{number:05} Träck.mp3", title=f"Träck number {number}",
            artist=number % 1200 + 1, album=number % 1200 + 1, label=number % 1200 + 1, genre=number % 24 + 1, key=number % 24 + 1,
            bpm=13000, duration=400, rating=number % 6, comment="A comment of the usual length", isrc="GBAYE6700149",
            analysis=f"/PIONEER/USBANLZ/P{number % 256:03X}/{number:08X}/ANLZ0000.DAT",
        )  # fmt: skip
    for playlist in range(1, 101):
        pdb.branch(playlist, f"Playlist {playlist}", position=playlist)
        pdb.entries(playlist, [(playlist * 37 + step) % count + 1 for step in range(80)])
    for session in range(1, 41):
        pdb.history(session, [(session * 91 + step) % count + 1 for step in range(30)])
    export: bytes = pdb.build()
    return export


def test_four_thousand_tracks_take_less_than_two_seconds(pdb: Any, stick: Stick, record_property: Callable[[str, object], None]) -> None:
    """``pytest -k four_thousand -s`` prints the figure. Processor time: other work on the machine does not count."""
    root = stick(many_tracks(pdb, 4000))
    find_library(root)
    before = time.process_time()
    library = find_library(root)
    took_s = time.process_time() - before
    assert library is not None
    assert (len(library.tracks), len(library.playlists), library.problems) == (4000, 100, ())
    size = (root / "PIONEER" / "rekordbox" / "export.pdb").stat().st_size
    print(f"\n4,000 tracks, {size / 1e6:.1f} MB: {took_s:.2f} s of processor time")
    record_property("seconds", took_s)
    assert took_s < 2


def test_memory_does_not_grow_with_the_file(pdb: Any, stick: Stick) -> None:
    """6 MB of deleted rows around one track, in less memory than a twentieth of the file."""
    letters = "x" * 900
    for number in range(1, 5_000):
        pdb.track(number, comment=letters, present=number == 2500)
    root = stick(pdb.build())
    assert (root / "PIONEER" / "rekordbox" / "export.pdb").stat().st_size > 6e6
    pdb.tables.clear()
    tracemalloc.start()
    try:
        library = find_library(root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert library is not None
    assert list(library.tracks) == [2500]
    assert peak < 300_000


def test_pages_of_another_size(new_pdb: Any, stick: Stick) -> None:
    pdb = new_pdb(page_bytes=8192)
    for number in range(1, 41):
        pdb.track(number)
    library = read(stick, pdb.build())
    assert (list(library.tracks), library.problems) == (list(range(1, 41)), ())
