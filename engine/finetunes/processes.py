"""A job's process, from the engine's side: ``work`` starts it, hands on what it tells, and says how it ended.

It leads a group of its own, so that what it started ends with it; its standard input is this engine's life: when that closes, however the
engine ended, it saves and ends too. Not here: what it does (``worker``, ``steps``), what comes of its end (``desk``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.crate import pool
from engine.settings import EngineSettings

LINE_BYTES = 2**25
"""Longest line that it may tell: a picture is some 100 KB."""
SAVED = 75
"""Exit code of one that was told to end, and can go on."""
SAVING_S = 8.0
"""How long it may take to save when the engine stops."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PRIVATE = ("ENGINE_TOKEN", "DISCORD_TOKEN", "HF_TOKEN")


class JobProcess:
    """One process. ``run`` once; ``kill`` and ``leave`` from any task of the same loop."""

    def __init__(self, folder: Path, settings: EngineSettings) -> None:
        self._folder, self._settings = folder, settings
        self._process: asyncio.subprocess.Process | None = None
        self._unwanted = False

    async def run(self, hear: Callable[[dict[str, Any]], None]) -> int:
        """Its exit code; negative where a signal ended it. ``hear`` gets each line that it tells."""
        s = self._settings
        told: dict[str, Any] = {"data": str(s.data), "checkpoint": s.checkpoint, "device": s.device, "precision": s.precision}
        told |= {"finetune_threads": s.finetune_threads, "log_level": s.log_level}
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine.finetunes.worker", str(self._folder.absolute())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name not in _PRIVATE} | dict.fromkeys(_THREADS, str(cores_for(s))),
            limit=LINE_BYTES,
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            if self._unwanted:
                self.kill()
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json.dumps(told).encode() + b"\n")
                await process.stdin.drain()
            async for line in process.stdout:
                with contextlib.suppress(ValueError):  # half a line, told in dying
                    hear(json.loads(line))
            return await process.wait()
        finally:
            self.kill()
            await asyncio.shield(process.wait())

    def kill(self) -> None:
        """At once, with all that it started. What is on the disk is whole at any moment."""
        self._unwanted = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def leave(self) -> None:
        """It saves what it has and ends, or is ended."""
        self._unwanted = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            asyncio.get_running_loop().call_later(SAVING_S, self.kill)


def cores_for(settings: EngineSettings) -> int:
    """CPU threads of a finetune: the rest is for takes."""
    return max(1, settings.finetune_threads or pool.cores() // 2)
