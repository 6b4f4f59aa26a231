"""MusicGen's language model: a pre-norm transformer over delayed codes, with cross-attention to the text, and its caches.

One file, read from top to bottom: config, caches, attention, layer, model. The weights are fused for decoding (q, k and v in
one matrix, all heads in one); ``weights`` knows how they are called elsewhere. Not here: the delay pattern (``delay``),
sampling and guidance (``sampling``), windows (``generate``).

Shapes: B rows (a take with guidance has two), K codebooks, S steps of the sequence, C width, H heads, D = C / H, L text tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class LanguageModelConfig:
    """Sizes. ``card`` is the number of codes in a codebook, and also the padding code, which only the input knows."""

    num_codebooks: int
    card: int
    width: int
    num_layers: int
    num_heads: int
    ffn_width: int
    delays: tuple[int, ...]
    activation: str = "gelu"
    embedding_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.width % self.num_heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and divide into {self.num_heads} heads")
        if len(self.delays) != self.num_codebooks:
            raise ValueError(f"{len(self.delays)} delays for {self.num_codebooks} codebooks")
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is not one of {', '.join(_ACTIVATIONS)}")


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}

TextOfLayer = tuple[Tensor, Tensor, Tensor | None]
"""Keys and values ``(B, H, L, D)`` and mask ``(B, 1, 1, L)`` that one layer attends to."""


class KVCache:
    """Keys and values of one layer's self-attention, reserved once for ``capacity`` steps and never moved."""

    __slots__ = ("keys", "values")

    def __init__(self, rows: int, heads: int, capacity: int, head_width: int, *, device: torch.device, dtype: torch.dtype) -> None:
        self.keys = torch.empty(rows, heads, capacity, head_width, device=device, dtype=dtype)  # (B, H, capacity, D)
        self.values = torch.empty_like(self.keys)

    def update(self, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store steps ``start`` onwards, ``(B, H, S, D)``, and return views of all steps up to their end."""
        end = start + keys.shape[2]
        self.keys[:, :, start:end] = keys
        self.values[:, :, start:end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]  # (B, H, end, D)


@dataclass(slots=True)
class CrossAttention:
    """Keys and values of the text in every layer, computed once a take.

    ``mask`` is None where every row has the same number of text tokens. A row that stands for *no* text has zero keys and
    values and is not masked: zero values give exactly zero whatever the weights, which is what a fully masked row means,
    and SDPA would give NaN for one (huggingface/transformers#30020).
    """

    keys: list[Tensor]  # one (B, H, L, D) a layer
    values: list[Tensor]
    mask: Tensor | None  # (B, 1, 1, L), True where there is text

    def layer(self, index: int) -> TextOfLayer:
        return self.keys[index], self.values[index], self.mask


@dataclass(slots=True)
class DecodingState:
    """What one take's rows have heard so far. ``steps`` are in the caches."""

    caches: list[KVCache]
    text: CrossAttention
    capacity: int
    steps: int = 0

    @property
    def rows(self) -> int:
        return self.caches[0].keys.shape[0]

    def restart(self) -> None:
        """Forget what was heard, keep the memory and the text: for the next window of the same take."""
        self.steps = 0


def attend(q: Tensor, k: Tensor, v: Tensor, *, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
    """Scaled dot-product attention: queries ``(B, H, S, D)``, keys and values ``(B, H, L, D)`` -> ``(B, H, S, D)``.

    Under autocast on a CPU in single precision all the same: torch's CPU kernels are slower in bf16, backward most of all
    (torch 2.14, segments of 48 frames of the pocket's shapes: 56 ms a layer against 21, forward and backward).
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask, is_causal=is_causal)
    return F.scaled_dot_product_attention(q, k, v, attn_mask, is_causal=is_causal)


class SelfAttention(nn.Module):
    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, cache: KVCache | None, start: int) -> Tensor:
        B, S, C = x.shape
        qkv = self.qkv(x).view(B, S, 3, self.heads, C // self.heads)  # (B, S, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, S, D)
        if cache is not None:
            k, v = cache.update(start, k, v)  # (B, H, start + S, D)
        assert start == 0 or S == 1, "past the first call, steps come one by one"
        x = attend(q, k, v, is_causal=S > 1)  # (B, H, S, D)
        return self.out(x.transpose(1, 2).reshape(B, S, C))


class TextAttention(nn.Module):
    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key_value = nn.Linear(config.width, 2 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def keys_and_values(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Text states ``(B, L, C)`` -> keys and values, each ``(B, H, L, D)``."""
        B, L, C = text.shape
        kv = self.key_value(text).view(B, L, 2, self.heads, C // self.heads)  # (B, L, 2, H, D)
        k, v = kv.permute(2, 0, 3, 1, 4).contiguous().unbind(0)  # each (B, H, L, D)
        return k, v

    def forward(self, x: Tensor, text: TextOfLayer) -> Tensor:
        keys, values, mask = text
        B, S, C = x.shape
        q = self.query(x).view(B, S, self.heads, C // self.heads).transpose(1, 2)  # (B, H, S, D)
        x = attend(q, keys, values, attn_mask=mask)  # (B, H, S, D)
        return self.out(x.transpose(1, 2).reshape(B, S, C))


class Layer(nn.Module):
    """Self-attention, attention to the text, feed-forward; each on a normalised copy, added to what came in."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(config.width)
        self.self_attention = SelfAttention(config)
        self.text_norm = nn.LayerNorm(config.width)
        self.text_attention = TextAttention(config)
        self.ffn_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.ffn_width, bias=False)
        self.down = nn.Linear(config.ffn_width, config.width, bias=False)
        self.activation = _ACTIVATIONS[config.activation]

    def forward(self, x: Tensor, text: TextOfLayer, cache: KVCache | None, start: int) -> Tensor:
        x = x + self.self_attention(self.self_norm(x), cache, start)  # (B, S, C)
        x = x + self.text_attention(self.text_norm(x), text)  # (B, S, C)
        return x + self.down(self.activation(self.up(self.ffn_norm(x))))  # (B, S, C)


class LanguageModel(nn.Module):
    """Delayed codes in, logits of the next step out. See ``forward`` for whole sequences, ``prefill`` and ``decode_one`` for generation."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        # All codebooks' tables in one, so that a frame is one gather: codebook k's code c is row k × (card + 1) + c.
        self.embeddings = nn.Embedding(config.num_codebooks * (config.card + 1), config.width)
        layers: Any = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.layers: list[Layer] = layers
        self.norm = nn.LayerNorm(config.width)
        self.heads = nn.Linear(config.width, config.num_codebooks * config.card, bias=False)
        self._positions: Tensor | None = None  # (≥ S, C), made when needed: not a weight
        self._offsets: Tensor | None = None  # (K, 1)

    @property
    def pad(self) -> int:
        """The code that fills the delay pattern; what the model hears before the first frame."""
        return self.config.card

    @property
    def device(self) -> torch.device:
        return self.embeddings.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.norm.weight.dtype

    def forward(self, sequence: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        """Whole sequences ``(B, K, S)`` under text states ``(B, L, C)`` and mask ``(B, L)`` -> logits ``(B, K, S, card)``."""
        return self.logits_of(self.states(sequence, self.attend_to(text, mask), None, 0))

    def attend_to(self, text: Tensor, mask: Tensor | None = None) -> CrossAttention:
        """Text states ``(B, L, C)`` and mask ``(B, L)``, 0 where there is no text -> keys and values for every layer."""
        if mask is not None:
            mask = mask.bool()
            text = text * mask[:, :, None]  # a row without any text becomes zero, and see CrossAttention
            mask = mask | ~mask.any(dim=1, keepdim=True)  # (B, L)
            mask = None if bool(mask.all()) else mask[:, None, None]  # (B, 1, 1, L)
        pairs = [layer.text_attention.keys_and_values(text) for layer in self.layers]
        return CrossAttention([k for k, _ in pairs], [v for _, v in pairs], mask)

    def begin(self, text: Tensor, mask: Tensor | None = None, *, capacity: int) -> DecodingState:
        """Reserve caches of ``capacity`` steps for the rows of ``text (B, L, C)``."""
        config = self.config
        shape = (text.shape[0], config.num_heads, capacity, config.width // config.num_heads)
        caches = [KVCache(*shape, device=self.device, dtype=self.dtype) for _ in self.layers]
        self.positions_to(capacity)
        return DecodingState(caches, self.attend_to(text, mask), capacity)

    def prefill(self, sequence: Tensor, state: DecodingState) -> Tensor:
        """The first steps ``(B or 1, K, S)`` at once -> logits of the step after them ``(B, K, card)``."""
        assert state.steps == 0, "prefill comes first"
        return self._advance(sequence, state)

    def decode_one(self, codes: Tensor, state: DecodingState) -> Tensor:
        """One step ``(B or 1, K)``; a single row of codes is heard by every row of the state. -> logits ``(B, K, card)``."""
        return self._advance(codes[:, :, None], state)

    def _advance(self, sequence: Tensor, state: DecodingState) -> Tensor:
        steps = sequence.shape[2]
        assert state.steps + steps <= state.capacity, f"{state.steps} + {steps} steps in a cache of {state.capacity}"
        x = self.states(sequence, state.text, state.caches, state.steps, rows=state.rows)  # (B, S, C)
        state.steps += steps
        return self.logits_of(x[:, -1:])[:, :, 0]  # (B, K, card)

    def states(
        self, sequence: Tensor, text: CrossAttention, caches: Sequence[KVCache] | None, start: int, *, rows: int | None = None
    ) -> Tensor:
        S = sequence.shape[2]
        x = self.embed(sequence) + self.positions_to(start + S)[start : start + S]  # (B or 1, S, C)
        if rows is not None:
            x = x.expand(rows, -1, -1)  # (B, S, C)
        for index, layer in enumerate(self.layers):
            x = layer(x, text.layer(index), None if caches is None else caches[index], start)
        return self.norm(x)  # (B, S, C)

    def embed(self, sequence: Tensor) -> Tensor:
        """Codes ``(B, K, S)`` -> the sum of their embeddings over the codebooks ``(B, S, C)``."""
        offsets = self._offsets
        if offsets is None or offsets.device != sequence.device:
            with torch.inference_mode(False):  # so that training may use what generation made
                offsets = torch.arange(self.config.num_codebooks, device=sequence.device)[:, None] * (self.config.card + 1)  # (K, 1)
            self._offsets = offsets
        x = self.embeddings(sequence + offsets).sum(dim=1)  # (B, K, S, C) -> (B, S, C)
        return x * self.config.embedding_scale if self.config.embedding_scale != 1.0 else x

    def logits_of(self, x: Tensor) -> Tensor:
        B, S, _ = x.shape
        return self.heads(x).view(B, S, self.config.num_codebooks, self.config.card).transpose(1, 2)  # (B, K, S, card)

    def positions_to(self, steps: int) -> Tensor:
        """Sinusoids ``(≥ steps, C)``: cosines, then sines, as in tensor2tensor and both references. Grown by doubling."""
        table = self._positions
        if table is None or table.shape[0] < steps or table.device != self.device or table.dtype != self.dtype:
            half = self.config.width // 2
            with torch.inference_mode(False):
                rates = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10_000) / (half - 1)))  # (C / 2)
                count = max(512, 2 ** math.ceil(math.log2(steps)))
                angles = torch.arange(count, dtype=torch.float32)[:, None] * rates  # (count, C / 2)
                table = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.device, self.dtype)  # (count, C)
            self._positions = table
        return table
