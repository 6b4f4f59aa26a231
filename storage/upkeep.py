"""Sweep and backup: what keeps a data folder small and safe. Synchronous; run them in a thread or from the command line.

Both work while the bot runs, in its process or beside it, by the locks of the blobs and of SQLite.
Not here: finding what is wrong (``check``).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from storage.blobs import Blobs
from storage.database import FILE_NAME, connect
from storage.errors import StorageError
from storage.files import TEMPORARY_PREFIX, sync_folder
from storage.migrate import migrations, refuse_newer
from storage.times import now

DEFAULT_GRACE = timedelta(hours=24)
DEFAULT_KEEP = 7
_BACKUP_NAME = re.compile(r"backup-\d{8}T\d{6}\.\d{6}Z")


@dataclass(frozen=True, slots=True)
class Swept:
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BackedUp:
    folder: Path
    blobs: int
    bytes: int
    """Size of the blobs; hard links take none of it again."""
    linked: bool
    """False when the file system made real copies necessary."""
    missing: tuple[str, ...]
    """Blobs that a row names and that were not there to be copied; ``check`` says more."""
    removed: tuple[str, ...]
    """Older backups that were let go."""


def blobs_of(folder: Path) -> Blobs:
    return Blobs(folder / "blobs")


def sweep(folder: Path, *, grace: timedelta = DEFAULT_GRACE, dry_run: bool = False) -> Swept:
    """Removes blobs that no row names and half-written ones, if older than ``grace``: what is being stored now gets its row in time."""
    blobs = blobs_of(folder)
    before = time.time() - grace.total_seconds()
    files = size = 0
    with closing(open_existing(folder)) as connection:
        if not _unnamed(blobs, connection, before):
            return Swept(0, 0)
        # Nobody may write a blob or a row between the look at it and its removal, in this process or another.
        with blobs.lock(exclusive=True):
            connection.execute("BEGIN IMMEDIATE")
            try:
                for path, length in _unnamed(blobs, connection, before):
                    files += 1
                    size += length
                    if not dry_run:
                        path.unlink()
            finally:
                connection.execute("ROLLBACK")
    return Swept(files, size)


def _unnamed(blobs: Blobs, connection: sqlite3.Connection, before: float) -> list[tuple[Path, int]]:
    """Files that no row names and that were last stored before ``before`` (seconds since 1970), with their sizes in bytes."""
    named = named_blobs(connection)
    found = []
    for path in blobs.files():
        if path.name not in named:
            with suppress(FileNotFoundError):  # a temporary name that has just become a blob
                stat = path.stat()
                if stat.st_mtime < before:
                    found.append((path, stat.st_size))
    return found


def backup(folder: Path, *, keep: int = DEFAULT_KEEP, copy: bool = False) -> BackedUp:
    """Writes ``backups/backup-TIME/`` with the same layout as the data folder, and lets go of all but the newest ``keep``.

    The database comes first, by SQLite's backup API; then every blob that this copy names, as a hard link (or a copy: ``copy``, or
    where links don't work). Links cost nothing and survive a sweep, not a broken disk: for that, copy the backup elsewhere.
    """
    if keep < 1:
        raise ValueError("keep at least one backup")
    blobs = blobs_of(folder)
    backups = folder / "backups"
    temporary = backups / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        # A sweep waits until the links are made; whoever puts a blob does not.
        with closing(open_existing(folder)) as source, blobs.lock(exclusive=False):
            backups.mkdir(exist_ok=True, mode=0o700)
            temporary.mkdir(mode=0o700)
            names = _copy_database(source, temporary / FILE_NAME)
            copied, size, missing, linked = _copy_blobs(blobs, blobs_of(temporary), sorted(names), link=not copy)
        sync_folder(temporary)
        final = backups / f"backup-{now():%Y%m%dT%H%M%S.%fZ}"
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(backups)
    removed = [] if missing else _let_go(backups, keep)  # an older one may still have what is missing
    return BackedUp(final, copied, size, linked, tuple(missing), tuple(removed))


def list_backups(folder: Path) -> list[Path]:
    """Finished backups, newest first."""
    backups = folder / "backups"
    if not backups.is_dir():
        return []
    return sorted((path for path in backups.iterdir() if _BACKUP_NAME.fullmatch(path.name)), reverse=True)


def open_existing(folder: Path) -> sqlite3.Connection:
    """A connection to a data folder's database as it is. Raises StorageError when there is none, it is older or newer than this version."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise StorageError(f"There is no {FILE_NAME} in {folder}. Is that the data folder? The bot makes it at its first start.")
    connection = connect(path)
    try:
        known = len(migrations())
        refuse_newer(connection, known)
        if (found := int(connection.execute("PRAGMA user_version").fetchone()[0])) < known:
            raise StorageError(
                f"The database has schema {found} and this version expects {known}: start the bot once, which brings it up to date."
            )
    except BaseException:
        connection.close()
        raise
    return connection


def named_blobs(connection: sqlite3.Connection) -> dict[str, str]:
    """SHA-256 of each blob that a row names → one of those rows, in words."""
    return dict(connection.execute("SELECT sha256, min(named_by) FROM blob_names GROUP BY sha256").fetchall())


def _copy_database(source: sqlite3.Connection, to: Path) -> dict[str, str]:
    """Copies a consistent state of the database and returns the blobs that this copy names, as ``named_blobs``."""
    with closing(connect(to, create=True)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
        if (found := target.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            # Kept, it would push a good one out.
            raise StorageError(f"The database is damaged ({found}): no backup was made. Run: python -m storage check")
        return named_blobs(target)


def _copy_blobs(source: Blobs, target: Blobs, names: list[str], *, link: bool) -> tuple[int, int, list[str], bool]:
    copied = size = 0
    missing = []
    for name in names:
        path = target.path(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            link = _copy_file(source.path(name), path, link=link)
        except FileNotFoundError:
            missing.append(name)
            continue
        copied += 1
        size += path.stat().st_size
    for parent in {target.path(name).parent for name in names}:
        sync_folder(parent)
    return copied, size, missing, link


def _copy_file(source: Path, target: Path, *, link: bool) -> bool:
    """Returns whether links still work here."""
    if link:
        try:
            target.hardlink_to(source)
            return True
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    return False


def _let_go(backups: Path, keep: int) -> list[str]:
    removed = []
    for path in list_backups(backups.parent)[keep:]:
        shutil.rmtree(path)
        removed.append(path.name)
    day_ago = time.time() - 86_400
    for path in backups.glob(f"{TEMPORARY_PREFIX}*"):  # left by a backup that was killed
        if path.stat().st_mtime < day_ago:
            shutil.rmtree(path)
    return removed
