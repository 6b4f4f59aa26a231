"""An adapter packed for the kernel: ``adapter.h`` says how A and B lie. Memory is torch's; the kernel is given addresses."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.musicgen.adapter import KEY_VALUE, MATRICES, Adapter, LowRank

if TYPE_CHECKING:
    from engine.musicgen.kernel.native import Precision

_LANES = 16


class _LowRank(ctypes.Structure):
    _fields_ = (("a", ctypes.c_void_p), ("b", ctypes.c_void_p), ("blocks", ctypes.c_int32), ("parts", ctypes.c_int32))


class _Adapter(ctypes.Structure):
    _fields_ = (("matrices", ctypes.c_void_p), ("rank", ctypes.c_int32), ("half", ctypes.c_int32))


class PackedAdapter:
    """All its matrices in one stretch of memory: bf16 beside weights in bf16 or int8, fp32 beside fp32."""

    def __init__(self, adapter: Adapter, precision: Precision) -> None:
        self.sha256 = adapter.sha256
        self.key_values = [layer[KEY_VALUE] for layer in adapter.layers]
        """For texts, layer by layer."""
        half = precision != "fp32"
        packed = [_packed(layer[name]) for layer in adapter.layers for name in MATRICES]
        places = [-(-tensor.numel() // 64) * 64 for pair in packed for tensor in pair]  # whole lines of the processor's cache
        self._numbers = torch.zeros(sum(places) + 64, dtype=torch.bfloat16 if half else torch.float32)
        size = self._numbers.element_size()
        skip = -self._numbers.data_ptr() % 64 // size
        self._matrices = (_LowRank * len(packed))()
        for made, pair, low_rank in zip(
            self._matrices, packed, (layer[name] for layer in adapter.layers for name in MATRICES), strict=True
        ):
            addresses = []
            for tensor in pair:
                self._numbers[skip : skip + tensor.numel()] = tensor.flatten()
                addresses.append(self._numbers.data_ptr() + skip * size)
                skip += -(-tensor.numel() // 64) * 64
            made.a, made.b = addresses
            made.blocks, made.parts = pair[0].shape[0], low_rank.b.shape[0]
        self._struct = _Adapter(ctypes.addressof(self._matrices), adapter.rank, int(half))
        self.address = ctypes.addressof(self._struct)

    @property
    def nbytes(self) -> int:
        """Read for every step in which a take hears it."""
        return self._numbers.nbytes


def _packed(low_rank: LowRank) -> tuple[Tensor, Tensor]:
    """A as ``(P · r / 16, in, 16)``, filled up with zeros; B as ``(out / 16, r, 16)``."""
    a, b = low_rank.a, low_rank.b.flatten(0, 1)  # (P · r, in), (out, r)
    if missing := -a.shape[0] % _LANES:
        a = torch.cat([a, a.new_zeros(missing, a.shape[1])])
    return a.view(-1, _LANES, a.shape[1]).transpose(1, 2), b.view(-1, _LANES, b.shape[1]).transpose(1, 2)
