"""A language model packed for the kernel: its weights in tiles, its caches row by row, and one call a step.

Memory belongs to torch and to mmap; the kernel is given addresses. Not here: which takes run (``engine.musicgen.running``), what the kernel
computes (``forward.c``).
"""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from engine.musicgen.adapter import MOST_RANK, Adapter, Dial
from engine.musicgen.kernel.build import NoKernel, library
from engine.musicgen.kernel.low_rank import PackedAdapter
from engine.musicgen.model import LanguageModel

Precision = Literal["fp32", "bf16", "int8"]

_TILE = 64
_LANES = 16
_PRECISIONS: dict[str, int] = {"fp32": 0, "bf16": 1, "int8": 2}
_ACTIVATIONS = {"gelu": 2, "relu": 3}
_Pointer = ctypes.c_void_p
_Int = ctypes.c_int32


class _Norm(ctypes.Structure):
    _fields_ = (("gain", _Pointer), ("bias", _Pointer))


class _Linear(ctypes.Structure):
    _fields_ = (("weights", _Pointer), ("scales", _Pointer), ("sums", _Pointer), ("outputs", _Int), ("inputs", _Int))


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Norm) for name in ("self_norm", "text_norm", "ffn_norm")),
        *((name, _Linear) for name in ("qkv", "self_out", "query", "text_out", "up", "down")),
    )


class _Model(ctypes.Structure):
    _fields_ = (
        *(
            (name, _Int)
            for name in ("layers", "width", "heads", "ffn_width", "codebooks", "card", "precision", "activation", "capacity", "_")
        ),
        ("embedding_scale", ctypes.c_float),
        ("embeddings", _Pointer),
        ("positions", _Pointer),
        ("norm", _Norm),
        ("logits", _Linear),
        ("layer", _Pointer),
        *((name, _Pointer) for name in ("x", "normed", "wide", "attended", "q", "scales")),
    )


class _Memory(ctypes.Structure):
    _fields_ = (
        ("bytes", _Pointer),
        ("block_bytes", ctypes.c_int64),
        ("layer_bytes", ctypes.c_int64),
        ("head_bytes", ctypes.c_int64),
        ("steps", _Int),
        ("_", _Int),
    )


class _Step(ctypes.Structure):
    _fields_ = (
        ("model", _Pointer),
        ("tokens", _Int),
        ("outs", _Int),
        *((name, _Pointer) for name in ("codes", "positions", "rows", "texts", "out_tokens", "logits", "parts", "spent")),
        *((name, _Pointer) for name in ("adapters", "strengths", "hidden")),
        ("hidden_width", ctypes.c_int64),
    )


class _Spent(ctypes.Structure):
    _fields_ = (("parts", ctypes.c_int64), ("working_ns", ctypes.c_int64), ("waiting_ns", ctypes.c_int64))


PARTS = ("embed", "norm", "quantise", "attend", "attend text", "qkv", "self out", "query", "text out", "up", "down", "logits")
"""What a step is made of, in the order of ``forward.c``. From qkv on, each is a matrix product."""
PRODUCTS = PARTS[PARTS.index("qkv") :]


@dataclass(frozen=True, slots=True)
class Profile:
    """What the steps since ``NativeModel.profile`` were made of."""

    spent: Any

    def restart(self) -> None:
        ctypes.memset(self.spent, 0, ctypes.sizeof(self.spent))

    def counts(self) -> dict[str, int]:
        """How many parts of each kind."""
        return {name: spent.parts for name, spent in zip(PARTS, self.spent, strict=True)}

    def seconds(self) -> dict[str, tuple[float, float]]:
        """Of the first thread: working, and waiting for the others at the end of a part."""
        return {name: (spent.working_ns / 1e9, spent.waiting_ns / 1e9) for name, spent in zip(PARTS, self.spent, strict=True)}


class Memory:
    """Keys and values of one row, or of a text, in every layer: reserved once for ``steps`` and never moved."""

    def __init__(self, model: NativeModel, steps: int) -> None:
        config = model.lm.config
        blocks = -(-steps // _LANES)
        head_bytes = 2 * _LANES * (config.width // config.num_heads) * (4 if model.precision == "fp32" else 2)
        layer_bytes = head_bytes * config.num_heads
        block_bytes = layer_bytes * config.num_layers
        # Not zeroed: the system gives pages when they are first written, in order, so what is never heard costs nothing.
        self._bytes = _pages(max(1, blocks) * block_bytes)
        self.struct = _Memory(self._bytes.data_ptr(), block_bytes, layer_bytes, head_bytes, steps, 0)
        self.address = ctypes.addressof(self.struct)

    @property
    def nbytes(self) -> int:
        return self._bytes.numel()


class NativeModel:
    """``lm`` in one precision, on as many threads as torch has. Several threads may make texts; ``run`` is for one."""

    def __init__(self, lm: LanguageModel, precision: Precision, *, capacity: int) -> None:
        """``capacity``: steps that a row can hear. Raises NoKernel where this processor or these sizes can't have it."""
        config = lm.config
        if lm.device.type != "cpu":
            raise NoKernel(f"the model is on {lm.device}, and the kernel is for CPUs")
        if config.width % _LANES or (config.width // config.num_heads) % _LANES or config.ffn_width % _LANES or config.card % _LANES:
            raise NoKernel("widths of this model are no multiples of 16")
        self._library = library()
        self._library.forward.argtypes = [_Pointer, ctypes.c_int]
        self._library.forward.restype = None
        self._library.memorise.argtypes = [_Pointer, _Pointer, ctypes.c_int, _Pointer, _Pointer]
        self._library.memorise.restype = None
        self._library.read_all.argtypes = [_Pointer, ctypes.c_int32, ctypes.c_int]
        self.lm = lm
        self.precision: Precision = precision
        self.capacity = capacity
        self.most_tokens = int(self._library.most_rows())
        self.weight_bytes = 0
        """Read for every step, whatever the number of rows."""
        self._kept: list[Any] = []
        self._profile: Profile | None = None
        self._arena = _Arena(sum(_packed_bytes(weight, precision) for weight in _matrices(lm)))
        self._model = self._describe()
        self._reserve_buffers()
        self._check()

    def row(self) -> Memory:
        """Room for one row's keys and values."""
        return Memory(self, self.capacity)

    @torch.inference_mode()
    def text(self, states: Tensor, dial: Dial | None = None) -> Memory:
        """Text states ``(L, C)`` -> their keys and values in every layer, as heard through an adapter."""
        memory = Memory(self, states.shape[0])
        states = states.to(self.lm.dtype)
        for index, layer in enumerate(self.lm.layers):
            both = layer.text_attention.key_value(states).float()  # (L, 2 C)
            if dial is not None:
                both += dial.strength * dial.adapter.key_values[index].of(states)
            keys, values = (half.contiguous() for half in both.chunk(2, dim=1))  # each (L, C)
            self._library.memorise(ctypes.addressof(self._model), memory.address, index, keys.data_ptr(), values.data_ptr())
        return memory

    def adapter(self, adapter: Adapter) -> PackedAdapter:
        """Packed, so that takes may play through it."""
        return PackedAdapter(adapter, self.precision)

    def run(
        self,
        codes: Tensor,
        positions: Sequence[int],
        rows: Sequence[Memory],
        texts: Sequence[Memory | None],
        outs: Sequence[int],
        *,
        dials: Sequence[Dial | None] | None = None,
    ) -> Tensor:
        """Hear tokens: codes ``(T, K)`` at ``positions`` of ``rows``, under ``texts`` -> logits ``(O, K, card)`` after O tokens.

        Tokens of one row may come in one call, in order. ``dials``: the adapter of each token, None where nobody has one. What is returned
        is overwritten by the next call.
        """
        count = len(positions)
        assert count == len(rows) == len(texts) == codes.shape[0] <= self.most_tokens
        assert max(positions) < self.capacity, f"step {max(positions)} in a cache of {self.capacity}"
        self._codes[:count] = codes
        self._positions[:count] = positions
        self._rows[:count] = [row.address for row in rows]
        self._texts[:count] = [0 if text is None else text.address for text in texts]
        self._outs[: len(outs)] = outs
        self._step.tokens, self._step.outs = count, len(outs)
        self._step.adapters = None if dials is None else self._adapters.ctypes.data
        if dials is not None:
            self._adapters[:count] = [0 if dial is None else dial.adapter.address for dial in dials]
            self._strengths[:count] = [0.0 if dial is None else dial.strength for dial in dials]
        self._library.forward(ctypes.addressof(self._step), torch.get_num_threads())
        return self._logits[: len(outs)]

    def profile(self) -> Profile:
        """From now on, count and time what steps are made of."""
        if self._profile is None:
            self._profile = Profile((_Spent * len(PARTS))())
            self._step.spent = ctypes.addressof(self._profile.spent)
        self._profile.restart()
        return self._profile

    def read_weights(self) -> float:
        """Read all weights once, in every thread, and do nothing with them -> bytes a second: what memory can give this model."""
        begun = time.perf_counter()
        self._library.read_all(self._arena.address, self._arena.size >> 20, torch.get_num_threads())
        return (self._arena.size >> 20 << 20) / (time.perf_counter() - begun)

    def _describe(self) -> _Model:
        lm, config = self.lm, self.lm.config
        layers = (_Layer * config.num_layers)()
        for made, layer in zip(layers, lm.layers, strict=True):
            made.self_norm, made.text_norm, made.ffn_norm = (self._norm(n) for n in (layer.self_norm, layer.text_norm, layer.ffn_norm))
            made.qkv = self._linear(layer.self_attention.qkv.weight)
            made.self_out = self._linear(layer.self_attention.out.weight)
            made.query = self._linear(layer.text_attention.query.weight)
            made.text_out = self._linear(layer.text_attention.out.weight)
            made.up, made.down = self._linear(layer.up.weight), self._linear(layer.down.weight)
        self._kept.append(layers)
        return _Model(
            config.num_layers,
            config.width,
            config.num_heads,
            config.ffn_width,
            config.num_codebooks,
            config.card,
            _PRECISIONS[self.precision],
            _ACTIVATIONS[config.activation],
            self.capacity,
            0,
            config.embedding_scale,
            self._address(lm.embeddings.weight),
            self._address(lm.positions_to(self.capacity)),
            self._norm(lm.norm),
            self._linear(lm.heads.weight),
            ctypes.addressof(layers),
        )

    def _reserve_buffers(self) -> None:
        config, most, model = self.lm.config, self.most_tokens, self._model
        C, F, K = config.width, config.ffn_width, config.num_codebooks
        for name, width in (("x", C), ("normed", C), ("wide", max(3 * C, F)), ("attended", C), ("scales", 1)):
            setattr(model, name, self._address(torch.zeros(most, width)))
        model.q = self._address(torch.zeros(most, max(C, F), dtype=torch.uint8))
        self._codes = torch.zeros(most, K, dtype=torch.int32)
        self._positions, self._outs = np.zeros(most, np.int32), np.zeros(most, np.int32)
        self._rows, self._texts = np.zeros(most, np.uintp), np.zeros(most, np.uintp)
        self._logits = torch.zeros(most, K, config.card)
        parts = torch.zeros(int(self._library.parts_bytes(config.num_layers)) + 64, dtype=torch.uint8)
        self._parts = -(-self._address(parts) // 64) * 64
        addresses = (self._positions.ctypes.data, self._rows.ctypes.data, self._texts.ctypes.data, self._outs.ctypes.data)
        self._step = _Step(ctypes.addressof(model), 0, 0, self._codes.data_ptr(), *addresses, self._logits.data_ptr(), self._parts, None)
        self._adapters, self._strengths = np.zeros(most, np.uintp), np.zeros(most, np.float32)
        hidden = torch.zeros(most, -(-3 * MOST_RANK // _LANES) * _LANES)  # of qkv, which has three parts
        self._step.strengths, self._step.hidden, self._step.hidden_width = (
            self._strengths.ctypes.data,
            self._address(hidden),
            hidden.shape[1],
        )

    def _norm(self, norm: torch.nn.LayerNorm) -> _Norm:
        assert norm.eps == 1e-5, "the kernel knows one epsilon"
        return _Norm(self._address(norm.weight), self._address(norm.bias))

    def _address(self, tensor: Tensor) -> int:
        """Of the numbers in fp32 (bytes stay bytes), kept as long as this model is."""
        tensor = tensor.detach()
        if tensor.is_floating_point():
            tensor = tensor.float()
        tensor = tensor.contiguous()
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _linear(self, weight: Tensor) -> _Linear:
        N, K = weight.shape
        weight = weight.detach()
        self.weight_bytes += N * K * {"fp32": 4, "bf16": 2, "int8": 1}[self.precision]
        scales = sums = 0
        if self.precision == "int8":
            weight, scale = quantise(weight)
            sums = self._address(128 * weight.sum(dim=1, dtype=torch.int32))
            scales = self._address(scale)
        else:
            weight = weight.to(torch.float32 if self.precision == "fp32" else torch.bfloat16)
        if missing := -N % _TILE:
            weight = torch.cat([weight, weight.new_zeros(missing, K)])
        if self.precision == "int8":
            weight = weight.view(torch.int32)  # four neighbours are moved as one number
        tiles = weight.view(-1, _TILE, weight.shape[1]).transpose(1, 2)  # (N / 64, K or K / 4, 64)
        return _Linear(self._arena.keep(tiles), scales, sums, N, K)

    def _check(self) -> None:
        """A step on what was just packed, against torch: a wrong compiler must not make wrong music. Raises NoKernel."""
        lm = self.lm
        row, codes = self.row(), torch.full((1, lm.config.num_codebooks), lm.pad, dtype=torch.int32)
        text = torch.zeros(1, 1, lm.config.width)
        with torch.inference_mode():
            found = self.run(codes, [0], [row], [None], [0])[0]
            wanted = lm(codes.long()[:, :, None], text.to(lm.dtype))[0, :, 0].float()
        error = float((found - wanted).norm() / wanted.norm())
        if not error < {"fp32": 1e-3, "bf16": 0.1, "int8": 0.3}[self.precision]:
            raise NoKernel(f"its first step is {error:.3f} from what torch computes")


def _pages(size: int) -> Tensor:
    """So many bytes of memory, on huge pages where the system has them: fewer address translations. Kept as long as the tensor is."""
    # Private: the system gives shared memory, Python's own choice, no huge pages.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) if hasattr(mmap, "MAP_PRIVATE") else mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)


class _Arena:
    """One stretch of memory for all weights."""

    def __init__(self, size: int) -> None:
        self._tensor = _pages(size)
        self.address, self.size = self._tensor.data_ptr(), size
        self._used = 0

    def keep(self, tensor: Tensor) -> int:
        count = tensor.numel() * tensor.element_size()
        place = self._tensor[self._used : self._used + count]
        place.view(tensor.dtype).view(tensor.shape).copy_(tensor)
        self._used += -(-count // 64) * 64
        return place.data_ptr()


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights ``(N, K)`` -> int8 ``(N, K)`` from −127 to 127, and a scale for each output ``(N)``."""
    weight = weight.float()
    scale = torch.maximum(weight.amax(dim=1), -weight.amin(dim=1)).clamp_min(1e-12) / 127  # (N), without a copy of |weight|
    return (weight / scale[:, None]).round_().to(torch.int8), scale


def _matrices(lm: LanguageModel) -> list[Tensor]:
    matrices = [lm.heads.weight]
    for layer in lm.layers:
        matrices += [layer.self_attention.qkv.weight, layer.self_attention.out.weight, layer.text_attention.query.weight]
        matrices += [layer.text_attention.out.weight, layer.up.weight, layer.down.weight]
    return matrices


def _packed_bytes(weight: Tensor, precision: Precision) -> int:
    N, K = weight.shape
    return -(-N // _TILE) * _TILE * K * {"fp32": 4, "bf16": 2, "int8": 1}[precision] + 64
