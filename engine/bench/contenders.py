"""Who is measured: this project's decoder in each precision, transformers and audiocraft, each by its own front door.

All decode the same prompts with the same weights, greedily, with guidance 3; the codec is not timed. Not here: rounds, ratios (``bench``).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.musicgen.kernel.native import NativeModel

GUIDANCE = 3.0
_PROMPTS = (
    "dark driving techno at 130 bpm",
    "deep house at 128 bpm",
    "acid techno",
    "driving bass and hats",
    "dark acid at 140 bpm",
    "deep techno with bass",
    "kick and hats",
    "driving acid house",
)


@dataclass(frozen=True, slots=True)
class Contender:
    """A decoder. ``kind``: ours or a peer's name. ``exact``: fp32, so that its greedy codes must be the others'."""

    name: str
    kind: str
    exact: bool
    decode: Callable[[int, int], Any]
    """(takes, frames) -> codes ``[takes, K, frames]``"""
    model: NativeModel | None = None
    """Ours, where the kernel decodes."""


def prompts(takes: int) -> list[str]:
    return [_PROMPTS[index % len(_PROMPTS)] for index in range(takes)]


def contenders(folder: Path, *, precisions: Sequence[str] = ("int8", "fp32"), most_takes: int = 16) -> Iterator[Contender]:
    """Ours first. Each reads the same folder. A precision that can't be had here is left out."""
    from engine.musicgen import checkpoint

    model = checkpoint.load(folder)
    for precision in precisions:
        if (made := _ours(model, precision, most_takes)) is not None:
            yield made
    yield _transformers(folder, model.conditioner.tokenizer)
    if importlib.util.find_spec("audiocraft") is not None:
        yield _audiocraft(model)


def _ours(model: Any, precision: str, most_takes: int) -> Contender | None:
    import torch

    from engine.musicgen.generate import SamplingOptions
    from engine.musicgen.kernel.native import NativeModel

    mine = replace(model)
    decoding = mine.prepare(precision, rows=2 * most_takes)
    if decoding.precision != precision:
        return None
    greedy = SamplingOptions(temperature=0, guidance_scale=GUIDANCE)

    def decode(takes: int, frames: int) -> Any:
        mine.conditioner.forget()
        running = [mine.start(prompt=prompt, frames=frames, sampling=greedy, seed=0) for prompt in prompts(takes)]
        while not running[0].done:
            mine.advance(running)
        return torch.stack([take.codes() for take in running])

    native = decoding.model if isinstance(decoding.model, NativeModel) else None
    return Contender(f"this project, {precision}", f"ours {precision}", precision == "fp32", decode, native)


def _transformers(folder: Path, tokenizer: Any) -> Contender:
    import torch
    from transformers import MusicgenForConditionalGeneration

    from engine.musicgen.checkpoint import quiet_transformers

    with quiet_transformers():
        # Weights may be stored in half; in fp32 all compute the same. Its own default attention is SDPA, where a part has it.
        model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    seen: list[Any] = []

    def keep(audio_codes: Any, *_: Any, **__: Any) -> Any:
        """In place of the codec's decode: the codes are what is compared, and the codec is not what is timed."""
        seen[:] = [audio_codes[0]]
        return type("Output", (), {"audio_values": torch.zeros(audio_codes.shape[1], 1, 1)})

    model.audio_encoder.decode = keep

    def decode(takes: int, frames: int) -> Any:
        inputs = tokenizer(prompts(takes), padding=True, return_tensors="pt")
        steps = frames + model.config.decoder.num_codebooks
        with quiet_transformers(), torch.inference_mode():
            model.generate(**inputs, do_sample=False, guidance_scale=GUIDANCE, max_length=steps)
        return seen[0]

    return Contender(f"transformers {version('transformers')}", "transformers", True, decode)


def _audiocraft(model: Any) -> Contender:
    import torch

    from engine.musicgen import reference

    lm = reference.build(model).inner.lm

    def decode(takes: int, frames: int) -> Any:
        from audiocraft.modules.conditioners import ConditioningAttributes

        conditions = [ConditioningAttributes(text={"description": prompt}) for prompt in prompts(takes)]
        with torch.no_grad():
            return lm.generate(None, conditions, max_gen_len=frames, use_sampling=False, cfg_coef=GUIDANCE)

    return Contender(f"audiocraft {version('audiocraft')}", "audiocraft", True, decode)
