"""When the nightly jobs run, and what happens to those that were missed."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from bot.schedule import Job, Schedule, is_missed, nightly, nightly_jobs
from bot.settings import BotSettings
from storage import Store

NIGHT = nightly(time(4, 10), "UTC")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last_run", "now", "missed"),
    [
        (None, at(2, 12), True),  # a bot that is on only by day would else never run it
        (at(1, 4, 10), at(1, 12), False),
        (at(1, 4, 10), at(2, 4, 9), False),
        (at(1, 4, 10), at(2, 4, 10), True),
        (at(1, 3), at(1, 5), True),
        (at(1, 4, 10), at(9, 1), True),
    ],
)
def test_missed(last_run: datetime | None, now: datetime, missed: bool) -> None:
    assert is_missed(NIGHT, last_run, now) is missed


def test_nights_are_those_of_the_operators_time_zone() -> None:
    berlin = nightly(time(4, 10), "Europe/Berlin")
    assert berlin.get_next_fire_time(None, at(10, 1)) == at(10, 3, 10)
    assert berlin.get_next_fire_time(None, datetime(2026, 7, 10, 1, tzinfo=UTC)) == datetime(2026, 7, 10, 2, 10, tzinfo=UTC)


async def test_a_missed_run_is_made_once_at_start_and_a_failed_one_again(store: Store, settings: BotSettings) -> None:
    runs: list[str] = []

    async def works() -> str:
        runs.append("works")
        return "done"

    async def fails() -> str:
        runs.append("fails")
        raise OSError("the disk is full")

    async def recent() -> str:
        runs.append("recent")
        return "done"

    await store.jobs.record_run("recent", datetime.now(UTC) - timedelta(seconds=1))
    far = (datetime.now(UTC) + timedelta(hours=6)).time()
    jobs = [Job("works", far, works), Job("fails", far, fails), Job("recent", far, recent)]
    for _start in range(2):
        schedule = Schedule(store, settings, jobs)
        await schedule.start()
        await schedule.start()  # READY may come again
        lines = {line.name: line for line in await schedule.lines()}
        schedule.stop()
    assert runs == ["works", "fails", "fails"]
    assert lines["works"].last_run is not None and lines["fails"].last_run is None
    assert all(line.next_run is not None and line.next_run > datetime.now(UTC) for line in lines.values())


async def test_the_backup_is_kept_seven_times_and_the_sweep_leaves_what_is_named(store: Store, settings: BotSettings, world: Any) -> None:
    message = await world.posted()

    async def nothing() -> int:
        return 0

    compare, sweep, backup = nightly_jobs(store, settings, nothing)
    for _night in range(9):
        await backup.run()
    assert len(list((settings.bot_data / "backups").glob("backup-*"))) == 7
    assert (await sweep.run()).startswith("0 files")
    take = await world.take_of(message)
    assert await store.blobs.get(take.clip.sha256)
    assert "0 ratings" in await compare.run()
