"""Work over several processes, one job in each at a time: ``work_through``. What is in memory does not grow with the number of jobs.

::

    jobs ──▶ ┌ process ┐ ──▶ (job, result)        in the order in which they end
         ──▶ ┌ process ┐ ──▶ (job, Failure)       the job raised, or its process died (out of memory): the others go on

Other than ``ProcessPoolExecutor``, which gives up on everything when one process dies and can't say over which job. Processes end with
their parent, even when that is killed. No torch here.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Failure:
    """A job without a result; ``message`` is for a person."""

    message: str


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work_through(function: Callable[[Job], Result], jobs: Iterable[Job], processes: int) -> Iterator[tuple[Job, Result | Failure]]:
    """``function`` of each job; one process: here, without starting any. ``function`` must be importable by its name."""
    waiting = iter(jobs)
    if processes <= 1:
        for job in waiting:
            yield job, _attempt(function, job)
        return
    workers: list[_Worker[Job, Result]] = []
    try:
        for job in waiting:
            if len(workers) < processes:
                workers.append(_Worker(function))
                workers[-1].give(job)
                continue
            worker, finished, result = _next(workers)
            if isinstance(result, Failure) and not worker.alive:
                workers[workers.index(worker)] = worker = _Worker(function)
            worker.give(job)
            yield finished, result
        while busy := [worker for worker in workers if worker.busy]:
            _worker, finished, result = _next(busy)
            yield finished, result
    finally:
        for worker in workers:
            worker.end()


def _attempt(function: Callable[[Job], Result], job: Job) -> Result | Failure:
    try:
        return function(job)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}")


class _Worker(Generic[Job, Result]):
    """One process and the pipe to it."""

    def __init__(self, function: Callable[[Job], Result]) -> None:
        context = multiprocessing.get_context("spawn")  # fork copies locks that threads of this process may hold
        self.pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, function), name="engine-crate", daemon=True)
        self._process.start()
        theirs.close()
        self._job: Job | None = None
        self.busy = False

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def give(self, job: Job) -> None:
        self._job, self.busy = job, True
        with contextlib.suppress(BrokenPipeError):  # it died while idle: ``take`` says so
            self.pipe.send(job)

    def take(self) -> tuple[Job, Result | Failure]:
        job, self._job, self.busy = self._job, None, False
        assert job is not None
        try:
            result: Result | Failure = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            result = Failure("the process that worked on it was ended by the system, most likely for want of memory: close other programs")
        return job, result

    def end(self) -> None:
        self.pipe.close()  # an idle one ends by this alone
        self._process.terminate()
        self._process.join()
        self._process.close()


def _next(workers: list[_Worker[Job, Result]]) -> tuple[_Worker[Job, Result], Job, Result | Failure]:
    ready = wait([worker.pipe for worker in workers])
    worker = next(worker for worker in workers if worker.pipe in ready)
    return worker, *worker.take()


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            pipe.send(_attempt(function, pipe.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
