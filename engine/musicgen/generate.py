"""Generation: a ``MusicGen`` (language model, codec, conditioner) starts takes; a ``TakeDecoder`` is one, decoded frame by frame,
alone or in company (``decoding``).

Past what the model hears at once, a take goes on in windows, each prompted by the end of the one before (audiocraft's
``extend_stride``)::

    frames      0          900        1500       2400       3300
    window 1    |──────────────────────|
    window 2               |── heard ──|── new ──|
    window 3                           |─ heard ─|── new ──|

Not here: who runs when (``engine.batcher``), files, loudness and the seam (``engine.music``).
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from engine.musicgen.adapter import Dial
from engine.musicgen.codec import Codec
from engine.musicgen.conditioning import Conditioner
from engine.musicgen.decoding import Decoding, advance
from engine.musicgen.delay import apply_delay, sequence_length, undo_delay
from engine.musicgen.kernel.native import Precision
from engine.musicgen.model import LanguageModel
from engine.musicgen.sampling import SamplingOptions

__all__ = ["MAX_SECONDS", "MusicGen", "SamplingOptions", "TakeDecoder"]

MAX_SECONDS = 240.0
"""Longest take: 4 minutes of new audio."""
STRIDE = 0.6
"""How far a window moves, as a part of its length: 18 s of 30 s, as in audiocraft."""
LIBRARY_ROWS = 64
"""Rows that takes may use at once where nobody has said how many: what is not used is not in memory."""
_UNKNOWN = -1
"""Stands in a sequence for a code that is not decided yet."""


@dataclass(eq=False)
class MusicGen:
    """A checkpoint in memory. Made by ``engine.musicgen.checkpoint.load``; used by one thread at a time."""

    lm: LanguageModel
    codec: Codec
    conditioner: Conditioner
    window_frames: int
    """What the model hears at once, in frames: 1,500 for 30 s."""
    config: Any
    """transformers' ``MusicgenConfig``, for the way back."""
    default_sampling: SamplingOptions = field(default_factory=SamplingOptions)
    """What the checkpoint asks for in its ``generation_config.json``."""
    name: str = ""
    weight_files: tuple[Path, ...] = field(default=(), repr=False)
    _decoding: Decoding | None = field(default=None, init=False, repr=False)

    @property
    def sample_rate(self) -> int:
        """Hz"""
        return self.codec.sample_rate

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.codec.frame_rate

    @property
    def channels(self) -> int:
        return self.codec.channels

    @property
    def num_codebooks(self) -> int:
        """Codebooks of all channels: 4 in mono, 8 in stereo."""
        return self.codec.num_codebooks

    @property
    def card(self) -> int:
        """Entries in a codebook."""
        return self.lm.config.card

    @property
    def device(self) -> torch.device:
        return self.lm.device

    @cached_property
    def parameters(self) -> int:
        """Numbers in all three networks."""
        return sum(p.numel() for module in (self.lm, self.codec, self.conditioner) for p in module.parameters())

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the weights file, as ``sha256sum`` prints it; of the list of those sums where there are several."""
        assert self.weight_files, "made in memory: there is no file to hash"
        sums = []
        for path in self.weight_files:
            with path.open("rb") as file:
                sums.append(hashlib.file_digest(file, "sha256").hexdigest())
        return sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()

    def frames_of(self, seconds: float) -> int:
        """Frames that cover ``seconds``, at least one."""
        return max(1, round(seconds * self.frame_rate))

    def prepare(self, precision: Precision | Literal["auto"] = "auto", *, rows: int = LIBRARY_ROWS) -> Decoding:
        """Pack the weights in a precision and say how many rows may decode at once: two a take, one for a take without guidance.

        The first ``start`` does it where nobody has. Weights that change afterwards are not heard: prepare again.
        """
        capacity = self.window_frames + max(self.lm.config.delays)
        self._decoding = Decoding(self.lm, capacity=capacity, rows=rows, precision=precision)
        return self._decoding

    @property
    def decoding(self) -> Decoding:
        return self._decoding or self.prepare()

    @property
    def decodes_with(self) -> str:
        """For people: 'int8, native kernel'."""
        return f"{self.decoding.precision}, {self.decoding.kernel}" + (" kernel" if self.decoding.kernel == "native" else "")

    @property
    def batch(self) -> object:
        """Takes on models with the same one may be advanced together."""
        return self.decoding

    def advance(self, takes: Sequence[TakeDecoder]) -> None:
        """One step of each take, all together. What a take becomes does not depend on the others."""
        advance(takes)

    @torch.inference_mode()
    def start(
        self,
        *,
        prompt: str | None,
        frames: int,
        sampling: SamplingOptions,
        seed: int,
        prompt_audio: Tensor | None = None,
        dial: Dial | None = None,
    ) -> TakeDecoder:
        """Begin a take of ``frames`` new frames.

        ``prompt`` None is unconditional. ``prompt_audio [C, N]`` at ``sample_rate`` is continued from its last sample on; of
        one longer than the model hears, the end is used. ``seed`` decides every draw: the same seed gives the same codes,
        whatever other takes do meanwhile. ``dial``: through an adapter (``adapted.Adapted.start`` makes it).

        Raises ValueError where the length, the channels or the prompt's audio can't be.
        """
        check_frames(frames, self.frame_rate)
        prompt_codes: Tensor | None = None
        if prompt_audio is not None:
            heard = heard_of(prompt_audio, channels=self.channels, hop_samples=self.codec.hop_samples, window_frames=self.window_frames)
            prompt_codes = self.codec.encode(heard).to(self.device)  # (K, P)
        return TakeDecoder(
            self.decoding,
            self.codec,
            self._texts(prompt, sampling.guidance_scale, dial),
            prompt_codes=prompt_codes,
            frames=frames,
            window_frames=self.window_frames,
            sampling=sampling,
            generator=torch.Generator(self.device).manual_seed(seed),
            dial=dial,
        )

    def _texts(self, prompt: str | None, guidance_scale: float, dial: Dial | None) -> list[Any]:
        """What each row of a take attends to: the text and nothing; one row where guidance changes nothing."""
        if prompt is None or not prompt.strip():
            return [None]
        text = self.decoding.text(prompt, self.conditioner([prompt]).states[0], dial)
        return [text] if guidance_scale == 1 else [text, None]


def heard_of(audio: Tensor, *, channels: int, hop_samples: int, window_frames: int) -> Tensor:
    """Whole frames of ``audio``'s end ``[C, N]``, so that the new part begins exactly where it ends; at most what a window has room for.

    Raises ValueError for another shape, or less than a frame.
    """
    if audio.ndim != 2 or audio.shape[0] != channels:
        raise ValueError(f"prompt_audio must have the shape [{channels}, samples], not {list(audio.shape)}")
    frames = audio.shape[1] // hop_samples
    if frames < 1:
        raise ValueError(f"prompt_audio is {audio.shape[1]} samples long, and a single frame is {hop_samples}")
    if frames >= window_frames:
        frames = window_frames - stride_of(window_frames)
    return audio[:, audio.shape[1] - frames * hop_samples :]


def check_frames(frames: int, frame_rate: float) -> None:
    """Raises ValueError unless a take may have so many new frames."""
    longest = round(MAX_SECONDS * frame_rate)
    if not 1 <= frames <= longest:
        raise ValueError(f"a take is 1 to {longest} frames ({MAX_SECONDS:.0f} s), not {frames}")


def stride_of(window_frames: int) -> int:
    """Frames by which a window moves."""
    return int(STRIDE * window_frames)


class TakeDecoder:
    """One take being decoded. Its rows, generator and codes are its own, so that takes can be advanced in any order and company."""

    def __init__(
        self,
        decoding: Decoding,
        codec: Codec,
        texts: Sequence[Any],
        *,
        prompt_codes: Tensor | None,
        frames: int,
        window_frames: int,
        sampling: SamplingOptions,
        generator: torch.Generator,
        dial: Dial | None = None,
    ) -> None:
        self.of_frames = frames
        """New frames to decide."""
        self.decoding = decoding
        self.texts = texts
        self.dial = dial
        self.sampling = sampling
        self.generator = generator
        self.heard = 0
        """Steps of this window that the model has heard."""
        self._lm = lm = decoding.model.lm
        if prompt_codes is None:
            prompt_codes = torch.zeros(lm.config.num_codebooks, 0, dtype=torch.long, device=lm.device)
        self._prompt = prompt_codes  # (K, P): what the whole take continues
        self._sound = codec.stream(prompt_codes.shape[1])
        self._pieces = 0  # of sound that may be decoded
        self._closed: list[Tensor] = []  # new codes of the windows before, each (K, ·)
        self._closed_frames = 0
        self._window_frames = window_frames
        self._window: _Window | None = self._open_window(prompt_codes)  # None when all is done
        self._rows: list[Any] = []  # taken by the first step, given back after the last
        self._give_back: weakref.finalize[Any, Any] | None = None

    @property
    def frames(self) -> int:
        """New frames decided so far, in every codebook."""
        return self._closed_frames + (self._window.new_frames if self._window else 0)

    @property
    def done(self) -> bool:
        return self._window is None

    @property
    def pending(self) -> int:
        """Steps to be heard before the next is decided: one, and at the start of a window its prompt."""
        return self._window.position - self.heard if self._window else 0

    def step(self) -> None:
        """Decide one step: one code in every codebook. Where a prompt is still to be heard, a piece of it is."""
        assert not self.done, "the take is done"
        advance([self])

    def close(self) -> None:
        """Give back what the take decodes in. Happens by itself when it is done, or nobody has it any more."""
        if self._give_back is not None:
            self._give_back()
            self._give_back, self._rows = None, []

    def rows(self) -> Sequence[Any]:
        """Where the model keeps what it heard. Raises NoRows."""
        if not self._rows:
            self._rows = self.decoding.take_rows(len(self.texts))
            self._give_back = weakref.finalize(self, self.decoding.give_back, self._rows)
        return self._rows

    def steps(self, start: int, end: int) -> Tensor:
        """Steps of this window's delayed sequence, ``(end - start, K)``."""
        assert self._window is not None and end <= self._window.position
        return self._window.sequence[:, start:end].T

    def decide(self, codes: Tensor) -> None:
        """The codes ``(K)`` of the next step."""
        assert self._window is not None
        self._window.decide(codes)
        if self._window.complete:
            self._close_window(self._window)

    def _open_window(self, heard: Tensor) -> _Window:
        """A window that hears ``(K, P)`` and decides what is left, as far as it has room."""
        frames = heard.shape[1] + self.of_frames - self._closed_frames
        return _Window(heard, min(frames, self._window_frames), self._lm.config.delays, self._lm.pad)

    def _close_window(self, window: _Window) -> None:
        self._closed.append(window.new_codes())
        self._closed_frames += window.new_frames
        if self._closed_frames == self.of_frames:
            self._window = None
            self.close()
            return
        self.heard = 0
        self._window = self._open_window(window.codes()[:, stride_of(self._window_frames) :])

    @torch.inference_mode()
    def codes(self) -> Tensor:
        """New codes ``[K, frames]``, without delay: the frames that are complete so far."""
        return torch.cat([*self._closed, *([self._window.new_codes()] if self._window else [])], dim=1)

    def decode_ahead(self) -> Callable[[], None] | None:
        """Work for the codec that can be done already, or None. To be called in some thread, one piece after the other."""
        if self.done or self._prompt.shape[1] + self.frames < self._sound.needs(self._pieces + 1):
            return None
        self._pieces += 1
        return partial(self._sound.feed, torch.cat([self._prompt, self.codes()], dim=1))

    @property
    def decoded_frames(self) -> int:
        """New frames whose sound is there."""
        return self._sound.frames

    @torch.inference_mode()
    def audio(self) -> Tensor:
        """The new audio ``[C, of_frames × hop]``, float32, its first sample being the one after the prompt's last.

        The codec hears the prompt's codes before it, so that there is no onset of its own at the seam.
        """
        assert self.done, "the take is not done"
        self._sound.feed(torch.cat([self._prompt, self.codes()], dim=1), last=True)
        return self._sound.audio()


class _Window:
    """A delayed sequence ``(K, S)`` of ``frames`` frames that begins with ``prompt (K, P)`` and is filled step by step."""

    def __init__(self, prompt: Tensor, frames: int, delays: Sequence[int], pad: int) -> None:
        K, P = prompt.shape
        self.prompt_frames = P
        self.delays = delays
        self.steps = sequence_length(frames, delays)
        unknown = prompt.new_full((K, frames - P), _UNKNOWN)
        self.sequence = apply_delay(torch.cat([prompt, unknown], dim=1)[None], pad, delays)[0]  # (K, S)
        self._open = self.sequence == _UNKNOWN  # (K, S): where a decision goes; elsewhere the prompt or padding stays
        self.position = P + 1
        """The step to be decided next: the first in which codebook 0 is unknown."""

    @property
    def complete(self) -> bool:
        return self.position == self.steps

    @property
    def new_frames(self) -> int:
        """Frames after the prompt that every codebook has."""
        return max(0, self.position - 1 - max(self.delays) - self.prompt_frames)

    def decide(self, codes: Tensor) -> None:
        """Codes ``(K)`` for this step, kept where the pattern has a place for them."""
        here = self.position
        self.sequence[:, here] = torch.where(self._open[:, here], codes, self.sequence[:, here])
        self.position += 1

    def codes(self) -> Tensor:
        """Prompt and decisions as far as every codebook has them: ``(K, P + new_frames)``, or less while the prompt is delayed."""
        return undo_delay(self.sequence[None, :, : self.position], self.delays)[0]

    def new_codes(self) -> Tensor:
        """``(K, new_frames)``"""
        return self.codes()[:, self.prompt_frames :]
