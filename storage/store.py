"""A data folder, opened.

::

    FOLDER/composer.sqlite3     rows                     (database, migrate; one module for each table)
           blobs/ab/abcdef…     audio and pictures       (blobs)
           backups/backup-TIME/ the same layout again    (upkeep)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from storage import upkeep
from storage.answers import Answers
from storage.blobs import Blobs
from storage.check import Report, check
from storage.database import Database, open_database
from storage.finetunes import Finetunes
from storage.guilds import Guilds
from storage.jobs import Jobs
from storage.ratings import Ratings
from storage.takes import Takes
from storage.tracks import Tracks


@dataclass(frozen=True, slots=True)
class Store:
    folder: Path
    database: Database
    blobs: Blobs
    guilds: Guilds
    tracks: Tracks
    takes: Takes
    ratings: Ratings
    finetunes: Finetunes
    answers: Answers
    jobs: Jobs

    async def sweep(self, *, grace: timedelta = upkeep.DEFAULT_GRACE) -> upkeep.Swept:
        """Removes old blobs that no row names."""
        return await asyncio.to_thread(upkeep.sweep, self.folder, grace=grace)

    async def backup(self, *, keep: int = upkeep.DEFAULT_KEEP) -> upkeep.BackedUp:
        """A consistent copy of database and blobs, while everything goes on."""
        return await asyncio.to_thread(upkeep.backup, self.folder, keep=keep)

    async def check(self) -> Report:
        """What is wrong in the folder, and what to do."""
        return await asyncio.to_thread(check, self.folder)


@asynccontextmanager
async def open_store(folder: Path) -> AsyncIterator[Store]:
    """Opens a data folder, making it if need be. Raises DatabaseTooNew, MigrationFailed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 (once, at start-up)
    async with open_database(folder) as database:
        yield Store(
            folder=folder,
            database=database,
            blobs=upkeep.blobs_of(folder),
            guilds=Guilds(database),
            tracks=Tracks(database),
            takes=Takes(database),
            ratings=Ratings(database),
            finetunes=Finetunes(database),
            answers=Answers(database),
            jobs=Jobs(database),
        )
