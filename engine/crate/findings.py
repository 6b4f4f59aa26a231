"""What was heard in a file, kept by its content: ``find_out``, ``recall``. Any crate, and any other name of the same file, finds it again.

    findings/v1.1/ab/abcd…-0123abcd.json      SHA-256 of the file, and a digest of what the DJ's software said of it

The folder's name holds the versions of the analysis and of this record, so that a better analysis is made anew and nothing old is misread.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.crate.disk import read_json, write_json
from engine.crate.hints import DjWord
from engine.crate.sound import clipped_spans, load
from engine.music.analysis import ANALYSIS_VERSION, AnalysisError, TrackAnalysis, analyse

RECORD_VERSION = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """analysis: of the whole file, the DJ's word in it. clipped: (start, end) in seconds. bars_s: the DJ's, where her tempo changes."""

    analysis: TrackAnalysis
    clipped: tuple[tuple[float, float], ...]
    bars_s: tuple[float, ...] | None

    def bar_lines(self) -> NDArray[np.float64] | None:
        """Seconds, rising, float64 [N]; None where there is no grid."""
        if self.bars_s is not None:
            return np.asarray(self.bars_s, dtype=np.float64)
        grid = self.analysis.grid
        return None if grid is None else grid.bars_s(self.analysis.duration_s)


def path_of(data: Path, sha256: str, word: DjWord) -> Path:
    """``data`` is ENGINE_DATA."""
    return data / "findings" / f"v{ANALYSIS_VERSION}.{RECORD_VERSION}" / sha256[:2] / f"{sha256}-{word.digest}.json"


def recall(data: Path, sha256: str, word: DjWord) -> Finding | None:
    """None where it was never found out, or can't be read."""
    record = read_json(path_of(data, sha256, word))
    if record is None:
        return None
    try:
        bars = record["bars_s"]
        return Finding(
            TrackAnalysis.from_record(record["analysis"]),
            tuple((float(start), float(end)) for start, end in record["clipped"]),
            None if bars is None else tuple(float(bar) for bar in bars),
        )
    except (AnalysisError, KeyError, TypeError, ValueError):
        return None


def find_out(data: Path, path: Path, sha256: str, word: DjWord) -> Finding:
    """From the cache, or by decoding and analysing the file. Raises AudioError, OSError."""
    known = recall(data, sha256, word)
    if known is not None:
        return known
    audio = load(path)
    finding = Finding(analyse(audio, word.hints), clipped_spans(audio), word.bars_s)
    record = {
        "analysis": finding.analysis.record(),
        "clipped": [list(span) for span in finding.clipped],
        "bars_s": None if finding.bars_s is None else list(finding.bars_s),
    }
    write_json(path_of(data, sha256, word), record)
    return finding
