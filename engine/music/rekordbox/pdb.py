"""export.pdb → ``Library``: names looked up, playlists put into their folders, what is damaged named. Opened for reading only.

Not here: pages and chains (``pages``), the layout of rows (``rows``).
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from engine.music.rekordbox import rows
from engine.music.rekordbox.library import History, Library, LibraryTrack, Playlist
from engine.music.rekordbox.pages import PageFile, RowPlace
from engine.music.rekordbox.problems import LibraryError, Problems
from engine.music.rekordbox.rows import RowError

MOST_TRACKS = 200_000
MOST_ROWS = 1_000_000  # of any other table; playlist entries of large libraries come to 100,000
MOST_FOLDERS_DEEP = 32
_MOST_STARS = 5

_Read = TypeVar("_Read")
_NAMES = {  # as problems call the tables
    rows.TRACKS: "tracks",
    rows.GENRES: "genres",
    rows.ARTISTS: "artists",
    rows.ALBUMS: "albums",
    rows.LABELS: "labels",
    rows.KEYS: "keys",
    rows.PLAYLISTS: "playlists",
    rows.PLAYLIST_ENTRIES: "playlist entries",
    rows.HISTORIES: "histories",
    rows.HISTORY_ENTRIES: "history entries",
}


def open_to_read(path: Path) -> IO[bytes]:
    """Unbuffered, for reading only. LibraryError: it isn't there, or is no file (a pipe under that name would wait for ever)."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path.open("rb", buffering=0)
    except OSError as error:
        raise LibraryError(f"{path.name} can't be opened ({error.strerror}). Is the stick still in, and may you read it?") from error
    raise LibraryError(f"{path.name} is not a file. Name the stick, its export.pdb or a rekordbox.xml.")


def read_export(path: Path, root: Path) -> Library:
    """The library that ``path`` (an export.pdb) holds; paths in it start at ``root``. LibraryError: it can't be read at all."""
    problems = Problems()
    with open_to_read(path) as file:
        return _Export(PageFile(file, os.fstat(file.fileno()).st_size, problems), problems).library(path, root)


class _Export:
    def __init__(self, pages: PageFile, problems: Problems) -> None:
        self._pages, self._problems = pages, problems

    def library(self, path: Path, root: Path) -> Library:
        tracks = self._tracks()
        if not tracks and rows.TRACKS not in self._pages.tables:
            raise LibraryError(
                f"{path.name} lists no tracks: it is another database than export.pdb, or its beginning is destroyed. "
                "Export to the stick again in rekordbox."
            )
        playlists, folders = self._playlists(tracks)
        return Library(
            tracks=tracks,
            playlists=playlists,
            folders=folders,
            histories=self._histories(tracks),
            problems=self._problems.told(),
            source=path,
            root=root,
        )

    def _bad(self, place: RowPlace, kind: int, what: str) -> None:
        self._problems.add(f"{_NAMES[kind]}, page {place.page.number}, row {place.slot}: {what}.")

    def _rows(self, kind: int, row_bytes: int, read: Callable[[RowPlace], _Read]) -> Iterator[tuple[RowPlace, _Read]]:
        most = MOST_TRACKS if kind == rows.TRACKS else MOST_ROWS
        for place in self._pages.rows(kind, _NAMES[kind], row_bytes, most):
            try:
                yield place, read(place)
            except RowError as error:
                self._bad(place, kind, f"{error}. It is left out")

    def _names(self, kind: int) -> dict[int, str]:
        layout = rows.NAMED[kind]
        return {number: name for _, (number, name) in self._rows(kind, layout.row_bytes, layout.read) if name}

    def _tracks(self) -> dict[int, LibraryTrack]:
        artists, albums, genres, labels, keys = map(self._names, (rows.ARTISTS, rows.ALBUMS, rows.GENRES, rows.LABELS, rows.KEYS))
        tracks: dict[int, LibraryTrack] = {}
        for place, row in self._rows(rows.TRACKS, rows.TRACK_BYTES, rows.track):
            try:
                path = rows.track_text(place, row, rows.PATH)
            except RowError as error:
                self._bad(place, rows.TRACKS, f"its path {error}. It is left out")
                continue
            if path is None:
                self._bad(place, rows.TRACKS, "it names no file. It is left out")
                continue
            if row.id in tracks:
                self._bad(place, rows.TRACKS, f"track {row.id} is there twice. This row counts")
            if row.rating > _MOST_STARS:
                self._bad(place, rows.TRACKS, f"a rating of {row.rating} stars is read as none")
            tracks[row.id] = LibraryTrack(
                id=row.id,
                path=path,
                title=self._text(place, row, rows.TITLE, "title"),
                artist=artists.get(row.artist_id),
                album=albums.get(row.album_id),
                genre=genres.get(row.genre_id),
                label=labels.get(row.label_id),
                remixer=artists.get(row.remixer_id),
                key=keys.get(row.key_id),
                bpm=row.bpm_100 / 100 or None,
                duration_s=float(row.duration_s) or None,
                rating=row.rating if row.rating <= _MOST_STARS else 0,
                comment=self._text(place, row, rows.COMMENT, "comment"),
                year=row.year or None,
                added=self._text(place, row, rows.ADDED, "date"),
                analysis_path=self._text(place, row, rows.ANALYSIS, "analysis path"),
                plays=row.plays,
                isrc=self._text(place, row, rows.ISRC, "ISRC"),
            )
        return tracks

    def _text(self, place: RowPlace, row: rows.TrackRow, which: int, name: str) -> str | None:
        try:
            return rows.track_text(place, row, which)
        except RowError as error:
            self._bad(place, rows.TRACKS, f"its {name} {error}. The rest of the row is kept")
            return None

    def _entries(self, kind: int, read: Callable[[RowPlace], rows.Entry]) -> dict[int, list[int]]:
        """Track ids in their order, by the list that they belong to."""
        lists: dict[int, list[int]] = {}
        for _, entry in self._rows(kind, rows.ENTRY_BYTES, read):
            lists.setdefault(entry.list_id, []).append(entry.position << 32 | entry.track_id)
        return {number: [packed & 0xFFFFFFFF for packed in sorted(entries)] for number, entries in lists.items()}

    def _known(self, ids: list[int], tracks: dict[int, LibraryTrack], where: str) -> tuple[int, ...]:
        known = tuple(number for number in ids if number in tracks)
        if len(known) < len(ids):
            self._problems.add(f"{where} names {len(ids) - len(known):,} tracks that the export does not list. They are left out.")
        return known

    def _playlists(self, tracks: dict[int, LibraryTrack]) -> tuple[tuple[Playlist, ...], tuple[str, ...]]:
        branches: dict[int, rows.Branch] = {}
        for place, branch in self._rows(rows.PLAYLISTS, rows.TREE_BYTES, rows.branch):
            if branch.id in branches:
                self._bad(place, rows.PLAYLISTS, f"playlist {branch.id} is there twice. This row counts")
            branches[branch.id] = branch
        entries = self._entries(rows.PLAYLIST_ENTRIES, rows.playlist_entry)
        playlists: list[tuple[tuple[tuple[int, int], ...], Playlist]] = []
        folders: list[tuple[tuple[tuple[int, int], ...], str]] = []
        for branch in branches.values():
            above = self._above(branch, branches)
            order = tuple((one.position, one.id) for one in (*above, branch))
            if branch.is_folder:
                folders.append((order, "/".join(one.name for one in (*above, branch))))
                continue
            ids = self._known(entries.pop(branch.id, []), tracks, f"playlist {branch.id}")
            playlists.append((order, Playlist(branch.id, branch.name, tuple(one.name for one in above), ids)))
        homeless = sum(map(len, entries.values()))
        if homeless:
            self._problems.add(f"playlist entries: {homeless:,} belong to playlists that the export does not list. They are left out.")
        return tuple(playlist for _, playlist in sorted(playlists, key=lambda one: one[0])), tuple(name for _, name in sorted(folders))

    def _above(self, branch: rows.Branch, branches: dict[int, rows.Branch]) -> tuple[rows.Branch, ...]:
        """The folders around it, outermost first. A folder that is missing, or inside itself, ends the way up."""
        above: list[rows.Branch] = []
        seen = {branch.id}
        parent = branch.parent
        while parent:
            folder = branches.get(parent)
            if folder is None or not folder.is_folder or folder.id in seen or len(above) == MOST_FOLDERS_DEEP:
                self._problems.add(f"playlists: {branch.id} lies in a folder that is missing or inside itself. It is shown without.")
                break
            above.insert(0, folder)
            seen.add(folder.id)
            parent = folder.parent
        return tuple(above)

    def _histories(self, tracks: dict[int, LibraryTrack]) -> tuple[History, ...]:
        """Sessions in their order. One whose name is lost keeps what was played in it."""
        names = self._names(rows.HISTORIES)
        entries = self._entries(rows.HISTORY_ENTRIES, rows.history_entry)
        numbers = sorted({*names, *entries})
        nameless = Counter(number in names for number in numbers)[False]
        if nameless:
            self._problems.add(f"histories: {nameless:,} have no name. They are called by their number.")
        return tuple(
            History(number, names.get(number, f"HISTORY {number}"), self._known(entries.get(number, []), tracks, f"history {number}"))
            for number in numbers
        )
