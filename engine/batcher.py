"""One thread owns the models. Takes join and leave what runs at any frame.

::

    submit ─▶ waiting (FIFO) ─▶ running, at most ``slots`` ─▶ Sound to the take's ``tell``
                                 │ begins: its text and prompt are encoded, in a thread of its own
                                 │ each round: one step of every take, in one pass of the model
                                 │ as it goes: its sound is decoded second by second, in a third thread
    cancel ─▶ leaves at once, or after the frame that is being made

A job hears of itself through ``tell``: Queued and Progress many times, then exactly one of Sound and EngineError. ``tell`` is called
from several threads, must not block, and may be called once more after a cancellation. Not here: reading and writing audio
(``takes``), HTTP (``server``), loading checkpoints (``models``).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.api import Progress, Queued
from engine.errors import EngineError
from engine.forecast import FrameMeter, done_in_s
from engine.models import Decoder, Model, ModelShelf, threads_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

PROGRESS_S = 0.25
"""Least time between two Progress of one take, in seconds."""
ANNOUNCE_S = 1.0
"""Least time between two Queued of one take whose position stays, in seconds."""
WARM_UP_FRAMES = 25
COMPANY_FRAMES = 10
"""Frames of each take when all places are taken while warming up."""
USUAL_FRAME_RATE = 50.0
"""Frames a second of every MusicGen: what a take's length is guessed from while its checkpoint is not loaded."""


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """What the model made. samples: float32 [C, N] at ``sample_rate`` Hz. generate_s: seconds spent on it in the model.

    model_sha256: of the weights, or of the adapter where one was heard.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    frames: int
    generate_s: float
    model_sha256: str


Told = Queued | Progress | Sound | EngineError


@dataclass(eq=False)
class Job:
    """One take as the batcher sees it. The first five are its caller's; the rest belongs to the batcher."""

    id: str
    checkpoint: str
    seconds: float
    start: Callable[[Model], Decoder]
    tell: Callable[[Told], None]

    model: Model | None = None
    decoder: Decoder | None = None
    finishing: bool = False
    generate_s: float = 0.0
    coded_at: float = 0.0
    """When its last code was made, on ``time.perf_counter``."""
    told_at: float = 0.0
    over: bool = False

    @property
    def frames_left(self) -> int:
        if self.decoder is None:
            return max(1, round(self.seconds * USUAL_FRAME_RATE))
        return max(1, self.decoder.of_frames - self.decoder.frames)


@dataclass(frozen=True, slots=True)
class Load:
    """A look at the batcher. held: places taken by takes that are still being prepared."""

    ready: bool
    waiting: int
    running: int
    held: int
    frames: int
    frames_per_s: float


class Batcher:
    """``start`` it once, ``stop`` it once. Every other method may be called from any thread."""

    def __init__(
        self,
        models: ModelShelf,
        default: str,
        *,
        slots: int,
        room: int,
        threads: int,
        on_failure: Callable[[EngineError], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``slots`` takes run on ``threads`` CPU threads (0: as suits the default checkpoint), ``room`` more may wait.

        ``on_failure`` hears when ``default`` can't be loaded: nothing will run then. ``clock``: seconds, by which steps are measured.
        """
        self._models = models
        self._default = default
        self._slots = slots
        self._room = room
        self._threads = threads
        self._on_failure = on_failure
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._held = 0
        self._frames = 0
        self._announced_at = 0.0
        self._meter = FrameMeter()
        self._ready = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine-model", daemon=True)
        # One thread each, so that takes begin and are heard in order, and the model never waits for text encoder or codec.
        self._beginning = ThreadPoolExecutor(1, "engine-begin", initializer=_one_core)
        self._sounding = ThreadPoolExecutor(1, "engine-codec", initializer=_one_core)

    # For everybody.

    def start(self) -> None:
        """Load and warm up the default checkpoint, then run whatever is submitted."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Every take is told that it won't be; the thread ends after the frame that it is at."""
        with self._changed:
            self._stopping = True
            self._ready = False
            for job in (*self._running, *self._waiting):
                self._end(job, stopping())
            self._waiting.clear()
            self._changed.notify_all()
        for pool in (self._beginning, self._sounding):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def load(self) -> Load:
        with self._changed:
            running = sum(not job.over for job in self._running)
            return Load(self._ready, len(self._waiting), running, self._held, self._frames, self._meter.frames_per_s)

    def hold(self) -> None:
        """Keep a place for a take that is being prepared; ``submit`` or ``let_go`` gives it back.

        Raises EngineError 'queue_full' or 'not_ready'.
        """
        with self._changed:
            if self._stopping:
                raise stopping()
            if not self._ready:
                raise EngineError("not_ready", "The engine is still loading its model: ask again in a moment.", retry_after_s=5.0)
            if len(self._waiting) + len(self._running) + self._held >= self._slots + self._room:
                soonest_s = min(self._forecast(), default=1.0)
                raise EngineError(
                    "queue_full",
                    f"The engine is busy: {len(self._running)} takes run and {len(self._waiting)} wait. Ask again in a moment.",
                    retry_after_s=float(max(1, round(soonest_s))),
                )
            self._held += 1

    def let_go(self) -> None:
        with self._changed:
            self._held -= 1

    def submit(self, job: Job) -> None:
        """Takes over the place that ``hold`` kept."""
        with self._changed:
            self._held -= 1
            if self._stopping:
                self._end(job, stopping())
                return
            self._waiting.append(job)
            self._announce()
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """Nothing happens to a take that is over."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._announce()
            self._end(job, EngineError("cancelled", "The take was cancelled."))
            self._changed.notify_all()

    # With the lock held.

    def _end(self, job: Job, told: Sound | EngineError) -> None:
        if not job.over:
            job.over = True
            job.tell(told)

    def _forecast(self) -> list[float]:
        """Seconds until done of the running, then of the waiting."""
        return done_in_s(
            [job.frames_left for job in self._running],
            [job.frames_left for job in self._waiting],
            slots=self._slots,
            step_s=self._meter.step_s,
        )

    def _announce(self) -> None:
        """Tell those that wait where they stand."""
        etas = self._forecast()[len(self._running) :]
        self._announced_at = self._clock()
        for position, (job, eta_s) in enumerate(zip(self._waiting, etas, strict=True)):
            job.tell(Queued(position=position, eta_s=round(eta_s, 1)))

    # In the model's thread.

    def _run(self) -> None:
        try:
            self._warm_up()
        except EngineError as error:
            self._on_failure(error)
            return
        except Exception:
            log.exception("the default checkpoint does not work")
            self._on_failure(EngineError("internal", f"The checkpoint {self._default!r} does not work here; the log says where it broke."))
            return
        with self._changed:
            self._ready = not self._stopping
        log.info("ready: %s, %.0f frames per second", self._default, self._meter.frames_per_s)
        while jobs := self._next_round():
            began = self._clock()
            frames = self._advance(jobs)
            with self._changed:
                self._frames += frames
                self._meter.add(frames, self._clock() - began, len(jobs))

    def _warm_up(self) -> None:
        """The first frames of a process are slow (allocations, kernels); better now than in somebody's take."""
        import torch

        from engine.musicgen.sampling import SamplingOptions

        model = self._models.get(self._default)
        torch.set_num_threads(threads_for(model, self._threads))
        warm = False
        for takes, frames in ((1, WARM_UP_FRAMES), (1, WARM_UP_FRAMES), (self._slots, COMPANY_FRAMES)):
            decoders = [model.start(prompt="techno", frames=frames, sampling=SamplingOptions(), seed=seed) for seed in range(takes)]
            began, steps = self._clock(), 0
            while not decoders[0].done:
                if self._stopping:
                    return
                model.advance(decoders)
                steps += 1
            spent_s = self._clock() - began
            if warm:  # what a step costs one take, and a full company: the first ETA is to be about right, too
                self._meter.add(takes * (frames if steps == 1 else steps), spent_s, takes)
                if steps == 1:  # a backend that makes a take in one go: company saves nothing there
                    return
            else:
                decoders[0].audio()
                warm = True

    def _next_round(self) -> list[Job]:
        """Wait until there is something to do, and let takes in and out. Nobody: the end."""
        with self._changed:
            while not self._stopping:
                self._let_out()
                self._admit()
                if self._running and self._clock() - self._announced_at > ANNOUNCE_S:
                    self._announce()
                if jobs := [job for job in self._running if job.decoder is not None and not job.finishing]:
                    return jobs
                self._changed.wait()
            self._running.clear()
            return []

    def _let_out(self) -> None:
        over = [job for job in self._running if job.over]
        for job in over:
            self._running.remove(job)
            if job.decoder is not None:
                job.decoder.close()
        if over:
            self._announce()

    def _admit(self) -> None:
        """First come, first served: a take whose checkpoint is still loading holds up those behind it, not those that run."""
        admitted = False
        while self._waiting and len(self._running) < self._slots:
            job = self._waiting[0]
            job.model = self._models.use(job.checkpoint)
            if job.model is None:
                in_use = {other.checkpoint for other in self._running}
                self._models.load_aside(job.checkpoint, in_use=in_use, then=lambda failure, job=job: self._loaded(job, failure))  # type: ignore[misc]
                break
            self._running.append(self._waiting.popleft())
            _hand(self._beginning, self._begin, job)
            admitted = True
        if admitted:
            self._announce()

    def _loaded(self, job: Job, failure: EngineError | None) -> None:
        with self._changed:
            if failure is not None and job in self._waiting:
                self._waiting.remove(job)
                self._end(job, failure)
                self._announce()
            self._changed.notify_all()

    def _advance(self, jobs: Sequence[Job]) -> int:
        """One step of every take; the number of frames made."""
        before = [job.decoder.frames if job.decoder else 0 for job in jobs]
        began = time.perf_counter()
        together: dict[object, list[Job]] = {}
        for job in jobs:
            assert job.model is not None
            together.setdefault(job.model.batch, []).append(job)
        for each in together.values():
            assert each[0].model is not None
            self._advance_with(each[0].model, each)
        spent_s = time.perf_counter() - began
        for job in jobs:
            job.generate_s += spent_s
            assert job.decoder is not None
            if job.over:
                continue
            if job.decoder.done:
                self._tell_progress(job)
                job.finishing, job.coded_at = True, time.perf_counter()
                _hand(self._sounding, self._finish, job)
            else:
                if (work := job.decoder.decode_ahead()) is not None:
                    _hand(self._sounding, self._sound, job, work)
                if self._clock() - job.told_at > PROGRESS_S:
                    self._tell_progress(job)
        return sum(job.decoder.frames - frames for job, frames in zip(jobs, before, strict=True) if job.decoder)

    def _advance_with(self, model: Model, jobs: Sequence[Job]) -> None:
        """Where a step breaks, each take is tried by itself: whose fault it was ends alone."""
        try:
            model.advance([job.decoder for job in jobs if job.decoder is not None])
        except Exception as error:
            if len(jobs) == 1:
                self._break(jobs[0], error)
                return
            for job in jobs:
                if job.decoder is not None and not job.decoder.done:
                    self._advance_with(model, [job])

    # In the threads beside it.

    def _begin(self, job: Job) -> None:
        if job.over:
            return
        assert job.model is not None
        began = time.perf_counter()
        try:
            decoder = job.start(job.model)
        except Exception as error:
            self._break(job, error)
            return
        with self._changed:
            job.generate_s += time.perf_counter() - began
            job.decoder = decoder
            self._changed.notify_all()

    def _sound(self, job: Job, work: Callable[[], None]) -> None:
        if job.over:
            return
        try:
            work()
        except Exception as error:
            self._break(job, error)

    def _finish(self, job: Job) -> None:
        if job.over:
            return
        assert job.decoder is not None and job.model is not None
        try:
            samples = job.decoder.audio().detach().float().cpu().numpy()  # [C, N]
        except Exception as error:
            self._break(job, error)
            return
        spent_s = job.generate_s + time.perf_counter() - job.coded_at  # sound that was still being decoded is waited for
        with self._changed:
            self._end(job, Sound(samples, job.model.sample_rate, job.decoder.of_frames, spent_s, job.model.sha256))
            self._changed.notify_all()

    def _break(self, job: Job, error: Exception) -> None:
        if not isinstance(error, EngineError):
            log.error("take %s broke in the model", job.id, exc_info=error)
            error = _broken(job, error)
        with self._changed:
            self._end(job, error)
            self._changed.notify_all()

    def _tell_progress(self, job: Job) -> None:
        assert job.decoder is not None
        with self._changed:
            eta_s = self._forecast()[self._running.index(job)] if job in self._running else 0.0
            job.told_at = self._clock()
            if not job.over:
                job.tell(Progress(frames=job.decoder.frames, of_frames=job.decoder.of_frames, eta_s=round(eta_s, 1)))


def stopping() -> EngineError:
    return EngineError("not_ready", "The engine is being stopped: ask again when it is back.", retry_after_s=30.0)


def _hand(pool: ThreadPoolExecutor, work: Callable[..., None], *about: object) -> None:
    with contextlib.suppress(RuntimeError):  # shut down a moment ago: every take has been told
        pool.submit(work, *about)


def _one_core() -> None:
    """The model has the cores; what goes on beside it takes one. (torch counts threads for each thread that calls it.)"""
    import torch

    torch.set_num_threads(1)


def _broken(job: Job, error: Exception) -> EngineError:
    if type(error).__name__ == "OutOfMemoryError":  # torch's, on a GPU
        return EngineError("internal", "The engine's memory was too small for this take: ask for fewer seconds, or try again alone.")
    return EngineError("internal", f"Something broke in the engine. Its log says what, under take {job.id}.")
