"""Writers of what rekordbox writes, byte by byte from the formats' descriptions: export.pdb, analysis files, rekordbox.xml.

They know nothing of the readers. Tests get them as fixtures: ``pdb`` an empty export to fill, ``stick`` a folder with one on it,
``anlz`` and ``xml`` the writers of the other two.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from xml.sax.saxutils import quoteattr

import pytest

TRACKS, GENRES, ARTISTS, ALBUMS, LABELS, KEYS, COLORS, PLAYLISTS, ENTRIES = range(9)
HISTORIES, HISTORY_ENTRIES, ARTWORK, COLUMNS, HISTORY = 11, 12, 13, 16, 19
TITLE, PATH = 17, 20


def text(value: str, form: str | None = None) -> bytes:
    """A DeviceSQL string: short ASCII where it fits, then long ASCII, then UTF-16LE; or the ``form`` asked for."""
    form = form or ("utf16" if not value.isascii() else "short" if len(value) <= 126 else "long")
    if form == "short":
        return bytes([(len(value) + 1) * 2 + 1]) + value.encode()
    if form == "long":
        return struct.pack("<BHB", 0x40, len(value) + 4, 0) + value.encode()
    if form == "isrc":
        return struct.pack("<BHB", 0x90, len(value) + 6, 0) + b"\x03" + value.encode() + b"\0"
    letters = value.encode("utf-16-le")
    return struct.pack("<BHB", 0x90, len(letters) + 4, 0) + letters


@dataclass
class Row:
    data: bytes
    present: bool = True


@dataclass
class Pdb:
    """Rows by table; ``build()`` lays them out. Then ``places[kind]`` tells each row's (page, slot, position in the file)."""

    page_bytes: int = 4096
    tables: dict[int, list[Row]] = field(default_factory=lambda: {kind: [] for kind in range(20)})
    places: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    chains: dict[int, list[int]] = field(default_factory=dict)

    def add(self, kind: int, data: bytes, present: bool = True) -> None:
        self.tables[kind].append(Row(data, present))

    def name(self, kind: int, number: int, name: str, *, far: bool = False, present: bool = True, form: str | None = None) -> None:
        letters = text(name, form)
        if kind == ARTISTS:
            start = 24 if far else 10
            head = struct.pack("<HHIBB", 0x64 if far else 0x60, 0x20, number, 3, 0 if far else start)
            data = (head + struct.pack("<H", start) if far else head).ljust(start, b"\0") + letters
        elif kind == ALBUMS:
            start = 32 if far else 22
            head = struct.pack("<HHIIIIBB", 0x84 if far else 0x80, 0x20, 0, 1, number, 0, 3, 0 if far else start)
            data = (head + struct.pack("<H", start) if far else head).ljust(start, b"\0") + letters
        elif kind == KEYS:
            data = struct.pack("<II", number, number) + letters
        elif kind == COLORS:
            data = struct.pack("<5xHB", number, 0) + letters
        elif kind == COLUMNS:
            data = struct.pack("<HH", number, 0x80 + number) + letters
        else:
            data = struct.pack("<I", number) + letters
        self.add(kind, data, present)

    def track(self, number: int, path: str | bytes | None = None, *, present: bool = True, **given: object) -> None:
        """``given``: the row's numbers and texts by name; bytes stand for a text that is already written."""
        row = SimpleNamespace(
            **{
                "title": f"Track {number}", "comment": "", "added": "2024-05-01", "isrc": "", "analysis": "",
                "artist": 0, "album": 0, "genre": 0,
                "label": 0, "key": 0, "remixer": 0, "bpm": 0, "duration": 0, "rating": 0, "year": 0, "plays": 0,
            }
            | given
        )  # fmt: skip
        numbers = struct.pack(
            "<HHIIIIIHHIIIIIIIIIIIIHHHHHHBBHH",
            0x24, 0x20 * number % 65536, 0xC0700, 44100, 0, 7_000_000, number * 7919 % 2**32, 44990, 54115,
            0, row.key, 0, row.label, row.remixer,
            320, 1, row.bpm, row.genre, row.album, row.artist, number, 0, row.plays, row.year, 16, row.duration, 41, 0, row.rating, 1, 3,
        )  # fmt: skip
        path = f"/Contents/Someone/Something/{number}.mp3" if path is None else path
        isrc = text(row.isrc, "isrc") if row.isrc and isinstance(row.isrc, str) else row.isrc
        file_name = path.rpartition("/")[2] if isinstance(path, str) else "x"
        texts: list[object] = [
            isrc, "", b"\x05\x01", b"\x05\x02", "", "", "", "ON", "", "", row.added, "", "", "", row.analysis, "2024-05-02", row.comment,
            row.title, "", file_name, path,
        ]  # fmt: skip
        written = [one if isinstance(one, bytes) else text(str(one)) for one in texts]
        offsets, position = [], 136
        for one in written:
            offsets.append(position)
            position += len(one)
        self.add(TRACKS, numbers + struct.pack("<21H", *offsets) + b"".join(written), present)

    def branch(self, number: int, name: str, *, parent: int = 0, position: int = 0, folder: bool = False, present: bool = True) -> None:
        self.add(PLAYLISTS, struct.pack("<IIIII", parent, 0, position, number, int(folder)) + text(name), present)

    def entries(self, playlist: int, track_ids: list[int]) -> None:
        for position, track_id in enumerate(track_ids, 1):
            self.add(ENTRIES, struct.pack("<III", position, track_id, playlist))

    def history(self, number: int, track_ids: list[int], name: str | None = None) -> None:
        self.name(HISTORIES, number, name or f"HISTORY {number:03}")
        for position, track_id in enumerate(track_ids, 1):
            self.add(HISTORY_ENTRIES, struct.pack("<III", track_id, number, position))

    def build(self) -> bytes:
        """Page 0, an index page a table, and the data pages dealt out in turn, so that every chain jumps."""
        index = {kind: 1 + at for at, kind in enumerate(self.tables)}
        filled = {kind: self._fill(rows) for kind, rows in self.tables.items()}
        self.chains = {kind: [] for kind in self.tables}
        free = 1 + len(self.tables)
        for turn in range(max((len(pages) for pages in filled.values()), default=0)):
            for kind, pages in filled.items():
                if turn < len(pages):
                    self.chains[kind].append(free)
                    free += 1
        file = bytearray(free * self.page_bytes)
        struct.pack_into("<7I", file, 0, 0, self.page_bytes, len(self.tables), free, 1, 60, 0)
        for line, (kind, pages) in enumerate(filled.items()):
            chain = [index[kind], *self.chains[kind]]
            struct.pack_into("<4I", file, 28 + 16 * line, kind, free, chain[0], chain[-1])
            self._header(file, chain[0], kind, (*chain, free)[1], 0, 0, 0x64)
            self.places[kind] = []
            for at, rows in enumerate(pages):
                self._page(file, chain[at + 1], kind, (*chain, free)[at + 2], rows)
        return bytes(file)

    def _fill(self, rows: list[Row]) -> list[list[Row]]:
        pages: list[list[Row]] = []
        room = 0
        for row in rows:
            needed = len(row.data) + 3 & ~3
            slot = 2 if pages and len(pages[-1]) % 16 else 6
            if needed + slot > room:
                pages.append([])
                room, slot = self.page_bytes - 40, 6
            pages[-1].append(row)
            room -= needed + slot
            assert room >= 0, "a row longer than a page"
        return pages

    def _header(self, file: bytearray, number: int, kind: int, following: int, slots: int, present: int, flags: int) -> None:
        packed = slots | present << 13 | flags << 24
        struct.pack_into("<7I", file, number * self.page_bytes, 0, number, kind, following, 8, 0, packed)

    def _page(self, file: bytearray, number: int, kind: int, following: int, rows: list[Row]) -> None:
        start = number * self.page_bytes
        self._header(file, number, kind, following, len(rows), sum(row.present for row in rows), 0x24)
        offset = 0
        for slot, row in enumerate(rows):
            self.places[kind].append((number, slot, start + 40 + offset))
            file[start + 40 + offset : start + 40 + offset + len(row.data)] = row.data
            group_end = start + self.page_bytes - slot // 16 * 36
            struct.pack_into("<H", file, group_end - 6 - 2 * (slot % 16), offset)
            if row.present:
                (mask,) = struct.unpack_from("<H", file, group_end - 4)
                struct.pack_into("<HH", file, group_end - 4, mask | 1 << slot % 16, 1)
            offset += len(row.data) + 3 & ~3
        struct.pack_into("<HHHH", file, start + 28, self.page_bytes - 40 - offset, offset, 1, 0)


def tag(magic: bytes, header: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">4sII", magic, 12 + len(header), 12 + len(header) + len(content)) + header + content


def beats(rows: list[tuple[int, float, float]]) -> bytes:
    """PQTZ of (position in bar, BPM, seconds)."""
    written = b"".join(struct.pack(">HHI", position, round(bpm * 100), round(time_s * 1000)) for position, bpm, time_s in rows)
    return tag(b"PQTZ", struct.pack(">III", 0, 0x80000, len(rows)), written)


def plain_cues(kind: int, cues: list[tuple[int, float, float | None]]) -> bytes:
    """PCOB of (hot cue, seconds, loop's end)."""
    written = b"".join(
        tag(
            b"PCPT",
            struct.pack(">IIIHH", hot, 4 * (end is not None), 0x10000, 0xFFFF, 1),
            struct.pack(">BxHII16x", 1 if end is None else 2, 1000, round(start * 1000), 0xFFFFFFFF if end is None else round(end * 1000)),
        )
        for hot, start, end in cues
    )
    return tag(b"PCOB", struct.pack(">IHHI", kind, 0, len(cues), len(cues)), written)


def named_cues(kind: int, cues: list[tuple[int, float, float | None, str | None]]) -> bytes:
    """PCO2 of (hot cue, seconds, loop's end, name); a name of None: the entry ends before it."""
    entries = []
    for hot, start, end, name in cues:
        place = struct.pack(
            ">B3sIIB7xHH",
            1 if end is None else 2,
            b"\0\x03\xe8",
            round(start * 1000),
            0xFFFFFFFF if end is None else round(end * 1000),
            0,
            0,
            0,
        )
        letters = (name + "\0").encode("utf-16-be") if name else b""
        entries.append(
            tag(b"PCP2", struct.pack(">I", hot), place + (b"" if name is None else struct.pack(">I", len(letters)) + letters + bytes(24)))
        )
    return tag(b"PCO2", struct.pack(">IHH", kind, len(cues), 0), b"".join(entries))


def path_tag(path: str) -> bytes:
    letters = (path + "\0").encode("utf-16-be")
    return tag(b"PPTH", struct.pack(">I", len(letters)), letters)


def waveform(length: int) -> bytes:
    return tag(b"PWAV", struct.pack(">II", length, 0x10000), bytes(length))


def anlz_file(*tags: bytes) -> bytes:
    content = b"".join(tags)
    return struct.pack(">4sII", b"PMAI", 28, 28 + len(content)) + bytes(16) + content


def xml_element(name: str, inside: str = "", **attributes: object) -> str:
    given = "".join(f" {key}={quoteattr(str(value))}" for key, value in attributes.items())
    return f"<{name}{given}>{inside}</{name}>" if inside else f"<{name}{given}/>"


def xml_collection(tracks: list[str], nodes: str = "") -> str:
    collection = f'<COLLECTION Entries="{len(tracks)}">{"".join(tracks)}</COLLECTION>'
    product = '<PRODUCT Name="rekordbox" Version="6.6.4" Company="Pioneer DJ"/>'
    lists = f'<PLAYLISTS><NODE Type="0" Name="ROOT" Count="1">{nodes}</NODE></PLAYLISTS>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<DJ_PLAYLISTS Version="1.0.0">{product}{collection}{lists}</DJ_PLAYLISTS>\n'


@pytest.fixture
def pdb() -> Pdb:
    return Pdb()


@pytest.fixture
def new_pdb() -> type[Pdb]:
    return Pdb


@pytest.fixture
def stick(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes an export.pdb onto a stick and gives the stick's folder."""

    def write(export: bytes) -> Path:
        folder = tmp_path / "stick" / "PIONEER" / "rekordbox"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "export.pdb").write_bytes(export)
        return tmp_path / "stick"

    return write


@pytest.fixture
def anlz() -> SimpleNamespace:
    return SimpleNamespace(
        file=anlz_file, beats=beats, plain_cues=plain_cues, named_cues=named_cues, path=path_tag, waveform=waveform, tag=tag
    )


@pytest.fixture
def xml() -> SimpleNamespace:
    return SimpleNamespace(collection=xml_collection, element=xml_element)
