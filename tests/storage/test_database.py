"""Transactions of many coroutines on one file: apart from each other, whole or not at all, whatever is cancelled when."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.database import Database, connect, open_database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path) as opened:
        async with opened.transaction() as transaction:
            await transaction.execute("CREATE TABLE notes (text TEXT NOT NULL)")
        yield opened


async def notes(database: Database) -> list[str]:
    return [row["text"] for row in await database.all("SELECT text FROM notes ORDER BY text")]


async def test_settings_of_the_connections(database: Database) -> None:
    async with database.transaction() as transaction:
        assert (await transaction.all("PRAGMA foreign_keys"))[0][0] == 1
    assert (await database.all("PRAGMA journal_mode"))[0][0] == "wal"
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.all("DELETE FROM notes")


async def test_a_block_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO notes VALUES ('half')")
            raise ZeroDivisionError
    assert await notes(database) == []


async def test_transactions_do_not_leak_into_each_other(database: Database) -> None:
    """One coroutine commits while another, begun before, is still at work and then fails."""
    inside = asyncio.Event()
    go_on = asyncio.Event()

    async def failing() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO notes VALUES ('failing')")
            inside.set()
            await go_on.wait()
            raise ZeroDivisionError

    async def succeeding() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO notes VALUES ('succeeding')")

    first = asyncio.create_task(failing())
    await inside.wait()
    second = asyncio.create_task(succeeding())
    assert await notes(database) == [], "a read sees only what is committed"
    go_on.set()
    with pytest.raises(ZeroDivisionError):
        await first
    await second
    assert await notes(database) == ["succeeding"]


async def test_a_transaction_within_a_transaction_is_an_error_not_a_deadlock(database: Database) -> None:
    async with database.transaction() as outer:
        with pytest.raises(RuntimeError, match="wait for itself"):
            async with database.transaction():
                pass
        await outer.execute("INSERT INTO notes VALUES ('outer')")
    assert await notes(database) == ["outer"]


async def test_a_transaction_can_not_be_used_after_its_end(database: Database) -> None:
    async with database.transaction() as transaction:
        pass
    with pytest.raises(RuntimeError, match="over"):
        await transaction.execute("INSERT INTO notes VALUES ('late')")


@pytest.mark.parametrize("turns", range(0, 24, 2))
async def test_cancelled_anywhere_all_or_nothing_and_never_the_lock(database: Database, turns: int) -> None:
    """The task is cancelled twice, after so many turns of the event loop: before, within, at or after COMMIT, wherever that falls."""

    async def writer() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO notes VALUES ('one')")
            await transaction.execute("INSERT INTO notes VALUES ('two')")

    task = asyncio.create_task(writer())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await notes(database) in ([], ["one", "two"])
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO notes VALUES ('zero')")
    assert "zero" in await notes(database)


async def test_cancelled_inside_the_block_rolls_back(database: Database) -> None:
    inside = asyncio.Event()

    async def writer() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO notes VALUES ('never')")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(writer())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await notes(database) == []
    async with database.transaction() as transaction:
        assert await transaction.all("SELECT * FROM notes") == []


async def test_cancelled_while_waiting_for_its_turn(database: Database) -> None:
    async def waiting() -> None:
        async with database.transaction():
            raise AssertionError("it was not its turn")

    async with database.transaction() as transaction:
        task = asyncio.create_task(waiting())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await transaction.execute("INSERT INTO notes VALUES ('mine')")
    assert await notes(database) == ["mine"]


async def test_a_commit_that_fails_leaves_no_transaction_open(database: Database) -> None:
    """A deferred foreign key is looked at by COMMIT, which then fails with the transaction still open."""
    async with database.transaction() as transaction:
        await transaction.execute("CREATE TABLE replies (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)")
        await transaction.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
    with pytest.raises(sqlite3.IntegrityError):
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO replies VALUES (1)")
    async with database.transaction() as transaction:
        assert await transaction.all("SELECT * FROM replies") == []


async def test_waits_for_another_process_that_writes(database: Database) -> None:
    other = connect(database.path)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO notes VALUES ('theirs')")

    async def writer() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO notes VALUES ('ours')")

    task = asyncio.create_task(writer())
    await asyncio.sleep(0)
    assert await notes(database) == [], "readers don't wait for writers"
    other.execute("COMMIT")
    other.close()
    await task
    assert await notes(database) == ["ours", "theirs"]
