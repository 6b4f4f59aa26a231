"""export.pdb with damage put into it: what can't be read is named by table, page and row, and everything else is read."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.music.rekordbox import Library, find_library

TRACKS, ARTISTS, ENTRIES = 0, 2, 8
Stick = Callable[[bytes], Path]


def read(stick: Stick, export: bytes) -> Library:
    library = find_library(stick(export))
    assert library is not None
    return library


def put(export: bytes, at: int, *numbers: int, form: str = "<I") -> bytes:
    changed = bytearray(export)
    for step, number in enumerate(numbers):
        struct.pack_into(form, changed, at + step * struct.calcsize(form), number)
    return bytes(changed)


@pytest.fixture
def damaged(pdb: Any, stick: Stick) -> Callable[[Callable[[bytes], bytes]], Library]:
    """60 tracks on several pages; gives the library that is read after a change to the export's bytes."""
    pdb.name(ARTISTS, 1, "Somebody")
    for number in range(1, 61):
        pdb.track(number, artist=1, title=f"Title {number}", comment="Some words")
    pdb.branch(1, "All")
    pdb.entries(1, list(range(1, 61)))
    export = pdb.build()
    assert len(pdb.chains[TRACKS]) >= 4

    def change(how: Callable[[bytes], bytes]) -> Library:
        return read(stick, how(export))

    return change


def row_of(pdb: Any, number: int) -> tuple[int, int, int]:
    page, slot, at = pdb.places[TRACKS][number - 1]
    return page, slot, at


def without(*numbers: int) -> list[int]:
    return [number for number in range(1, 61) if number not in numbers]


def test_a_bad_title_costs_the_title(pdb: Any, damaged: Any) -> None:
    page, slot, at = row_of(pdb, 20)
    library = damaged(lambda export: put(export, at + 94 + 2 * 17, 4000, form="<H"))
    assert library.problems == (f"tracks, page {page}, row {slot}: its title lies outside the page. The rest of the row is kept.",)
    assert (library.tracks[20].title, library.tracks[20].artist) == (None, "Somebody")
    assert list(library.tracks) == without()


@pytest.mark.parametrize(
    ("offset", "first_bytes", "words"),
    [
        (40, b"", "lies inside the row's numbers"),
        (136, b"\x40\xff\xff\0", "runs past the page"),
        (136, b"\x40\x03\0\0", "runs past the page"),
        (136, b"\x01", "runs past the page"),
        (136, b"\x44", "is of a kind that is not known (0x44)"),
        (136, b"\x90\x07\0\0", "is not UTF-16"),
        (136, b"\x09\xff\xfe\xfd", "is not ASCII"),
    ],
)
def test_a_bad_path_costs_the_row(pdb: Any, damaged: Any, offset: int, first_bytes: bytes, words: str) -> None:
    page, slot, at = row_of(pdb, 20)

    def change(export: bytes) -> bytes:
        export = export[: at + 136] + first_bytes + export[at + 136 + len(first_bytes) :]
        return put(export, at + 94 + 2 * 20, offset, form="<H")

    library = damaged(change)
    assert f"tracks, page {page}, row {slot}: its path {words}. It is left out." in library.problems
    assert list(library.tracks) == without(20)
    assert library.playlists[0].track_ids == tuple(without(20))
    assert "playlist 1 names 1 tracks that the export does not list. They are left out." in library.problems


@pytest.mark.parametrize(
    ("place", "words"),
    [("end", "outside the page"), ("in the one before", "inside another row"), ("over the one before", "inside another row")],
)
def test_a_row_elsewhere_is_left_out(pdb: Any, damaged: Any, place: str, words: str) -> None:
    page, slot, _ = row_of(pdb, 20)
    assert 2 < slot < 16
    before = row_of(pdb, 19)[2] - page * 4096 - 40
    offset = {"end": 4090, "in the one before": before + 60, "over the one before": before - 60}[place]
    library = damaged(lambda export: put(export, (page + 1) * 4096 - 6 - 2 * slot, offset, form="<H"))
    assert library.problems[0] == f"tracks, page {page}, row {slot}: it lies {words}. It is left out."
    assert list(library.tracks) == without(20)


def test_a_bad_name_is_missing_and_named(pdb: Any, damaged: Any) -> None:
    page, slot, at = pdb.places[ARTISTS][0]
    library = damaged(lambda export: put(export, at + 10, 0x02, form="<B"))
    assert library.problems == (f"artists, page {page}, row {slot}: its name is of a kind that is not known (0x02). It is left out.",)
    assert {track.artist for track in library.tracks.values()} == {None}


def test_numbers_that_can_not_be_are_said(pdb: Any, damaged: Any) -> None:
    first, second = row_of(pdb, 3), row_of(pdb, 4)
    library = damaged(lambda export: put(put(export, first[2] + 89, 200, form="<B"), second[2] + 72, 5))
    assert library.problems[:2] == (
        f"tracks, page {first[0]}, row {first[1]}: a rating of 200 stars is read as none.",
        f"tracks, page {row_of(pdb, 5)[0]}, row {row_of(pdb, 5)[1]}: track 5 is there twice. This row counts.",
    )
    assert library.tracks[3].rating == 0
    assert library.tracks[5].title == "Title 5"


@pytest.mark.parametrize("target", ["itself", "the first", "another table", "beyond the end", "the header"])
def test_a_broken_chain_is_said_and_its_other_pages_found(pdb: Any, damaged: Any, target: str) -> None:
    pages = pdb.chains[TRACKS]
    to = {"itself": pages[1], "the first": pages[0], "another table": pdb.chains[ENTRIES][0], "beyond the end": 999_999, "the header": 0}[
        target
    ]
    library = damaged(lambda export: put(export, pages[1] * 4096 + 12, to))
    (problem,) = library.problems
    assert problem.startswith(f"tracks: page {pages[1]} leads to page {to}")
    assert sorted(library.tracks) == without()


@pytest.mark.parametrize("last_page", [0, 999_999])
def test_a_wrong_last_page_costs_nothing(damaged: Any, last_page: int) -> None:
    library = damaged(lambda export: put(export, 28 + 12, last_page))
    assert sorted(library.tracks) == without()


@pytest.mark.parametrize("first_page", [0, 2, 999_999])
def test_a_wrong_first_page_costs_nothing(damaged: Any, first_page: int) -> None:
    library = damaged(lambda export: put(export, 28 + 8, first_page))
    assert sorted(library.tracks) == without()
    assert library.problems[0].startswith(f"tracks: it begins at page {first_page}, which")


@pytest.mark.parametrize(("at", "number"), [(4, 4000), (4, 0), (4, 2**31), (4, 8192), (8, 4_000_000), (8, 2**32 - 1)])
def test_a_damaged_header_costs_nothing(damaged: Any, at: int, number: int) -> None:
    library = damaged(lambda export: put(export, at, number))
    assert list(library.tracks) == without()
    assert library.playlists[0].track_ids == tuple(without())


@pytest.mark.parametrize(("at", "number"), [(8, 0), (8, 1), (28, 77)])
def test_tables_that_the_header_does_not_list_are_found(damaged: Any, at: int, number: int) -> None:
    library = damaged(lambda export: put(export, at, number))
    assert sorted(library.tracks) == without()
    assert library.playlists[0].track_ids == tuple(without())
    assert any("missing in the list of tables" in problem for problem in library.problems)


def test_a_count_too_large_for_the_page_is_not_believed(pdb: Any, damaged: Any) -> None:
    page = pdb.chains[TRACKS][1]
    library = damaged(lambda export: put(export, page * 4096 + 24, 0x1FFF, form="<H"))
    assert library.problems[0].startswith(f"tracks, page {page}: it says 8,191 rows")
    lost = set(without()) - set(library.tracks)
    assert len(lost) <= 1  # a row whose text reaches into where more rows' index would be


def test_a_mark_too_many_is_said(pdb: Any, damaged: Any) -> None:
    page = pdb.chains[TRACKS][0]

    def change(export: bytes) -> bytes:
        (packed,) = struct.unpack_from("<I", export, page * 4096 + 24)
        return put(export, page * 4096 + 24, packed - (1 << 13))

    library = damaged(change)
    assert re.fullmatch(
        rf"tracks, page {page}: it counts \d+ rows and marks \d+\. The marked ones are read; some may be stale\.", library.problems[0]
    )


def test_cut_off_at_any_page_the_rest_is_read(pdb: Any, damaged: Any) -> None:
    export = pdb.build()
    for length in range(4096, len(export), 4096 - 7):
        complete = length // 4096
        library = damaged(lambda whole, length=length: whole[:length])
        assert list(library.tracks) == [number for number in without() if row_of(pdb, number)[0] < complete]
        assert library.problems


def test_folders_inside_themselves(pdb: Any, stick: Stick) -> None:
    pdb.branch(1, "One", parent=2, folder=True)
    pdb.branch(2, "Two", parent=1, folder=True)
    pdb.branch(3, "Own", parent=3)
    pdb.branch(4, "In one", parent=1)
    pdb.branch(5, "Lost", parent=99)
    pdb.branch(6, "In a playlist", parent=5)
    pdb.entries(44, [1, 2])
    for number in range(100, 160):
        pdb.branch(number, "Deep", parent=number - 1 if number > 100 else 0, folder=True)
    pdb.branch(200, "Deepest", parent=159)
    library = read(stick, pdb.build())
    assert {playlist.name: playlist.path for playlist in library.playlists} == {
        "Own": (),
        "In one": ("Two", "One"),
        "Lost": (),
        "In a playlist": (),
        "Deepest": ("Deep",) * 32,
    }
    assert "playlist entries: 2 belong to playlists that the export does not list. They are left out." in library.problems


def test_a_small_file_does_not_become_a_large_library(pdb: Any, stick: Stick) -> None:
    """Every slot of a page leads to one row; or every text of every row to one long text."""
    for number in range(1, 9):
        pdb.track(number, comment="x" * 1200 if number == 8 else "")
    export = bytearray(pdb.build())
    (page,) = pdb.chains[TRACKS]
    end = (page + 1) * 4096
    for slot in range(1700):
        struct.pack_into("<H", export, end - slot // 16 * 36 - 6 - 2 * (slot % 16), 8)
        struct.pack_into("<H", export, end - slot // 16 * 36 - 4, 0xFFFF)
    struct.pack_into("<I", export, page * 4096 + 24, 1700 | 0x24 << 24)
    assert len(read(stick, bytes(export)).tracks) <= 1

    export = bytearray(pdb.build())
    long_text = export.index(struct.pack("<BHB", 0x40, 1204, 0), page * 4096)
    for _, _, at in pdb.places[TRACKS]:
        struct.pack_into("<21H", export, at + 94, *[long_text - at] * 21)
    library = read(stick, bytes(export))
    letters = sum(
        len(value) for track in library.tracks.values() for value in (track.title, track.path, track.comment, track.isrc) if value
    )
    assert 1200 < letters <= 2 * 4096
    assert any("would make the page's texts longer than the page" in problem for problem in library.problems)


def test_problems_have_an_end(pdb: Any, stick: Stick) -> None:
    for number in range(1, 2001):
        pdb.track(number, b"\x44")
    library = read(stick, pdb.build())
    assert library.tracks == {}
    assert len(library.problems) == 201
    assert library.problems[-1] == "And 1,800 more of the kind."
