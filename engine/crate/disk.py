"""Files: hashes, and writing so that kill -9 at any moment leaves the old file or the new one. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.errors import EngineError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """``write`` fills a temporary neighbour, which is synced and renamed over ``path``. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def write_json(path: Path, value: object) -> None:
    write_bytes(path, (json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """None where there is no such file, or none that is whole."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def copy_atomically(source: Path, target: Path) -> None:
    """The bytes, not the permissions: what comes from a stick is read-only at times."""
    write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that is never changed; a copy where the disk can't."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        copy_atomically(source, target)


def sha256_of(path: Path) -> str:
    """Of a file's bytes, read piece by piece. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: object, letters: int = 16) -> str:
    """A short name for a value that JSON can hold: the same value, the same name, on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:letters]


def remove_leftovers(folder: Path) -> None:
    """Temporary files of processes that were killed."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Holds ``path`` as a lock, which ends with the process whatever becomes of it. Raises EngineError where another holds it."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EngineError("bad_request", f"{what} is being worked on by another process: wait until it ends, or stop it.") from error
        yield
