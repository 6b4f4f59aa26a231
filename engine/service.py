"""The engine as one object: admits takes, runs them through the batcher, and tells each as a stream of lines. No HTTP here.

::

    admit ── hold a place ── prepare (thread) ── batcher ── finish (thread) ── Done
                  └ 503            └ 422            └ Queued, Progress

Everything here runs on the event loop; what blocks goes to one of two pools of threads, so that neither loop nor model waits for ffmpeg.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from typing import ParamSpec, TypeVar

from engine import takes
from engine.analyses.desk import Analyses
from engine.api import (
    ANALYSIS_VERSION,
    HEARTBEAT_S,
    CheckpointInfo,
    Done,
    Failed,
    GenerateRequest,
    Health,
    Heartbeat,
    Progress,
    Queued,
    TrackInfo,
)
from engine.batcher import Batcher, Job, Sound, Told
from engine.checkpoints import Catalogue, describe
from engine.errors import EngineError, event_of
from engine.evaluation.desk import Evaluations
from engine.finetunes.desk import Finetunes
from engine.metrics import Metrics
from engine.models import ModelShelf, loader, no_adapters, pick_device
from engine.settings import EngineSettings
from engine.tracks import Tracks, Upload, require_name

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_PACKAGES = ("torch", "transformers", "torchaudio", "starlette", "uvicorn")


class Take:
    """One admitted take: what became of it, as lines of NDJSON. A slow reader gets only the latest Queued and the latest Progress."""

    def __init__(self, take_id: str, cancel: Callable[[], None]) -> None:
        self.id = take_id
        self.cancel = cancel
        """Ends the take; nothing happens to one that is over."""
        self._latest: dict[type[Queued | Progress], bytes] = {}
        self._last: bytes | None = None
        self._news = asyncio.Event()

    @property
    def over(self) -> bool:
        return self._last is not None

    def tell(self, event: Queued | Progress) -> None:
        if not self.over:
            self._latest[type(event)] = line(event)
            self._news.set()

    def end(self, last: bytes) -> None:
        if not self.over:
            self._last = last
            self._news.set()

    async def lines(self, heartbeat_s: float = HEARTBEAT_S) -> AsyncIterator[bytes]:
        """Events, one a line; the last is Done or Failed. Never silent for longer than ``heartbeat_s``."""
        while True:
            try:
                await asyncio.wait_for(self._news.wait(), heartbeat_s)
            except TimeoutError:
                yield line(Heartbeat())
                continue
            self._news.clear()
            latest, self._latest = self._latest, {}
            for kind in (Queued, Progress):
                if kind in latest:
                    yield latest[kind]
            if self._last is not None:
                yield self._last
                return


class Engine:
    """Made once for each process. ``start`` before the first request, ``stop`` after the last."""

    def __init__(self, settings: EngineSettings, on_failure: Callable[[EngineError], None]) -> None:
        """``on_failure`` is called, on some thread, when the default checkpoint does not work.

        Raises EngineError where the default checkpoint can't be one, OSError where ENGINE_DATA can't be written.
        """
        self._settings = settings
        self._began = time.monotonic()
        self._device = pick_device(settings.device)
        self.tracks = Tracks(settings.data / "tracks", round(settings.tracks_gib * 2**30))
        self.analyses = Analyses(self.tracks, settings.analyses)
        self.evaluations = Evaluations(self.tracks)
        self.catalogue = Catalogue(settings.checkpoint, settings.data / "checkpoints")
        self._models = ModelShelf(self.catalogue, loader(settings), settings.loaded_checkpoints)
        self._batcher = Batcher(
            self._models,
            self.catalogue.default_id,
            slots=settings.batch,
            room=settings.queue,
            threads=settings.threads,
            on_failure=on_failure,
        )
        self.metrics = Metrics(self._batcher.load)
        self.finetunes = Finetunes(settings, self.tracks, self._describe, self.metrics.finetuned)
        self.metrics.watch_finetunes(self.finetunes.load)
        self._takes: dict[str, Take] = {}
        self._preparing = ThreadPoolExecutor(2, thread_name_prefix="engine-prepare")
        self._finishing = ThreadPoolExecutor(2, thread_name_prefix="engine-finish")  # takes that began together end together
        self._tasks: set[asyncio.Task[None]] = set()
        self._finish_s = 1.0  # how long seam, loudness, encoding and picture take of late

    def start(self) -> None:
        """Returns at once; the default checkpoint loads in the batcher's thread. Needs a running event loop."""
        self._batcher.start()
        self._finishing.submit(_wake)
        self.finetunes.start()

    async def stop(self) -> None:
        """Every take hears that it won't be. May be called twice."""
        await asyncio.to_thread(self._batcher.stop)
        for take in list(self._takes.values()):
            take.cancel()
        await self.analyses.stop()
        await self.evaluations.stop()
        await self.finetunes.stop()
        self._preparing.shutdown(wait=False, cancel_futures=True)
        self._finishing.shutdown(wait=False, cancel_futures=True)

    def health(self) -> Health:
        load = self._batcher.load()
        versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES}
        if (model := self._models.peek(self.catalogue.default_id)) is not None:
            versions["decoder"] = model.decodes_with
        return Health(
            ready=load.ready,
            version=metadata.version("techno-composer"),
            checkpoint=self.catalogue.default_id,
            device=self._device,
            backend=self._settings.backend,
            queue=load.waiting + load.held,
            running=load.running,
            uptime_s=round(time.monotonic() - self._began, 1),
            analysis_version=ANALYSIS_VERSION,
            versions=versions,
        )

    async def checkpoints(self) -> list[CheckpointInfo]:
        """The default first; a hub name that was never loaded is left out."""
        return await asyncio.to_thread(self._describe_all)

    async def delete_checkpoint(self, checkpoint_id: str) -> None:
        """Out of the folder; takes that run on it end as they would have. Raises EngineError as ``Catalogue.delete``."""
        await asyncio.to_thread(self.catalogue.delete, checkpoint_id)
        self._models.forget(checkpoint_id)

    def _describe_all(self) -> list[CheckpointInfo]:
        default = self.catalogue.default_id
        found = (describe(source, self._models.peek(source.id), default=source.id == default) for source in self.catalogue.sources())
        return [info for info in found if info is not None]

    def _describe(self, checkpoint_id: str | None) -> CheckpointInfo:
        source = self.catalogue.find(checkpoint_id)
        self._models.refresh(source)
        info = describe(source, self._models.peek(source.id), default=source.id == self.catalogue.default_id)
        if info is None:
            raise EngineError("unknown_checkpoint", f"The checkpoint {source.id!r} can't be read: choose another.")
        if info.adapter and self._settings.backend == "audiocraft":
            raise no_adapters(source.id)
        return info

    async def accept_track(self, upload: Upload, sha256: str) -> TrackInfo:
        """Raises EngineError as ``Tracks.accept``."""
        return await self._prepared(self.tracks.accept, upload, sha256)

    async def forget_track(self, sha256: str) -> None:
        """Its bytes and all that was made of them; a finetune that learns it ends. Raises EngineError 'unknown_track'."""
        self.analyses.forget(sha256)
        await self.finetunes.forget_track(require_name(sha256))
        await asyncio.to_thread(self.tracks.forget, sha256)

    async def admit(self, request: GenerateRequest) -> Take:
        """Everything that can be refused is refused here. Raises EngineError.

        A take id that is in use passes to the newer request: its client has come back before the loss of its first connection was noticed.
        """
        arrived = time.monotonic()
        kind = request.kind
        if (former := self._takes.get(request.take_id)) is not None:
            former.cancel()
        try:
            self._batcher.hold()
            try:
                prepared = await self._prepared(self._prepare, request)
            except BaseException as error:
                self._batcher.let_go()
                if isinstance(error, EngineError) or not isinstance(error, Exception):
                    raise
                log.exception("take %s broke before the model", request.take_id)
                raise _broken(request.take_id) from error
        except EngineError as error:
            self.metrics.ended(kind, error.code)
            log.info("take %s (%s) refused: %s", request.take_id, kind, error.code)
            raise

        loop = asyncio.get_running_loop()
        job: Job

        def tell(told: Told) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(hear, told)

        def hear(told: Told) -> None:
            if isinstance(told, Queued | Progress):
                take.tell(told.model_copy(update={"eta_s": round(told.eta_s + self._finish_s, 1)}))
            elif isinstance(told, EngineError):
                self._ended(take, kind, told)
            else:
                task = loop.create_task(self._finish(take, prepared, told, arrived))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            self._batcher.cancel(job)
            self._ended(take, kind, EngineError("cancelled", "The take was cancelled."))

        take = Take(request.take_id, cancel)
        job = Job(request.take_id, prepared.checkpoint.id, prepared.seconds, partial(takes.start, prepared), tell)
        self._takes[take.id] = take
        log.info("take %s: %s, %.1f s, checkpoint %s", take.id, kind, prepared.seconds, prepared.checkpoint.id)
        self._batcher.submit(job)
        return take

    def cancel(self, take_id: str) -> None:
        """Raises EngineError 'unknown_take'."""
        take = self._takes.get(take_id)
        if take is None:
            raise EngineError("unknown_take", f"No take {take_id!r} waits or runs here.")
        take.cancel()

    def _prepare(self, request: GenerateRequest) -> takes.Prepared:
        checkpoint = self._describe(request.checkpoint)
        if request.track is None:
            return takes.prepare(request, checkpoint)
        info = self.tracks.find(request.track)
        return takes.prepare(request, checkpoint, self.tracks.read(request.track), info.duration_s)

    async def _finish(self, take: Take, prepared: takes.Prepared, sound: Sound, arrived: float) -> None:
        def work() -> tuple[Done, bytes]:
            done = takes.finish(
                prepared,
                sound.samples,
                sound.sample_rate,
                model_sha256=sound.model_sha256,
                generate_s=sound.generate_s,
                began=arrived,
            )
            return done, line(done)

        if take.over:
            return
        kind = prepared.request.kind
        began = time.monotonic()
        try:
            done, last = await asyncio.get_running_loop().run_in_executor(self._finishing, work)
        except EngineError as error:
            self._ended(take, kind, error)
        except Exception:
            log.exception("take %s broke after the model", take.id)
            self._ended(take, kind, _broken(take.id))
        else:
            self._finish_s += 0.3 * (time.monotonic() - began - self._finish_s)
            if not take.over:
                self.metrics.made(generate_s=done.generate_s, total_s=done.total_s, duration_s=done.duration_s)
                self._ended(take, kind, last)

    def _ended(self, take: Take, kind: str, how: EngineError | bytes) -> None:
        if take.over:
            return
        outcome = how.code if isinstance(how, EngineError) else "done"
        take.end(line(event_of(how)) if isinstance(how, EngineError) else how)
        if self._takes.get(take.id) is take:
            del self._takes[take.id]
        self.metrics.ended(kind, outcome)
        log.info("take %s: %s", take.id, outcome)

    async def _prepared(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._preparing, partial(work, *args, **kwargs))


def _broken(take_id: str) -> EngineError:
    return EngineError("internal", f"Something broke in the engine. Its log says what, under take {take_id}.")


def _wake() -> None:
    """Imports and the first drawing take seconds; better now than in somebody's take."""
    import numpy as np

    from engine.music import encode, loudness, pictures, seam
    from engine.music.audio import Audio

    silence = Audio(np.zeros((1, 32_000), dtype=np.float32), 32_000)
    pictures.draw(loudness.normalise(seam.join(silence, silence)[0]))
    pictures.cover(silence)
    takes.hear(silence)
    encode.encode(silence, "flac")


def line(event: Queued | Progress | Heartbeat | Done | Failed) -> bytes:
    return event.model_dump_json().encode() + b"\n"
