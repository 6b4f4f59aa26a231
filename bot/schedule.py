"""The nightly jobs: compare ratings with reactions, remove audio that no row names, back up the database.

apscheduler says when; ``storage.jobs`` remembers when each last ran to its end. One that was missed while the bot was off runs once at
start. A job that fails is logged and tried again the next night (and at the next start, since it never ended).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from bot.pages import JobLine
from bot.settings import BotSettings
from storage import Store
from storage.times import now

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """``run`` returns what it did, for the log."""

    name: str
    at: time
    run: Callable[[], Awaitable[str]]


class Schedule:
    """``start`` once the bot is ready; ``stop`` before the store is closed."""

    def __init__(self, store: Store, settings: BotSettings, jobs: list[Job]) -> None:
        self._store = store
        self._jobs = jobs
        self._triggers = {job.name: nightly(job.at, settings.bot_timezone) for job in jobs}
        self._scheduler: Any = AsyncIOScheduler(timezone=settings.bot_timezone)
        self._started = False
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Plans every job, and runs those that were missed, one after the other. Only the first call does anything."""
        if self._started:
            return
        self._started = True
        for job in self._jobs:
            self._scheduler.add_job(
                self.run, self._triggers[job.name], args=[job], id=job.name, coalesce=True, max_instances=1, misfire_grace_time=3600
            )
        self._scheduler.start()
        for job in self._jobs:
            if is_missed(self._triggers[job.name], await self._store.jobs.last_run(job.name), now()):
                await self.run(job)

    async def run(self, job: Job) -> None:
        """Runs one job now. Never raises: the next night comes in any case."""
        began = now()
        try:
            what = await job.run()
        except Exception:
            log.exception("the nightly job %r failed", job.name)
            return
        await self._store.jobs.record_run(job.name, began)
        log.info("nightly job %r: %s", job.name, what)

    async def lines(self) -> list[JobLine]:
        """For ``/status``."""
        lines = []
        for job in self._jobs:
            planned = self._scheduler.get_job(job.name) if self._started else None
            lines.append(JobLine(job.name, getattr(planned, "next_run_time", None), await self._store.jobs.last_run(job.name)))
        return lines

    def stop(self) -> None:
        if self._started and self._scheduler.running:
            self._scheduler.shutdown(wait=False)


def nightly(at: time, timezone: str) -> CronTrigger:
    return CronTrigger(hour=at.hour, minute=at.minute, second=at.second, timezone=timezone)


def is_missed(trigger: CronTrigger, last_run: datetime | None, moment: datetime) -> bool:
    """Whether a run was due since the last one. What never ran is due: a bot that is on only by day would else never run it."""
    if last_run is None:
        return True
    due = trigger.get_next_fire_time(last_run, last_run)
    return due is not None and due <= moment


def nightly_jobs(store: Store, settings: BotSettings, reconcile: Callable[[], Awaitable[int]]) -> list[Job]:
    """The three jobs of this bot."""

    async def compare() -> str:
        return f"{await reconcile()} ratings brought up to date"

    async def sweep() -> str:
        swept = await store.sweep()
        return f"{swept.files} files removed, {swept.bytes / 2**20:.1f} MiB"

    async def backup() -> str:
        made = await store.backup(keep=settings.bot_backups_kept)
        if made.missing:
            log.error("%d files that rows name are missing: run python -m storage check", len(made.missing))
        return f"{made.folder.name}, {made.blobs} files"

    return [
        Job("compare ratings with reactions", settings.bot_reconcile_at, compare),
        Job("remove audio that no row names", settings.bot_sweep_at, sweep),
        Job("back up the database", settings.bot_backup_at, backup),
    ]
