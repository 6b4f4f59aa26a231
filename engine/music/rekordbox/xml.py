"""rekordbox.xml (File → Export Collection in xml format) → ``Library``: tracks, playlists, and each track's tempo marks and cues.

    DJ_PLAYLISTS ─┬─ COLLECTION ── TRACK TrackID Name … Location ─┬─ TEMPO Inizio Bpm Metro Battito
                  │                                                └─ POSITION_MARK Name Type Start End Num
                  └─ PLAYLISTS ── NODE Type=0 (folder) ── NODE Type=1 (playlist) ── TRACK Key

Read as a stream: nothing but the library is kept. A DTD is refused (rekordbox writes none), and with it entities, expanded or fetched; a
single tag longer than ``_MOST_TAG_BYTES`` is, too. Source: Pioneer's "XML format list for rekordbox" (developer information).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from engine.music.rekordbox.grid import FASTEST_BPM, SLOWEST_BPM, Cue, TempoMark
from engine.music.rekordbox.library import Library, LibraryTrack, Marks, Playlist
from engine.music.rekordbox.pdb import MOST_FOLDERS_DEEP, MOST_ROWS, MOST_TRACKS, open_to_read
from engine.music.rekordbox.problems import LibraryError, Problems

MOST_BYTES = 2**28  # a collection of 50,000 tracks has about 80 MB
_PIECE_BYTES = 2**16
_MOST_TAG_BYTES = 2**20
_MOST_DEEP = MOST_FOLDERS_DEEP + 8
_MOST_MARKS = 20_000  # of one track
_LATEST_S = 7 * 24 * 3600.0
_STARS = {"0": 0, "51": 1, "102": 2, "153": 3, "204": 4, "255": 5}
_LOOP = "4"


def read_collection(path: Path) -> Library:
    """The library that ``path`` holds. LibraryError: it is no rekordbox collection, or asks for what no collection needs."""
    problems = Problems()
    reader = _Reader(path.name, problems)
    with open_to_read(path) as file:
        reader.read(file.read)
    return Library(
        tracks=reader.tracks,
        playlists=tuple(reader.playlists),
        folders=tuple(reader.folders),
        histories=(),
        marks=reader.marks,
        problems=problems.told(),
        source=path,
        root=path.parent,
    )


class _Reader:
    def __init__(self, name: str, problems: Problems) -> None:
        self.tracks: dict[int, LibraryTrack] = {}
        self.marks: dict[int, Marks] = {}
        self.playlists: list[Playlist] = []
        self.folders: list[str] = []
        self._name, self._problems = name, problems
        self._open: list[str] = []  # tags around the present one
        self._nodes: list[dict[str, str]] = []
        self._keys: list[str] = []  # of the present playlist
        self._track: LibraryTrack | None = None
        self._tempos: list[TempoMark] = []
        self._cues: list[Cue] = []
        self._by_location: dict[str, int] = {}
        self._entries = self._fed = self._heard = 0
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._parser.CommentHandler = self._parser.ProcessingInstructionHandler = self._other
        self._parser.StartDoctypeDeclHandler = self._doctype

    def read(self, read: Callable[[int], bytes]) -> None:
        try:
            while piece := read(_PIECE_BYTES):
                self._fed += len(piece)
                self._parser.Parse(piece, False)
                if self._fed - self._heard > _MOST_TAG_BYTES:
                    raise LibraryError(f"{self._name} holds a tag of more than a megabyte: it is no collection of rekordbox.")
                if self._fed > MOST_BYTES:
                    self._problems.add(f"{self._name} is larger than any real collection: only its first {MOST_BYTES >> 20} MiB are read.")
                    break
            else:
                self._parser.Parse(b"", True)
        except OSError as error:
            self._problems.add(f"{self._name} gave a read error ({error.strerror}). What stands before is read.")
        except (expat.ExpatError, LookupError, ValueError) as error:
            line = getattr(error, "lineno", self._parser.CurrentLineNumber)
            if not self._heard:
                raise LibraryError(_NOT_ONE.format(name=self._name)) from error
            self._problems.add(f"{self._name} is damaged or cut off at line {line:,}. What stands before is read.")
        if not self._heard:
            raise LibraryError(_NOT_ONE.format(name=self._name))

    def _doctype(self, *_: object) -> None:
        raise LibraryError(f"{self._name} brings a DTD, which no collection of rekordbox has. Export it again in rekordbox.")

    def _other(self, *_: object) -> None:
        if self._open:
            self._heard = self._fed

    def _start(self, tag: str, given: dict[str, str]) -> None:
        if not self._open and tag != "DJ_PLAYLISTS":
            raise LibraryError(_NOT_ONE.format(name=self._name))
        self._heard = self._fed
        self._open.append(tag)
        if len(self._open) > _MOST_DEEP:
            raise LibraryError(f"{self._name} nests folders deeper than {MOST_FOLDERS_DEEP}: rekordbox can't have written it.")
        match tag:
            case "TRACK" if self._open[-2] == "COLLECTION":
                self._track = self._read_track(given)
            case "TEMPO" if self._track is not None:
                self._read_tempo(given)
            case "POSITION_MARK" if self._track is not None:
                self._read_cue(given)
            case "NODE":
                self._nodes.append(given)
                self._keys = []
                if given.get("Type") == "0" and len(self._nodes) > 1:
                    self.folders.append("/".join(node.get("Name", "") for node in self._nodes[1:]))
            case "TRACK" if self._open[-2] == "NODE":
                self._entries += 1
                if self._entries <= MOST_ROWS:
                    self._keys.append(given.get("Key", ""))
                else:
                    self._problems.add(f"playlists: more than {MOST_ROWS:,} entries. The others are left out.")

    def _end(self, tag: str) -> None:
        self._heard = self._fed
        self._open.pop()
        if tag == "TRACK" and self._track is not None:
            self._keep(self._track)
            self._track, self._tempos, self._cues = None, [], []
        elif tag == "NODE":
            node = self._nodes.pop()
            if node.get("Type") == "1":
                self._keep_playlist(node)
            self._keys = []

    def _keep(self, track: LibraryTrack) -> None:
        if len(self.tracks) == MOST_TRACKS and track.id not in self.tracks:
            self._problems.add(f"tracks: more than {MOST_TRACKS:,}. The others are left out.")
            return
        if track.id in self.tracks:
            self._bad(f"track {track.id} is there twice. The later one counts.")
        self.tracks[track.id] = track
        self.marks[track.id] = Marks(tuple(sorted(self._tempos, key=lambda mark: mark.start_s)), tuple(self._cues))
        self._by_location[track.path] = track.id

    def _keep_playlist(self, node: dict[str, str]) -> None:
        by_location = node.get("KeyType") == "1"
        ids = [self._by_location.get(_path(key)) if by_location else _whole(key) for key in self._keys]
        known = tuple(number for number in ids if number is not None and number in self.tracks)
        name = node.get("Name", "")
        if len(known) < len(ids):
            self._problems.add(f"playlist {len(self.playlists) + 1} names {len(ids) - len(known):,} tracks that the file does not list.")
        folders = tuple(folder.get("Name", "") for folder in self._nodes[1:])  # the first is ROOT
        self.playlists.append(Playlist(len(self.playlists) + 1, name, folders, known))

    def _bad(self, what: str) -> None:
        self._problems.add(f"line {self._parser.CurrentLineNumber:,}: {what}")

    def _read_track(self, given: dict[str, str]) -> LibraryTrack | None:
        number, location = _whole(given.get("TrackID", "")), given.get("Location", "")
        if number is None or not location:
            self._bad("a track without number or file. It is left out.")
            return None
        rating = given.get("Rating", "0")
        if rating not in _STARS:
            self._bad("the rating is none that rekordbox writes, and is read as none.")
        return LibraryTrack(
            id=number,
            path=_path(location),
            title=given.get("Name") or None,
            artist=given.get("Artist") or None,
            album=given.get("Album") or None,
            genre=given.get("Genre") or None,
            label=given.get("Label") or None,
            remixer=given.get("Remixer") or None,
            key=given.get("Tonality") or None,
            bpm=_number(given.get("AverageBpm", ""), FASTEST_BPM) or None,
            duration_s=_number(given.get("TotalTime", ""), _LATEST_S) or None,
            rating=_STARS.get(rating, 0),
            comment=given.get("Comments") or None,
            year=_whole(given.get("Year", "")) or None,
            added=given.get("DateAdded") or None,
            plays=_whole(given.get("PlayCount", "")) or 0,
        )

    def _read_tempo(self, given: dict[str, str]) -> None:
        start, bpm = _number(given.get("Inizio", ""), _LATEST_S), _number(given.get("Bpm", ""), FASTEST_BPM)
        position, beats = _whole(given.get("Battito", "1")), _whole(given.get("Metro", "4/4").partition("/")[0])
        if start is None or bpm is None or bpm < SLOWEST_BPM or not position or not beats or max(position, beats) > 16:
            self._bad("a tempo mark that is none. It is left out.")
        elif len(self._tempos) < _MOST_MARKS:
            self._tempos.append(TempoMark(start, bpm, position, beats))

    def _read_cue(self, given: dict[str, str]) -> None:
        start, hot = _number(given.get("Start", ""), _LATEST_S), given.get("Num", "-1")
        if start is None or (hot != "-1" and _whole(hot) is None):
            self._bad("a cue without a time. It is left out.")
            return
        end = _number(given.get("End", ""), _LATEST_S) if given.get("Type") == _LOOP else None
        if len(self._cues) < _MOST_MARKS:
            number = None if hot == "-1" else int(hot) + 1
            self._cues.append(Cue(start, end if end is not None and end > start else None, given.get("Name", ""), number))


_NOT_ONE = (
    "{name} is not a collection of rekordbox. In rekordbox choose File → Export Collection in xml format, and name the file that it writes."
)


def _path(location: str) -> str:
    """ "file://localhost/C:/Music/a%20b.mp3" → "C:/Music/a b.mp3"."""
    path = unquote(location.removeprefix("file://localhost").removeprefix("file://"))
    if path[:1] == "/":
        path = f"/{path.lstrip('/')}"  # some writers put two
    return path[1:] if path[2:3] == ":" else path


def _number(text: str, most: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= most else None


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= 12 and text.isascii() and text.isdecimal() else None
