"""Who is measured: this project's decoder in each precision, transformers and audiocraft, each by its own front door.

All decode the same prompts with the same weights, greedily, with guidance 3. Only the language model is timed: every contender has the
prompts' text states beforehand, and the codec is left out. Prompts have one length in tokens: padded to one length, audiocraft's attention
spreads over the padding too, and it would do other work than the rest. Not here: rounds, ratios (``speed``).
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.musicgen.kernel.native import NativeModel

GUIDANCE = 3.0
DISTINCT = 8
"""Prompts that differ; of more takes the ninth is asked for what the first was, and so on."""
_FIRST = ("dark", "deep", "driving", "acid", "hard", "warm")
_SECOND = ("techno", "house", "bass", "kick", "hats", "acid")


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
    weight_bytes: int = 0
    """Ours: what a step reads of weights."""


def prompts(takes: int, tokenizer: Any = None) -> list[str]:
    """As many prompts, of one length in tokens where a tokenizer is given."""
    all_of_them = [f"{first} {second}" for first in _FIRST for second in _SECOND if first != second]
    if tokenizer is not None:
        lengths = [len(tokenizer(prompt).input_ids) for prompt in all_of_them]
        usual = Counter(lengths).most_common(1)[0][0]
        all_of_them = [prompt for prompt, length in zip(all_of_them, lengths, strict=True) if length == usual]
    distinct = all_of_them[:: max(1, len(all_of_them) // DISTINCT)][:DISTINCT]
    return [distinct[index % len(distinct)] for index in range(takes)]


def contenders(
    folder: Path, *, precisions: Sequence[str] = ("int8", "fp32"), most_takes: int = 16, device: str = "cpu", half: bool = False
) -> Iterator[Contender]:
    """Ours first. Each reads the same folder. A precision that can't be had here is left out.

    ``half``: also bf16 for ours and for transformers, and audiocraft's own autocast: what a GPU is for.
    """
    from engine.musicgen import checkpoint

    model = checkpoint.load(folder, device=device)
    for precision in (*precisions, *(("bf16",) if half else ())):
        if (made := _ours(model, folder, precision, most_takes)) is not None:
            yield made
    yield _transformers(folder, model, half=False)
    if half:
        yield _transformers(folder, model, half=True)
    if importlib.util.find_spec("audiocraft") is not None:
        yield from _audiocraft(model, half)


def _ours(model: Any, folder: Path, precision: str, most_takes: int) -> Contender | None:
    import torch

    from engine.musicgen import checkpoint
    from engine.musicgen.generate import SamplingOptions
    from engine.musicgen.kernel.native import NativeModel

    on_gpu = model.device.type != "cpu"
    mine = checkpoint.load(folder, device=model.device, dtype=torch.bfloat16) if on_gpu and precision == "bf16" else replace(model)
    decoding = mine.prepare(precision, rows=2 * most_takes)  # type: ignore[arg-type]  # a str from a loop over the names
    if decoding.precision != precision:
        return None
    greedy = SamplingOptions(temperature=0, guidance_scale=GUIDANCE)

    def decode(takes: int, frames: int) -> Any:
        words = prompts(takes, model.conditioner.tokenizer)
        running = [mine.start(prompt=prompt, frames=frames, sampling=greedy, seed=0) for prompt in words]
        while not running[0].done:
            mine.advance(running)
        return torch.stack([take.codes() for take in running]).cpu()

    native = decoding.model if isinstance(decoding.model, NativeModel) else None
    weight_bytes = decoding.model.weight_bytes
    return Contender(f"this project, {precision}", f"ours {precision}", precision == "fp32", decode, native, weight_bytes)


def _transformers(folder: Path, ours: Any, *, half: bool) -> Contender:
    import torch
    from transformers import MusicgenForConditionalGeneration
    from transformers.modeling_outputs import BaseModelOutput

    from engine.musicgen.checkpoint import quiet_transformers

    with quiet_transformers():
        # Weights may be stored in half; in fp32 all compute the same. Its own default attention is SDPA, where a part has it.
        dtype = torch.bfloat16 if half else torch.float32
        model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval().to(ours.device)
    tokenizer = ours.conditioner.tokenizer
    seen: list[Any] = []
    texts: dict[int, dict[str, Any]] = {}

    def keep(audio_codes: Any, *_: Any, **__: Any) -> Any:
        """In place of the codec's decode: the codes are what is compared, and the codec is not what is timed."""
        seen[:] = [audio_codes[0]]
        return type("Output", (), {"audio_values": torch.zeros(audio_codes.shape[1], 1, 1)})

    model.audio_encoder.decode = keep

    def text(takes: int) -> dict[str, Any]:
        """What ``generate`` takes in place of running its text encoder; the second half is guidance's rows without text."""
        if takes not in texts:
            inputs = tokenizer(prompts(takes, tokenizer), padding=True, return_tensors="pt").to(ours.device)
            states = model.text_encoder(**inputs).last_hidden_state
            both = torch.cat([states, torch.zeros_like(states)])
            mask = torch.cat([inputs.attention_mask, torch.zeros_like(inputs.attention_mask)])
            texts[takes] = {"inputs": inputs.input_ids, "encoder_outputs": BaseModelOutput(last_hidden_state=both), "attention_mask": mask}
        return texts[takes]

    def decode(takes: int, frames: int) -> Any:
        steps = frames + model.config.decoder.num_codebooks
        with quiet_transformers(), torch.inference_mode():
            model.generate(**text(takes), do_sample=False, guidance_scale=GUIDANCE, max_length=steps)
        return seen[0].cpu()

    name = f"transformers {version('transformers')}"
    return Contender(f"{name}, bf16" if half else name, "transformers half" if half else "transformers", not half, decode)


def _audiocraft(model: Any, half: bool) -> Iterator[Contender]:
    import torch

    from engine.musicgen import reference

    inner = reference.build(model).inner
    lm = inner.lm
    encode = lm.condition_provider.forward
    texts: dict[int, Any] = {}

    def encoded(tokenized: Any) -> Any:
        """Its ``generate`` has no way to be given the states; so they are kept here, by the number of takes."""
        rows = int(next(iter(tokenized.values()))["input_ids"].shape[0])
        if rows not in texts:
            texts[rows] = encode(tokenized)
        return texts[rows]

    lm.condition_provider.forward = encoded

    def decoding(context: Callable[[], Any]) -> Callable[[int, int], Any]:
        def decode(takes: int, frames: int) -> Any:
            from audiocraft.modules.conditioners import ConditioningAttributes

            words = prompts(takes, model.conditioner.tokenizer)
            conditions = [ConditioningAttributes(text={"description": prompt}) for prompt in words]
            with torch.no_grad(), context():
                return lm.generate(None, conditions, max_gen_len=frames, use_sampling=False, cfg_coef=GUIDANCE).cpu()

        return decode

    name = f"audiocraft {version('audiocraft')}"
    yield Contender(name, "audiocraft", True, decoding(contextlib.nullcontext))
    if half:  # as its own MusicGen does on a GPU, in fp16; CPUs have no use for that
        dtype = torch.float16 if model.device.type == "cuda" else torch.bfloat16
        autocast = lambda: torch.autocast(model.device.type, dtype=dtype)  # noqa: E731  # a context is made for each decode
        yield Contender(f"{name}, autocast", "audiocraft half", False, decoding(autocast))
