"""``Finetunes``: takes requests for finetunes, runs some at once (ENGINE_FINETUNES), keeps what they tell, and goes on after a restart.

::

    request ─▶ tracks here? ─no─▶ 404 unknown_track, with all that are missing
                   └─yes─▶ folder: tracks linked, job.json ─▶ queue ─▶ process ─▶ events ─▶ checkpoint
                                                                          └─ killed? started again, and it goes on

An engine that was killed finds its jobs by their folders; those whose last event is none of the last kind wait again, the oldest first.
Not here: HTTP (``engine.server``), the process (``processes``), its work (``steps``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.api import CheckpointInfo
from engine.api.finetunes import (
    FinetuneCancelled,
    FinetuneDone,
    FinetuneFailed,
    FinetuneQueued,
    FinetuneRequest,
    FinetuneStatus,
    ReportFile,
    TrainingProgress,
)
from engine.crate.disk import link_or_copy
from engine.errors import EngineError
from engine.finetunes.jobs import LEAST_TRACKS, REPORT_FOLDER, Job, JobFacts, JobFolder, is_id, served_card
from engine.finetunes.processes import SAVED, JobProcess
from engine.settings import EngineSettings
from engine.tracks import Tracks

log = logging.getLogger(__name__)

MAX_WAITING = 32
"""Jobs that may wait; more are refused with 503."""
KEPT_JOBS = 100
"""Jobs that are over, and can still be read; at a start the oldest beyond that are forgotten, but not their checkpoints."""
MOST_CRASHES = 3
"""A process that was killed so often without getting further is not started again."""
AGAIN_S = 0.5


class Finetunes:
    """One engine's. Use from one event loop."""

    def __init__(
        self,
        settings: EngineSettings,
        tracks: Tracks,
        describe: Callable[[str | None], CheckpointInfo],
        ended: Callable[[str, str], None] = lambda recipe, outcome: None,
    ) -> None:
        """``describe``: a checkpoint by its id. ``ended`` hears the recipe and outcome of each job."""
        self._settings, self._tracks, self._describe, self._ended = settings, tracks, describe, ended
        self._folder = settings.data / "finetunes"
        self._jobs: dict[str, Job] = {}
        self._queue: list[Job] = []
        self._wake = asyncio.Condition()
        self._runners: list[asyncio.Task[None]] = []
        self._taking_on = asyncio.Lock()
        self._stopping = False

    def start(self) -> None:
        """Takes up what an earlier process left. Blocks on the disk for a moment."""
        paths = self._folder.iterdir() if self._folder.is_dir() else ()
        for folder in sorted(filter(None, map(JobFolder.find, paths)), key=lambda folder: folder.facts.created_at):
            job = self._jobs[folder.facts.request.id] = Job(folder)
            if job.events.over:
                folder.clear()  # killed between the last event and this
            else:
                log.info("finetune %s: taken up again after event %d", job.id, job.events.count)
                self._queue.append(job)
        over = [job for job in self._jobs.values() if job.events.over]
        for job in over[: max(0, len(over) - KEPT_JOBS)]:
            del self._jobs[job.id]
            shutil.rmtree(job.folder.path, ignore_errors=True)
        self._runners = [asyncio.create_task(self._serve(), name="finetunes") for _ in range(self._settings.finetunes)]
        self._tell_positions()

    async def stop(self) -> None:
        """Running jobs save and end; they go on when the engine is back. May be called twice."""
        self._stopping = True
        for job in self._jobs.values():
            if job.process is not None:
                job.process.leave()
            job.events.close()
        async with self._wake:
            self._wake.notify_all()
        await asyncio.gather(*self._runners, return_exceptions=True)

    def load(self) -> tuple[int, dict[str, TrainingProgress | None]]:
        """How many wait; and those that run, by id, with their latest step."""
        return len(self._queue), {job.id: job.progress for job in self._jobs.values() if job.process is not None}

    # ---- requests

    async def submit(self, request: FinetuneRequest) -> FinetuneStatus:
        """Takes a job on, or finds the same. Raises EngineError."""
        if self._settings.finetunes == 0:
            raise EngineError("bad_request", "This engine takes no finetunes (ENGINE_FINETUNES=0): ask another, or whoever runs it.")
        async with self._taking_on:
            if (known := self._jobs.get(request.id)) is not None:
                if known.folder.facts.request != request:
                    raise EngineError("bad_request", f"There is a finetune {request.id!r} already, of other things: choose another id.")
                return self._status(known)
            if self._stopping:
                raise EngineError("not_ready", "The engine is being stopped: ask again when it is back.", 10.0)
            if len(self._queue) >= MAX_WAITING:
                raise EngineError("queue_full", f"{len(self._queue)} finetunes wait already: ask again when some are done.", 600.0)
            folder = await asyncio.to_thread(self._take_on, request)
            job = self._jobs[request.id] = Job(folder)
            self._queue.append(job)
            log.info("finetune %s: %s on %s, %d tracks", job.id, request.recipe, folder.facts.base, len(request.tracks))
            self._tell_positions()
            async with self._wake:
                self._wake.notify()
            return self._status(job)

    def _take_on(self, request: FinetuneRequest) -> JobFolder:
        info = self._describe(request.base)
        if info.adapter:
            raise EngineError("bad_request", f"{info.id!r} is a finetune by adapter itself: choose its base, {info.parent!r}, instead.")
        if (self._settings.data / "checkpoints" / request.id).exists():
            raise EngineError("bad_request", f"There is a checkpoint {request.id!r} already: choose another id.")
        wanted = list(dict.fromkeys(track.sha256 for track in request.tracks))
        if len(wanted) < LEAST_TRACKS:
            raise EngineError(
                "bad_request", f"{LEAST_TRACKS} tracks are the least, one of which is held out: add {LEAST_TRACKS - len(wanted)}."
            )
        path = self._folder / request.id
        shutil.rmtree(path, ignore_errors=True)  # killed while it was taken on
        facts = JobFacts(
            request=request, base=info.id, base_is_default=info.default, licence=info.licence, created_at=round(time.time(), 3)
        )
        folder, missing = JobFolder(path, facts), []
        for sha256 in wanted:
            try:
                self._tracks.find(sha256)  # used just now
                link_or_copy(self._tracks.audio_path(sha256), folder.track(sha256))
            except (EngineError, FileNotFoundError):
                missing.append(sha256)
        if missing:
            shutil.rmtree(path, ignore_errors=True)
            raise EngineError("unknown_track", f"The engine doesn't have {len(missing)} of these tracks: upload first.", tracks=missing)
        return JobFolder.take_on(path, facts)

    def status(self, finetune_id: str) -> FinetuneStatus:
        """Raises EngineError 'unknown_finetune'."""
        return self._status(self._find(finetune_id))

    def events(self, finetune_id: str, after: int) -> AsyncIterator[bytes]:
        """Lines of NDJSON. Raises EngineError 'unknown_finetune' at once."""
        return self._find(finetune_id).events.lines(after)

    async def file(self, finetune_id: str, name: str) -> tuple[bytes, str]:
        """A file of the report card, and its media type. Raises EngineError 'unknown_finetune'."""
        folder = self._settings.data / "checkpoints" / finetune_id
        card = await asyncio.to_thread(served_card, folder, finetune_id) if is_id(finetune_id) else None
        known: list[ReportFile | None] = (
            [] if card is None else [card.picture, *(side for clip in card.clips for side in (clip.before, clip.after))]
        )
        file = next((file for file in known if file is not None and file.name == name), None)
        try:
            if file is not None:
                return await asyncio.to_thread((folder / REPORT_FOLDER / file.name).read_bytes), file.media_type
        except FileNotFoundError:
            pass
        raise EngineError("unknown_finetune", f"No finished finetune {finetune_id!r} has a file {name!r} here: was its checkpoint deleted?")

    async def cancel(self, finetune_id: str) -> None:
        """Cancels a job; forgets one that is over, but not its checkpoint. Raises EngineError 'unknown_finetune'."""
        job = self._find(finetune_id)
        if job.events.over:
            del self._jobs[finetune_id]
            await asyncio.to_thread(shutil.rmtree, job.folder.path, ignore_errors=True)
            log.info("finetune %s: forgotten", finetune_id)
            return
        await self._end(job, FinetuneCancelled(number=1))

    async def forget_track(self, sha256: str) -> None:
        """A track's owner wants it gone: from jobs that wait it is taken out; one that learns it ends; what was heard of it goes."""
        for job in list(self._jobs.values()):
            if job.events.over or not job.folder.track(sha256).exists():
                continue
            job.folder.track(sha256).unlink(missing_ok=True)
            if job in self._queue and not job.folder.work.exists():
                continue  # it goes on without
            track = next(track for track in job.folder.facts.request.tracks if track.sha256 == sha256)
            await self._end(
                job,
                FinetuneFailed(
                    number=1,
                    code="unknown_track",
                    message=f"{track.title or 'A track'} was deleted while the finetune learned from it, so all that it had learned is "
                    "deleted too. Start it again without that track.",
                ),
            )
        await asyncio.to_thread(self._forget_heard, sha256)

    def _forget_heard(self, sha256: str) -> None:
        """What crates keep by a track's content: what was heard, and codes."""
        for file in (self._settings.data / "findings").glob(f"*/{sha256[:2]}/{sha256}-*.json"):
            file.unlink(missing_ok=True)
        for folder in (self._settings.data / "codes").glob(f"*/{sha256[:2]}/{sha256}"):
            shutil.rmtree(folder, ignore_errors=True)

    def _find(self, finetune_id: str) -> Job:
        job = self._jobs.get(finetune_id)
        if job is None:
            raise EngineError("unknown_finetune", f"There is no finetune {finetune_id!r} here: it was forgotten, or never begun.")
        return job

    def _status(self, job: Job) -> FinetuneStatus:
        return job.status(self._queue.index(job) if job in self._queue else None)

    # ---- work

    async def _serve(self) -> None:
        """Runs jobs, one after the other."""
        while True:
            async with self._wake:
                await self._wake.wait_for(lambda: bool(self._queue) or self._stopping)
                if self._stopping:
                    return
                job = self._queue.pop(0)
            self._tell_positions()
            try:
                await self._run(job)
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("finetune %s broke", job.id)
                job.process = None
                await self._give_up(job)

    async def _run(self, job: Job) -> None:
        """Until it is over, or the engine stops."""
        crashes, reached = 0, job.furthest
        while not job.events.over and job.end is None and not self._stopping:
            job.process = JobProcess(job.folder.path, self._settings)
            began = time.monotonic()
            last: list[dict[str, Any]] = []
            code = await job.process.run(lambda event, last=last: self._hear(job, event, last))  # type: ignore[misc]
            job.process = None
            if job.end is not None or self._stopping:
                break
            if last:
                await self._over(job, last[0])
                return
            if code == SAVED:
                continue
            log.warning("finetune %s: its process ended with %d after %.0f s", job.id, code, time.monotonic() - began)
            crashes, reached = 1 if job.furthest > reached else crashes + 1, job.furthest
            if crashes >= MOST_CRASHES:
                await self._over(job, {"event": "failed", "code": "internal", "message": _KILLED})
                return
            await asyncio.sleep(AGAIN_S)
        if job.end is not None:
            await self._over(job, job.end.model_dump())

    def _hear(self, job: Job, event: dict[str, Any], last: list[dict[str, Any]]) -> None:
        """The last event is kept until the process is gone and its files are cleared."""
        if job.end is not None or last:
            return
        if event.get("event") in ("done", "failed"):
            last.append(event)
            return
        before = job.events.last
        try:
            told = job.tell(event)
        except ValidationError:
            log.exception("finetune %s told what is no event", job.id)
            return
        if not isinstance(told, TrainingProgress):
            if before is None or before.event != told.event:
                log.info("finetune %s: %s", job.id, told.event)
        elif event.get("picture"):
            log.info("finetune %s: step %d of %d, unseen tracks %s", job.id, told.step, told.of_steps, told.held_out)

    async def _end(self, job: Job, how: FinetuneCancelled | FinetuneFailed) -> None:
        """A job that waits or runs is over, for a reason of ours."""
        job.end = how
        if job in self._queue:
            self._queue.remove(job)
            self._tell_positions()
            await self._over(job, how.model_dump())
        elif job.process is not None:
            job.process.kill()  # whoever runs it tells the rest

    async def _over(self, job: Job, event: dict[str, Any]) -> None:
        if job.events.over:
            return
        if event["event"] != "done":
            await asyncio.to_thread(self._undo, job)
        await asyncio.to_thread(job.folder.clear)
        told = job.tell({name: value for name, value in event.items() if name != "number"})
        outcome = (
            (told.report.gate or "not judged") if isinstance(told, FinetuneDone) else "broke" if told.event == "failed" else told.event
        )
        self._ended(job.folder.facts.request.recipe, outcome)
        log.info("finetune %s: %s", job.id, f"done, {outcome}" if isinstance(told, FinetuneDone) else outcome)

    async def _give_up(self, job: Job) -> None:
        try:
            await self._over(job, {"event": "failed", "code": "internal", "message": _BROKEN})
        except OSError as error:  # the disk is full, most likely: it is taken up again when the engine starts
            log.error("finetune %s: how it ended can't be written: %s", job.id, error.strerror)
            job.events.close()

    def _undo(self, job: Job) -> None:
        """It ended in its last moment: the checkpoint is there, and nobody was told."""
        folder: Path = self._settings.data / "checkpoints" / job.id
        if served_card(folder, job.id) is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _tell_positions(self) -> None:
        for position, job in enumerate(self._queue):
            if not (isinstance(job.events.last, FinetuneQueued) and job.events.last.position == position):
                with contextlib.suppress(OSError):
                    job.tell({"event": "queued", "position": position})


_BROKEN = "Something broke in the engine. Its log says what, under this finetune's id."
_KILLED = (
    "The finetune's process was ended by the system again and again, most likely for want of memory: use a smaller base or a lower rank, "
    "or end other programs on the engine's machine, then start it again."
)
