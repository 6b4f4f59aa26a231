"""``python -m bot.rehearsal.tied PARENT …``: run Python with the arguments that follow, and end when the parent does.

A launcher that is killed cannot clean up; on Linux the kernel then sends its children SIGTERM (prctl, PR_SET_PDEATHSIG), which
outlives the exec below. Elsewhere only an orderly end of the launcher ends them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tie_to(parent: int) -> None:
    """Ask for SIGTERM at the parent's death, and end at once where it has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("whoever started this is gone")


if __name__ == "__main__":
    tie_to(int(sys.argv[1]))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])  # noqa: S606  (a fixed program, no shell)
