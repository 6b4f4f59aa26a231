"""A finetune beside a language model that stays as it is (LoRA, arXiv 2106.09685): what it adds to each matrix, and how strongly.

::

    y = x Wᵀ + strength · (x Aᵀ) Bᵀ        A (P · r, in), B (P, out / P, r), the adapter's own scale in B

P parts where ours is one matrix that stacks several (q, k and v), each with its own A and B. Merged, a finetune would be a model of its
own, in memory and in the batch; like this, takes on a base and on any of its adapters, each at its own strength, go through one pass.
Guidance's null row hears the adapter, too, as it would in a merged checkpoint. Not here: files and training
(``engine.training.adapters``), how a batch is computed (``decoding`` and the models that it packs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MATRICES = ("self_attention.qkv", "self_attention.out", "text_attention.query", "text_attention.out", "up", "down")
"""Of a layer, in the kernel's order; what every step goes through."""
KEY_VALUE = "text_attention.key_value"
"""What a text goes through once: its keys and values are made with the adapter, and kept for that adapter and strength alone."""
MOST_RANK = 128


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """What is added to one matrix. a: ``(P · r, in)``, b: ``(P, out / P, r)``, both float32."""

    a: Tensor
    b: Tensor

    def of(self, x: Tensor) -> Tensor:
        """Inputs ``(…, in)`` of any precision -> what is added to the outputs ``(…, out)``, float32."""
        h = F.linear(x.to(self.a.dtype), self.a)  # (…, P · r)
        return torch.cat([F.linear(part, b) for part, b in zip(h.chunk(self.b.shape[0], -1), self.b, strict=True)], -1)

    @property
    def rank(self) -> int:
        return self.b.shape[2]

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> LowRank:
        return LowRank(self.a.to(device, dtype), self.b.to(device, dtype))


class Adapter:
    """What is added to all matrices of all layers of one language model."""

    def __init__(self, layers: Sequence[Mapping[str, LowRank]], *, sha256: str) -> None:
        """``sha256``: of the file that they are from; adapters with the same one are the same.

        Raises ValueError where ranks differ or are too high.
        """
        self.layers = layers
        self.sha256 = sha256
        ranks = {low_rank.rank for layer in layers for low_rank in layer.values()}
        if len(ranks) != 1 or not 1 <= max(ranks) <= MOST_RANK:
            raise ValueError(f"an adapter has one rank, from 1 to {MOST_RANK}, not {', '.join(map(str, sorted(ranks)))}")
        self.rank = ranks.pop()

    @property
    def parameters(self) -> int:
        return sum(low_rank.a.numel() + low_rank.b.numel() for layer in self.layers for low_rank in layer.values())


class Dial(NamedTuple):
    """An adapter as a model has packed it, and how strongly a take hears it: above 0, since at 0 it hears the base."""

    adapter: Any
    strength: float
