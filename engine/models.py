"""The checkpoints that are in memory, and how one gets there.

``Model`` and ``Decoder`` say what every backend offers: this project's own (``engine.musicgen.generate``) and the reference's
(``engine.musicgen.reference``). Not here: which checkpoints there are (``checkpoints``), deciding who runs (``batcher``).
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from engine.checkpoints import Catalogue, Source
from engine.errors import EngineError
from engine.settings import EngineSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from engine.musicgen.generate import MusicGen
    from engine.musicgen.kernel.native import Precision
    from engine.musicgen.sampling import SamplingOptions

log = logging.getLogger(__name__)


class Decoder(Protocol):
    """One take being decoded (``engine.musicgen.generate.TakeDecoder``, or the reference's)."""

    @property
    def frames(self) -> int: ...
    @property
    def of_frames(self) -> int: ...
    @property
    def done(self) -> bool: ...
    def step(self) -> None: ...
    def decode_ahead(self) -> Callable[[], None] | None: ...  # work for the codec, for some thread, in order
    def audio(self) -> Tensor: ...  # [C, N] float32
    def close(self) -> None: ...  # it won't be advanced again


class Model(Protocol):
    """A loaded checkpoint (``engine.musicgen.generate.MusicGen``, or the reference's)."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def frame_rate(self) -> float: ...
    @property
    def channels(self) -> int: ...
    @property
    def window_frames(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def default_sampling(self) -> SamplingOptions: ...
    @property
    def decodes_with(self) -> str: ...  # for people: "int8, native kernel"
    def start(
        self, *, prompt: str | None, frames: int, sampling: SamplingOptions, seed: int, prompt_audio: Tensor | None = None
    ) -> Decoder: ...
    def advance(self, takes: Sequence[Any]) -> None: ...  # one step of each of this model's decoders


SMALL_MODEL = 50_000_000
"""Parameters below which a second CPU thread costs more in waiting than it saves in work."""


def threads_for(model: Model, asked: int) -> int:
    """CPU threads to run ``model`` on; ``asked`` 0 leaves it to the size of the model."""
    if asked or model.parameters < SMALL_MODEL:
        return asked or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ModelShelf:
    """The checkpoints in memory: at most ``keep``, the least recently used leaves first. Safe to use from several threads."""

    def __init__(self, catalogue: Catalogue, load: Callable[[Source], Model], keep: int) -> None:
        self._catalogue = catalogue
        self._load = load
        self._keep = keep
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._loading: str | None = None

    def get(self, checkpoint_id: str) -> Model:
        """Loads it in this thread where needed. Raises EngineError 'unknown_checkpoint' where that fails."""
        with self._lock:
            if model := self._touch(checkpoint_id):
                return model
        model = self._load(self._catalogue.find(checkpoint_id))
        log.info("checkpoint %s loaded: %s", checkpoint_id, model.sha256[:12])
        with self._lock:
            self._put(checkpoint_id, model, in_use=())
        return model

    def use(self, checkpoint_id: str) -> Model | None:
        """The model if it is in memory; now it is the most recently used."""
        with self._lock:
            return self._touch(checkpoint_id)

    def forget(self, checkpoint_id: str) -> None:
        """It was deleted. Takes that run on it keep it until they end."""
        with self._lock:
            self._models.pop(checkpoint_id, None)

    def peek(self, checkpoint_id: str) -> Model | None:
        """The same, only to look at."""
        with self._lock:
            return self._models.get(checkpoint_id)

    def load_aside(self, checkpoint_id: str, *, in_use: Collection[str], then: Callable[[EngineError | None], None]) -> None:
        """Load in a thread of its own, then call ``then`` there.

        Does nothing while another load is under way, or while all of ``keep`` are in use: ask again.
        """
        with self._lock:
            full = len(set(in_use) & set(self._models)) >= self._keep
            if self._loading is not None or full:
                return
            self._loading = checkpoint_id
            self._make_room(in_use)

        def run() -> None:
            failure: EngineError | None = None
            try:
                model = self._load(self._catalogue.find(checkpoint_id))
                log.info(
                    "checkpoint %s loaded: %s", checkpoint_id, model.sha256[:12]
                )  # also hashes the weights, here rather than in a request
                with self._lock:
                    self._put(checkpoint_id, model, in_use)
            except EngineError as error:
                failure = error
            except Exception:
                log.exception("checkpoint %s could not be loaded", checkpoint_id)
                failure = EngineError("unknown_checkpoint", f"The checkpoint {checkpoint_id!r} could not be loaded: choose another.")
            finally:
                with self._lock:
                    self._loading = None
            then(failure)

        threading.Thread(target=run, name="engine-load", daemon=True).start()

    def _touch(self, checkpoint_id: str) -> Model | None:
        model = self._models.get(checkpoint_id)
        if model is not None:
            self._models.move_to_end(checkpoint_id)
        return model

    def _put(self, checkpoint_id: str, model: Model, in_use: Collection[str]) -> None:
        self._make_room(in_use)
        self._models[checkpoint_id] = model

    def _make_room(self, in_use: Collection[str]) -> None:
        for name in [name for name in self._models if name not in in_use]:
            if len(self._models) < self._keep:
                return
            del self._models[name]


def loader(settings: EngineSettings) -> Callable[[Source], Model]:
    """What loads a source on this engine's device with its backend. Raises EngineError 'unknown_checkpoint' with one clear message."""

    def load(source: Source) -> Model:
        device = pick_device(settings.device)
        try:
            if settings.backend == "audiocraft":
                from engine.musicgen import reference

                return reference.load(source.where, device=device)
            from engine.musicgen import checkpoint

            half = device.startswith("cuda") and settings.precision in ("auto", "bf16")
            return _prepared(checkpoint.load(source.where, device=device, dtype=_dtype("bfloat16" if half else "float32")), settings)
        except EngineError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            log.debug("loading %s failed", source.id, exc_info=True)
            reason = " ".join(str(error).split())[:300].replace(str(source.where), source.id) or type(error).__name__
            raise EngineError("unknown_checkpoint", f"The checkpoint {source.id!r} could not be loaded: {reason}") from error

    return load


def pick_device(wanted: str) -> str:
    """'auto' is the GPU where there is one. Raises EngineError when the device that was asked for is not there."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if (wanted.startswith("cuda") and not cuda) or (wanted == "mps" and not mps):
        raise EngineError("bad_request", f"There is no {wanted} device on this machine: use auto or cpu.")
    return wanted


def _prepared(model: MusicGen, settings: EngineSettings) -> Model:
    """In the precision that was asked for, with rows for as many takes as run side by side."""
    precision, why = precision_for(settings.precision, model.device.type, model.parameters)
    decoding = model.prepare(precision, rows=2 * settings.batch)
    log.info("%s decodes in %s: %s", model.name, model.decodes_with, why)
    log.info("caches: %d rows of %d steps, %.2f GB when all are full", decoding.rows, decoding.model.capacity, decoding.cache_bytes / 1e9)
    return model


def precision_for(asked: str, device: str, parameters: int) -> tuple[Precision, str]:
    """The precision of the language model's weights, and why. 'auto' keeps a small model exact: it is fast enough as it is."""
    if asked != "auto":
        return cast("Precision", asked), "as ENGINE_PRECISION says"
    if device != "cpu":
        return ("bf16", "auto, on a GPU") if device == "cuda" else ("fp32", f"auto, on {device}")
    if parameters < SMALL_MODEL:
        return "fp32", "auto, a small model"
    return "int8", "auto, a large model on a CPU; ENGINE_PRECISION=fp32 is exact, at a third of the speed"


def _dtype(name: str) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, name)
    return dtype
