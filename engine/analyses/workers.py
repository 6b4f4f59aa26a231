"""Processes that listen to tracks: started when there is something to hear, ended when there was nothing for a while.

::

    run("analyse", …) ─▶ priority queue ─▶ runner ──one line of JSON──▶ python -m engine.analyses.worker
                                              ◀──one line of JSON───

A process of its own keeps the event loop and the model's thread free, may be killed when a track takes too long, and ends by itself
when the engine does, however that ends: its standard input closes. Not here: what it does (``worker``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from engine.errors import EngineError

log = logging.getLogger(__name__)

JOB_S = 300.0
"""Longest time for one track, in seconds."""
IDLE_S = 300.0
"""A process that had nothing to do for so long is ended: it holds some hundred MB."""
LINE_BYTES = 2**25
QUICK, URGENT, BACKGROUND = 0, 1, 2
"""What takes no time goes first, what nobody waits for last."""

_PRIVATE = ("ENGINE_TOKEN", "DISCORD_TOKEN", "HF_TOKEN")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Unavailable(Exception):
    """Something that the job needs is not installed. The message says what to do."""


@dataclass(order=True, slots=True)
class _Job:
    priority: int
    number: int
    line: bytes = field(compare=False)
    answer: asyncio.Future[dict[str, Any]] = field(compare=False)


class Workers:
    """At most ``number`` processes. Use from one event loop; ``stop`` ends them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._queue: asyncio.PriorityQueue[_Job] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._runners: list[asyncio.Task[None]] = []
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Jobs that no process has begun."""
        return self._queue.qsize()

    async def run(self, do: str, *, priority: int = URGENT, **arguments: Any) -> dict[str, Any]:
        """What the job gives.

        Raises EngineError ('bad_audio', 'unknown_track' where its file is gone, 'internal', 'not_ready' when stopped) and Unavailable.
        """
        if self._stopped:
            raise _stopping()
        while len(self._runners) < self.number:
            self._runners.append(asyncio.create_task(self._serve(), name="analyses"))
        line = json.dumps({"do": do, "with": arguments}).encode() + b"\n"
        job = _Job(priority, next(self._numbers), line, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(job)
        return _read(await job.answer)

    async def stop(self) -> None:
        """Ends the processes; what they were at is lost. May be called twice."""
        self._stopped = True
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, return_exceptions=True)
        while not self._queue.empty():
            _fail(self._queue.get_nowait(), _stopping())

    async def _serve(self) -> None:
        process: asyncio.subprocess.Process | None = None
        try:
            while True:
                try:
                    async with asyncio.timeout(IDLE_S if process else None):
                        job = await self._queue.get()
                except TimeoutError:
                    await _end(process)
                    process = None
                    continue
                if job.answer.done():
                    continue
                try:
                    if process is None or process.returncode is not None:
                        process = await _start()
                    async with asyncio.timeout(JOB_S):
                        answer = await _ask(process, job.line)
                    if not job.answer.done():
                        job.answer.set_result(answer)
                except asyncio.CancelledError:
                    _fail(job, _stopping())
                    raise
                except Exception as error:
                    log.error("a listening process broke: %s", type(error).__name__)
                    slow = isinstance(error, TimeoutError)
                    words = "It took too long to listen to the track: it may be damaged. Export it anew." if slow else _BROKEN
                    try:
                        await _end(process)  # before anybody is told: who asks again gets another
                    finally:
                        _fail(job, EngineError("bad_audio" if slow else "internal", words))
                    process = None
        finally:
            await _end(process)


_BROKEN = "Something broke while the engine listened to the track. Its log says what."


def _read(answer: dict[str, Any]) -> dict[str, Any]:
    match answer:
        case {"done": dict(found)}:
            return found
        case {"refused": str(words)}:
            raise EngineError("bad_audio", words)
        case {"missing": str(words)}:
            raise Unavailable(words)
        case {"gone": True}:
            raise EngineError("unknown_track", "The engine no longer has the track: upload it again.")
    raise EngineError("internal", _BROKEN)


def _fail(job: _Job, error: EngineError) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)


def _stopping() -> EngineError:
    return EngineError("not_ready", "The engine is being stopped: ask again when it is back.", 10.0)


async def _start() -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "engine.analyses.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment | _ONE_THREAD,
        limit=LINE_BYTES,
    )


async def _ask(process: asyncio.subprocess.Process, line: bytes) -> dict[str, Any]:
    """Raises OSError or ValueError where the process has died or talks nonsense."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(line)
    await process.stdin.drain()
    answer = json.loads(await process.stdout.readline())
    if not isinstance(answer, dict):
        raise TypeError("no answer")
    return answer


async def _end(process: asyncio.subprocess.Process | None) -> None:
    if process is None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()  # reads both pipes to their end, so that nothing stays open
