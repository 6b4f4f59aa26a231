"""``TorchModel`` for GPUs: one step of all rows as one graph whose shapes never change, so that it is compiled once and replayed.

Every row of the budget goes through every step, idle ones too: they compute what nobody reads. Caches and texts lie in one tensor each;
what changes from step to step (codes, positions) is written into tensors that stay where they are. Within the step nothing is asked of the
host. Proved on a CPU as far as one can (no graph breaks, no recompilation, no transfer within the step); not yet run on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.musicgen.model import LanguageModel
from engine.musicgen.torch_model import TorchMemory, TorchModel

log = logging.getLogger(__name__)

Compiler = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]

TEXT_STEPS = 128
"""Text tokens that a row has room for; of a longer prompt the first are heard."""


@dataclass(slots=True, eq=False)
class StaticRow(TorchMemory):
    """A row of the caches: views of them, its number, and the text that lies beside it."""

    index: int = 0
    text: TorchMemory | None = None


class StaticModel(TorchModel):
    """``lm`` with ``rows`` rows of ``capacity`` steps, all reserved at once."""

    def __init__(
        self,
        lm: LanguageModel,
        *,
        capacity: int,
        rows: int,
        compiler: Compiler | None = None,
    ) -> None:
        """``compiler`` takes the step and gives it back faster. None: torch.compile with CUDA graphs on CUDA, nothing elsewhere."""
        super().__init__(lm, capacity=capacity, width=rows)
        config, like = lm.config, {"device": lm.device, "dtype": lm.dtype}
        shape = (config.num_layers, rows, config.num_heads, capacity, config.width // config.num_heads)
        # Zeros, not whatever was there: a masked step still is multiplied, by zero, and zero times NaN is NaN.
        self._keys, self._values = torch.zeros(shape, **like), torch.zeros(shape, **like)  # type: ignore[call-overload]
        shape = (*shape[:3], TEXT_STEPS, shape[4])
        self._text_keys, self._text_values = torch.zeros(shape, **like), torch.zeros(shape, **like)  # type: ignore[call-overload]
        self._codes = torch.zeros(rows, config.num_codebooks, dtype=torch.long, device=lm.device)
        self._positions = torch.zeros(rows, dtype=torch.long, device=lm.device)
        self._text_steps = torch.ones(rows, dtype=torch.long, device=lm.device)  # no text is one step of zeros: see CrossAttention
        self._all_rows = torch.arange(rows, device=lm.device)
        self._steps = torch.arange(capacity, device=lm.device)
        self._tokens = torch.arange(TEXT_STEPS, device=lm.device)
        self._offsets = torch.arange(config.num_codebooks, device=lm.device) * (config.card + 1)
        self._table = lm.positions_to(capacity)
        self._rows_made = 0
        if compiler is None:
            compiler = _cuda_graphs if lm.device.type == "cuda" else lambda step: step
        self._compiled = compiler(self._step)

    def row(self) -> StaticRow:
        index = self._rows_made
        assert index < self.width, f"{self.width} rows are all there are"
        self._rows_made += 1
        return StaticRow(self._keys[:, index], self._values[:, index], index)

    def _single(self, codes: Tensor, positions: Sequence[int], rows: Sequence[Any], texts: Sequence[TorchMemory | None]) -> Tensor:
        for row, text in zip(rows, texts, strict=True):
            if row.text is not text:
                self._lay_beside(row, text)
        indices = [row.index for row in rows]
        self._codes[indices] = codes
        self._positions[indices] = torch.tensor(positions, device=self._positions.device)
        logits = self._compiled(self._codes, self._positions, self._text_steps)  # (rows, K, card)
        return logits[indices]

    def _lay_beside(self, row: StaticRow, text: TorchMemory | None) -> None:
        """A text's keys and values into the row's own place, once a take."""
        self._text_keys[:, row.index].zero_()
        self._text_values[:, row.index].zero_()
        steps = 1
        if text is not None:
            steps = min(text.keys.shape[2], TEXT_STEPS)
            self._text_keys[:, row.index, :, :steps] = text.keys[:, :, :steps]
            self._text_values[:, row.index, :, :steps] = text.values[:, :, :steps]
        self._text_steps[row.index] = steps
        row.text = text

    def _step(self, codes: Tensor, positions: Tensor, text_steps: Tensor) -> Tensor:
        """Codes ``(R, K)`` at ``positions (R)`` of all rows -> logits ``(R, K, card)``."""
        lm, config = self.lm, self.lm.config
        R, H, C = self.width, config.num_heads, config.width
        x = lm.embeddings(codes + self._offsets).sum(dim=1) * config.embedding_scale + self._table[positions]  # (R, C)
        heard = (self._steps <= positions[:, None])[:, None, None]  # (R, 1, 1, capacity)
        told = (self._tokens < text_steps[:, None])[:, None, None]  # (R, 1, 1, L)
        for index, layer in enumerate(lm.layers):
            q, k, v = layer.self_attention.qkv(layer.self_norm(x)).view(R, 3, H, C // H).unbind(1)  # each (R, H, D)
            keys, values = self._keys[index], self._values[index]  # (R, H, capacity, D)
            keys[self._all_rows, :, positions] = k
            values[self._all_rows, :, positions] = v
            y = F.scaled_dot_product_attention(q[:, :, None], keys, values, attn_mask=heard)  # (R, H, 1, D)
            x = x + layer.self_attention.out(y.reshape(R, C))
            q = layer.text_attention.query(layer.text_norm(x)).view(R, H, 1, C // H)
            y = F.scaled_dot_product_attention(q, self._text_keys[index], self._text_values[index], attn_mask=told)
            x = x + layer.text_attention.out(y.reshape(R, C))
            x = x + layer.down(layer.activation(layer.up(layer.ffn_norm(x))))
        return lm.heads(lm.norm(x)).view(R, config.num_codebooks, config.card)  # (R, K, card)


def _cuda_graphs(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compiled with no way around the graph: what would break it is an error, not a slow take."""
    compiled: Callable[..., Tensor] = torch.compile(step, fullgraph=True, dynamic=False, mode="reduce-overhead")

    def run(*inputs: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(*inputs)

    return run
