"""The schema: how a file gets it, and that a step which fails leaves no trace."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from storage import DatabaseTooNew, open_store
from storage.database import FILE_NAME, connect, prepare
from storage.errors import MigrationFailed
from storage.migrate import Migration, migrate, migrations, statements, version


def schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return [tuple(row) for row in connection.execute("SELECT type, name FROM sqlite_schema ORDER BY 1, 2")]


def test_brings_an_empty_file_up_to_date_once(tmp_path: Path) -> None:
    with closing(connect(tmp_path / FILE_NAME, create=True)) as connection:
        assert migrate(connection) == len(migrations())
        before = schema(connection)
        assert ("table", "rating_events") in before
        assert migrate(connection) == len(migrations())
        assert schema(connection) == before
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_a_failing_step_leaves_version_and_schema_as_they_were(tmp_path: Path) -> None:
    good = Migration(1, "good", "CREATE TABLE kept (a TEXT);")
    bad = Migration(2, "bad", "CREATE TABLE half (a TEXT); ALTER TABLE kept ADD COLUMN b TEXT; INSERT INTO nowhere VALUES (1);")
    with closing(connect(tmp_path / FILE_NAME, create=True)) as connection:
        with pytest.raises(MigrationFailed, match=r"0002_bad .*no such table: nowhere.*unchanged at schema 1"):
            migrate(connection, [good, bad])
        assert version(connection) == 1
        assert schema(connection) == [("table", "kept")]
        assert [row["name"] for row in connection.execute("PRAGMA table_info(kept)")] == ["a"]
        assert not connection.in_transaction


@pytest.mark.parametrize("number", range(1, len(migrations()) + 1))
def test_each_of_ours_is_atomic_wherever_it_breaks(number: int) -> None:
    step = migrations()[number - 1]
    parts = list(statements(step.sql))
    for cut in range(len(parts) + 1):
        broken = Migration(step.number, step.name, "".join([*parts[:cut], "SELECT * FROM nowhere;"]))
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            migrate(connection, migrations()[: number - 1])
            before = schema(connection)
            with pytest.raises(MigrationFailed):
                migrate(connection, [*migrations()[: number - 1], broken])
            assert (version(connection), schema(connection)) == (number - 1, before)


def test_a_step_that_breaks_a_reference_is_not_committed(tmp_path: Path) -> None:
    tables = "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a INTEGER REFERENCES a); INSERT INTO a VALUES (1);"
    start = Migration(1, "start", tables)
    use = Migration(2, "use", "INSERT INTO b VALUES (1);")
    lose = Migration(3, "lose", "DELETE FROM a;")
    with closing(connect(tmp_path / FILE_NAME, create=True)) as connection:
        with pytest.raises(MigrationFailed, match="missing row of a"):
            migrate(connection, [start, use, lose])
        assert version(connection) == 2
        assert connection.execute("SELECT count(*) FROM a").fetchone()[0] == 1


def test_two_processes_that_start_at_once(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(prepare, path) for _ in range(8)]:
            future.result()
    with closing(connect(path)) as connection:
        assert version(connection) == len(migrations())


async def test_refuses_a_newer_database_and_leaves_it_alone(tmp_path: Path) -> None:
    async with open_store(tmp_path):
        pass
    with closing(connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(DatabaseTooNew, match=r"schema 999.*newer version"):
        async with open_store(tmp_path):
            pass
    with closing(connect(tmp_path / FILE_NAME)) as connection:
        assert version(connection) == 999


def test_statements_keep_triggers_whole_and_name_what_has_no_end() -> None:
    table = "CREATE TABLE a (b TEXT); -- here; there\n"
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  SELECT 1;\n  SELECT ';';\nEND;"
    insert = "INSERT INTO a VALUES ('x;y');"
    found = list(statements(f"{table}{trigger}{insert}\n-- the end\n"))
    assert [text.strip().splitlines()[-1][-8:] for text in found] == ["b TEXT);", "END;", "('x;y');"]
    with pytest.raises(sqlite3.OperationalError, match="no end"):
        list(statements("CREATE TABLE a (b TEXT)"))
