"""What a DJ's own software says of a track, in the form that the analysis takes: one constant grid where there is one, else its bar lines.

Not here: reading the software's files (``engine.music.rekordbox``), tags of files (``tags``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.crate.disk import digest
from engine.music.analysis import Grid, Hints, Key, parse_key
from engine.music.analysis.facts import first_downbeat
from engine.music.rekordbox import BeatGrid

REKORDBOX = "rekordbox"
_FEWEST_BEATS = 16
_ROUNDING_S = 0.002
_STEADY_S = 0.015
"""How far a beat may lie from a constant tempo. rekordbox rounds to a millisecond; a grid bent to a live drummer is further off."""


@dataclass(frozen=True, slots=True)
class DjWord:
    """``hints`` are for the analysis. bars_s: the DJ's bar lines where her grid is not one constant tempo, else None."""

    hints: Hints = field(default_factory=Hints)
    bars_s: tuple[float, ...] | None = None

    @property
    def digest(self) -> str:
        """Names what was said: another word of the DJ's asks for another analysis."""
        return digest(self.record(), 8)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        hints = self.hints
        return {
            "grid": hints.grid.record() if hints.grid else None,
            "key": hints.key.record() if hints.key else None,
            "bpm": hints.bpm,
            "bars_s": None if self.bars_s is None else [round(bar, 4) for bar in self.bars_s],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> DjWord:
        """Raises KeyError, TypeError, ValueError."""
        grid, key, bpm, bars = record["grid"], record["key"], record["bpm"], record["bars_s"]
        hints = Hints(
            grid=Grid.from_record(grid) if grid else None,
            key=Key.from_record(key) if key else None,
            bpm=float(bpm) if bpm else None,
            source=REKORDBOX,
        )
        return cls(hints, tuple(float(bar) for bar in bars) if bars else None)


def dj_word(beats: BeatGrid | None, key: str | None, bpm: float | None) -> DjWord:
    """Of rekordbox' grid, key as written, and tempo."""
    grid, bars_s = _grid(beats) if beats is not None else (None, None)
    written: Key | None = parse_key(key, source=REKORDBOX)
    return DjWord(Hints(grid=grid, key=written, bpm=None if grid else bpm, source=REKORDBOX), bars_s)


def _grid(beats: BeatGrid) -> tuple[Grid | None, tuple[float, ...] | None]:
    times, downbeat_s = beats.beats_s, beats.first_downbeat_s
    if len(times) < _FEWEST_BEATS or downbeat_s is None:
        return None, None
    numbers = np.arange(len(times))
    beat_s = 60.0 / float(beats.bpm[0])  # as she sees it; fitting would make 128.0006 of her 128, for the rounding of the times
    first_s = float(np.mean(times - beat_s * numbers))
    if np.max(np.abs(times - first_s - beat_s * numbers)) > _ROUNDING_S:
        beat_s, first_s = map(float, np.polyfit(numbers, times, 1))
    steady = beats.steady and beat_s > 0 and float(np.max(np.abs(times - first_s - beat_s * numbers))) <= _STEADY_S
    if not steady:
        bars = times[beats.position_in_bar == 1]
        bpm = float(np.median(beats.bpm))
        return Grid(bpm, first_downbeat(downbeat_s, 240.0 / bpm), steady=False, confidence=1.0, source=REKORDBOX), tuple(map(float, bars))
    downbeat = int(np.flatnonzero(beats.position_in_bar == 1)[0])
    fitted_s = first_s + beat_s * downbeat
    return Grid(60.0 / beat_s, first_downbeat(fitted_s, 4.0 * beat_s), steady=True, confidence=1.0, source=REKORDBOX), None
