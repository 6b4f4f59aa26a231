"""Reads the AU stream that ffmpeg writes into a pipe: the plainest form that tells rate and channels before the samples.

".snd" · offset of the samples · size (unknown: all ones) · encoding 6 = float32 · rate · channels · text … · samples, interleaved
└──────────────────────────────── 24 bytes, big-endian ────────────────────────────────┘
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct(">4s5I")
_FLOAT32 = 6
_LOUDEST = 8.0  # MP3s of loud masters overshoot 1.0, floats may lie 18 dB above it; beyond is damage


class AuReader:
    """Takes the stream piece by piece. Keeps the samples, or only their number and peak: a whole track then needs no memory."""

    def __init__(self, *, keep: bool) -> None:
        self.sample_rate, self.channels = 1, 1
        self.peak = 0.0
        self._keep = keep
        self._pending = bytearray()  # the header, then what is less than one value
        self._to_skip: int | None = None  # None until the header is here
        self._kept: list[NDArray[np.float32]] = []
        self._values = 0

    def __call__(self, piece: bytes) -> None:
        self._pending += piece
        if self._to_skip is None:
            if len(self._pending) < _HEADER.size:
                return
            magic, offset, _, encoding, self.sample_rate, self.channels = _HEADER.unpack_from(self._pending)
            assert magic == b".snd", magic
            assert encoding == _FLOAT32, encoding
            self._to_skip = int(offset)
        skipped = min(self._to_skip, len(self._pending))
        del self._pending[:skipped]
        self._to_skip -= skipped
        whole = len(self._pending) // 4 * 4
        if whole == 0:
            return
        values = np.frombuffer(bytes(self._pending[:whole]), dtype=">f4").astype(np.float32)
        del self._pending[:whole]
        np.nan_to_num(values, copy=False, nan=0.0)  # a WAV of floats may hold anything
        np.clip(values, -_LOUDEST, _LOUDEST, out=values)
        self._values += len(values)
        self.peak = max(self.peak, -float(values.min()), float(values.max()))
        if self._keep:
            self._kept.append(values)

    @property
    def length_samples(self) -> int:
        return self._values // self.channels

    @property
    def duration_s(self) -> float:
        return self.length_samples / self.sample_rate

    def samples(self) -> NDArray[np.float32]:
        """[C, N] float32."""
        interleaved = np.concatenate(self._kept)[: self.length_samples * self.channels]
        return np.ascontiguousarray(interleaved.reshape(-1, self.channels).T)
