"""The same face as ``kernel.native.NativeModel``, in torch: for GPUs, and for CPUs where the kernel can't be had.

What a row gets must not depend on who else runs. A matrix product may sum in another order at another width, so steps of one token go
through every layer as a batch of one fixed width, filled up with zeros; a prompt's steps go by themselves, in pieces whose lengths only the
prompt decides. Attention is one call a row, and so is what an adapter adds. Not here: training and whole sequences (``model``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.musicgen.adapter import KEY_VALUE, Adapter, Dial
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
    def text(self, states: Tensor, dial: Dial | None = None) -> TorchMemory:
        """Text states ``(L, C)`` -> their keys and values in every layer, as heard through an adapter."""
        config = self.lm.config
        states = states.to(self.lm.device, self.lm.dtype)
        both = torch.stack([layer.text_attention.key_value(states) for layer in self.lm.layers])  # (layers, L, 2 C)
        if dial is not None:
            for index in range(config.num_layers):
                _add(both[index], dial, index, KEY_VALUE, states)
        shape = (config.num_layers, len(states), 2, config.num_heads, config.width // config.num_heads)
        keys, values = both.view(shape).permute(2, 0, 3, 1, 4).contiguous().unbind(0)
        return TorchMemory(keys, values)  # (layers, H, L, D) each

    def adapter(self, adapter: Adapter) -> Adapter:
        """On the model's device, so that takes may play through it."""
        layers = [{name: low_rank.to(self.lm.device) for name, low_rank in layer.items()} for layer in adapter.layers]
        return Adapter(layers, sha256=adapter.sha256)

    def run(
        self,
        codes: Tensor,
        positions: Sequence[int],
        rows: Sequence[TorchMemory],
        texts: Sequence[TorchMemory | None],
        outs: Sequence[int],
        *,
        dials: Sequence[Dial | None] | None = None,
    ) -> Tensor:
        """As ``NativeModel.run``."""
        dials = dials or [None] * len(rows)
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
            each = [Token(positions[t], rows[t], texts[t], dials[t]) for t in tokens]
            logits.update(zip(tokens, self._single(codes[tokens], each), strict=True))
        for start, end in stretches:
            if end > start + 1:
                logits[end - 1] = self._stretch(codes[start:end], Token(positions[start], rows[start], texts[start], dials[start]))
        return torch.stack([logits[token] for token in outs]) if outs else codes.new_zeros(0)

    def _single(self, codes: Tensor, tokens: Sequence[Token]) -> Tensor:
        """One token of each of several rows, codes ``(tokens, K)`` -> logits ``(tokens, K, card)``."""
        lm, H = self.lm, self.lm.config.num_heads
        adapted = [(i, token.dial) for i, token in enumerate(tokens) if token.dial is not None]

        def add(y: Tensor, index: int, name: str, inputs: Tensor) -> Tensor:
            for i, dial in adapted:
                _add(y[i : i + 1], dial, index, name, inputs[i : i + 1])
            return y

        count, C = codes.shape[0], self.lm.config.width
        x = lm.embeddings.weight.new_zeros(self.width, C)
        x[:count] = lm.embed(codes[:, :, None])[:, 0] + lm.positions_to(self.capacity)[[token.position for token in tokens]]
        for index, layer in enumerate(lm.layers):
            here = layer.self_norm(x)
            qkv = add(layer.self_attention.qkv(here), index, "self_attention.qkv", here)
            q, k, v = qkv.view(self.width, 3, H, C // H).unbind(1)  # each (width, H, D)
            heard = torch.zeros_like(q)
            for i, (at, row, _text, _dial) in enumerate(tokens):
                row.keys[index, :, at], row.values[index, :, at] = k[i], v[i]
                heard[i] = _attend(q[i], row.keys[index, :, : at + 1], row.values[index, :, : at + 1])
            here = heard.view(self.width, C)
            x = x + add(layer.self_attention.out(here), index, "self_attention.out", here)
            if any(token.text is not None for token in tokens):
                here = layer.text_norm(x)
                q = add(layer.text_attention.query(here), index, "text_attention.query", here).view(self.width, H, C // H)
                heard = torch.zeros_like(q)  # zero for a row without text: see CrossAttention
                for i, (_at, _row, text, _dial) in enumerate(tokens):
                    if text is not None:
                        heard[i] = _attend(q[i], text.keys[index], text.values[index])
                here = heard.view(self.width, C)
                x = x + add(layer.text_attention.out(here), index, "text_attention.out", here)
            here = layer.ffn_norm(x)
            wide = layer.activation(add(layer.up(here), index, "up", here))
            x = x + add(layer.down(wide), index, "down", wide)
        return lm.logits_of(lm.norm(x)[:, None])[:count, :, 0]  # (tokens, K, card)

    def _stretch(self, codes: Tensor, first: Token) -> Tensor:
        """Tokens that follow each other in one row, codes ``(S, K)`` -> logits ``(K, card)`` after the last."""
        lm, H = self.lm, self.lm.config.num_heads
        start, row, text, dial = first

        def add(y: Tensor, index: int, name: str, inputs: Tensor) -> Tensor:
            return y if dial is None else _add(y, dial, index, name, inputs)

        S, C, end = codes.shape[0], self.lm.config.width, start + codes.shape[0]
        x = lm.embed(codes.T[None])[0] + lm.positions_to(self.capacity)[start:end]  # (S, C)
        mask = torch.ones(S, end, dtype=torch.bool, device=x.device).tril(start)  # (S, end): step i hears start + i and those before
        for index, layer in enumerate(lm.layers):
            here = layer.self_norm(x)
            qkv = add(layer.self_attention.qkv(here), index, "self_attention.qkv", here)
            q, k, v = qkv.view(S, 3, H, C // H).permute(1, 2, 0, 3)  # each (H, S, D)
            row.keys[index, :, start:end], row.values[index, :, start:end] = k, v
            heard = F.scaled_dot_product_attention(
                q[None], row.keys[None, index, :, :end], row.values[None, index, :, :end], attn_mask=mask
            )
            here = heard[0].transpose(0, 1).reshape(S, C)
            x = x + add(layer.self_attention.out(here), index, "self_attention.out", here)
            if text is not None:
                here = layer.text_norm(x)
                q = add(layer.text_attention.query(here), index, "text_attention.query", here).view(S, H, C // H).transpose(0, 1)
                heard = F.scaled_dot_product_attention(q[None], text.keys[None, index], text.values[None, index])
                here = heard[0].transpose(0, 1).reshape(S, C)
                x = x + add(layer.text_attention.out(here), index, "text_attention.out", here)
            here = layer.ffn_norm(x)
            wide = layer.activation(add(layer.up(here), index, "up", here))
            x = x + add(layer.down(wide), index, "down", wide)
        return lm.logits_of(lm.norm(x[-1:])[None])[0, :, 0]  # (K, card)


class Token(NamedTuple):
    """Where a token is, what its row keeps, and what it hears."""

    position: int
    row: Any
    text: TorchMemory | None
    dial: Dial | None


def _add(y: Tensor, dial: Dial, index: int, name: str, inputs: Tensor) -> Tensor:
    """What an adapter adds to one layer's matrix, into y."""
    return y.add_((dial.strength * dial.adapter.layers[index][name].of(inputs)).to(y.dtype))


def _attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query ``(H, D)`` to keys and values ``(H, steps, D)`` -> ``(H, D)``."""
    return F.scaled_dot_product_attention(q[None, :, None], keys[None], values[None])[0, :, 0]
