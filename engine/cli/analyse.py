"""``analyse``: files in, a table out, for a person or a machine. A file that can't be used is named, and the others go on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from engine.api import MAX_TRACK_BYTES
from engine.cli.make import write
from engine.cli.tools import require_audio_tools
from engine.errors import EngineError
from engine.music import words
from engine.music.analysis import TrackAnalysis, analyse
from engine.music.analysis.cards import draw_card
from engine.music.audio import Audio, AudioError, decode

MAX_SECONDS = 1200.0
"""Twenty minutes: a long track is analysed, a whole set is not."""

_HEAD = ("track", "BPM", "key", "length", "LUFS", "first bar", "sections")


def analyse_files(arguments: argparse.Namespace) -> int:
    """0, or 2 where a file could not be used. Raises EngineError where nothing can be done at all."""
    require_audio_tools()
    if arguments.pictures is not None:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    names = [path.name for path in arguments.files]
    width = min(40, max(len(name) for name in (*names, _HEAD[0])))
    if not arguments.json:
        print(f"{_HEAD[0]:<{width}}  {_HEAD[1]:>8}  {_HEAD[2]:<13}  {_HEAD[3]:>6}  {_HEAD[4]:>6}  {_HEAD[5]:>9}  {_HEAD[6]}")
    code = 0
    for path in arguments.files:
        try:
            audio = _read(path)
        except (AudioError, EngineError, OSError) as error:
            message = f"{error.strerror}: {path}" if isinstance(error, OSError) else f"{path}: {error}"
            print(f"error: {message}", file=sys.stderr)
            if arguments.json:
                print(json.dumps({"file": str(path), "error": message}, ensure_ascii=False), flush=True)
            code = 2
            continue
        found = analyse(audio)
        if arguments.json:
            print(json.dumps({"file": str(path), **found.record()}, ensure_ascii=False), flush=True)
        else:
            print(_row(path.name, width, found), flush=True)
        if arguments.pictures is not None:
            write(_free(arguments.pictures, path.stem), draw_card(audio, found, title=path.stem))
    return code


def _read(path: Path) -> Audio:
    if not path.is_file():
        raise EngineError("bad_request", "is a folder, not a file." if path.is_dir() else "does not exist.")
    if path.stat().st_size > MAX_TRACK_BYTES:
        raise EngineError(
            "too_large",
            f"is {path.stat().st_size / 2**20:.0f} MiB, and {MAX_TRACK_BYTES // 2**20} MiB is the most: export it as FLAC or MP3.",
        )
    return decode(path.read_bytes(), max_seconds=MAX_SECONDS, name=path.name)


def _free(folder: Path, stem: str) -> Path:
    """A name that no file in the folder has: two tracks may be called the same."""
    path, number = folder / f"{stem}.png", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.png"
    return path


def _row(name: str, width: int, found: TrackAnalysis) -> str:
    shown = words.tidy(name, width) or "?"
    grid, key = found.grid, found.key
    bpm = "no beat" if grid is None else f"{'' if grid.steady else '≈ '}{grid.bpm:.2f}"
    whole = round(found.duration_s)
    cells = [
        f"{shown:<{width}}",
        f"{bpm:>8}",
        f"{f'{key.camelot:<3} {key.name}' if key else '–':<13}",
        f"{whole // 60}:{whole % 60:02d}".rjust(6),
        f"{'–' if found.lufs is None else f'{found.lufs:.1f}'.replace('-', '−'):>6}",
        f"{'–' if grid is None else f'{max(0.0, grid.downbeat_s):.3f} s':>9}",
        " ".join(f"{section.kind} {int(section.start_s) // 60}:{int(section.start_s) % 60:02d}" for section in found.sections),
    ]
    return "  ".join(cells).rstrip()
