"""How training hears what it does: a few clips sampled at once, and their beat. The engine's own generation, one take at a time, is
engine/musicgen; the full set of figures is evaluate.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.musicgen.sampling import SamplingOptions, sample
from engine.pocket.codec import PocketCodec
from engine.pocket.lm import PocketLM, tokenise
from engine.pocket.rhythm import beat

# What training listens to now and then: a prompt, and the tempo that it names (None: whatever).
PROBES: tuple[tuple[str, float | None], ...] = (
    ("acid techno, 130 bpm", 130), ("minimal techno, 125 bpm, cold", 125), ("hard techno at 150 bpm", 150), ("dub techno, 115 bpm", 115),
    ("melodic techno, 120 bpm, A minor", 120), ("hypnotic techno, 136 bpm", 136), ("techno, 143 bpm", 143), ("techno, 120 bpm", 120),
)  # fmt: skip
DEFAULT_SAMPLING = SamplingOptions(temperature=0.85, top_k=64, guidance_scale=2.5)


@torch.no_grad()
def sample_codes(
    model: PocketLM, tokenizer: Any, prompts: list[str], *, frames: int, seed: int, sampling: SamplingOptions = DEFAULT_SAMPLING
) -> Tensor:
    """Many clips at once, for measuring: codes [B, K, frames]. The engine's own generation, one take at a time, is engine/musicgen."""
    B, K, pad = len(prompts), model.sizes.num_codebooks, model.sizes.card
    ids, mask = tokenise(tokenizer, prompts)
    states = model.text_states(ids, mask)
    has = torch.tensor([bool(p.strip()) for p in prompts])
    rows, masks = torch.cat([states, torch.zeros_like(states)]), torch.cat([mask * has[:, None], torch.zeros_like(mask)])
    state = model.lm.begin(rows, masks, capacity=frames + K)
    generator = torch.Generator().manual_seed(seed)
    codes = torch.full((B, K, frames), pad)
    current = torch.full((B, K), pad)
    for s in range(frames + K - 1):
        doubled = current.repeat(2, 1)
        logits = model.lm.decode_one(doubled, state)  # (2B, K, card)
        text, null = logits.chunk(2)
        drawn = sample(null + (text - null) * sampling.guidance_scale, sampling, generator)
        for k in range(K):
            inside = k <= s < frames + k
            current[:, k] = drawn[:, k] if inside else pad
            if inside:
                codes[:, k, s - k] = drawn[:, k]
    return codes


@torch.no_grad()
def listen(model: PocketLM, codec: PocketCodec, tokenizer: Any) -> dict[str, object]:
    """A few short clips, measured: does the kick come back, and at the tempo that was asked for?"""
    codes = sample_codes(model, tokenizer, [prompt for prompt, _ in PROBES], frames=300, seed=1)  # (B, K, T)
    audio = codec.to_audio(codes).numpy()
    beats = [beat(x, bpm) for x, (_, bpm) in zip(audio, PROBES, strict=True)]
    return {
        "periodicity": [round(b.periodicity, 2) for b in beats],
        "bpm": [round(b.bpm, 1) for b in beats],
        "hits": sum(b.hit for b in beats),
    }
