"""TensorBoard's event files, written without TensorBoard: ``tensorboard --logdir OUT`` shows a run, or several beside each other.

A file is a row of records, each a protocol buffer ``Event``, framed as TensorFlow frames records::

    length (8 bytes) · masked CRC-32C of the length · the event · masked CRC-32C of the event
    Event { 1: wall time (double)  2: step (varint)  3: "brain.Event:2" (the first) or 5: Summary { 1: Value { 1: tag  2: float } } }

Not here: what is logged (``figures``).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

NAME = "events.out.tfevents.finetune"
"""TensorBoard looks for 'tfevents' in names."""
_POLYNOMIAL = 0x82F63B78  # of CRC-32C, reversed


def append(file: Path, wall_time: float, step: int, values: Mapping[str, float]) -> None:
    """One event. wall_time: seconds since 1970. A new file gets its first record before."""
    if not file.exists():
        file.write_bytes(_record(_double(1, wall_time) + _bytes(3, b"brain.Event:2")))
    summary = b"".join(_bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in values.items())
    with file.open("ab") as stream:
        stream.write(_record(_double(1, wall_time) + _varint(2 << 3) + _varint(step) + _bytes(5, summary)))


def _record(event: bytes) -> bytes:
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(event)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        crc = value
        for _bit in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _crc_table()


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)  # masked, as TFRecord does
