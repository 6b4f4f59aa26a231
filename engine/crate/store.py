"""Crates on disk: which tracks, where they lie, what is known of each and who said so.

::

    crates/alice/crate.json     written as a whole, so that a killed import leaves the last one
    crates/alice/audio/         only where the import was told to copy
    crates/alice/lock

Not here: what was heard in each track (``findings``), importing, training segments.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from engine.crate.disk import alone, read_json, write_json
from engine.crate.hints import REKORDBOX, DjWord
from engine.errors import EngineError
from engine.music.analysis import Key

VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class CrateTrack:
    """One recording. sources: who said 'title', 'bpm', 'key' …: 'rekordbox', 'tags', 'file name' or 'detected'.

    word: what the DJ's software said; beside the hash it names what was heard (``findings``). levels, kinds: the track's course in
    24 steps, as digits 0 to 7 and as the first letters of its sections, for a table.
    """

    sha256: str
    path: str
    size_bytes: int
    modified_ns: int
    title: str
    artist: str | None
    duration_s: float
    word: DjWord = field(default_factory=DjWord)
    genre: str | None = None
    remixer: str | None = None
    words: tuple[str, ...] = ()
    bpm: float | None = None
    steady: bool = True
    key: Key | None = None
    lufs: float | None = None
    clipped_share: float = 0.0
    silent_s: float = 0.0
    levels: str = ""
    kinds: str = ""
    rating: int = 0
    played: bool = False
    copied: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As 'Artist – Title'."""
        return f"{self.artist} – {self.title}" if self.artist else self.title

    def record(self) -> dict[str, Any]:
        """For JSON."""
        plain = {part.name: getattr(self, part.name) for part in fields(self)}
        changed = {"key": self.key.record() if self.key else None, "word": self.word.record()}
        return plain | changed | {"words": list(self.words), "sources": dict(self.sources)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> CrateTrack:
        """Raises KeyError, TypeError, ValueError."""
        known = {name: value for name, value in record.items() if name in {part.name for part in fields(cls)}}
        key = Key.from_record(record["key"]) if record.get("key") else None
        return cls(**known | {"key": key, "words": tuple(record.get("words", ())), "word": DjWord.from_record(record["word"])})


def _newer(old: CrateTrack | None, new: CrateTrack) -> CrateTrack:
    """``new``; where it comes from a plain folder and ``old`` came from a stick, what was said on the stick, of the new file."""
    if old is None or REKORDBOX not in old.sources.values() or REKORDBOX in new.sources.values():
        return new
    return replace(old, path=new.path, size_bytes=new.size_bytes, modified_ns=new.modified_ns, copied=new.copied)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that was named and could not be taken, and what to do about it."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Crate:
    """tracks: in the order in which they came."""

    name: str
    tracks: tuple[CrateTrack, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def having(self, tracks: Iterable[CrateTrack], unreadable: Iterable[Unreadable] = ()) -> Crate:
        """With more tracks; one of the same content takes the place of the older, but for what only the DJ's software knew."""
        merged = {track.sha256: track for track in self.tracks}
        for track in tracks:
            merged[track.sha256] = _newer(merged.get(track.sha256), track)
        here = {track.path for track in merged.values()}
        failed = {problem.path: problem for problem in (*self.unreadable, *unreadable)}
        return Crate(self.name, tuple(merged.values()), tuple(problem for path, problem in failed.items() if path not in here))


class Crates:
    """All crates of an engine's data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._folder = data / "crates"

    def folder(self, name: str) -> Path:
        """Raises EngineError 'bad_request' where that can't be a crate's name."""
        if not _NAME.fullmatch(name):
            raise EngineError("bad_request", f"A crate can't be called {name!r}: use letters, digits, '.', '_' and '-', 64 at most.")
        return self._folder / name

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self._folder.glob("*/crate.json"))

    def read(self, name: str) -> Crate:
        """Raises EngineError 'bad_request' where there is no such crate, or where it can't be read."""
        file = self.folder(name) / "crate.json"
        if not file.is_file():
            there = ", ".join(self.names()) or "none yet"
            raise EngineError(
                "bad_request", f"There is no crate {name!r}; there are: {there}. 'crate import PATH --crate {name}' makes it."
            )
        record = read_json(file)
        try:
            if record is None or record["version"] != VERSION:
                raise ValueError("another version")
            tracks = tuple(CrateTrack.from_record(track) for track in record["tracks"])
            return Crate(name, tracks, tuple(Unreadable(**problem) for problem in record["unreadable"]))
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError("internal", f"{file} is damaged: delete it and import again; nothing that was heard is lost.") from error

    def read_or_new(self, name: str) -> Crate:
        return self.read(name) if (self.folder(name) / "crate.json").is_file() else Crate(name)

    def write(self, crate: Crate) -> None:
        record = {
            "version": VERSION,
            "name": crate.name,
            "tracks": [track.record() for track in crate.tracks],
            "unreadable": [asdict(problem) for problem in crate.unreadable],
        }
        write_json(self.folder(crate.name) / "crate.json", record)

    def remove(self, name: str) -> Crate:
        """Forgets the crate and the copies that it made; the DJ's own files stay. Returns what it was."""
        crate = self.read(name)
        with alone(self.folder(name) / "lock", f"The crate {name!r}"):
            shutil.rmtree(self.folder(name))
        return crate
