"""Finds what is wrong in a data folder (or a backup: it has the same layout) and says what to do. Changes nothing.

Good means: SQLite's integrity check passes, every reference points at a row, every blob that a row names is there with the bytes that
its name promises. Files that no row names are no fault, only news: a crash between a blob and its row leaves one, a sweep removes it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from storage.blobs import Blobs
from storage.errors import StorageError
from storage.files import TEMPORARY_PREFIX
from storage.upkeep import blobs_of, list_backups, named_blobs, open_existing

Kind = Literal["database", "foreign_key", "blob_missing", "blob_damaged", "blob_orphaned", "blob_unfinished"]


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    fault: bool
    """False: news, not damage."""
    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class Report:
    blobs: int
    """Files whose bytes were read."""
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def good(self) -> bool:
        return not any(finding.fault for finding in self.findings)


def check(folder: Path) -> Report:
    """Reads the database and every blob once. Never raises for damage: that is what the report is for."""
    restore = _restore_advice(folder)
    try:
        with closing(open_existing(folder)) as connection:
            findings = _check_database(connection, restore)
            before = named_blobs(connection)
            files = _read(blobs_of(folder))
            after = named_blobs(connection)
    except StorageError as error:  # says itself what to do
        return Report(0, 0, (Finding("database", True, str(error), ""),))
    except (sqlite3.Error, OSError) as error:
        return Report(0, 0, (Finding("database", True, f"The data folder can't be read: {error}.", restore),))
    # The bot may be running: what lost its name, or got one, while the files were read is neither missing nor orphaned.
    findings += _missing({sha256: who for sha256, who in after.items() if sha256 in before}, files, restore)
    findings += _damaged(after, files, restore)
    findings += _leftovers(after, files)
    blobs = [file for file in files if not file.unfinished]
    return Report(len(blobs), sum(file.size for file in blobs), tuple(findings))


def _check_database(connection: sqlite3.Connection, restore: str) -> list[Finding]:
    findings = [
        Finding("database", True, f"The database is damaged: {row[0]}.", restore)
        for row in connection.execute("PRAGMA integrity_check(20)")
        if row[0] != "ok"
    ]
    findings += [
        Finding("foreign_key", True, f"Row {row[1]} of {row[0]} points at a row of {row[2]} that is not there.", restore)
        for row in connection.execute("PRAGMA foreign_key_check")
    ]
    return findings


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    sha256: str
    size: int

    @property
    def unfinished(self) -> bool:
        return self.path.name.startswith(TEMPORARY_PREFIX)

    @property
    def whole(self) -> bool:
        return self.path.name == self.sha256 and self.path.parent.name == self.sha256[:2]


def _read(blobs: Blobs) -> list[_File]:
    files = []
    for path in blobs.files():
        with suppress(FileNotFoundError):  # swept, or renamed into place, meanwhile
            files.append(_File(path, *_hash(path)))
    return files


def _missing(named: dict[str, str], files: list[_File], restore: str) -> list[Finding]:
    present = {file.path.name for file in files}
    return [
        Finding("blob_missing", True, f"blobs/{sha256[:2]}/{sha256} ({who}) is missing.", f"Put it back from a backup. {restore}")
        for sha256, who in sorted(named.items())
        if sha256 not in present
    ]


def _damaged(named: dict[str, str], files: list[_File], restore: str) -> list[Finding]:
    return [
        Finding(
            "blob_damaged",
            True,
            f"{file.path} ({named[file.path.name]}) does not have the bytes that its name promises.",
            f"Put it back from a backup on another disk (a hard-linked one shares the damage). {restore}",
        )
        for file in files
        if file.path.name in named and not file.whole
    ]


def _leftovers(named: dict[str, str], files: list[_File]) -> list[Finding]:
    advice = "Nothing to do: a sweep removes what is older than a day."
    groups: tuple[tuple[Kind, str, list[_File]], ...] = (
        ("blob_unfinished", "half-written", [file for file in files if file.unfinished]),
        ("blob_orphaned", "named by no row", [file for file in files if not file.unfinished and file.path.name not in named]),
    )
    return [
        Finding(kind, False, f"{len(group)} file{'s are' if len(group) > 1 else ' is'} {what}, as {group[0].path}.", advice)
        for kind, what, group in groups
        if group
    ]


def _hash(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def _restore_advice(folder: Path) -> str:
    backups = list_backups(folder)
    if not backups:
        return "There is no backup under this folder; look for a copy that you keep elsewhere."
    return f"The newest backup is {backups[0]}: stop the bot and put its files in the place of these."
