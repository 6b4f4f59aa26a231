"""A TensorFlow checkpoint ('tensor bundle', V2) without TensorFlow: ``read(index, data)`` gives arrays by name.

::

    PREFIX.index                 a table in LevelDB's format: sorted names → BundleEntryProto
        data blocks … index block, 48-byte footer
        a block: entries (shared key length, rest of key, value), restart offsets, their count, 1 byte: compression, 4 bytes: checksum
    PREFIX.data-00000-of-00001   the numbers, one array after the other, little-endian

Formats: leveldb/doc/table_format.md, tensorflow/core/protobuf/tensor_bundle.proto. Only what one writer of 2019 wrote is read: one
shard, no compression; anything else is a ValueError. Whether the files are the right ones is the caller's to check, by their hash.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # compression and checksum, after each block
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
"""tensorflow/core/framework/types.proto; other types are passed over."""

Message = dict[int, list[Any]]


def read(index: Path, data: Path) -> dict[str, NDArray[Any]]:
    """Arrays by variable name, of a checkpoint's two files. Raises ValueError where they are not of this kind, OSError."""
    try:
        return dict(_arrays(index.read_bytes(), memoryview(data.read_bytes())))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"{index} is damaged") from error


def _arrays(index: bytes, data: memoryview) -> Iterator[tuple[str, NDArray[Any]]]:
    footer = index[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError("not a tensor bundle's index")
    _, _, *root = _varints(footer, 4)  # the first two point at a block that nobody uses
    for _, handle in _entries(index, *root):
        for name, value in _entries(index, *_varints(handle, 2)):
            if not name:
                continue  # the header: one shard, little-endian, as all of its time
            entry = _message(value)
            dtype = _DTYPES.get(_one(entry, 1))
            if dtype is None:
                continue
            shape = [_one(_message(dim), 1) for dim in _message(entry.get(2, [b""])[0]).get(2, [])]
            offset, size = _one(entry, 4), _one(entry, 5)
            if offset + size > len(data) or size != math.prod(shape) * np.dtype(dtype).itemsize:
                raise ValueError(f"{name.decode()} lies outside of the data")
            yield name.decode(), np.frombuffer(data[offset : offset + size], dtype).reshape(shape)


def _entries(buffer: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each entry in one block; keys are stored as what differs from the key before."""
    block = buffer[offset : offset + size]
    if len(block) != size or size < 4 or offset + size + _TRAILER_BYTES > len(buffer):
        raise ValueError("a block lies outside of the index")
    if buffer[offset + size] != 0:
        raise ValueError("a compressed index is not supported")
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < end:
        (shared, rest, length), at = _varints_from(block, at, 3)
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + length]
        at += rest + length


def _message(data: bytes) -> Message:
    """A protocol buffer's fields: number → values as they came (int, or bytes for what has a length)."""
    fields: Message = {}
    at = 0
    while at < len(data):
        (tag,), at = _varints_from(data, at, 1)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            (value,), at = _varints_from(data, at, 1)
        elif wire == 2:
            (length,), at = _varints_from(data, at, 1)
            value, at = data[at : at + length], at + length
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            value, at = int.from_bytes(data[at : at + width], "little"), at + width
        else:
            raise ValueError(f"unknown wire type {wire}")
        fields.setdefault(number, []).append(value)
    return fields


def _one(message: Message, number: int) -> int:
    """A field that stands once; absent is 0, as in protobuf 3."""
    return int(message.get(number, [0])[0])


def _varints(data: bytes, count: int) -> list[int]:
    return _varints_from(data, 0, count)[0]


def _varints_from(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """``count`` integers of 7 bits a byte, lowest first, and where the next thing begins."""
    values = []
    for _ in range(count):
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 63:
                raise ValueError("a number has no end")
        values.append(value)
    return values, at
