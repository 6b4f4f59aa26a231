"""A script, never imported: takes limits on itself, then becomes ffmpeg.

    python -I -S _limited.py CPU_SECONDS MEMORY_BYTES PROGRAM ARGUMENTS…

Limits are set in a process of its own since `preexec_fn` is unsafe in a program with threads; `exec` keeps them, and costs one
bare interpreter start (about 15 ms). Only the standard library, only what `-S` leaves.
"""

import contextlib
import os
import resource
import sys

cpu_s, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
for limit, value in (
    (resource.RLIMIT_CPU, cpu_s),
    (resource.RLIMIT_AS, memory_bytes),
    (resource.RLIMIT_FSIZE, 0),  # it writes to a pipe, to no file
    (resource.RLIMIT_NOFILE, 64),
    (resource.RLIMIT_CORE, 0),
):
    with contextlib.suppress(ValueError, OSError):  # macOS knows no limit on address space
        resource.setrlimit(limit, (value, value))
os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606  no shell is what is wanted
