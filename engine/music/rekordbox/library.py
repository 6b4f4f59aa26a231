"""A DJ's library as values: tracks, playlists and histories, whichever file they came from, and the questions that a crate asks of them.

Not here: reading (``find``, ``pdb``, ``xml``, ``anlz``).
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from engine.music.rekordbox.problems import LibraryError
from engine.music.words import tidy

if TYPE_CHECKING:
    from engine.music.rekordbox.grid import Cue, DjAnalysis, TempoMark

__all__ = ["History", "Library", "LibraryError", "LibraryTrack", "Marks", "Playlist"]

_NEAR = 3
_MOST_COMPARED = 2_000


@dataclass(frozen=True, slots=True)
class LibraryTrack:
    """What the DJ's software knows of a track. None: it does not say."""

    id: int
    path: str  # POSIX, as the library names it: "/Contents/A/B.mp3" on a stick, absolute in an XML
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    label: str | None = None
    remixer: str | None = None
    key: str | None = None  # as the DJ's software wrote it: "Am", "8A", "1m", …
    bpm: float | None = None
    duration_s: float | None = None  # whole seconds
    rating: int = 0  # stars, 0 (none given) to 5
    comment: str | None = None
    year: int | None = None
    added: str | None = None  # YYYY-MM-DD
    analysis_path: str | None = None  # "/PIONEER/USBANLZ/…/ANLZ0000.DAT"
    plays: int = 0
    isrc: str | None = None


@dataclass(frozen=True, slots=True)
class Playlist:
    """``track_ids`` in the DJ's order; a track may stand in it twice. ``path`` names the folders around it, outermost first."""

    id: int
    name: str
    path: tuple[str, ...]
    track_ids: tuple[int, ...]

    @property
    def full_name(self) -> str:
        return "/".join((*self.path, self.name))


@dataclass(frozen=True, slots=True)
class History:
    """One session: what was played, in order."""

    id: int
    name: str
    track_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Marks:
    """What an XML says of a track's grid and cues; a stick keeps them in files of their own."""

    tempos: tuple[TempoMark, ...] = ()
    cues: tuple[Cue, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Library:
    """``source`` is the file that was read; ``root`` the folder that paths of the library start from (the stick, or the XML's folder).

    ``problems`` are sentences for the DJ: each names what could not be read, and where.
    """

    tracks: dict[int, LibraryTrack]
    playlists: tuple[Playlist, ...]
    histories: tuple[History, ...]
    problems: tuple[str, ...]
    source: Path
    root: Path
    marks: dict[int, Marks] = field(default_factory=dict, repr=False)
    folders: tuple[str, ...] = field(default=(), repr=False)  # full names

    def played(self) -> tuple[int, ...]:
        """Tracks that were played: those of the histories by their first play, then those with a play count, most played first.

        rekordbox takes the histories off a stick when it imports them; the play counts stay.
        """
        in_sessions = dict.fromkeys(track for history in self.histories for track in history.track_ids)
        counted = sorted((track for track in self.tracks.values() if track.plays), key=lambda track: -track.plays)
        return tuple(dict.fromkeys((*in_sessions, *(track.id for track in counted))))

    def rated(self, stars: int) -> tuple[int, ...]:
        """Tracks of at least ``stars`` stars, best first."""
        if not 1 <= stars <= 5:
            raise LibraryError(f"Ratings go from 1 to 5 stars: {stars} is none.")
        found = [track for track in self.tracks.values() if track.rating >= stars]
        return tuple(track.id for track in sorted(found, key=lambda track: -track.rating))

    def playlist(self, name: str) -> Playlist:
        """The playlist of that name, or of that "Folder/Name"; capitals count only where they decide between two."""
        wanted = name.strip().strip("/")
        for same in (str, str.casefold):
            found = [playlist for playlist in self.playlists if same(wanted) in {same(playlist.name), same(playlist.full_name)}]
            exact = [playlist for playlist in found if same(playlist.full_name) == same(wanted)]
            for choice in (exact, found):
                if len(choice) == 1:
                    return choice[0]
            if found:
                apart = len({playlist.full_name for playlist in found}) > 1
                what = f"name one of {_listed(found)}" if apart else "rename one in rekordbox, and export again"
                raise LibraryError(f"Several playlists are called {_quoted(wanted)}: {what}.")
        raise LibraryError(self._instead(wanted))

    def analysis(self, track_id: int) -> DjAnalysis | None:
        """The DJ's own grid and cues of a track; None where the library brings none. A damaged analysis says so in its ``problems``."""
        from engine.music.rekordbox.anlz import read_analysis
        from engine.music.rekordbox.grid import DjAnalysis, spread

        track = self.tracks[track_id]
        if track_id in self.marks:
            marks = self.marks[track_id]
            return DjAnalysis(grid=spread(marks.tempos, track.duration_s or 0.0), cues=marks.cues, audio_path=track.path)
        if track.analysis_path is None:
            return None
        for name in (track.analysis_path, f"{track.analysis_path.removesuffix('.DAT')}.EXT"):
            found = inside(self.root, name)
            if found is not None:
                try:
                    return read_analysis(found)
                except LibraryError as error:
                    return DjAnalysis(problems=(str(error),))
        return None

    def audio_file(self, track_id: int) -> Path | None:
        """Where a track's audio lies on this machine; None where it is not here (not copied, a streaming service, on another disk).

        A stick's paths never lead out of the stick. A path of an XML is taken as it stands, or, where the music has moved, by its
        longest end that exists below the XML's own folder.
        """
        path = self.tracks[track_id].path
        if self.source.suffix.lower() != ".xml":
            return inside(self.root, path)
        try:
            if Path(path).is_absolute() and Path(path).is_file():
                return Path(path)
        except (OSError, ValueError):
            return None
        parts = (PureWindowsPath if path[1:2] == ":" else PurePosixPath)(path).parts[1:]
        for start in range(max(0, len(parts) - 8), len(parts)):
            found = inside(self.root, "/".join(parts[start:]))
            if found is not None:
                return found
        return None

    def _instead(self, wanted: str) -> str:
        if not self.playlists:
            return "This library holds no playlists: export one in rekordbox, or take --played or --rated."
        low = wanted.casefold()
        folder = next((known for known in self.folders if low in {known.casefold(), known.rpartition("/")[2].casefold()}), None)
        if folder is not None:
            in_it = [playlist for playlist in self.playlists if playlist.full_name.startswith(f"{folder}/")]
            what = f"a folder: name one of its playlists, {_listed(in_it)}" if in_it else "an empty folder"
            return f"{_quoted(folder)} is {what}."
        names = {playlist.name[:80].casefold(): playlist for playlist in self.playlists[:_MOST_COMPARED]}
        low = low[:80]
        near = [names[name] for name in names if low and (low in name or name in low)][:_NEAR]
        near += [names[name] for name in difflib.get_close_matches(low, names, n=_NEAR, cutoff=0.5) if names[name] not in near]
        instead = f"Did you mean {_listed(near[:_NEAR], 'or')}?" if near else f"It has {_listed(self.playlists)}."
        return f"There is no playlist {_quoted(wanted)} in this library. {instead}"


def inside(root: Path, path: str) -> Path | None:
    """The regular file that ``path`` (POSIX, from ``root``) names, or None: nothing is there, or it would lead out of ``root``.

    A Mac's stick keeps its PIONEER folder hidden (".PIONEER") and its letters decomposed; the library names neither.
    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts or ".." in parts or "\0" in path:
        return None
    try:
        home = root.resolve()
        for form in ("", "NFC", "NFD"):
            for first in (parts[0], *([f".{parts[0]}"] if parts[0] == "PIONEER" else [])):
                named = [first, *parts[1:]]
                found = home.joinpath(*(unicodedata.normalize(form, part) if form else part for part in named)).resolve()  # type: ignore[arg-type]
                if found.is_relative_to(home) and found.is_file():
                    return found
    except (OSError, RuntimeError, ValueError):  # a name that the disk can't hold, a circle of links
        return None
    return None


def _quoted(name: str) -> str:
    return f"“{tidy(name, 60) or ''}”"


def _listed(playlists: Iterable[Playlist], word: str = "and", most: int = 8) -> str:
    shown = [_quoted(playlist.full_name) for playlist in playlists]
    if len(shown) > most:
        return f"{', '.join(shown[:most])} {word} {len(shown) - most:,} more"
    return f"{', '.join(shown[:-1])} {word} {shown[-1]}" if len(shown) > 1 else "".join(shown)
