"""Files named by the SHA-256 of their bytes: ``blobs/ab/abcdef…``. Written once, never changed.

A blob is written under a temporary name in its own folder, flushed to the disk, then renamed, so that a name in place always means
whole bytes. What no row names any more is removed by ``upkeep.sweep``; what is broken is found by ``check``. POSIX only: ``flock``, and
fsync of folders.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import BlobMissing

__all__ = ["TEMPORARY_PREFIX", "BlobMissing", "Blobs"]

TEMPORARY_PREFIX = ".new-"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """The folder of blobs. The work is done in threads: an fsync must not hold up a heartbeat."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def put(self, data: bytes) -> str:
        """Stores bytes and returns their SHA-256. Storing the same bytes again keeps them from being swept."""
        return await asyncio.to_thread(self.put_now, data)

    async def get(self, sha256: str) -> bytes:
        """The bytes. Raises BlobMissing."""
        return await asyncio.to_thread(self.get_now, sha256)

    def path(self, sha256: str) -> Path:
        """Where the bytes lie, or would. Raises ValueError for what is no SHA-256."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no SHA-256")
        return self.folder / sha256[:2] / sha256

    def put_now(self, data: bytes) -> str:
        """``put`` on the calling thread."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        with self.lock(exclusive=False):
            if path.is_file() and path.stat().st_size == len(data):
                os.utime(path)  # its age begins anew, so that a sweep leaves it until its row is written
            else:
                write_durably(path, data)
        return sha256

    def get_now(self, sha256: str) -> bytes:
        """``get`` on the calling thread."""
        try:
            return self.path(sha256).read_bytes()
        except FileNotFoundError:
            raise BlobMissing(f"The audio {sha256[:12]}… is gone from this store: add it again, or put back a backup.") from None

    def files(self) -> Iterator[Path]:
        """Every file in the folder, half-written ones included."""
        return (path for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*")) if path.is_file())

    @contextmanager
    def lock(self, *, exclusive: bool) -> Iterator[None]:
        """Many may write at once; whoever removes is alone. Holds across processes: a sweep may run beside the bot."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Whole or not at all, and still there after the power goes: temporary name, fsync, rename, fsync of the folder."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(path.parent.parent)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
