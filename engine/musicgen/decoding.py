"""How a model's takes are decoded: by the kernel or by torch, in which precision, in how many rows; and one step of many takes at once.

::

    take (guidance 3)   row ── text          one call a step:  tokens of all rows ─▶ logits of those that decide
                        row ── no text
    take (guidance 1)   row ── text
    take that joins     row ── text ── a piece of its prompt, until all of it is heard

A row's caches are reserved once and pass from take to take. A prompt's keys and values are made once for each adapter and strength, and
kept; no text has none: without biases it adds exactly zero, so rows without text skip that attention altogether. Takes on different
adapters of one model go through the same pass (``adapter``). Not here: the take itself (``generate``).
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from engine.musicgen.adapter import Adapter, Dial
from engine.musicgen.kernel.build import NoKernel
from engine.musicgen.kernel.native import NativeModel, Precision
from engine.musicgen.model import LanguageModel
from engine.musicgen.sampling import SamplingOptions, guide, sample_each
from engine.musicgen.static_model import StaticModel
from engine.musicgen.torch_model import TorchModel

__all__ = ["Decoding", "NoRows", "Stepping", "advance"]

log = logging.getLogger(__name__)

KERNEL = "ENGINE_KERNEL"
"""'off' in the environment decodes on torch even where the kernel can be had: for comparisons, and for whoever distrusts it."""
PIECE_STEPS = 64
"""Steps of a prompt that are heard at once."""
PIECE_STEPS_IN_COMPANY = 16
"""The same for the kernel while others decode, so that they go on at about half of their speed."""
_TEXTS = 64
"""Prompts whose keys and values are kept."""


class NoRows(RuntimeError):
    """More rows than were asked for are in use: close a take, or ask for more."""


class Decoding:
    """One language model, ready to decode ``rows`` rows of ``capacity`` steps. Steps are for one thread; texts may be made by others."""

    def __init__(self, lm: LanguageModel, *, capacity: int, rows: int, precision: Precision | Literal["auto"] = "auto") -> None:
        """``precision`` auto is the weights' own. Any other needs the kernel; without it the weights' own is used, and why is logged."""
        self.rows = rows
        own: Precision = "bf16" if lm.dtype == torch.bfloat16 else "fp32"
        self.model: NativeModel | TorchModel
        try:
            if os.environ.get(KERNEL, "") == "off":
                raise NoKernel(f"{KERNEL} is off")
            self.model = NativeModel(lm, own if precision == "auto" else precision, capacity=capacity)
            self.kernel = "native"
        except NoKernel as error:
            on_gpu = lm.device.type == "cuda"
            self.model = StaticModel(lm, capacity=capacity, rows=rows) if on_gpu else TorchModel(lm, capacity=capacity, width=rows)
            self.kernel = "torch"
            level = logging.INFO if precision in ("auto", own) else logging.WARNING
            log.log(level, "decoding with torch in %s, not with the kernel: %s", self.model.precision, error)
        self._free: list[Any] = []
        self._made = 0
        self._texts: OrderedDict[tuple[str, str, float], Any] = OrderedDict()
        self._lock = threading.RLock()  # a take that is collected gives its rows back at any moment, also in here

    @property
    def precision(self) -> str:
        return self.model.precision

    @property
    def rows_in_use(self) -> int:
        return self._made - len(self._free)

    @property
    def cache_bytes(self) -> int:
        """What the caches of all rows take at most: of the window's last steps, and never more."""
        lm = self.model.lm
        return 2 * lm.config.num_layers * lm.config.width * self.model.capacity * self.rows * (4 if self.precision == "fp32" else 2)

    def take_rows(self, count: int) -> list[Any]:
        """Raises NoRows."""
        with self._lock:
            if self.rows_in_use + count > self.rows:
                raise NoRows(f"{self.rows_in_use} of {self.rows} rows are in use, and a take needs {count}")
            while len(self._free) < count:
                self._free.append(self.model.row())
                self._made += 1
            return [self._free.pop() for _ in range(count)]

    def give_back(self, rows: Sequence[Any]) -> None:
        with self._lock:
            self._free.extend(rows)

    def adapter(self, adapter: Adapter) -> Any:
        """Packed for this model: what a ``Dial`` of its takes holds. Takes a while; any thread may do it."""
        return self.model.adapter(adapter)

    def text(self, prompt: str, states: Tensor, dial: Dial | None = None) -> Any:
        """Keys and values of a prompt whose states are ``(L, C)``, as heard through an adapter."""
        key = (prompt, "", 0.0) if dial is None else (prompt, str(dial.adapter.sha256), dial.strength)
        with self._lock:
            if (found := self._texts.get(key)) is not None:
                self._texts.move_to_end(key)
                return found
        made = self.model.text(states, dial)
        with self._lock:
            self._texts[key] = made
            if len(self._texts) > _TEXTS:
                self._texts.popitem(last=False)
        return made


class Stepping(Protocol):
    """What ``advance`` needs of a take (``generate.TakeDecoder``)."""

    decoding: Decoding
    sampling: SamplingOptions
    generator: torch.Generator
    texts: Sequence[Any]
    """What each of its rows attends to; None is no text."""
    dial: Dial | None
    """The adapter that all its rows play through."""
    heard: int
    """Steps that are in its rows."""

    @property
    def done(self) -> bool: ...
    @property
    def pending(self) -> int: ...  # steps to be heard before the next is decided
    def rows(self) -> Sequence[Any]: ...
    def steps(self, start: int, end: int) -> Tensor: ...  # (end - start, K) of its delayed sequence
    def decide(self, codes: Tensor) -> None: ...


@torch.inference_mode()
def advance(takes: Sequence[Stepping]) -> None:
    """One step of every take, all of the same ``Decoding``, in one pass: a step decided, or a piece of a prompt heard.

    Where there are more tokens than a pass can take, the last takes wait for the next.
    """
    if not takes:
        return
    decoding = takes[0].decoding
    model = decoding.model
    in_company = decoding.kernel == "native" and any(take.pending == 1 for take in takes)
    piece = PIECE_STEPS_IN_COMPANY if in_company else PIECE_STEPS
    codes: list[Tensor] = []
    positions: list[int] = []
    rows: list[Any] = []
    texts: list[Any] = []
    dials: list[Dial | None] = []
    outs: list[int] = []
    moved: list[tuple[Stepping, int, int]] = []  # take, steps heard, its first logits or −1
    for take in sorted(takes, key=_order):
        assert take.decoding is decoding and not take.done
        its_rows, start = take.rows(), take.heard
        steps = min(take.pending, piece)
        if len(positions) + steps * len(its_rows) > model.most_tokens:
            continue
        decides = steps == take.pending
        moved.append((take, steps, len(outs) if decides else -1))
        here = take.steps(start, start + steps)  # (steps, K)
        for row, text in zip(its_rows, take.texts, strict=True):
            codes.append(here)
            positions.extend(range(start, start + steps))
            rows.extend([row] * steps)
            texts.extend([text] * steps)
            dials.extend([take.dial] * steps)
            if decides:
                outs.append(len(positions) - 1)
    adapted = any(dial is not None for dial in dials)
    logits = model.run(torch.cat(codes), positions, rows, texts, outs, dials=dials if adapted else None)  # (outs, K, card)
    alike: dict[tuple[SamplingOptions, int], list[tuple[Stepping, int]]] = {}  # takes that decide, and their first logits
    for take, steps, first in moved:
        take.heard += steps
        if first >= 0:
            alike.setdefault((take.sampling, len(take.texts)), []).append((take, first))
    for (options, count), deciding in alike.items():
        own = torch.stack([logits[first : first + count] for _, first in deciding], dim=1)  # (1 or 2, takes, K, card)
        if count == 2:
            own = guide(own, options.guidance_scale)  # (1, takes, K, card)
        for (take, _), chosen in zip(deciding, sample_each(own[0], options, [take.generator for take, _ in deciding]), strict=True):
            take.decide(chosen)  # (K)


def _order(take: Stepping) -> tuple[bool, int]:
    """Prompts last, first come first served. Takes on one adapter side by side, so that its weights are read once for several rows."""
    prompt = take.pending > 1
    return prompt, 0 if prompt or take.dial is None else id(take.dial.adapter)
