"""``Evaluations``: answers requests for reports, one at a time, each worked out in a process of its own (``worker``).

::

    request ─▶ every track here? ─no─▶ 404 unknown_track, with all that are missing
                    └─yes─▶ this evaluation's task, begun now or before ─▶ report
                                     └─ not done within WORK_ANSWER_S ─▶ Working; asked again, the same task goes on
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import sys
import time
from dataclasses import dataclass

from engine.api import WORK_ANSWER_S, Working
from engine.api.evaluation import EvaluationReport, EvaluationRequest
from engine.errors import EngineError
from engine.tracks import Tracks

log = logging.getLogger(__name__)

MAX_WAITING = 4
"""Evaluations that may be under way or wait; more are refused with 503 and Retry-After."""
KEPT = 32
"""Reports that are kept, the last asked for: the same sets give the same report."""
ABANDONED_S = 120.0
"""An evaluation that nobody has asked for again for so long is stopped, in seconds."""


@dataclass(slots=True, eq=False)
class _Job:
    task: asyncio.Task[EvaluationReport]
    asked_at: float
    of: int
    done: int = 0


class Evaluations:
    """One engine's. Use from one event loop."""

    def __init__(self, tracks: Tracks) -> None:
        self._tracks = tracks
        self._jobs: dict[str, _Job] = {}
        self._reports: dict[str, EvaluationReport] = {}
        self._turn = asyncio.Lock()

    async def stop(self) -> None:
        """What is under way is lost. May be called twice."""
        for job in self._jobs.values():
            job.task.cancel()
        await asyncio.gather(*(job.task for job in self._jobs.values()), return_exceptions=True)

    async def evaluate(self, request: EvaluationRequest) -> EvaluationReport | Working:
        """Raises EngineError 'unknown_track', 'bad_audio', 'bad_request', 'queue_full'."""
        began = time.monotonic()
        named = list(dict.fromkeys([*request.reference, *request.candidate, *request.training]))
        missing = await asyncio.to_thread(lambda: [sha256 for sha256 in named if not self._tracks.has(sha256)])
        if missing:
            raise EngineError("unknown_track", f"The engine doesn't have {len(missing)} of these tracks: upload first.", tracks=missing)
        key = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
        if (known := self._reports.pop(key, None)) is not None:
            self._reports[key] = known  # the last asked for is the last to leave
            return known
        for name, old in list(self._jobs.items()):  # what broke while nobody waited is forgotten when its time is up
            if old.task.done() and name != key and began - old.asked_at > ABANDONED_S:
                del self._jobs[name]
        job = self._jobs.get(key)
        if job is None:
            if len(self._jobs) >= MAX_WAITING:
                raise EngineError("queue_full", "The engine has other clips to compare: ask again in a while.", 60.0)
            total = len(request.reference) + len(request.candidate) + len(request.training)
            job = self._jobs[key] = _Job(asyncio.create_task(self._run(key, request)), began, total)
            job.task.add_done_callback(lambda task: None if task.cancelled() else task.exception())
        job.asked_at = began
        await asyncio.wait([job.task], timeout=max(0.0, began + WORK_ANSWER_S - time.monotonic()))
        job.asked_at = time.monotonic()
        if not job.task.done():
            return Working(done=job.done, of=job.of, waiting=sum(other is not job for other in self._jobs.values()))
        self._jobs.pop(key, None)
        if job.task.cancelled():
            raise EngineError("not_ready", "The engine is stopping: ask again when it is back.", 30.0)
        return job.task.result()

    async def _run(self, key: str, request: EvaluationRequest) -> EvaluationReport:
        watch = asyncio.create_task(self._leave_when_abandoned(key))
        try:
            async with self._turn:
                report = await self._work(key, request)
            self._reports[key] = report
            while len(self._reports) > KEPT:
                del self._reports[next(iter(self._reports))]
            return report
        finally:
            watch.cancel()

    async def _leave_when_abandoned(self, key: str) -> None:
        while (job := self._jobs.get(key)) is not None:
            left_s = job.asked_at + WORK_ANSWER_S + ABANDONED_S - time.monotonic()
            if left_s <= 0:
                log.info("an evaluation was abandoned")
                del self._jobs[key]
                job.task.cancel()
                return
            await asyncio.sleep(left_s)

    async def _work(self, key: str, request: EvaluationRequest) -> EvaluationReport:
        sets = {name: {sha256: str(self._tracks.audio_path(sha256)) for sha256 in getattr(request, name)} for name in _SETS}
        settings = {"embedder": request.embedder, "prompt": request.prompt, "seed": request.seed}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine.evaluation.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        began = time.monotonic()
        try:
            process.stdin.write(json.dumps(sets | settings).encode())
            process.stdin.close()
            async for line in process.stdout:
                told = json.loads(line)
                if "report" in told:
                    log.info("compared %d clips in %.1f s", len(request.candidate), time.monotonic() - began)
                    return EvaluationReport.model_validate_json(json.dumps(told["report"]))
                if "error" in told:
                    raise EngineError(told["code"], told["error"])
                if (job := self._jobs.get(key)) is not None:
                    job.done, job.of = told["done"], told["of"]
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
        log.error("an evaluation's process ended with %s", process.returncode)
        raise EngineError("internal", "Comparing these clips broke in the engine. Its log says what.")


_SETS = ("reference", "candidate", "training")
