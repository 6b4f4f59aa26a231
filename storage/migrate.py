"""Brings a database file up to date with the numbered SQL files beside this module.

Each file ``migrations/NNNN_name.sql`` runs in one transaction together with the ``user_version`` that says it ran, so that a
crash or a mistake leaves the database exactly as it was before that file. Not here: connections for daily use (``database``).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from storage.errors import DatabaseTooNew, MigrationFailed

_NAME = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str


def migrations() -> tuple[Migration, ...]:
    """The project's own migrations, in order. Read as package data, so that an installed wheel has them."""
    found = []
    for entry in (resources.files("storage") / "migrations").iterdir():
        if match := _NAME.fullmatch(entry.name):
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    assert [m.number for m in found] == list(range(1, len(found) + 1)), "migrations are numbered 1, 2, 3 … without a gap"
    return tuple(found)


def version(connection: sqlite3.Connection) -> int:
    """How many migrations the file has seen; 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def refuse_newer(connection: sqlite3.Connection, known: int) -> None:
    """Raises DatabaseTooNew when a later version of the project has written the file."""
    if (found := version(connection)) > known:
        raise DatabaseTooNew(
            f"The database has schema {found}, and this version of the project knows schemas up to {known}: "
            "it was last used by a newer version. Install that version again, or put back a backup made before the update."
        )


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration] | None = None) -> int:
    """Runs what has not run yet, and returns the version reached.

    ``connection`` is in autocommit mode (``isolation_level=None``). Raises DatabaseTooNew or MigrationFailed.
    """
    steps = migrations() if steps is None else steps
    refuse_newer(connection, known=len(steps))
    # A migration that rebuilds a table needs this off (SQLite, "Making Other Kinds Of Table Schema Changes"); instead, references are
    # checked before each commit.
    connection.execute("PRAGMA foreign_keys = OFF")
    for step in steps:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version(connection) < step.number:  # asked inside the transaction: another process may have been faster
                _apply(connection, step)
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise MigrationFailed(
                    f"Migration {step.number:04}_{step.name} failed ({error}); the database is unchanged at schema {version(connection)}."
                ) from error
            raise
    connection.execute("PRAGMA foreign_keys = ON")
    return version(connection)


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    for statement in statements(step.sql):
        connection.execute(statement)
    if broken := connection.execute("PRAGMA foreign_key_check").fetchone():
        raise sqlite3.IntegrityError(f"row {broken[1]} of {broken[0]} would point at a missing row of {broken[2]}")
    connection.execute(f"PRAGMA user_version = {step.number}")


def statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one: ``executescript`` would commit before it begins. A trigger's body stays whole."""
    pending = ""
    for piece in re.split(r"(?<=;)", sql):
        pending += piece
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if any(line.strip() and not line.strip().startswith("--") for line in pending.splitlines()):
        raise sqlite3.OperationalError(f"a statement has no end: {pending.strip()[:60]!r}")
