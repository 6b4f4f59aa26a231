"""From logits to codes: classifier-free guidance, temperature, top-k, top-p. Pure functions of tensors and a generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the next code is chosen. The defaults are MusicGen's own.

    ``temperature`` 0 takes the likeliest code. ``top_k`` 0 keeps all; ``top_p`` 0 or 1 switches the nucleus off; with both,
    the nucleus is taken among the k likeliest. ``guidance_scale`` 1 is no guidance, and costs half.
    """

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0
    guidance_scale: float = 3.0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all) or more, not {self.top_k}")
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p must be from 0 to 1, not {self.top_p}")
        if self.guidance_scale < 1:
            raise ValueError(f"guidance_scale must be 1 (none) or more, not {self.guidance_scale}")


def guide(logits: Tensor, guidance_scale: float) -> Tensor:
    """Rows with and without the text ``[2, …]`` -> guided logits ``[1, …]`` (arXiv 2207.12598, as weighted in MusicGen)."""
    conditional, null = logits.chunk(2)
    return null + (conditional - null) * guidance_scale


def sample(logits: Tensor, options: SamplingOptions, generator: torch.Generator | None = None) -> Tensor:
    """Logits ``[…, card]`` -> codes ``[…]``."""
    return sample_each(logits[None], options, [generator])[0]


def sample_each(logits: Tensor, options: SamplingOptions, generators: Sequence[torch.Generator | None]) -> Tensor:
    """Logits of several takes ``[takes, …, card]``, each with its own generator -> codes ``[takes, …]``: those of each alone.

    Draws by dividing the probabilities by exponential noise and taking the largest: the same distribution as
    ``torch.multinomial``, without its synchronisation of host and device. The noise is made of uniform draws, which are the same
    on every CPU; ``exponential_`` is not, where torch leaves it to a vendor's library.
    """
    if options.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float() / options.temperature
    card = logits.shape[-1]
    codes: Tensor | None = None
    if options.top_p not in (0, 1):
        logits, codes = logits.topk(min(options.top_k or card, card), dim=-1)  # […, k], sorted: the nucleus needs them so
        probabilities = logits.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities  # what the likelier ones have already: 0 for the first
        probabilities = probabilities.masked_fill(before > options.top_p, 0.0)
    else:
        if 0 < options.top_k < card:
            logits, codes = logits.topk(options.top_k, dim=-1, sorted=False)  # […, k]
        probabilities = logits.softmax(dim=-1)
    noise = torch.empty_like(probabilities)
    for own, generator in zip(noise, generators, strict=True):
        own.uniform_(generator=generator)
    noise.log_().neg_()  # [0, 1) -> (0, ∞]
    choice = (probabilities / noise).argmax(dim=-1)  # […]
    return choice if codes is None else codes.gather(-1, choice[..., None])[..., 0]
