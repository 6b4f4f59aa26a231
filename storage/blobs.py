"""Files named by the SHA-256 of their bytes: ``blobs/ab/abcdef…``. Written once, never changed.

A blob is written under a temporary name in its own folder, flushed to the disk, then renamed, so that a name in place always means
whole bytes. What no row names any more is removed by ``upkeep.sweep``; what is broken is found by ``check``.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from storage.errors import BlobMissing
from storage.files import file_lock, write_durably

__all__ = ["BlobMissing", "Blobs"]

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

    def lock(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """Many may store at once; whoever removes is alone. Holds across processes: a sweep may run beside the bot."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return file_lock(self.folder / ".lock", exclusive=exclusive)
