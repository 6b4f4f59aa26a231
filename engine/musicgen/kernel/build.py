"""Compiles ``forward.c`` for this very processor with the C compiler that is here, once, and loads it.

The library lies in the user's cache folder under a name made of the source, the compiler and the processor's features, so that neither a
new version nor another machine on the same home finds the wrong one. Where there is no compiler, or what it makes does not pass its check,
the model runs on torch alone: slower, and nothing else changes. Not here: what is in the library (``forward.c``), calling it (``native``).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("forward.c")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread", "-w")
COMPILE_S = 120.0


class NoKernel(RuntimeError):
    """The kernel can't be had here; the message says why."""


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled kernel, made where it is not there yet. Raises NoKernel."""
    if sys.byteorder != "little":
        raise NoKernel("this processor is big-endian")
    compiler = _compiler()
    flags = (*FLAGS, *_more_flags())
    path = _folder() / f"kernel-{_fingerprint(compiler, flags)}.so"
    if not path.is_file():
        _compile(compiler, flags, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoKernel(f"the compiled kernel can't be loaded ({error})") from error


def reason() -> str | None:
    """Why the kernel can't be had here; None where it can."""
    try:
        library()
    except NoKernel as error:
        return str(error)
    return None


def _compiler() -> str:
    """CC, or the first of the usual names."""
    for name in (os.environ.get("CC", ""), "gcc", "clang", "cc"):
        if name and (found := shutil.which(name)):
            return found
    raise NoKernel("there is no C compiler (install gcc for a faster model on this processor)")


def _more_flags() -> tuple[str, ...]:
    """On a processor with 512-bit registers GCC would rather use half of one."""
    return ("-mprefer-vector-width=512",) if "avx512f" in _features() else ()


@functools.cache
def _features() -> str:
    """What this processor can do, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    except OSError:
        pass
    return f"{platform.machine()} {platform.processor()}"


def _fingerprint(compiler: str, flags: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for file in sorted(SOURCE.parent.glob("*.[ch]")):
        digest.update(file.read_bytes())
    about = Path(compiler).resolve().stat()
    digest.update(repr((flags, compiler, about.st_size, about.st_mtime_ns, _features())).encode())
    return digest.hexdigest()[:16]


def _folder() -> Path:
    """The cache folder, this user's alone: code is loaded from it. Raises NoKernel."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "techno-composer"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
    except OSError as error:
        raise NoKernel(f"no cache folder {folder} can be made ({error.strerror})") from error
    if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NoKernel(f"{folder} can be written by others, so nothing is loaded from it: chmod go-w it")
    return folder


def _compile(compiler: str, flags: tuple[str, ...], path: Path) -> None:
    """Under a name of its own first: several processes may start at once."""
    handle, name = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    made = Path(name)
    try:
        done = subprocess.run(  # noqa: S603  # a compiler, with fixed arguments
            [compiler, *flags, "-o", str(made), str(SOURCE)], capture_output=True, text=True, timeout=COMPILE_S, check=False
        )
        if done.returncode != 0:
            raise NoKernel(f"{compiler} can't compile the kernel: {(done.stderr.strip().splitlines() or ['no reason given'])[0][:200]}")
        made.replace(path)
        log.info("compiled the kernel with %s", compiler)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernel(f"{compiler} did not run ({error})") from error
    finally:
        made.unlink(missing_ok=True)
