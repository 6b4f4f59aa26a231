"""The checkpoints that are in memory, and how one gets there.

``Model`` and ``Decoder`` say what every backend offers: this project's own (``engine.musicgen.generate``) and the reference's
(``engine.musicgen.reference``). A checkpoint that is an adapter is its base's model and a little beside it (``engine.musicgen.adapted``).
Not here: which checkpoints there are (``checkpoints``), deciding who runs (``batcher``).
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from engine.checkpoints import ADAPTER_FILES, Catalogue, Source
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
    @property
    def batch(self) -> object: ...  # takes of models with the same one are advanced together
    def start(
        self, *, prompt: str | None, frames: int, sampling: SamplingOptions, seed: int, prompt_audio: Tensor | None = None
    ) -> Decoder: ...
    def advance(self, takes: Sequence[Any]) -> None: ...  # one step of each of this batch's decoders


SMALL_MODEL = 50_000_000
"""Parameters below which a second CPU thread costs more in waiting than it saves in work."""


def threads_for(model: Model, asked: int) -> int:
    """CPU threads to run ``model`` on; ``asked`` 0 leaves it to the size of the model."""
    if asked or model.parameters < SMALL_MODEL:
        return asked or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


ADAPTERS = 8
"""Adapters that stay in memory when no take uses them: each some hundredth of its base."""


@dataclass(frozen=True, slots=True, eq=False)
class _Beside:
    """An adapter in memory. stamp: of its file when it was read."""

    base: str
    model: Model
    stamp: object


class ModelShelf:
    """The checkpoints in memory: at most ``keep``, the least recently used leaves first, and with it the adapters that stand on it.

    Adapters don't count, nor does a base for each of its adapters. Safe to use from several threads.
    """

    def __init__(self, catalogue: Catalogue, load: Callable[[Source], Model], keep: int) -> None:
        """``load`` is for whole checkpoints."""
        self._catalogue = catalogue
        self._load = load
        self._keep = keep
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._adapters: OrderedDict[str, _Beside] = OrderedDict()
        self._roots: dict[str, str] = {}  # the whole checkpoint that each one asked for needs: itself, or its base
        self._loading: str | None = None

    def get(self, checkpoint_id: str) -> Model:
        """Loads it in this thread where needed. Raises EngineError 'unknown_checkpoint' where that fails."""
        with self._lock:
            if model := self._touch(checkpoint_id):
                return model
        return self._fetch(self._catalogue.find(checkpoint_id), in_use=())

    def use(self, checkpoint_id: str) -> Model | None:
        """The model if it is in memory; now it is the most recently used."""
        with self._lock:
            return self._touch(checkpoint_id)

    def forget(self, checkpoint_id: str) -> None:
        """It was deleted. Takes that run on it keep it until they end."""
        with self._lock:
            self._adapters.pop(checkpoint_id, None)
            self._remove(checkpoint_id)

    def refresh(self, source: Source) -> None:
        """Forget an adapter whose file is another than when it was read: the next take reads it anew."""
        if source.adapter is not None:
            stamp = _stamp(source)
            with self._lock:
                if (known := self._adapters.get(source.id)) is not None and known.stamp != stamp:
                    del self._adapters[source.id]

    def peek(self, checkpoint_id: str) -> Model | None:
        """The same, only to look at."""
        with self._lock:
            beside = self._adapters.get(checkpoint_id)
            return beside.model if beside else self._models.get(checkpoint_id)

    def load_aside(self, checkpoint_id: str, *, in_use: Collection[str], then: Callable[[EngineError | None], None]) -> None:
        """Load in a thread of its own, then call ``then`` there.

        Does nothing while another load is under way, or while all of ``keep`` are in use: ask again.
        """
        with self._lock:
            root = self._roots.get(checkpoint_id)  # None: never asked for, so the files must be looked at, and not by this thread
            if self._loading is not None or (root is not None and not self._has_room(root, in_use)):
                return
            self._loading = checkpoint_id

        def run() -> None:
            import torch

            torch.set_num_threads(1)  # of this thread: takes have the cores, and to share each small sum with them takes far longer
            failure: EngineError | None = None
            try:
                source = self._catalogue.find(checkpoint_id)
                root = (source.base or source).id
                with self._lock:
                    self._roots[checkpoint_id] = root
                    fits = self._has_room(root, in_use)
                if fits:
                    self._fetch(source, in_use)
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

    def _fetch(self, source: Source, in_use: Collection[str]) -> Model:
        """From the disk, in this thread, its base first where that is not here."""
        base = None
        if source.base is not None:
            with self._lock:
                base = self._touch(source.base.id)
            base = base or self._fetch(source.base, in_use)
        stamp = _stamp(source)
        if base is None:
            with self._lock:
                self._make_room(in_use)  # before it is loaded: there may not be memory for one more
            model = self._load(source)
        else:
            model = beside(source, base)
        log.info("checkpoint %s loaded: %s", source.id, model.sha256[:12])  # also hashes the weights, here rather than in a request
        with self._lock:
            self._roots[source.id] = (source.base or source).id
            if source.base is None:
                self._make_room(in_use)
                self._models[source.id] = model
            else:
                self._adapters[source.id] = _Beside(source.base.id, model, stamp)
                for name in [name for name in self._adapters if name not in in_use and name != source.id]:
                    if len(self._adapters) > ADAPTERS:
                        del self._adapters[name]
        return model

    # With the lock held.

    def _touch(self, checkpoint_id: str) -> Model | None:
        beside = self._adapters.get(checkpoint_id)
        if beside is not None:
            self._adapters.move_to_end(checkpoint_id)
            checkpoint_id = beside.base
        model = self._models.get(checkpoint_id)
        if model is not None:
            self._models.move_to_end(checkpoint_id)
        return beside.model if beside else model

    def _has_room(self, root: str, in_use: Collection[str]) -> bool:
        return root in self._models or len(self._used(in_use) & set(self._models)) < self._keep

    def _used(self, in_use: Collection[str]) -> set[str]:
        return {self._roots.get(name, name) for name in in_use}

    def _make_room(self, in_use: Collection[str]) -> None:
        used = self._used(in_use)
        for name in [name for name in self._models if name not in used]:
            if len(self._models) < self._keep:
                return
            self._remove(name)

    def _remove(self, name: str) -> None:
        """A whole checkpoint, and the adapters that stand on it: they would keep it in memory."""
        self._models.pop(name, None)
        for adapter in [adapter for adapter, beside in self._adapters.items() if beside.base == name]:
            del self._adapters[adapter]


def _stamp(source: Source) -> object:
    """Another one where an adapter's file was written anew."""
    if source.adapter is None:
        return None
    try:
        about = (source.adapter / ADAPTER_FILES[1]).stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


def loader(settings: EngineSettings) -> Callable[[Source], Model]:
    """What loads a whole checkpoint on this engine's device with its backend. Raises EngineError 'unknown_checkpoint', in one sentence."""

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
            raise _not_loaded(source, error) from error

    return load


def beside(source: Source, base: Model) -> Model:
    """An adapter beside its base, which others may be using. Raises EngineError 'unknown_checkpoint', in one sentence."""
    from engine.musicgen.adapted import Adapted
    from engine.musicgen.generate import MusicGen
    from engine.training import adapters

    assert source.adapter is not None
    if not isinstance(base, MusicGen):
        raise no_adapters(source.id)
    if source.card.parent_sha256 not in (None, base.sha256):
        raise EngineError(
            "unknown_checkpoint",
            f"{source.id!r} was trained on another {source.card.parent!r} than the one that is here: put that one back, or finetune again.",
        )
    try:
        return Adapted(base, adapters.read(base.lm, source.adapter, base_sha256=base.sha256), name=source.id)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _not_loaded(source, error) from error


def no_adapters(checkpoint_id: str) -> EngineError:
    """What the audiocraft backend says of a checkpoint that is one."""
    return EngineError(
        "bad_request",
        f"{checkpoint_id!r} is an adapter, and the audiocraft backend has none: set ENGINE_BACKEND=native, or choose another checkpoint.",
    )


def _not_loaded(source: Source, error: Exception) -> EngineError:
    log.debug("loading %s failed", source.id, exc_info=True)
    reason = " ".join(str(error).split())[:300]
    for where in (source.where, source.adapter):
        reason = reason.replace(str(where), source.id)
    return EngineError("unknown_checkpoint", f"The checkpoint {source.id!r} could not be loaded: {reason or type(error).__name__}")


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
