"""One SQLite file, used by many coroutines: a writer connection behind a lock, a reader connection that sees only what is committed.

::

    coroutine ──transaction()──▶ asyncio.Lock ──▶ writer: BEGIN IMMEDIATE … COMMIT | ROLLBACK
    coroutine ──all(), one()───────────────────▶ reader: query_only, a snapshot for each statement

On one shared connection a commit of one coroutine would keep the half-done rows of another, and a read would see them.
Not here: the schema (``migrations/``), how it is brought up to date (``migrate``), what the rows mean (one module for each).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Protocol

import aiosqlite

from storage.files import file_lock
from storage.migrate import migrate, migrations, refuse_newer

__all__ = ["FILE_NAME", "Database", "Reader", "Transaction", "connect", "open_database", "prepare"]

FILE_NAME = "composer.sqlite3"
BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another *process*, as ``python -m storage sweep`` beside a running bot."""


class Reader(Protocol):
    """What both a Database and a Transaction can do."""

    async def all(self, sql: str, *parameters: Any) -> list[sqlite3.Row]: ...
    async def one(self, sql: str, *parameters: Any) -> sqlite3.Row | None: ...


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """A plain connection with the settings that every connection here has. Raises sqlite3.OperationalError when there is no file."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        isolation_level=None,  # transactions begin and end where this code says, not where the driver guesses
        timeout=BUSY_TIMEOUT_S,
        check_same_thread=False,  # aiosqlite opens, uses and closes it on its own thread; __del__ may run elsewhere
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


class Transaction:
    """Statements that stand or fall together. Valid only inside its ``async with``."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection: aiosqlite.Connection | None = connection

    async def all(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        if self._connection is None:
            raise RuntimeError("this transaction is over")
        return list(await self._connection.execute_fetchall(sql, parameters))

    async def one(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        rows = await self.all(sql, *parameters)
        return rows[0] if rows else None

    async def execute(self, sql: str, *parameters: Any) -> None:
        await self.all(sql, *parameters)

    def close(self) -> None:
        self._connection = None


class Database:
    """See the module. Made by ``open_database``."""

    def __init__(self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None

    async def all(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """Rows of one statement, as of the last commit."""
        return list(await self._reader.execute_fetchall(sql, parameters))

    async def one(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        """The first row, if any, as of the last commit."""
        rows = await self.all(sql, *parameters)
        return rows[0] if rows else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commits when the block ends, rolls back when it raises or its task is cancelled; the next one waits until that is over.

        A task that is cancelled while COMMIT is already under way is committed, and learns of the cancellation afterwards.
        Raises RuntimeError when the same task is already inside one: it would wait for itself.
        """
        task = asyncio.current_task()
        if task is not None and task is self._owner:
            raise RuntimeError("a transaction inside a transaction of the same task would wait for itself: pass the outer one on")
        async with self._lock:
            self._owner = task
            transaction = Transaction(self._writer)
            try:
                try:
                    await _to_the_end(self._run("BEGIN IMMEDIATE"))
                    yield transaction
                except BaseException:
                    await _to_the_end(self._roll_back())
                    raise
                try:
                    await _to_the_end(self._run("COMMIT"))
                except BaseException:  # a full disk, say: nothing was committed, and the next transaction must find none open
                    await _to_the_end(self._roll_back())
                    raise
            finally:
                transaction.close()
                self._owner = None

    async def _roll_back(self) -> None:
        if self._writer.in_transaction:
            await self._run("ROLLBACK")

    async def _run(self, sql: str) -> None:
        await self._writer.execute_fetchall(sql)


async def _to_the_end(work: Coroutine[Any, Any, object]) -> None:
    """Awaits ``work`` to its end even when this task is cancelled meanwhile, and only then lets the cancellation through.

    The statement runs on the connection's thread whether somebody waits for it or not: the lock must not be given up before it is over.
    """
    inner = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not inner.done():
        try:
            await asyncio.wait([inner])
        except asyncio.CancelledError as error:
            cancelled = error
    failed = inner.exception()
    if cancelled is not None:
        raise cancelled
    if failed is not None:
        raise failed


@asynccontextmanager
async def open_database(folder: Path) -> AsyncIterator[Database]:
    """Opens (and makes, and brings up to date) ``composer.sqlite3`` in ``folder``. Raises DatabaseTooNew, MigrationFailed."""
    path = folder / FILE_NAME
    await asyncio.to_thread(prepare, path)
    async with aiosqlite.Connection(lambda: connect(path), 64) as writer, aiosqlite.Connection(lambda: connect(path), 64) as reader:
        await reader.execute_fetchall("PRAGMA query_only = ON")
        yield Database(path, writer, reader)


def prepare(path: Path) -> None:
    """Makes the file if need be and brings it up to date. Raises DatabaseTooNew, MigrationFailed."""
    # SQLite does not wait its turn for the switch to WAL, so two processes that start at once take turns here.
    with file_lock(path.with_suffix(".lock"), exclusive=True), closing(connect(path, create=True)) as connection:
        refuse_newer(connection, known=len(migrations()))  # before anything is changed
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection)
