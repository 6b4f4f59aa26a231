"""``python -m engine``: see ``engine.cli``."""

import os
import sys
import threading

# numpy's and scipy's products here are small: more threads than one spend their time waiting, on cores that takes are decoding on.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from engine.cli import main


def end(code: int) -> None:
    """Leave with ``code``, at once where a thread is still at work: what it makes nobody waits for any more, and Python would join it."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.is_alive() and thread.name.startswith("engine-") for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    end(main())
