"""From a folder, a DJ's stick or rekordbox.xml to a crate: ``sources_in`` finds the files, ``examine`` takes one, ``import_into`` does all.

    the DJ's software  ─┐
    the file's tags     ├─▶ each value from the first that has it, and who that was
    what is heard      ─┘

One file at a time in each process; a crate is saved every few seconds, and what was heard is cached by content, so that an import that was
killed goes on where it was. Nothing is written where the files come from.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.crate import findings, pool
from engine.crate.disk import alone, copy_atomically, remove_leftovers, sha256_of
from engine.crate.hints import REKORDBOX, DjWord, dj_word
from engine.crate.store import Crate, Crates, CrateTrack, Unreadable
from engine.crate.tags import Tags, from_name, my_tags, read_tags
from engine.errors import EngineError
from engine.music import words
from engine.music.analysis import Key, TrackAnalysis, parse_key
from engine.music.audio import AudioError
from engine.music.rekordbox import Library, LibraryError, LibraryTrack, find_library

ENDINGS = frozenset(
    ".mp3 .wav .flac .ogg .oga .opus .m4a .mp4 .aac .aif .aiff .aifc .wv .ape .tta .wma .caf .w64".split()  # noqa: SIM905
)
STEPS = 24
"""Of the course that a table shows."""
_SAVE_EVERY_S = 5.0
_SHORTEST_S = 4.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the DJ's tracks to take. What is given must all hold."""

    played: bool = False
    playlist: str | None = None
    rated: int | None = None

    @property
    def asks_dj(self) -> bool:
        return self.played or self.playlist is not None or self.rated is not None


@dataclass(frozen=True, slots=True)
class Source:
    """A file to take, and what the DJ's software says of it. known: the track as it was at an earlier import."""

    path: Path
    track: LibraryTrack | None = None
    word: DjWord = field(default_factory=DjWord)
    number: int = 0
    played: bool = False
    known: CrateTrack | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """files: how many there are to take. each: them, one by one. unreadable: those that can't even be tried. problems: of the library."""

    files: int
    each: Callable[[], Iterator[Source]]
    unreadable: tuple[Unreadable, ...] = ()
    problems: tuple[str, ...] = ()
    library: Path | None = None


def sources_in(path: Path, wanted: Wanted) -> Found:
    """What there is to import. Raises EngineError where there is nothing."""
    if not path.exists():
        raise EngineError("bad_request", f"{path} does not exist: name a folder, a mounted stick, or a rekordbox.xml.")
    try:
        library = find_library(path)
        if library is not None:
            return _in_library(library, wanted)
    except LibraryError as error:
        raise EngineError("bad_request", str(error)) from error
    if wanted.asks_dj:
        raise EngineError(
            "bad_request", f"--played, --playlist and --rated ask a DJ's stick or rekordbox.xml, and {path} is neither: leave them out."
        )
    files = [path] if path.is_file() else sorted(_walk(path))
    if not files:
        raise EngineError("bad_request", f"There is no audio in {path}: name a folder with MP3, WAV, FLAC, AIFF, M4A, OGG or Opus files.")
    return Found(len(files), lambda: (Source(file, number=number) for number, file in enumerate(files)))


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):  # links are not followed: they lead in circles
        folders[:] = [name for name in folders if not name.startswith(".") and name not in ("PIONEER", "System Volume Information")]
        for name in files:
            if Path(name).suffix.lower() in ENDINGS and not name.startswith("."):  # a Mac's '._track.mp3' holds no sound
                yield Path(root) / name


def _in_library(library: Library, wanted: Wanted) -> Found:
    played = library.played()
    ids: Sequence[int] = tuple(library.tracks) if wanted.playlist is None else library.playlist(wanted.playlist).track_ids
    ids = tuple(dict.fromkeys(track for track in ids if track in library.tracks))
    if wanted.played:
        ids = [track for track in (played if wanted.playlist is None else ids) if track in set(played) & library.tracks.keys()]
    if wanted.rated is not None:
        enough = set(library.rated(wanted.rated))
        ids = [track for track in ids if track in enough]
    if not ids:
        raise EngineError(
            "bad_request", f"{library.source} holds {len(library.tracks)} tracks, none of which is what was asked for: ask for less."
        )
    files = {track: library.audio_file(track) for track in ids}
    missing = tuple(
        Unreadable(library.tracks[track].path, f"{_name(library.tracks[track])} is in the library, but its file is not here: copy it.")
        for track, file in files.items()
        if file is None
    )
    if len(missing) == len(ids):
        raise EngineError(
            "bad_request",
            f"None of the {len(ids)} tracks that {library.source} names is on this machine, the first being {words.tidy(missing[0].path)}: "
            "mount the stick, or copy the music beside it.",
        )
    heard = set(played)

    def each() -> Iterator[Source]:
        for number, (track_id, file) in enumerate(files.items()):
            if file is not None:
                track, own = library.tracks[track_id], library.analysis(track_id)
                word = dj_word(own.grid if own else None, track.key, track.bpm)
                yield Source(file, track, word, number, played=track_id in heard)

    return Found(len(ids) - len(missing), each, missing, library.problems, library.source)


def _name(track: LibraryTrack) -> str:
    return words.label(track.title or track.path)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engine keeps things. copy_to: the crate's folder for audio, None to leave files where they are."""

    data: Path
    copy_to: Path | None


def examine(job: tuple[Source, Place]) -> CrateTrack | Unreadable:
    """One file, in a process of its own: hash, tags, analysis. What is wrong with the file is a value, not an exception."""
    source, place = job
    path = source.path
    try:
        status = path.stat()
        known = source.known
        same = known is not None and (known.size_bytes, known.modified_ns) == (status.st_size, status.st_mtime_ns)
        sha256 = known.sha256 if known is not None and same else sha256_of(path)
        finding = findings.find_out(place.data, path, sha256, source.word)
        if finding.analysis.duration_s < _SHORTEST_S:
            return Unreadable(str(path), f"{words.label(path.name)} is only {words.length(finding.analysis.duration_s)} long: no track.")
        if place.copy_to is not None:
            copy = place.copy_to / f"{sha256}{path.suffix.lower()}"
            if not copy.is_file() or copy.stat().st_size != status.st_size:
                copy_atomically(path, copy)
            path = copy
            status = copy.stat()
    except (AudioError, OSError) as error:
        return Unreadable(str(source.path), _told(error, source.path))
    tags = read_tags(source.path)
    track = _described(source, tags, finding.analysis, sha256)
    return replace(
        track, path=str(path.absolute()), size_bytes=status.st_size, modified_ns=status.st_mtime_ns, copied=place.copy_to is not None
    )


def _told(error: Exception, path: Path) -> str:
    if isinstance(error, OSError):
        return f"{words.label(path.name)} can't be read ({error.strerror or error}): check the disk and the permissions."
    return str(error)


def _described(source: Source, tags: Tags, analysis: TrackAnalysis, sha256: str) -> CrateTrack:
    """Each value from the first that has it: the DJ's software, the file's tags, its name or what was heard."""
    dj = source.track
    named_artist, named_title = from_name(source.path)
    told: dict[str, tuple[object, str]] = {}

    def choose(field: str, *candidates: tuple[object, str]) -> object:
        value, who = next(((value, who) for value, who in candidates if value is not None and value != ""), (None, ""))
        if value is not None:
            told[field] = (value, who)
        return value

    def both(field: str) -> tuple[tuple[object, str], ...]:
        return ((words.tidy(getattr(dj, field)) if dj else None, REKORDBOX), (getattr(tags, field), "tags"))

    title = choose("title", *both("title"), (named_title, "file name"))
    artist = choose("artist", *both("artist"), (named_artist, "file name"))
    genre = choose("genre", *both("genre"))
    remixer = choose("remixer", *both("remixer"))
    heard = analysis.grid
    bpm = choose("bpm", _dj_tempo(source.word, analysis), _tagged_tempo(tags, analysis), (heard.bpm if heard else None, "detected"))
    tagged = parse_key(tags.key, source="tags")
    key = choose("key", (source.word.hints.key, REKORDBOX), (tagged, "tags"), (analysis.key, "detected"))
    levels, kinds = course(analysis)
    return CrateTrack(
        sha256=sha256,
        path=str(source.path),
        size_bytes=0,
        modified_ns=0,
        title=str(title),
        artist=str(artist) if artist else None,
        duration_s=round(analysis.duration_s, 3),
        word=source.word,
        genre=str(genre) if genre else None,
        remixer=str(remixer) if remixer else None,
        words=tuple(dict.fromkeys((*my_tags(dj.comment if dj else None), *my_tags(tags.comment), *((tags.mood,) if tags.mood else ())))),
        bpm=round(float(str(bpm)), 2) if bpm is not None else None,
        steady=heard.steady if heard else False,
        key=key if isinstance(key, Key) else None,
        lufs=None if analysis.lufs is None else round(analysis.lufs, 1),
        clipped_share=round(analysis.clipped_share, 6),
        silent_s=round(sum(end - start for start, end in analysis.silences), 2),
        levels=levels,
        kinds=kinds,
        rating=dj.rating if dj else 0,
        played=source.played,
        sources={field: who for field, (_value, who) in told.items()},
    )


def _dj_tempo(word: DjWord, analysis: TrackAnalysis) -> tuple[float | None, str]:
    if word.hints.grid is not None and analysis.grid is not None:
        return analysis.grid.bpm, REKORDBOX
    return word.hints.bpm, REKORDBOX


def _tagged_tempo(tags: Tags, analysis: TrackAnalysis) -> tuple[float | None, str]:
    """A whole number that is what was heard, rounded, gives way to it: 129.5 is written as 130."""
    if tags.bpm is not None and analysis.grid is not None and tags.bpm == round(tags.bpm) and abs(tags.bpm - analysis.grid.bpm) <= 1.0:
        return None, "tags"
    return tags.bpm, "tags"


def course(analysis: TrackAnalysis) -> tuple[str, str]:
    """The track in 24 steps: energy as digits 0 to 7, sections by their first letters (i m u b d o; u is a build-up, '-' nothing known)."""
    levels, kinds = [], []
    for step in range(STEPS):
        start_s, end_s = analysis.duration_s * step / STEPS, analysis.duration_s * (step + 1) / STEPS
        values = analysis.energy[
            int(start_s / analysis.energy_s) : max(int(start_s / analysis.energy_s) + 1, int(end_s / analysis.energy_s))
        ]
        levels.append(str(min(7, int(8 * (sum(values) / len(values))))) if values else "0")
        middle_s = (start_s + end_s) / 2
        kind = next((section.kind for section in analysis.sections if section.start_s <= middle_s < section.end_s), "-")
        kinds.append("u" if kind == "build" else kind[0])
    return "".join(levels), "".join(kinds)


@dataclass(frozen=True, slots=True)
class Imported:
    """How an import ended. twice: files that hold the same bytes as another that was taken."""

    crate: Crate
    added: int
    again: int
    twice: int
    unreadable: tuple[Unreadable, ...]
    problems: tuple[str, ...]
    on_stick: bool


def import_into(
    crates: Crates, name: str, path: Path, wanted: Wanted, *, copy: bool, processes: int, tell: Callable[[str, int, int], None]
) -> Imported:
    """Everything that is asked for into the crate ``name``, which is made where needed. ``tell``: (what, done, of), after each file.

    Raises EngineError where nothing can be imported at all; single files that can't be read are in the result.
    """
    folder = crates.folder(name)
    found = sources_in(path, wanted)
    with alone(folder / "lock", f"The crate {name!r}"):
        crate = crates.read_or_new(name)
        before = {track.sha256 for track in crate.tracks}
        by_path = {track.path: track for track in crate.tracks}
        place = Place(crates.data, folder / "audio" if copy else None)
        if place.copy_to is not None:
            remove_leftovers(place.copy_to)
        taken: dict[int, CrateTrack] = {}
        failed: list[Unreadable] = list(found.unreadable)
        saved = time.monotonic()

        def in_order() -> list[CrateTrack]:
            return [track for _number, track in sorted(taken.items())]

        jobs = ((replace(source, known=by_path.get(str(source.path.absolute()))), place) for source in found.each())
        try:
            for done, ((source, _place), result) in enumerate(pool.work_through(examine, jobs, min(processes, found.files)), 1):
                if isinstance(result, CrateTrack):
                    taken[source.number] = result
                elif isinstance(result, Unreadable):
                    failed.append(result)
                else:
                    failed.append(Unreadable(str(source.path), f"{words.label(source.path.name)} can't be taken: {result.message}."))
                tell(source.path.name, done, found.files)
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    crates.write(crate.having(in_order(), failed))
                    saved = time.monotonic()
        finally:
            crate = crate.having(in_order(), failed)
            if taken or crate.tracks:
                crates.write(crate)
    if not taken:
        raise EngineError(
            "bad_audio", f"Nothing could be taken from {path}: {failed[0].message}" if failed else f"Nothing to take in {path}."
        )
    found_now = {track.sha256 for track in taken.values()}
    fresh = len(found_now - before)
    return Imported(
        crate,
        fresh,
        len(found_now) - fresh,
        len(taken) - len(found_now),
        tuple(failed),
        found.problems,
        found.library is not None and not copy,
    )
