"""The inside of export.pdb: DeviceSQL's texts, and the layout of the rows that a library is made of.

    text   odd first byte: length × 2 + 1, itself counted, then ASCII │ 0x40: length, 0, then ASCII │ 0x90: length, 0, then UTF-16LE
           lengths of two bytes count the four before the letters. An ISRC says 0x90 and holds 0x03, ASCII, 0x00.

Offsets in a row count from its first byte. Source: Deep Symmetry's "Database Exports" (djl-analysis); history rows from its Kaitai
description. Only what a library needs is read: artwork, colours, menus and rekordbox's own history bookkeeping are not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from engine.music.rekordbox.pages import PAGE_HEADER_BYTES, Page, RowPlace

# Kinds of tables
TRACKS, GENRES, ARTISTS, ALBUMS, LABELS, KEYS = range(6)
PLAYLISTS, PLAYLIST_ENTRIES = 7, 8
HISTORIES, HISTORY_ENTRIES = 11, 12

_LONG_ASCII, _LONG_UTF16 = 0x40, 0x90
_U16 = struct.Struct("<H")
_FAR = 0x04  # bit of a row's subtype: its name's offset takes two bytes


class RowError(Exception):
    """A row, or one of its texts, can't be read. The words fit after 'tracks, page 3, row 5: '."""


def text(page: Page, at: int, *, isrc: bool = False) -> str:
    """The text at position ``at`` of the page's bytes. RowError where there is none."""
    data, end = page.data, page.heap_end
    if not PAGE_HEADER_BYTES <= at < end:
        raise RowError("lies outside the page")
    kind = data[at]
    encoding = "utf-8"  # what is said to be ASCII is UTF-8 from some writers
    if kind & 1:
        start, stop = at + 1, at + (kind >> 1)
    elif kind in {_LONG_ASCII, _LONG_UTF16} and at + 4 <= end:
        start, stop = at + 4, at + _U16.unpack_from(data, at + 1)[0]
        if kind == _LONG_UTF16:
            encoding = "utf-16-le"
    else:
        raise RowError(f"is of a kind that is not known ({kind:#04x})")
    if not start <= stop <= end:
        raise RowError("runs past the page")
    page.text_left -= stop - start
    if page.text_left < 0:
        raise RowError("would make the page's texts longer than the page")
    letters = data[start:stop]
    if isrc and kind == _LONG_UTF16 and letters[:1] == b"\x03":
        letters, encoding = letters[1:], "ascii"
    try:
        return letters.decode(encoding).rstrip("\0")
    except UnicodeDecodeError:
        raise RowError(f"is not {'UTF-16' if kind == _LONG_UTF16 else 'ASCII'}") from None


@dataclass(frozen=True, slots=True)
class Named:
    """A row that is a name: how long its fixed part is, where its id stands, and where its name begins."""

    row_bytes: int
    id_at: int
    name_at: Callable[[bytes, int], int]  # of the page's bytes and the row's base: the name's offset

    def read(self, place: RowPlace) -> tuple[int, str]:
        data, base = place.page.data, place.base
        (number,) = struct.unpack_from("<I", data, base + self.id_at)
        offset = self.name_at(data, base)
        if offset < self.row_bytes - 1:
            raise RowError("its name lies inside the row's numbers")
        try:
            return number, text(place.page, base + offset)
        except RowError as error:
            raise RowError(f"its name {error}") from None


def _near_or_far(near_at: int, far_at: int) -> Callable[[bytes, int], int]:
    def name_at(data: bytes, base: int) -> int:
        subtype: int = _U16.unpack_from(data, base)[0]
        if not subtype & _FAR:
            return data[base + near_at]
        far: int = _U16.unpack_from(data, base + far_at)[0] if base + far_at + 2 <= len(data) else 0
        return far

    return name_at


NAMED = {
    GENRES: Named(5, 0, lambda _data, _base: 4),
    LABELS: Named(5, 0, lambda _data, _base: 4),
    KEYS: Named(9, 0, lambda _data, _base: 8),
    ARTISTS: Named(11, 4, _near_or_far(9, 10)),
    ALBUMS: Named(23, 12, _near_or_far(21, 22)),
    HISTORIES: Named(5, 0, lambda _data, _base: 4),
}

_TREE = struct.Struct("<5I")
TREE_BYTES = _TREE.size + 1


class Branch(NamedTuple):
    """A playlist or a folder of them. ``parent`` 0: it stands at the top."""

    id: int
    parent: int
    position: int
    is_folder: bool
    name: str


def branch(place: RowPlace) -> Branch:
    parent, _, position, number, folder = _TREE.unpack_from(place.page.data, place.base)
    try:
        return Branch(number, parent, position, folder != 0, text(place.page, place.base + _TREE.size))
    except RowError as error:
        raise RowError(f"its name {error}") from None


_ENTRY = struct.Struct("<3I")
ENTRY_BYTES = _ENTRY.size


class Entry(NamedTuple):
    list_id: int
    position: int
    track_id: int


def playlist_entry(place: RowPlace) -> Entry:
    position, track_id, list_id = _ENTRY.unpack_from(place.page.data, place.base)
    return Entry(list_id, position, track_id)


def history_entry(place: RowPlace) -> Entry:
    track_id, list_id, position = _ENTRY.unpack_from(place.page.data, place.base)
    return Entry(list_id, position, track_id)


# Positions of the numbers in a track's row, and of its texts among the 21 offsets that follow them.
_TRACK = struct.Struct("<32x I 4x I I 8x I I I I I 2x H H 2x H 3x B 4x 21H")
TRACK_BYTES = _TRACK.size
ISRC, ADDED, ANALYSIS, COMMENT, TITLE, PATH = 0, 10, 14, 16, 17, 20


class TrackRow(NamedTuple):
    """A track's numbers as they stand, 0 for none. ``bpm_100`` is in hundredths, ``duration_s`` whole; ids lead to other tables."""

    key_id: int
    label_id: int
    remixer_id: int
    bpm_100: int
    genre_id: int
    album_id: int
    artist_id: int
    id: int
    plays: int
    year: int
    duration_s: int
    rating: int
    texts: tuple[int, ...]  # offsets


def track(place: RowPlace) -> TrackRow:
    numbers = _TRACK.unpack_from(place.page.data, place.base)
    return TrackRow._make((*numbers[:12], numbers[12:]))


def track_text(place: RowPlace, row: TrackRow, which: int) -> str | None:
    """None where the row has no such text. RowError where it has one that can't be read."""
    offset = row.texts[which]
    if offset == 0:
        return None
    if offset < TRACK_BYTES:
        raise RowError("lies inside the row's numbers")
    return text(place.page, place.base + offset, isrc=which == ISRC) or None
