"""Finds what is wrong in a data folder (or a backup: it has the same layout) and says what to do. Changes nothing.

Good means: SQLite's integrity check passes, every reference points at a row, every blob that a row names is there with the bytes that
its name promises. Files that no row names are no fault, only news: a crash between a blob and its row leaves one, a sweep removes it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from storage.blobs import TEMPORARY_PREFIX, Blobs
from storage.errors import StorageError
from storage.upkeep import blobs_of, list_backups, named_blobs, open_existing

Kind = Literal["database", "foreign_key", "blob_missing", "blob_damaged", "blob_orphaned", "blob_unfinished", "blob_misplaced"]


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
        connection = open_existing(folder)
    except (StorageError, sqlite3.Error) as error:
        advice = "" if isinstance(error, StorageError) else restore
        return Report(0, 0, (Finding("database", True, _sentence(error), advice),))
    try:
        findings = _check_database(connection, restore)
        named = named_blobs(connection)
    except sqlite3.Error as error:
        return Report(0, 0, (Finding("database", True, f"The database can't be read: {error}.", restore),))
    finally:
        connection.close()
    blob_findings, count, size = _check_blobs(blobs_of(folder), named, restore)
    return Report(count, size, (*findings, *blob_findings))


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


def _check_blobs(blobs: Blobs, named: dict[str, str], restore: str) -> tuple[list[Finding], int, int]:
    findings = []
    present = set()
    size = 0
    for path in blobs.files():
        if path.name.startswith(TEMPORARY_PREFIX):
            findings.append(Finding("blob_unfinished", False, f"{path.name} is half-written.", "Nothing to do: a sweep removes it."))
            continue
        try:
            sha256, length = _hash(path)
        except FileNotFoundError:  # swept meanwhile
            continue
        present.add(path.name)
        size += length
        who = named.get(path.name)
        if sha256 != path.name or path.parent.name != path.name[:2]:
            findings.append(
                Finding(
                    "blob_damaged",
                    who is not None,
                    f"{path.name[:12]}… ({who or 'named by no row'}) does not have the bytes that its name promises.",
                    f"Put the file blobs/{path.parent.name}/{path.name} back from a backup that has it whole. {restore}"
                    if who
                    else "A sweep removes it.",
                )
            )
        elif who is None:
            findings.append(
                Finding(
                    "blob_orphaned",
                    False,
                    f"{path.name[:12]}… is named by no row.",
                    "Nothing to do: a sweep removes it once it is a day old.",
                )
            )
    findings += [
        Finding(
            "blob_missing", True, f"{sha256[:12]}… ({who}) is missing.", f"Put blobs/{sha256[:2]}/{sha256} back from a backup. {restore}"
        )
        for sha256, who in sorted(named.items())
        if sha256 not in present
    ]
    return findings, len(present), size


def _hash(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def _restore_advice(folder: Path) -> str:
    backups = list_backups(folder)
    if not backups:
        return "There is no backup under this folder; look for a copy that you keep elsewhere."
    return f"The newest backup is {backups[0]}: stop the bot and put its files in the place of these."


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if isinstance(error, StorageError) else f"The database can't be opened: {text}."
