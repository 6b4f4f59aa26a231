"""export.pdb under hypothesis: whatever is in the bytes, the answer is a library or a LibraryError, soon and small."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.music.rekordbox import Library, LibraryError, find_library

TRACKS, ARTISTS = 0, 2
PAGE = 4096
careful = settings(max_examples=80, deadline=timedelta(seconds=5), suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture
def export(pdb: Any) -> bytes:
    for number in range(1, 41):
        pdb.name(ARTISTS, number, f"Artist {number} ä" if number % 2 else f"Artist {number}", far=number % 5 == 0)
        pdb.name(1, number, "Techno" * number)
        pdb.track(
            number, artist=number, genre=number, comment="夜" * number, isrc="GBAYE6700149", rating=number % 6, present=number % 9 > 0
        )
    pdb.branch(1, "Folder", folder=True)
    pdb.branch(2, "List", parent=1)
    pdb.entries(2, list(range(1, 41)))
    pdb.history(1, list(range(1, 20)))
    built: bytes = pdb.build()
    return built


def read(stick: Callable[[bytes], Path], export: bytes) -> Library | None:
    """Checks what holds for every library; None: there was none, and that was said."""
    try:
        library = find_library(stick(export))
    except LibraryError as error:
        assert str(error)
        return None
    assert library is not None
    assert len(library.problems) <= 201
    letters = 0
    for number, track in library.tracks.items():
        assert number == track.id
        assert 0 <= track.rating <= 5
        texts = [
            text for text in (track.title, track.artist, track.path, track.comment, track.key, track.added, track.isrc) if text is not None
        ]
        for text in texts:
            text.encode()
        letters += sum(map(len, texts)) - len(track.artist or "")
        library.audio_file(number)
        library.analysis(number)
    assert letters <= 2 * len(export)
    for group in (*library.playlists, *library.histories):
        assert set(group.track_ids) <= set(library.tracks)
    assert set(library.played()) <= set(library.tracks)
    return library


@careful
@given(changes=st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=8)), min_size=1, max_size=8))
def test_changed_bytes(export: bytes, stick: Any, changes: list[tuple[int, bytes]]) -> None:
    changed = bytearray(export)
    for where, other in changes:
        at = where % len(changed)
        changed[at : at + len(other)] = other[: len(changed) - at]
    read(stick, bytes(changed))


@careful
@given(changes=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 31), st.integers(0, 2**16 - 1)), min_size=1, max_size=8))
def test_changed_headers_and_row_indices(export: bytes, stick: Any, changes: list[tuple[int, int, int]]) -> None:
    """Where a byte matters most: the first 40 of a page, and its last."""
    changed = bytearray(export)
    for page, word, value in changes:
        at = page % (len(export) // PAGE) * PAGE + (word * 2 if word < 20 else PAGE - 2 * (word - 19))
        struct.pack_into("<H", changed, at, value)
    read(stick, bytes(changed))


@careful
@given(length=st.integers(0, 2**17), tail=st.binary(max_size=64))
def test_cut_off(export: bytes, stick: Any, length: int, tail: bytes) -> None:
    read(stick, export[: length % len(export)] + tail)


@careful
@given(seed=st.randoms(use_true_random=False), which=st.integers(0, 100), header=st.booleans())
def test_a_page_of_noise_costs_that_page_only(pdb: Any, export: bytes, stick: Any, seed: Any, which: int, header: bool) -> None:
    """Noise in any page but the file's header; ``header``: over the page's header too. All tracks of other pages stay as they were."""
    page = 1 + which % (len(export) // PAGE - 1)
    start = page * PAGE + (0 if header else 40)
    changed = export[:start] + seed.randbytes((page + 1) * PAGE - start) + export[(page + 1) * PAGE :]
    whole, library = read(stick, export), read(stick, changed)
    assert whole is not None
    assert library is not None
    elsewhere = [track for track, (at, _, _) in zip(range(1, 41), pdb.places[TRACKS], strict=True) if at != page and track % 9]
    names_hit = page not in pdb.chains[TRACKS]
    for number in elsewhere:
        if not any(f"track {number} is there twice" in problem for problem in library.problems):
            found, expected = library.tracks[number], whole.tracks[number]
            assert (found.path, found.title, found.comment) == (expected.path, expected.title, expected.comment)
            assert names_hit or found == expected


@careful
@given(content=st.binary(max_size=6 * PAGE), page_bytes=st.sampled_from([512, 4096, 65536]), tables=st.integers(0, 400))
def test_noise_behind_a_header(stick: Any, content: bytes, page_bytes: int, tables: int) -> None:
    pages = struct.pack("<7I", 0, page_bytes, tables, 9, 1, 60, 0) + content
    if len(pages) > page_bytes + 8:
        pages = pages[: page_bytes + 4] + b"\x01\0\0\0" + pages[page_bytes + 8 :]
    read(stick, pages)
