"""Many clips of a checkpoint at once, for measuring: the same networks, delay pattern, guidance and sampling as the engine's takes, which
are decoded one by one in engine/musicgen/generate.py, in rows of one batch. tests/engine/pocket/test_evaluate.py holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.musicgen.conditioning import Conditioning
from engine.musicgen.delay import apply_delay, sequence_length, undo_delay
from engine.musicgen.generate import MusicGen
from engine.musicgen.model import LanguageModel
from engine.musicgen.sampling import SamplingOptions, guide, sample

AT_ONCE = 28  # clips in a batch: 350 MB of keys and values at 10 s
_UNKNOWN = -1


@torch.inference_mode()
def clips(model: MusicGen, prompts: Sequence[str | None], frames: int, *, seed: int, heard: Tensor | None = None) -> Tensor:
    """One clip a prompt, with the checkpoint's own sampling: codes [B, K, frames]; those after `heard` [B, K, P], if that is given.

    Raises ValueError for more than the model hears at once.
    """
    P = 0 if heard is None else heard.shape[2]
    if P + frames > model.window_frames:
        raise ValueError(f"clips of {P + frames} frames: this checkpoint hears {model.window_frames} at once, measure shorter ones")
    done, generator = [], torch.Generator().manual_seed(seed)
    for i in range(0, len(prompts), AT_ONCE):
        some = prompts[i : i + AT_ONCE]
        rows = model.conditioner([*some, *[None] * len(some)])
        begun = torch.zeros(len(some), model.num_codebooks, 0, dtype=torch.long) if heard is None else heard[i : i + AT_ONCE]
        done.append(continue_codes(model.lm, rows, begun, frames, sampling=model.default_sampling, generator=generator))
    return torch.cat(done)


@torch.inference_mode()
def continue_codes(
    lm: LanguageModel, rows: Conditioning, heard: Tensor, frames: int, *, sampling: SamplingOptions, generator: torch.Generator
) -> Tensor:
    """`frames` codes after `heard` [B, K, P]. `rows` are 2B: all with their text, then all without. → [B, K, frames]"""
    B, K, P = heard.shape
    unknown = torch.full((B, K, frames), _UNKNOWN)
    sequence = apply_delay(torch.cat([heard, unknown], 2), lm.pad, lm.config.delays)  # (B, K, S)
    unsaid = sequence == _UNKNOWN
    steps = sequence_length(P + frames, lm.config.delays)
    state = lm.begin(rows.states, rows.mask, capacity=steps - 1)
    logits = lm.prefill(sequence[:, :, : P + 1].repeat(2, 1, 1), state)  # (2B, K, card)
    for s in range(P + 1, steps):
        drawn = sample(guide(logits, sampling.guidance_scale), sampling, generator)  # (B, K)
        sequence[:, :, s] = torch.where(unsaid[:, :, s], drawn, sequence[:, :, s])
        if s + 1 < steps:
            logits = lm.decode_one(sequence[:, :, s].repeat(2, 1), state)
    return undo_delay(sequence, lm.config.delays)[:, :, P:]
