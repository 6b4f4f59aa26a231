"""From a prompt to what the language model attends to: T5's states, projected to the model's width.

The null condition (no text) is a single zero state with a zero mask, as in transformers and audiocraft. Not here: guidance.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MAX_TEXT_TOKENS = 512
"""T5 was trained on no more; what is beyond is cut off."""
_CACHED_PROMPTS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What rows attend to: states ``[B, L, C]`` and mask ``[B, L]``, 1 where there is text."""

    states: Tensor
    mask: Tensor


class Conditioner(nn.Module):
    """T5 and its tokenizer, and the projection to the language model's width (None where the widths agree)."""

    def __init__(self, text_encoder: Any, tokenizer: Any, projection: nn.Linear | None, width: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.projection = projection
        self.width = width
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str | None]) -> Conditioning:
        """One row a prompt; None, or a prompt without any letter, is the null condition. T5 runs once a distinct prompt."""
        rows = [self._states(prompt) for prompt in prompts]  # each (L, C), or (0, C) for the null condition
        length = max(1, *(row.shape[0] for row in rows))
        states = rows[0].new_zeros(len(rows), length, self.width)  # (B, L, C)
        mask = torch.zeros(len(rows), length, dtype=torch.long, device=states.device)  # (B, L)
        for index, row in enumerate(rows):
            states[index, : row.shape[0]] = row
            mask[index, : row.shape[0]] = 1
        return Conditioning(states, mask)

    def forget(self) -> None:
        """Empty the cache of prompts."""
        self._cache.clear()

    def _states(self, prompt: str | None) -> Tensor:
        """States of one prompt ``(L, C)``, from the cache where it was asked for before."""
        encoder_dtype, device = self.text_encoder.dtype, self.text_encoder.device
        if prompt is None or not prompt.strip():
            return torch.zeros(0, self.width, dtype=encoder_dtype, device=device)
        if (cached := self._cache.get(prompt)) is not None:
            self._cache.move_to_end(prompt)
            return cached
        tokens = self.tokenizer(prompt, truncation=True, max_length=MAX_TEXT_TOKENS, return_tensors="pt")
        states = self.text_encoder(input_ids=tokens.input_ids.to(device)).last_hidden_state  # (1, L, text width)
        if self.projection is not None:
            states = self.projection(states)  # (1, L, C)
        self._cache[prompt] = states[0]
        if len(self._cache) > _CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return self._cache[prompt]
