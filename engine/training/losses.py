"""What training minimises: cross-entropy of real frames, and the distance to the base where there is no token. Pure functions of a model.

A segment counts the same alone, beside a longer one, or in another micro-batch: losses are means over its own real frames, then over
segments. Padding, and the corners of the delay pattern, are never targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.musicgen.conditioning import Conditioner
from engine.musicgen.delay import apply_delay, sequence_length
from engine.musicgen.model import LanguageModel
from engine.training.lean import codebook_nats
from engine.training.segments import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """sequence: ``[B, K, S]`` delayed, ``pad`` where there is nothing. states, mask: ``[B, L, C]``, ``[B, L]``."""

    sequence: Tensor
    states: Tensor
    mask: Tensor

    @property
    def heard(self) -> Tensor:
        """What goes in ``[B, K, S − 1]``."""
        return self.sequence[:, :, :-1]

    @property
    def targets(self) -> Tensor:
        """What should come out ``[B, K, S − 1]``."""
        return self.sequence[:, :, 1:]


def collate(rows: Rows, lm: LanguageModel, conditioner: Conditioner) -> Batch:
    """Rows of any lengths, side by side."""
    delays, pad = lm.config.delays, lm.pad
    longest = max(segment.codes.shape[1] for segment in rows.segments)
    sequence = torch.full((len(rows), lm.config.num_codebooks, sequence_length(longest, delays)), pad)
    for index, segment in enumerate(rows.segments):
        own = apply_delay(segment.codes[None].long(), pad, delays)[0]  # (K, S of its own)
        sequence[index, :, : own.shape[1]] = own
    text = conditioner(rows.prompts)
    # Made in inference mode, which autograd refuses: copies.
    return Batch(sequence.to(lm.device), text.states.clone().to(lm.dtype), text.mask.clone())


def cross_entropy(lm: LanguageModel, batch: Batch) -> Tensor:
    """Nats of each segment's codes by codebook ``[B, K]``."""
    states = lm.states(batch.heard, lm.attend_to(batch.states, batch.mask), None, 0)  # (B, S − 1, C)
    nats = codebook_nats(lm, states, batch.targets)  # (B, K, S − 1), 0 where nothing is to be said
    return nats.sum(-1) / (batch.targets != lm.pad).sum(-1).clamp(min=1)


def kl_to_base(lm: LanguageModel, batch: Batch, base: AbstractContextManager[LanguageModel]) -> Tensor:
    """KL(base ‖ model) of each row's real frames in nats ``[B]``, the mean over codebooks.

    ``base`` gives the model as it was before; gradients reach only the model as it is.
    """
    with base as original, torch.no_grad():
        expected = original(batch.heard, batch.states, batch.mask).float().log_softmax(-1)  # (B, K, S − 1, card)
    found = lm(batch.heard, batch.states, batch.mask).float().log_softmax(-1)
    real = batch.targets != lm.pad  # (B, K, S − 1)
    nats = F.kl_div(found, expected, reduction="none", log_target=True).sum(-1) * real
    return nats.flatten(1).sum(-1) / real.flatten(1).sum(-1).clamp(min=1)


@torch.no_grad()
def held_out_nats(lm: LanguageModel, conditioner: Conditioner, rows: Sequence[Rows]) -> Tensor:
    """Mean cross-entropy by codebook ``[K]`` over segments; float64, so that the order of micro-batches hardly matters."""
    losses = torch.cat([cross_entropy(lm, collate(part, lm, conditioner)) for part in rows])  # (N, K)
    return losses.double().mean(0)
