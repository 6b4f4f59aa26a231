"""``python -m engine bench --startup``: seconds from the start of a process to an engine that says ready, and where they go.

::

    python -m engine serve ─▶ it listens (healthz: not ready) ─▶ ready: loaded, packed for the kernel, warmed up
    in this process            load: weights are mapped, not read ─▶ pack: read once, into the kernel's tiles

Not here: speed after that.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.request import urlopen

_LONGEST_S = 120.0
_LOOK_EVERY_S = 0.02


def measure_startup(folder: Path, *, rounds: int = 3) -> dict[str, Any]:
    """Medians over ``rounds`` processes. Raises RuntimeError where one does not get ready."""
    starts = [_start(folder) for _ in range(rounds)]
    found: dict[str, Any] = {name: round(statistics.median(start[name] for start in starts), 2) for name in ("listening_s", "ready_s")}
    found["peak_mb"] = round(max(start["peak_mb"] for start in starts))
    return found | _in_process(folder)


def _start(folder: Path) -> dict[str, float]:
    with serving(folder) as start:
        return {"listening_s": start.listening_s, "ready_s": start.ready_s, "peak_mb": _peak_mb(start.pid)}


@dataclass(frozen=True, slots=True)
class Started:
    """A process that serves at ``address``; seconds from its start on."""

    address: str
    pid: int
    listening_s: float
    ready_s: float


@contextmanager
def serving(folder: Path) -> Iterator[Started]:
    """An engine in a process of its own, ready, with the checkpoint in ``folder``; ended afterwards. Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="bench-") as data, tempfile.TemporaryFile("w+") as log:
        settings = {"ENGINE_CHECKPOINT": str(folder.resolve()), "ENGINE_DATA": data, "ENGINE_TOKEN": ""}
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "engine", "serve", "--host", "127.0.0.1", "--port", "0"],
            env={name: value for name, value in os.environ.items() if not name.startswith("ENGINE_")} | settings,
            cwd=data,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _wait(process, log, begun)
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], log: IO[str], begun: float) -> Started:
    address, listening_s = None, 0.0
    while time.perf_counter() - begun < _LONGEST_S and process.poll() is None:
        time.sleep(_LOOK_EVERY_S)
        if address is None:
            log.seek(0)
            if (said := re.search(r"http://127\.0\.0\.1:\d+", log.read())) is None:
                continue
            address = said.group()
        if (ready := _is_ready(address)) is not None and not listening_s:
            listening_s = time.perf_counter() - begun
        if ready:
            return Started(address, process.pid, listening_s, time.perf_counter() - begun)
    log.seek(0)
    raise RuntimeError(f"the engine did not get ready in {_LONGEST_S:.0f} s; its log ends: {log.read()[-500:]}")


def _is_ready(address: str) -> bool | None:
    """None while nothing listens."""
    try:
        with urlopen(f"{address}/healthz", timeout=5) as answer:  # noqa: S310  # http on loopback, as the engine itself said
            return bool(json.load(answer)["ready"])
    except URLError as error:
        return False if getattr(error, "code", None) == 503 else None


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _in_process(folder: Path) -> dict[str, Any]:
    """What loading and packing take here, where all is imported, and whether the weights' file is mapped."""
    from engine.models import precision_for
    from engine.musicgen import checkpoint

    begun = time.perf_counter()
    model = checkpoint.load(folder)
    load_s = time.perf_counter() - begun
    precision, _why = precision_for("auto", "cpu", model.parameters)
    begun = time.perf_counter()
    model.prepare(precision, rows=16)
    return {
        "load_s": round(load_s, 2),
        "pack_s": round(time.perf_counter() - begun, 2),
        "precision": precision,
        "mapped": is_mapped(model.weight_files[0]),
    }


def is_mapped(file: Path) -> bool:
    """Whether this process has the file mapped."""
    try:
        return str(file.resolve()) in Path("/proc/self/maps").read_text()
    except OSError:
        return False
