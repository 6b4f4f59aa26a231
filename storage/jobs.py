"""When each scheduled job last ran to its end, so that one missed while the bot was off is made up for."""

from __future__ import annotations

from datetime import datetime

from storage.database import Database
from storage.times import from_text, to_text


class Jobs:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def last_run(self, name: str) -> datetime | None:
        row = await self._database.one("SELECT ran_at FROM job_runs WHERE name = ?", name)
        return from_text(row["ran_at"]) if row else None

    async def record_run(self, name: str, at: datetime) -> None:
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO job_runs (name, ran_at) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET ran_at = max(ran_at, excluded.ran_at)",
                name,
                to_text(at),
            )
