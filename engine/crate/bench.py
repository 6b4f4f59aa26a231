"""How fast a crate is imported and prepared, in what memory, beside a plain loop of librosa: ``measure``.

Each step is a process of its own, as a person would start it; memory is the proportional set size of it and all its children, polled, so
that pages which they share count once (Linux only; elsewhere it is 0). Tracks are synthesised, 44.1 kHz stereo FLAC, no two alike.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.crate.pool import cores
from engine.errors import EngineError
from engine.music.sandbox import find_tool

Tell = Callable[[str, int, int], None]
_POLL_S = 0.25
_LOOPS = 4
_LIBROSA = """
import sys
import librosa, soundfile
out, length, paths = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
for number, path in enumerate(paths):
    samples, _ = librosa.load(path, sr=32000, mono=True)
    for start in range(0, len(samples) - length + 1, length):
        soundfile.write(f"{out}/{number}-{start}.flac", samples[start : start + length], 32000)
"""


@dataclass(frozen=True, slots=True)
class Step:
    """wall_s, cpu_s: of the process and its children. peak_bytes: of all of them together. audio_s: how much it went through."""

    name: str
    wall_s: float
    cpu_s: float
    peak_bytes: int
    audio_s: float

    @property
    def hours_an_hour(self) -> float:
        """Hours of audio in an hour of this machine, busy as it is."""
        return self.audio_s / self.wall_s

    @property
    def hours_an_hour_idle(self) -> float:
        """The same, were all its cores free: by CPU time. One process alone uses one core."""
        return self.audio_s * cores() / self.cpu_s if self.cpu_s else 0.0


def make_tracks(folder: Path, tracks: int, minutes: float, tell: Tell) -> list[Path]:
    """Loops of the embedded model's synthesiser, laid out anew for each track."""
    from engine.pocket.synth import MANNERS, render_track

    folder.mkdir(parents=True, exist_ok=True)
    manners = list(MANNERS)
    loops = [render_track(manners[i % len(manners)], 900 + i, bars=8).samples for i in range(_LOOPS)]
    paths = []
    for number in range(tracks):
        rng = np.random.default_rng([7, number])
        length = round(minutes * 60 * 32000)
        loop = loops[number % len(loops)]
        samples = np.tile(loop, -(-length // len(loop)))[:length].astype(np.float32)
        for start in range(0, length, len(loop)):  # no two bars of eight are quite the same
            samples[start : start + len(loop)] *= np.float32(rng.uniform(0.6, 1.0))
        samples += rng.normal(0, 0.002, length).astype(np.float32)
        path = folder / f"Bench - Track {number:03d}.flac"
        command = [find_tool("ffmpeg"), "-v", "error", "-f", "f32le", "-ar", "32000", "-ac", "1", "-i", "pipe:0"]
        command += ["-ar", "44100", "-ac", "2", "-sample_fmt", "s16", "-y", str(path)]
        subprocess.run(command, input=samples.tobytes(), check=True)  # noqa: S603  our own arguments
        paths.append(path)
        tell("making tracks", number + 1, tracks)
    return paths


def measure(
    folder: Path,
    paths: Sequence[Path],
    audio_s: float,
    *,
    checkpoint: str,
    processes: int,
    librosa: bool,
    tell: Tell,
) -> list[Step]:
    """import, prepare thrice, and librosa's loop, in ``folder``. Raises EngineError where one of them fails."""
    ours = [sys.executable, "-m", "engine", "crate"]
    common = ["--data", str(folder / "data"), "--json"]
    music = str(paths[0].parent)
    prepare = [*ours, "prepare", "bench", "--checkpoint", checkpoint, "--processes", str(processes), *common]
    steps = []
    commands = {
        "import (decode, tempo, bars, key, loudness, sections)": [
            *(*ours, "import", music, "--crate", "bench", "--processes", str(processes)),
            *common,
        ],
        "prepare (decode, cut, FLAC, codes, report)": prepare,
        "prepare, codes cached (decode, cut, FLAC, report)": [*prepare, "--out", str(folder / "again")],
        "prepare, a second time": prepare,
    }
    for number, (name, command) in enumerate(commands.items()):
        tell(name, number, 5)
        steps.append(_run(name, command, audio_s))
    if librosa:
        tell("librosa", 4, 5)
        (folder / "librosa").mkdir(exist_ok=True)
        window = _window_samples(folder / "data" / "datasets" / "bench-bars" / "manifest.jsonl")
        command = [sys.executable, "-c", _LIBROSA, str(folder / "librosa"), str(window), *map(str, paths)]
        steps.append(_run("librosa: load, cut, FLAC; one process", command, audio_s))
    tell("done", 5, 5)
    return steps


def _window_samples(manifest: Path) -> int:
    """The longest segment of ours, for the loop to cut alike."""
    with manifest.open(encoding="utf-8") as file:
        return max(int(row["end"]) - int(row["start"]) for row in map(json.loads, file))


def _run(name: str, command: list[str], audio_s: float) -> Step:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603  our own arguments
    peak = _Peak(process.pid)
    _out, errors = process.communicate()
    wall_s = time.monotonic() - began
    peak_bytes = peak.stop()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise EngineError("internal", f"{name} failed: {errors.decode('utf-8', 'replace').strip()[-400:]}")
    cpu_s = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return Step(name, wall_s, cpu_s, peak_bytes, audio_s)


class _Peak:
    """Watches a process and its children from a thread."""

    def __init__(self, pid: int) -> None:
        self._pid, self._most, self._over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(_POLL_S):
            self._most = max(self._most, sum(_size(pid) for pid in _family(self._pid)))

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._most


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        parents.setdefault(parent, []).append(int(folder.name))
    family, new = [pid], [pid]
    while new:
        new = [child for parent in new for child in parents.get(parent, ())]
        family += new
    return family


def _size(pid: int) -> int:
    """Proportional set size, bytes; 0 where it is gone or hidden."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def machine() -> str:
    """In a few words, for whoever compares."""
    return f"{cores()} cores, load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else f"{cores()} cores"
