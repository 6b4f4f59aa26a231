"""Content-addressed files: whole or not there, whatever happens while they are written."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage import BlobMissing, Blobs

A_FILE_SIZE_LIMIT = """
import resource, signal, sys
from pathlib import Path
from storage.blobs import Blobs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
blobs = Blobs(Path(sys.argv[1]))
blobs.put_now(b"small")
try:
    blobs.put_now(b"x" * 1_000_000)
except OSError as error:
    print("refused:", error.errno)
"""


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


async def test_put_and_get(blobs: Blobs) -> None:
    sha256 = await blobs.put(b"techno")
    assert sha256 == hashlib.sha256(b"techno").hexdigest()
    assert await blobs.get(sha256) == b"techno"
    assert blobs.path(sha256).read_bytes() == b"techno"
    assert await blobs.put(b"techno") == sha256
    assert list(blobs.files()) == [blobs.path(sha256)]


async def test_the_same_bytes_from_many_at_once(blobs: Blobs) -> None:
    assert len(set(await asyncio.gather(*(blobs.put(b"techno" * 10_000) for _ in range(20))))) == 1
    assert len(list(blobs.files())) == 1


async def test_missing(blobs: Blobs) -> None:
    with pytest.raises(BlobMissing, match=r"add it again"):
        await blobs.get("0" * 64)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "0" * 60 + "/../"])
def test_a_name_is_a_hash_and_nothing_else(blobs: Blobs, name: str) -> None:
    with pytest.raises(ValueError, match="no SHA-256"):
        blobs.path(name)


async def test_a_truncated_file_is_mended_by_the_next_put(blobs: Blobs) -> None:
    sha256 = await blobs.put(b"techno")
    blobs.path(sha256).write_bytes(b"tec")
    await blobs.put(b"techno")
    assert await blobs.get(sha256) == b"techno"


async def test_putting_again_makes_a_blob_young(blobs: Blobs) -> None:
    sha256 = await blobs.put(b"techno")
    os.utime(blobs.path(sha256), (0, 0))
    await blobs.put(b"techno")
    assert blobs.path(sha256).stat().st_mtime > 0


def test_a_full_disk_leaves_nothing_half_written(blobs: Blobs) -> None:
    """The kernel really refuses the rest of the bytes: a limit on the size of files stands in for the full disk."""
    done = subprocess.run([sys.executable, "-c", A_FILE_SIZE_LIMIT, str(blobs.folder)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refused:")
    assert [path.read_bytes() for path in blobs.files()] == [b"small"]


async def test_folders_are_private(blobs: Blobs) -> None:
    sha256 = await blobs.put(b"techno")
    assert blobs.path(sha256).parent.stat().st_mode & 0o077 == 0
    assert blobs.folder.stat().st_mode & 0o077 == 0
