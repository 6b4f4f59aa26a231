"""``crate bench``: speed and memory of a crate, as a table. What is measured and how is in ``engine.crate.bench``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from engine.cli.tools import require_audio_tools
from engine.crate import bench as measuring
from engine.crate.pool import cores
from engine.errors import EngineError
from engine.settings import EngineSettings


def bench(arguments: argparse.Namespace, settings: EngineSettings) -> int:
    """Raises EngineError."""
    require_audio_tools()
    if not (1 <= arguments.tracks <= 1000 and 0.5 <= arguments.minutes <= 20):
        raise EngineError("bad_request", "--tracks must be from 1 to 1000, and --minutes from 0.5 to 20.")
    librosa = not arguments.no_librosa
    if librosa and importlib.util.find_spec("librosa") is None:
        raise EngineError("bad_request", "librosa is not installed: 'pip install librosa' to compare with it, or --no-librosa.")

    def tell(what: str, done: int, of: int) -> None:
        if sys.stderr.isatty() and not arguments.json:
            print(f"\r\x1b[K{what} ({done}/{of})", end="\n" if done == of else "", file=sys.stderr, flush=True)

    audio_s = arguments.tracks * arguments.minutes * 60
    before = measuring.machine()
    with tempfile.TemporaryDirectory(prefix="crate-bench-") as folder:
        paths = measuring.make_tracks(Path(folder) / "music", arguments.tracks, arguments.minutes, tell)
        steps = measuring.measure(
            Path(folder),
            paths,
            audio_s,
            checkpoint=settings.checkpoint,
            processes=arguments.processes or cores(),
            librosa=librosa,
            tell=tell,
        )
    if arguments.json:
        facts = {"tracks": arguments.tracks, "minutes": arguments.minutes, "machine": before, "steps": [asdict(step) for step in steps]}
        print(json.dumps(facts, ensure_ascii=False))
        return 0
    print(f"{arguments.tracks} tracks of {arguments.minutes:g} minutes, {settings.checkpoint}; {before} before it began")
    width = max(len(step.name) for step in steps)
    print(f"{'':<{width}}  hours/h  hours/h by CPU time  peak MiB")
    for step in steps:
        print(f"{step.name:<{width}}  {step.hours_an_hour:7.0f}  {step.hours_an_hour_idle:19.0f}  {step.peak_bytes / 2**20:8.0f}")
    return 0
