"""``TorchModel`` for GPUs: one step of all rows as one graph whose shapes never change, so that it is compiled once and replayed.

Every row of the budget goes through every step, idle ones too: they compute what nobody reads, into a step past the last. Caches and texts
lie in one tensor each; what changes from step to step (codes, positions) is written into tensors that stay where they are. Within the step
nothing is asked of the host. Proved on a CPU as far as one can (no graph breaks, no recompilation, no transfer within the step); not yet
run on a GPU.

Adapters share the batch, too: a few slots, each slot's A and B beside the next one's in one matrix, so that all slots are two products for
all rows, between which a row keeps what its own slot gave and loses the rest::

    x (R, in) ─ A of all slots ─▶ (R, slots · r) ─ × gates (R, slots): strength at the row's own slot, else 0 ─ B of all slots ─▶ (R, out)

There are two graphs, with adapters and without; while nobody has one, nothing is paid for them.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.musicgen.adapter import MATRICES, Adapter
from engine.musicgen.model import LanguageModel
from engine.musicgen.torch_model import Token, TorchMemory, TorchModel

log = logging.getLogger(__name__)

Compiler = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]

TEXT_STEPS = 128
"""Text tokens that a row has room for; of a longer prompt the first are heard."""
SLOTS = 8
"""Adapters that one pass can hear. Where takes need more, there are several passes a step."""
USUAL_RANK = 16
"""Rank that a slot has room for at least: a higher one makes all slots larger, and is compiled anew, once."""


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
        shape = (config.num_layers, rows, config.num_heads, capacity + 1, config.width // config.num_heads)
        # Zeros, not whatever was there: a masked step still is multiplied, by zero, and zero times NaN is NaN.
        self._keys, self._values = torch.zeros(shape, **like), torch.zeros(shape, **like)  # type: ignore[call-overload]
        shape = (*shape[:3], TEXT_STEPS, shape[4])
        self._text_keys, self._text_values = torch.zeros(shape, **like), torch.zeros(shape, **like)  # type: ignore[call-overload]
        self._codes = torch.zeros(rows, config.num_codebooks, dtype=torch.long, device=lm.device)
        self._positions = torch.full((rows,), capacity, dtype=torch.long, device=lm.device)
        self._text_steps = torch.ones(rows, dtype=torch.long, device=lm.device)  # no text is one step of zeros: see CrossAttention
        self._all_rows = torch.arange(rows, device=lm.device)
        self._steps = torch.arange(capacity + 1, device=lm.device)
        self._tokens = torch.arange(TEXT_STEPS, device=lm.device)
        self._offsets = torch.arange(config.num_codebooks, device=lm.device) * (config.card + 1)
        self._table = lm.positions_to(capacity + 1)
        self._rows_made = 0
        self._slots: OrderedDict[Adapter, int] = OrderedDict()  # the least recently used first
        self._slot_rank = 0  # 0: nobody has asked for an adapter
        self._gates = torch.zeros(rows, min(rows, SLOTS), **like)  # type: ignore[call-overload]
        self._a: dict[str, Tensor] = {}  # (layers, slots · P · r, in)
        self._b: dict[str, Tensor] = {}  # (layers, P, out / P, slots · r)
        self._stay([self._keys, self._values, self._text_keys, self._text_values, self._table])
        if compiler is None:
            compiler = _cuda_graphs if lm.device.type == "cuda" else lambda step: step
        self._compiled, self._compiled_adapted = compiler(self._step), compiler(self._adapted_step)

    def row(self) -> StaticRow:
        index = self._rows_made
        assert index < self.width, f"{self.width} rows are all there are"
        self._rows_made += 1
        return StaticRow(self._keys[:, index], self._values[:, index], index)

    def _single(self, codes: Tensor, tokens: Sequence[Token]) -> Tensor:
        for token in tokens:
            if token.row.text is not token.text:
                self._lay_beside(token.row, token.text)
        logits: list[Tensor | None] = [None] * len(tokens)
        for chosen in _passes(tokens, self._gates.shape[1]):
            found = self._pass(codes[chosen], [tokens[i] for i in chosen])
            for i, its in zip(chosen, found, strict=True):
                logits[i] = its
        return torch.stack([its for its in logits if its is not None])

    def _pass(self, codes: Tensor, tokens: Sequence[Token]) -> Tensor:
        indices = [token.row.index for token in tokens]
        self._codes[indices] = codes
        self._positions.fill_(self.capacity)  # where an idle row writes, nobody reads: its own steps are to stay
        self._positions[indices] = torch.tensor([token.position for token in tokens], device=self._positions.device)
        if all(token.dial is None for token in tokens):
            return self._compiled(self._codes, self._positions, self._text_steps)[indices]  # (rows, K, card) -> (tokens, K, card)
        gates = torch.zeros(self._gates.shape)
        needed = {token.dial.adapter for token in tokens if token.dial is not None}
        for token in tokens:
            if token.dial is not None:
                gates[token.row.index, self._slot(token.dial.adapter, needed)] = token.dial.strength
        self._gates.copy_(gates)
        return self._compiled_adapted(self._codes, self._positions, self._text_steps, self._gates)[indices]

    def _slot(self, adapter: Adapter, needed: set[Adapter]) -> int:
        """Where the adapter lies; in the place of one that this pass does not need, where it lay nowhere."""
        if adapter.rank > self._slot_rank:
            self._reserve_slots(adapter.rank)
        if (slot := self._slots.get(adapter)) is not None:
            self._slots.move_to_end(adapter)
            return slot
        slot = len(self._slots)
        if slot == self._gates.shape[1]:
            slot = self._slots.pop(next(other for other in self._slots if other not in needed))
        self._slots[adapter] = slot
        self._lay_in(slot, adapter)
        return slot

    def _reserve_slots(self, rank: int) -> None:
        """Room for that rank in every slot; those that are taken move."""
        self._slot_rank = max(USUAL_RANK, rank)
        slots, layers = self._gates.shape[1], self.lm.layers
        for name in MATRICES:
            weight: Any = layers[0].get_submodule(name).weight
            parts = 3 if name == "self_attention.qkv" else 1
            self._a[name] = weight.new_zeros(len(layers), slots * parts * self._slot_rank, weight.shape[1])
            self._b[name] = weight.new_zeros(len(layers), parts, weight.shape[0] // parts, slots * self._slot_rank)
        self._stay([*self._a.values(), *self._b.values()])
        for adapter, slot in self._slots.items():
            self._lay_in(slot, adapter)

    def _lay_in(self, slot: int, adapter: Adapter) -> None:
        for name in MATRICES:
            a, b = self._a[name], self._b[name]
            layers, parts, width, _ = b.shape
            # (layers, slots, P, r, in) and (layers, P, out / P, slots, r): a lower rank leaves zeros behind it
            a_here = a.view(layers, -1, parts, self._slot_rank, a.shape[2])[:, slot]
            b_here = b.view(layers, parts, width, -1, self._slot_rank)[:, :, :, slot]
            a_here.zero_()
            b_here.zero_()
            for index, layer in enumerate(adapter.layers):
                a_here[index, :, : adapter.rank] = layer[name].a.view(parts, adapter.rank, -1)
                b_here[index, :, :, : adapter.rank] = layer[name].b

    def _stay(self, tensors: Sequence[Tensor]) -> None:
        """They never move, so that a replayed graph need not copy them."""
        if self.lm.device.type == "cuda":
            for tensor in tensors:
                torch._dynamo.mark_static_address(tensor)

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

    def _adapted_step(self, codes: Tensor, positions: Tensor, text_steps: Tensor, gates: Tensor) -> Tensor:
        return self._step(codes, positions, text_steps, gates)

    def _step(self, codes: Tensor, positions: Tensor, text_steps: Tensor, gates: Tensor | None = None) -> Tensor:
        """Codes ``(R, K)`` at ``positions (R)`` of all rows, through adapters by ``gates (R, slots)`` -> logits ``(R, K, card)``."""
        lm, config = self.lm, self.lm.config

        def product(linear: nn.Linear, index: int, name: str, x: Tensor) -> Tensor:
            y: Tensor = linear(x)  # (R, out)
            if gates is None:
                return y
            b = self._b[name][index]  # (P, out / P, slots · r)
            h = F.linear(x, self._a[name][index]).view(R, gates.shape[1], b.shape[0], -1) * gates[:, :, None, None]  # (R, slots, P, r)
            return y + torch.cat([F.linear(h[:, :, part].reshape(R, -1), b[part]) for part in range(b.shape[0])], dim=1)

        R, H, C = self.width, config.num_heads, config.width
        x = lm.embeddings(codes + self._offsets).sum(dim=1) * config.embedding_scale + self._table[positions]  # (R, C)
        heard = (self._steps <= positions[:, None])[:, None, None]  # (R, 1, 1, capacity)
        told = (self._tokens < text_steps[:, None])[:, None, None]  # (R, 1, 1, L)
        for index, layer in enumerate(lm.layers):
            qkv = product(layer.self_attention.qkv, index, "self_attention.qkv", layer.self_norm(x))
            q, k, v = qkv.view(R, 3, H, C // H).unbind(1)  # each (R, H, D)
            keys, values = self._keys[index], self._values[index]  # (R, H, capacity, D)
            keys[self._all_rows, :, positions] = k
            values[self._all_rows, :, positions] = v
            y = F.scaled_dot_product_attention(q[:, :, None], keys, values, attn_mask=heard)  # (R, H, 1, D)
            x = x + product(layer.self_attention.out, index, "self_attention.out", y.reshape(R, C))
            q = product(layer.text_attention.query, index, "text_attention.query", layer.text_norm(x)).view(R, H, 1, C // H)
            y = F.scaled_dot_product_attention(q, self._text_keys[index], self._text_values[index], attn_mask=told)
            x = x + product(layer.text_attention.out, index, "text_attention.out", y.reshape(R, C))
            wide = layer.activation(product(layer.up, index, "up", layer.ffn_norm(x)))
            x = x + product(layer.down, index, "down", wide)
        return lm.heads(lm.norm(x)).view(R, config.num_codebooks, config.card)  # (R, K, card)


def _passes(tokens: Sequence[Token], slots: int) -> Iterator[list[int]]:
    """Which tokens go together, so that no pass needs more adapters than there are slots."""
    chosen: list[int] = []
    heard: set[Adapter] = set()
    for i, token in enumerate(tokens):
        more = set() if token.dial is None else {token.dial.adapter}
        if len(heard | more) > slots:
            yield chosen
            chosen, heard = [], set()
        chosen.append(i)
        heard |= more
    yield chosen


def _cuda_graphs(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compiled with no way around the graph: what would break it is an error, not a slow take."""
    compiled: Callable[..., Tensor] = torch.compile(step, fullgraph=True, dynamic=False, mode="reduce-overhead")

    def run(*inputs: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(*inputs)

    return run
