"""The manifest of a dataset: one JSON object a line, one line a segment. ``write`` and ``read``; what finetuning begins from.

::

    alice-bars/manifest.jsonl
               train/0123456789ab-89abcdef0123.flac     the segment's audio: at the checkpoint's rate, loudness matched
               held_out/…
               codes/0123456789ab-89abcdef0123.npy      its codes, int16 [K, T]
               report.html · report.txt · report.png

Paths in it are relative to its own folder, which can so be copied to another machine as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from engine.crate.disk import write_bytes
from engine.errors import EngineError

VERSION = 1
FILE = "manifest.jsonl"
Split = Literal["train", "held_out"]
Preset = Literal["bars", "alice-2023"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One line.

    id: unique, and the stem of both files. track: SHA-256 of the DJ's file; title, artist: hers. start, end: samples at ``sample_rate`` in
    the decoded track. frames: T of the codes. bars: whole bars, 0 where it is not cut on bars. words: what the caption was made of, to vary
    it again. gain_db: what was added to the track's own level. audio, codes: paths from the manifest's folder. group: the SHA-256 of the
    first of the tracks that may only be on one side of the split. versions: of manifest, analysis and cutting; codec: SHA-256.
    """

    id: str
    track: str
    split: Split
    start: int
    end: int
    sample_rate: int
    channels: int
    frames: int
    bars: int
    caption: str
    words: Mapping[str, Any]
    bpm: float | None
    key: str | None
    camelot: str | None
    gain_db: float
    audio: str
    codes: str
    title: str
    artist: str | None
    group: str
    preset: Preset
    seed: int
    checkpoint: str
    codec: str
    versions: Mapping[str, int] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        return (self.end - self.start) / self.sample_rate


def write(folder: Path, segments: Iterable[Segment]) -> Path:
    """``folder``/manifest.jsonl, whole or not at all."""
    lines = (json.dumps(asdict(segment), ensure_ascii=False) + "\n" for segment in segments)
    write_bytes(folder / FILE, "".join(lines).encode())
    return folder / FILE


def read(path: Path) -> tuple[Segment, ...]:
    """Of a manifest, or of the folder that it lies in. Raises EngineError 'bad_request' with the line that is wrong."""
    file = path / FILE if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError("bad_request", f"{file} can't be read: make it with 'crate prepare', and give its manifest.jsonl.") from error
    segments = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            version = record["versions"]["manifest"]
            if version != VERSION:
                raise EngineError("bad_request", f"{file} is of version {version}, and this engine reads {VERSION}: prepare it again.")
            segment = Segment(**record)
            if segment.split not in get_args(Split) or segment.end <= segment.start:
                raise ValueError("no segment")
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError("bad_request", f"{file}, line {number}, is no segment: prepare the dataset again.") from error
        segments.append(segment)
    if not segments:
        raise EngineError("bad_request", f"{file} holds no segments: prepare the dataset again.")
    return tuple(segments)
