"""A finetune as it is served: a ``MusicGen`` that others use, too, and an adapter beside it.

Not here: what an adapter is (``adapter``), reading one (``engine.training.adapters``), which are in memory (``engine.models``).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor

from engine.musicgen.adapter import Adapter, Dial
from engine.musicgen.generate import MusicGen, TakeDecoder
from engine.musicgen.sampling import SamplingOptions


class Adapted:
    """A checkpoint with an adapter beside it: the same face, in the checkpoint's own rows, so that takes on either run in one batch.

    The checkpoint must not be prepared again afterwards.
    """

    def __init__(self, base: MusicGen, adapter: Adapter, *, name: str = "") -> None:
        self.base = base
        self.name = name or base.name
        self.sha256 = adapter.sha256
        """Of the adapter's file."""
        self.parameters = base.parameters + adapter.parameters
        self._packed = base.decoding.adapter(adapter)
        self._strength = 1.0

    def at(self, strength: float) -> Adapted:
        """The same, heard as strongly: 0 is the base itself, 1 the finetune as trained, above that more than it was taught."""
        other = copy.copy(self)
        other._strength = strength
        return other

    @property
    def sample_rate(self) -> int:
        return self.base.sample_rate

    @property
    def frame_rate(self) -> float:
        return self.base.frame_rate

    @property
    def channels(self) -> int:
        return self.base.channels

    @property
    def window_frames(self) -> int:
        return self.base.window_frames

    @property
    def default_sampling(self) -> SamplingOptions:
        return self.base.default_sampling

    @property
    def decodes_with(self) -> str:
        return self.base.decodes_with

    @property
    def batch(self) -> object:
        return self.base.batch

    def advance(self, takes: Sequence[TakeDecoder]) -> None:
        """As ``MusicGen.advance``; also takes on the base and on other adapters of it."""
        self.base.advance(takes)

    def start(
        self,
        *,
        prompt: str | None,
        frames: int,
        sampling: SamplingOptions,
        seed: int,
        prompt_audio: Tensor | None = None,
    ) -> TakeDecoder:
        """As ``MusicGen.start``."""
        dial = Dial(self._packed, self._strength) if self._strength else None
        return self.base.start(prompt=prompt, frames=frames, sampling=sampling, seed=seed, prompt_audio=prompt_audio, dial=dial)
