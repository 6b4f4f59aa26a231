"""One finetune in a process of its own: ``python -m engine.finetunes.worker FOLDER``, settings on stdin, events on stdout, one a line.

::

    {"data": "var/engine", "checkpoint": "pocket", …}
      ─▶ {"event": "preparing", …} … {"event": "done", …}   or   {"event": "failed", "code": …, "message": "a sentence"}

It is niced and keeps to some of the cores, so that takes beside it don't wait. When stdin closes, the engine is gone: it saves and ends
with 75. Ends with 0 after its last event; anything else is a kill, or our mistake, and the desk starts it again. Not here: what it does
(``steps``).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from engine.finetunes.processes import SAVED, cores_for

NICENESS = 10
_SAVING_S = 6.0
_LOCK_S = 30.0
"""How long a predecessor may take to end."""


def main() -> int:
    """The exit code."""
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the engine
    settings_line = sys.stdin.buffer.readline()
    if not settings_line:
        return SAVED
    given: dict[str, Any] = json.loads(settings_line)
    level = str(given.pop("log_level"))
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s finetune {folder.name}: %(message)s")
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICENESS)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the events
    gone = threading.Event()
    threading.Thread(target=_watch, args=(gone,), daemon=True).start()

    def tell(event: dict[str, Any]) -> None:
        try:
            answers.write(json.dumps(event).encode() + b"\n")
            answers.flush()
        except BrokenPipeError:
            gone.set()

    with (folder / "lock").open("w") as lock:
        if not _locked(lock.fileno(), gone):
            return SAVED
        return _work(folder, given, tell, gone)


def _work(folder: Path, given: dict[str, Any], tell: Any, gone: threading.Event) -> int:
    log = logging.getLogger(__name__)
    import torch

    from engine.crate.codes import target
    from engine.errors import EngineError, event_of
    from engine.finetunes import jobs, steps
    from engine.finetunes.work import Stopped, Work
    from engine.settings import EngineSettings

    job = jobs.JobFolder.find(folder)
    if job is None:
        tell({"event": "failed", "code": "internal", "message": "The finetune's request can't be read: start it again."})
        return 0
    if not job.facts.base_is_default:
        given["checkpoint"] = job.facts.base
    settings = EngineSettings.read(**given)
    torch.set_num_threads(cores_for(settings))
    job.work.mkdir(exist_ok=True)
    try:
        checkpoint, report = steps.run(Work(job, settings, target(settings), tell, gone.is_set))
    except Stopped:
        return SAVED
    except EngineError as error:
        failed = event_of(error)
        tell({"event": "failed", "code": failed.code, "message": failed.message})
    except Exception as error:
        words = _known(error)
        if words is None:
            log.exception("broke")
        else:
            log.error("%s", " ".join(str(error).split())[:300])
        words = words or "Something broke in the engine. Its log says what, under this finetune's id."
        tell({"event": "failed", "code": "internal", "message": words})
    else:
        tell({"event": "done", "checkpoint": checkpoint, "report": report.model_dump(mode="json")})
    return 0


def _known(error: Exception) -> str | None:
    """What a machine may lack, in words. Libraries of their own have their own errors for it."""
    said = str(error).lower()
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "no space left" in said:
        return "The engine's disk is full: make room there, then start the finetune again."
    if isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said:
        return "The engine ran out of memory: use a smaller base or a lower rank, or end other programs there."
    return None


def _watch(gone: threading.Event) -> None:
    """Until the engine ends; then what runs may save, and does not outlive that."""
    while os.read(0, 4096):  # not through sys.stdin: its lock would be held when the interpreter ends
        pass
    gone.set()
    time.sleep(_SAVING_S)
    os._exit(SAVED)


def _locked(descriptor: int, gone: threading.Event) -> bool:
    """Alone in the folder; a predecessor of a killed engine may still be saving."""
    until = time.monotonic() + _LOCK_S
    while not gone.is_set():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                return False
            gone.wait(0.2)
        else:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
