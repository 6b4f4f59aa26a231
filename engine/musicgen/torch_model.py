"""The same face as ``kernel.native.NativeModel``, in torch: for GPUs, and for CPUs where the kernel can't be had.

What a row gets must not depend on who else runs. A matrix product may sum in another order at another width, so steps of one token go
through every layer as a batch of one fixed width, filled up with zeros; a prompt's steps go by themselves, in pieces whose lengths only the
prompt decides. Attention is one call a row. Not here: training and whole sequences (``model``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.musicgen.model import LanguageModel


@dataclass(slots=True, eq=False)
class TorchMemory:
    """Keys and values ``(layers, H, steps, D)`` each, of one row or one text."""

    keys: Tensor
    values: Tensor

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class TorchModel:
    """``lm`` as it is. ``width``: tokens that go through a layer together, always."""

    def __init__(self, lm: LanguageModel, *, capacity: int, width: int) -> None:
        self.lm = lm
        self.capacity = capacity
        self.width = width
        self.precision = {torch.float32: "fp32", torch.bfloat16: "bf16"}.get(lm.dtype, str(lm.dtype))
        self.most_tokens = 4096
        self.weight_bytes = lm.heads.weight.nbytes + sum(
            p.nbytes for layer in lm.layers for n, p in layer.named_parameters() if p.dim() == 2 and "key_value" not in n
        )

    def row(self) -> TorchMemory:
        config = self.lm.config
        shape = (config.num_layers, config.num_heads, self.capacity, config.width // config.num_heads)
        keys = torch.empty(shape, device=self.lm.device, dtype=self.lm.dtype)
        return TorchMemory(keys, torch.empty_like(keys))

    @torch.inference_mode()
    def text(self, states: Tensor) -> TorchMemory:
        """Text states ``(L, C)`` -> their keys and values in every layer."""
        text = self.lm.attend_to(states[None].to(self.lm.device, self.lm.dtype))
        return TorchMemory(torch.cat(text.keys), torch.cat(text.values))  # (layers, H, L, D) each

    def run(
        self,
        codes: Tensor,
        positions: Sequence[int],
        rows: Sequence[TorchMemory],
        texts: Sequence[TorchMemory | None],
        outs: Sequence[int],
    ) -> Tensor:
        """As ``NativeModel.run``."""
        stretches: list[tuple[int, int]] = []  # of tokens that follow each other in one row
        for token, row in enumerate(rows):
            if stretches and rows[stretches[-1][0]] is row:
                stretches[-1] = (stretches[-1][0], token + 1)
            else:
                stretches.append((token, token + 1))
        single = [start for start, end in stretches if end == start + 1]
        logits: dict[int, Tensor] = {}
        for first in range(0, len(single), self.width):
            tokens = single[first : first + self.width]
            found = self._single(codes[tokens], [positions[t] for t in tokens], [rows[t] for t in tokens], [texts[t] for t in tokens])
            logits.update(zip(tokens, found, strict=True))
        for start, end in stretches:
            if end > start + 1:
                logits[end - 1] = self._stretch(codes[start:end], positions[start], rows[start], texts[start])
        return torch.stack([logits[token] for token in outs]) if outs else codes.new_zeros(0)

    def _single(self, codes: Tensor, positions: Sequence[int], rows: Sequence[TorchMemory], texts: Sequence[TorchMemory | None]) -> Tensor:
        """One token of each of several rows -> logits ``(tokens, K, card)``."""
        lm, H = self.lm, self.lm.config.num_heads
        count, C = codes.shape[0], self.lm.config.width
        x = lm.embeddings.weight.new_zeros(self.width, C)
        x[:count] = lm.embed(codes[:, :, None])[:, 0] + lm.positions_to(self.capacity)[list(positions)]
        for index, layer in enumerate(lm.layers):
            q, k, v = layer.self_attention.qkv(layer.self_norm(x)).view(self.width, 3, H, C // H).unbind(1)  # each (width, H, D)
            heard = torch.zeros_like(q)
            for i, (row, at) in enumerate(zip(rows, positions, strict=True)):
                row.keys[index, :, at], row.values[index, :, at] = k[i], v[i]
                heard[i] = _attend(q[i], row.keys[index, :, : at + 1], row.values[index, :, : at + 1])
            x = x + layer.self_attention.out(heard.view(self.width, C))
            if any(text is not None for text in texts):
                q = layer.text_attention.query(layer.text_norm(x)).view(self.width, H, C // H)
                heard = torch.zeros_like(q)  # zero for a row without text: see CrossAttention
                for i, text in enumerate(texts):
                    if text is not None:
                        heard[i] = _attend(q[i], text.keys[index], text.values[index])
                x = x + layer.text_attention.out(heard.view(self.width, C))
            x = x + layer.down(layer.activation(layer.up(layer.ffn_norm(x))))
        return lm.logits_of(lm.norm(x)[:, None])[:count, :, 0]  # (tokens, K, card)

    def _stretch(self, codes: Tensor, start: int, row: TorchMemory, text: TorchMemory | None) -> Tensor:
        """Tokens that follow each other in one row -> logits ``(K, card)`` after the last."""
        lm, H = self.lm, self.lm.config.num_heads
        S, C, end = codes.shape[0], self.lm.config.width, start + codes.shape[0]
        x = lm.embed(codes.T[None])[0] + lm.positions_to(self.capacity)[start:end]  # (S, C)
        mask = torch.ones(S, end, dtype=torch.bool, device=x.device).tril(start)  # (S, end): step i hears start + i and those before
        for index, layer in enumerate(lm.layers):
            q, k, v = layer.self_attention.qkv(layer.self_norm(x)).view(S, 3, H, C // H).permute(1, 2, 0, 3)  # each (H, S, D)
            row.keys[index, :, start:end], row.values[index, :, start:end] = k, v
            heard = F.scaled_dot_product_attention(
                q[None], row.keys[None, index, :, :end], row.values[None, index, :, :end], attn_mask=mask
            )
            x = x + layer.self_attention.out(heard[0].transpose(0, 1).reshape(S, C))
            if text is not None:
                q = layer.text_attention.query(layer.text_norm(x)).view(S, H, C // H).transpose(0, 1)
                heard = F.scaled_dot_product_attention(q[None], text.keys[None, index], text.values[None, index])
                x = x + layer.text_attention.out(heard[0].transpose(0, 1).reshape(S, C))
            x = x + layer.down(layer.activation(layer.up(layer.ffn_norm(x))))
        return lm.logits_of(lm.norm(x[-1:])[None])[0, :, 0]  # (K, card)


def _attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query ``(H, D)`` to keys and values ``(H, steps, D)`` -> ``(H, D)``."""
    return F.scaled_dot_product_attention(q[None, :, None], keys[None], values[None])[0, :, 0]
