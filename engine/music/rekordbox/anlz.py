"""The analysis files of a track: beat grid from ANLZ0000.DAT, cues from it and from the .EXT beside it. Opened for reading only.

    PMAI · header length · file length · …  │ tag · header length · length · … │ tag · …        numbers are big-endian

    PQTZ  beats: position in bar, BPM × 100, milliseconds      PCOB  cues       PPTH  the audio file's path
    PCO2  cues with names and all eight hot cues (.EXT)        everything else (waveforms, phrases, …) is stepped over

Source: Deep Symmetry's "Analysis Files" (djl-analysis). pyrekordbox reads these files too; it brings SQLAlchemy and SQLCipher along, raises
on the first damaged tag and reads a file whole, so that the three tags a crate needs are read here.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from engine.music.rekordbox.grid import FASTEST_BPM, MOST_BEATS, SLOWEST_BPM, BeatGrid, Cue, DjAnalysis
from engine.music.rekordbox.pdb import open_to_read
from engine.music.rekordbox.problems import LibraryError, Problems

_HEAD = struct.Struct(">4sII")
_BEAT = np.dtype([("position", ">u2"), ("bpm", ">u2"), ("time", ">u4")])
_MOST_TAG_BYTES = {b"PQTZ": 24 + MOST_BEATS * _BEAT.itemsize, b"PCOB": 2**18, b"PCO2": 2**18, b"PPTH": 2**12}
_MOST_TAGS = 1_000  # real files have ten
_MOST_CUES = 1_000
_LOOP = 2
_NOWHERE = 0xFFFFFFFF
_MS = 1000


def read_analysis(path: Path) -> DjAnalysis:
    """Grid and cues of one track from ``path`` (its .DAT or .EXT) and the other of the two, where it exists.

    LibraryError: neither is an analysis file. What is damaged inside is named in ``problems``.
    """
    problems = Problems()
    tags: list[tuple[str, bytes, bytes]] = []  # suffix, tag, content
    readable = 0
    for file in _both(path):
        try:
            with open_to_read(file) as opened:
                tags += [(file.suffix.upper(), tag, content) for tag, content in _tags(opened, file.name, problems)]
            readable += 1
        except LibraryError as error:
            problems.add(str(error))
    if not readable:
        raise LibraryError(problems.told()[0] if problems.told() else f"There is no analysis {path.name}: analyse the track in rekordbox.")
    grids = [content for _, tag, content in tags if tag == b"PQTZ"]
    paths = [content for _, tag, content in tags if tag == b"PPTH"]
    return DjAnalysis(
        grid=_grid(grids[0], problems) if grids else None,
        cues=_cues(tags, problems),
        audio_path=paths[0][16:].decode("utf-16-be", "replace").rstrip("\0") or None if paths else None,
        problems=problems.told(),
    )


def _both(path: Path) -> Iterator[Path]:
    """The .DAT first: it holds the grid."""
    given = path.suffix.upper()
    for suffix in (".DAT", ".EXT"):
        for spelled in (suffix, suffix.lower()):
            candidate = path if given == suffix else path.with_suffix(spelled)
            if candidate.exists():
                yield candidate
                break


def _tags(file: IO[bytes], name: str, problems: Problems) -> Iterator[tuple[bytes, bytes]]:
    """The wanted tags, each with its whole content from its first byte on; at most ``_MOST_TAG_BYTES`` of it are in memory."""
    size = os.fstat(file.fileno()).st_size
    head = _read(file, 0, _HEAD.size)
    if len(head) < _HEAD.size or head[:4] != b"PMAI":
        raise LibraryError(f"{name} is not an analysis of rekordbox, or destroyed: analyse the track again, and export.")
    at = _HEAD.unpack(head)[1]
    for _ in range(_MOST_TAGS):
        if at >= size:
            return
        head = _read(file, at, _HEAD.size)
        if len(head) < _HEAD.size:
            break
        tag, _, length = _HEAD.unpack(head)
        if length < _HEAD.size:
            break
        if tag in _MOST_TAG_BYTES:
            content = _read(file, at, min(length, _MOST_TAG_BYTES[tag]))
            if len(content) < length:
                problems.add(f"{name}: {tag.decode()} is cut off, or longer than any real one. What is there is read.")
            yield tag, content
        at += length
    problems.add(f"{name}: damaged at byte {at:,}. What stands before is read.")


def _read(file: IO[bytes], at: int, length: int) -> bytes:
    try:
        file.seek(at)
        return file.read(length)
    except OSError as error:
        raise LibraryError(f"The stick gave a read error ({error.strerror}). Copy it while it still can be read.") from error


def _grid(content: bytes, problems: Problems) -> BeatGrid | None:
    if len(content) < 24:
        return None
    said = struct.unpack_from(">I", content, 20)[0]
    there = (len(content) - 24) // _BEAT.itemsize
    if said > there:
        problems.add(f"The beat grid says {said:,} beats and has {there:,}.")
    beats = np.frombuffer(content, _BEAT, count=min(said, there), offset=24)
    bpm = beats["bpm"] / 100
    sound = (beats["position"] >= 1) & (beats["position"] <= 16) & (bpm >= SLOWEST_BPM) & (bpm <= FASTEST_BPM)
    rising = _longest_rising(beats["time"][sound])
    kept = np.flatnonzero(sound)[rising]
    if len(kept) < len(beats):
        problems.add(f"{len(beats) - len(kept):,} of {len(beats):,} beats of the grid are damaged. They are left out.")
    if not len(kept):
        return None
    return BeatGrid(
        beats_s=beats["time"][kept].astype(np.float64) / _MS,
        position_in_bar=beats["position"][kept].astype(np.int8),
        bpm=bpm[kept].astype(np.float64),
    )


def _longest_rising(times: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Indices of the longest run of strictly rising values, gaps allowed: one beat at a wild time costs that beat, not those around it."""
    if len(times) < 2 or bool(np.all(times[1:] > times[:-1])):
        return np.arange(len(times))
    values = times.tolist()
    ends: list[int] = []  # smallest end of a run of each length
    end_at: list[int] = []
    before = [-1] * len(values)
    for index, value in enumerate(values):
        length = bisect_left(ends, value)
        before[index] = end_at[length - 1] if length else -1
        ends[length : length + 1] = [value]
        end_at[length : length + 1] = [index]
    run = []
    index = end_at[-1]
    while index >= 0:
        run.append(index)
        index = before[index]
    return np.array(run[::-1])


def _cues(tags: list[tuple[str, bytes, bytes]], problems: Problems) -> tuple[Cue, ...]:
    """Memory cues and hot cues, each from the best list that has any: players and rekordbox write the same ones up to three times."""
    cues: list[Cue] = []
    for wanted in (0, 1):  # memory cues, hot cues
        for suffix, tag in ((".EXT", b"PCO2"), (".DAT", b"PCOB"), (".EXT", b"PCOB")):
            found = [
                cue
                for where, name, content in tags
                if (where, name) == (suffix, tag) and len(content) >= 20 and struct.unpack_from(">I", content, 12)[0] == wanted
                for cue in (_named_cues if tag == b"PCO2" else _plain_cues)(content, problems)
            ]
            if found:
                cues += found
                break
    return tuple(sorted(dict.fromkeys(cues), key=lambda cue: (cue.time_s, cue.hot or 0)))


def _entries(content: bytes, count: int, magic: bytes, *, least: int, problems: Problems) -> Iterator[bytes]:
    at = 0
    for _ in range(min(count, _MOST_CUES)):
        entry = content[at : at + _HEAD.size]
        length = _HEAD.unpack(entry)[2] if len(entry) == _HEAD.size and entry[:4] == magic else 0
        if length < least or at + length > len(content):
            problems.add("A list of cues is damaged. Those before the damage are read.")
            return
        yield content[at : at + length]
        at += length


def _plain_cues(content: bytes, problems: Problems) -> Iterator[Cue]:
    if len(content) < 24:
        return
    (count,) = struct.unpack_from(">H", content, 18)
    for entry in _entries(content[24:], count, b"PCPT", least=40, problems=problems):
        (hot,) = struct.unpack_from(">I", entry, 12)
        yield from _cue(hot, "", entry[28:40], problems)


def _named_cues(content: bytes, problems: Problems) -> Iterator[Cue]:
    (count,) = struct.unpack_from(">H", content, 16)
    for entry in _entries(content[20:], count, b"PCP2", least=28, problems=problems):
        (hot,) = struct.unpack_from(">I", entry, 12)
        name = ""
        if len(entry) >= 44:  # some entries end before their comment
            (length,) = struct.unpack_from(">I", entry, 40)
            name = entry[44 : 44 + length].decode("utf-16-be", "replace").rstrip("\0")
        yield from _cue(hot, name, entry[16:28], problems)


def _cue(hot: int, name: str, place: bytes, problems: Problems) -> Iterator[Cue]:
    kind, time_ms, end_ms = struct.unpack(">B3xII", place)
    if time_ms == _NOWHERE or hot > 64:
        problems.add("A cue is damaged. It is left out.")
        return
    is_loop = kind == _LOOP and time_ms < end_ms < _NOWHERE
    yield Cue(time_ms / _MS, end_ms / _MS if is_loop else None, name, hot or None)
