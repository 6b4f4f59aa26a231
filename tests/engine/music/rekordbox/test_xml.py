"""rekordbox.xml: collections as rekordbox exports them are read; damaged ones as far as they go; and no XML trick works."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.music.rekordbox import Cue, Library, LibraryError, LibraryTrack, Playlist, find_library


def read(path: Path, content: str | bytes) -> Library:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    library = find_library(path)
    assert library is not None
    return library


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rekordbox.xml"


def track(xml: Any, number: int, inside: str = "", **given: object) -> str:
    written: str = xml.element("TRACK", inside, **{"TrackID": number, "Location": f"file://localhost/Users/dj/Music/{number}.mp3"} | given)
    return written


def test_a_track_with_everything(file: Path, xml: Any) -> None:
    marks = xml.element("TEMPO", Inizio="0.500", Bpm="120.00", Metro="4/4", Battito="3")
    marks += xml.element("TEMPO", Inizio="2.500", Bpm="60.00", Metro="4/4", Battito="3")
    marks += xml.element("POSITION_MARK", Name="Drop & run", Type="0", Start="10.5", Num="0", Red="40", Green="226", Blue="20")
    marks += xml.element("POSITION_MARK", Name="", Type="4", Start="20.0", End="24.0", Num="-1")
    written = track(
        xml, 7, marks, Name="夜 & Tag", Artist="Ä <Ö>", Album="Pale", Genre="Techno", Label="Ω", Remixer="Who", Tonality="8A",
        AverageBpm="120.50", TotalTime="6", Rating="204", Comments='said "so"', Year="2023", DateAdded="2024-05-01", PlayCount="3",
        Location="file://localhost/C:/Music/%E5%A4%9C%20%26.mp3",
    )  # fmt: skip
    library = read(file, xml.collection([written]))
    assert library.problems == ()
    assert library.tracks == {
        7: LibraryTrack(
            id=7,
            path="C:/Music/夜 &.mp3",
            title="夜 & Tag",
            artist="Ä <Ö>",
            album="Pale",
            genre="Techno",
            label="Ω",
            remixer="Who",
            key="8A",
            bpm=120.5,
            duration_s=6.0,
            rating=4,
            comment='said "so"',
            year=2023,
            added="2024-05-01",
            plays=3,
        )
    }
    analysis = library.analysis(7)
    assert analysis is not None
    assert analysis.cues == (Cue(10.5, None, "Drop & run", hot=1), Cue(20.0, 24.0))
    assert analysis.grid is not None
    np.testing.assert_allclose(analysis.grid.beats_s, [0.5, 1.0, 1.5, 2.0, 2.5, 3.5, 4.5, 5.5])
    assert analysis.grid.position_in_bar.tolist() == [3, 4, 1, 2, 3, 4, 1, 2]
    assert analysis.grid.bpm.tolist() == [120.0] * 4 + [60.0] * 4
    assert (analysis.grid.first_downbeat_s, analysis.grid.steady) == (1.5, False)


def test_a_grid_of_a_mark_a_beat(file: Path, xml: Any) -> None:
    """A dynamic grid: rekordbox then writes a mark for each beat, rounded to milliseconds. None of them becomes two."""
    times = [round(0.1 + index * 60 / 131.3, 3) for index in range(400)]
    marks = "".join(xml.element("TEMPO", Inizio=time, Bpm="131.30", Metro="4/4", Battito=index % 4 + 1) for index, time in enumerate(times))
    analysis = read(file, xml.collection([track(xml, 1, marks, TotalTime=182)])).analysis(1)
    assert analysis is not None
    assert analysis.grid is not None
    np.testing.assert_allclose(analysis.grid.beats_s, times, atol=1e-9)
    assert analysis.grid.steady


def test_playlists_by_number_and_by_file(file: Path, xml: Any) -> None:
    lists = xml.element(
        "NODE",
        xml.element("NODE", "".join(xml.element("TRACK", Key=key) for key in (3, 1, 3, 99)), Name="Peak Time", Type="1", KeyType="0")
        + xml.element("NODE", xml.element("NODE", Name="Deep", Type="1", KeyType="0"), Name="2024", Type="0"),
        Name="Sets",
        Type="0",
    )
    lists += xml.element(
        "NODE", xml.element("TRACK", Key="file://localhost/Users/dj/Music/2.mp3"), Name="By file", Type="1", KeyType="1", Entries="1"
    )
    library = read(file, xml.collection([track(xml, number, PlayCount=number % 3) for number in (1, 2, 3)], lists))
    assert library.playlists == (
        Playlist(1, "Peak Time", ("Sets",), (3, 1, 3)),
        Playlist(2, "Deep", ("Sets", "2024"), ()),
        Playlist(3, "By file", (), (2,)),
    )
    assert library.problems == ("playlist 1 names 1 tracks that the file does not list.",)
    assert library.playlist("sets/2024/deep").id == 2
    assert library.played() == (2, 1)
    with pytest.raises(LibraryError, match="“Sets” is a folder"):
        library.playlist("Sets")


def test_audio_where_it_stood_or_where_it_was_copied(tmp_path: Path, xml: Any) -> None:
    here, moved = tmp_path / "here.mp3", tmp_path / "copy" / "Artist" / "Album" / "moved.mp3"
    moved.parent.mkdir(parents=True)
    for path in (here, moved, tmp_path / "secret.mp3"):
        path.write_bytes(b"music")
    places = {
        1: f"file://localhost{here}",
        8: f"file://localhost/{here}",
        2: "file://localhost/Volumes/Old%20disk/Music/Artist/Album/moved.mp3",
        3: "file://localhost/D:/Music/Artist/Album/moved.mp3",
        4: "file://localhost/Users/dj/gone.mp3",
        5: "file://localhostsoundcloud:tracks:12345",
        6: "file://localhost/x/../secret.mp3",
        7: "file://localhost/a%00b.mp3",
    }
    library = read(tmp_path / "copy" / "rekordbox.xml", xml.collection([track(xml, n, Location=at) for n, at in places.items()]))
    found = {number: library.audio_file(number) for number in library.tracks}
    assert found == {1: here, 8: here, 2: moved.resolve(), 3: moved.resolve(), 4: None, 5: None, 6: None, 7: None}


def test_what_is_wrong_in_it_is_named_by_line(file: Path, xml: Any) -> None:
    tracks = [
        "\n" + track(xml, 1, Rating="77"),
        "\n" + xml.element("TRACK", TrackID="two", Location="file://localhost/2.mp3"),
        "\n" + xml.element("TRACK", TrackID="3"),
        "\n" + track(xml, 4, xml.element("TEMPO", Inizio="-1", Bpm="nan") + xml.element("POSITION_MARK", Start="inf", Num="x")),
        "\n" + track(xml, 1, Name="Again", AverageBpm="1e999", Year="soon"),
    ]
    library = read(file, xml.collection(tracks))
    assert list(library.tracks) == [1, 4]
    assert library.tracks[1].title == "Again"
    assert [problem.partition(":")[0] for problem in library.problems] == ["line 3", "line 4", "line 5", "line 6", "line 6", "line 7"]
    analysis = library.analysis(4)
    assert analysis is not None
    assert (analysis.grid, analysis.cues) == (None, ())


def test_cut_off_what_stands_before_is_read(file: Path, xml: Any) -> None:
    content = xml.collection([track(xml, number) for number in range(1, 101)])
    library = read(file, content[: content.index('TrackID="51"') + 20])
    assert list(library.tracks) == list(range(1, 51))
    assert library.problems[0].startswith("rekordbox.xml is damaged or cut off at line 2.")


BOMB = """<?xml version="1.0"?><!DOCTYPE DJ_PLAYLISTS [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>
<DJ_PLAYLISTS><COLLECTION><TRACK TrackID="1" Location="&b;"/></COLLECTION></DJ_PLAYLISTS>"""
OUTSIDE = '<!DOCTYPE DJ_PLAYLISTS SYSTEM "file:///etc/passwd"><DJ_PLAYLISTS/>'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "Export Collection in xml format"),
        ("not XML", "Export Collection in xml format"),
        ("<html><body/></html>", "Export Collection in xml format"),
        ('<?xml version="1.0" encoding="rot13"?><DJ_PLAYLISTS/>', "Export Collection in xml format"),
        (BOMB, "brings a DTD"),
        (OUTSIDE, "brings a DTD"),
        ("<DJ_PLAYLISTS>" + "<NODE>" * 100, "deeper than 32"),
        ("<DJ_PLAYLISTS><COLLECTION><TRACK TrackID='1' Name='" + "x" * 3_000_000, "more than a megabyte"),
        ("<!--" + "x" * 3_000_000, "more than a megabyte"),
    ],
    ids=["empty", "no XML", "HTML", "encoding", "entities", "external entity", "depth", "long tag", "long comment"],
)
def test_what_is_no_collection_is_refused(file: Path, content: str, words: str) -> None:
    with pytest.raises(LibraryError, match=words):
        read(file, content)


def test_entities_that_nobody_declared_end_it(file: Path) -> None:
    library = read(file, "<DJ_PLAYLISTS><COLLECTION><TRACK TrackID='1' Location='&b;'/></COLLECTION></DJ_PLAYLISTS>")
    assert (library.tracks, len(library.problems)) == ({}, 1)


def test_utf_16(file: Path, xml: Any) -> None:
    content = xml.collection([track(xml, 1, Name="夜")]).replace("UTF-8", "UTF-16")
    assert read(file, content.encode("utf-16")).tracks[1].title == "夜"


@settings(max_examples=100, deadline=timedelta(seconds=5), suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    changes=st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=6), st.integers(0, 30)), max_size=6),
    length=st.none() | st.integers(0, 5000),
)
def test_damage_never_breaks_it(file: Path, xml: Any, changes: list[tuple[int, bytes, int]], length: int | None) -> None:
    marks = xml.element("TEMPO", Inizio="0.1", Bpm="130.00", Metro="4/4", Battito="1") + xml.element("POSITION_MARK", Start="1", Num="0")
    lists = xml.element("NODE", xml.element("TRACK", Key="1"), Name="A", Type="1", KeyType="0")
    content = bytearray(xml.collection([track(xml, number, marks, TotalTime="300") for number in range(1, 11)], lists).encode())
    for where, other, instead_of in changes:
        at = where % len(content)
        content[at : at + instead_of] = other
    try:
        library = read(file, bytes(content[:length]))
    except LibraryError as error:
        assert str(error)
        return
    for number in library.tracks:
        library.audio_file(number)
        analysis = library.analysis(number)
        assert analysis is not None
        if analysis.grid is not None:
            assert np.all(np.diff(analysis.grid.beats_s) > 0)
