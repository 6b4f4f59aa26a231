"""The beat grid and the cues that a DJ's software keeps of a track: values, and how a grid is spread out from its few tempo marks.

rekordbox writes every beat into its analysis files, and into its XML only the marks where the tempo changes: both become a ``BeatGrid``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_BEATS = 500_000  # a day at 347 BPM
SLOWEST_BPM, FASTEST_BPM = 20.0, 1000.0  # rekordbox shows 40–499; beyond these it is damage
_STEADY_BPM = 0.05
_SAME_S = 0.005  # two marks nearer than this mark one beat


@dataclass(frozen=True, slots=True, eq=False)
class BeatGrid:
    """N ≥ 1 beats, times rising. ``position_in_bar`` counts from 1, and 1 is the downbeat; ``bpm`` is the tempo from this beat on."""

    beats_s: NDArray[np.float64]  # [N]
    position_in_bar: NDArray[np.int8]  # [N]
    bpm: NDArray[np.float64]  # [N]

    @property
    def first_downbeat_s(self) -> float | None:
        downbeats = np.flatnonzero(self.position_in_bar == 1)
        return float(self.beats_s[downbeats[0]]) if len(downbeats) else None

    @property
    def steady(self) -> bool:
        """One tempo from the first beat to the last."""
        return bool(np.ptp(self.bpm) <= _STEADY_BPM)


@dataclass(frozen=True, slots=True)
class Cue:
    """A place that the DJ marked. ``loop_end_s`` is set where it is a loop; ``hot`` is 1 for hot cue A, None for a memory cue."""

    time_s: float
    loop_end_s: float | None = None
    name: str = ""
    hot: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DjAnalysis:
    grid: BeatGrid | None = None
    cues: tuple[Cue, ...] = ()
    problems: tuple[str, ...] = ()
    audio_path: str | None = None  # the audio file that was analysed, as the analysis names it


@dataclass(frozen=True, slots=True)
class TempoMark:
    """From ``start_s`` on the tempo is ``bpm``, and the beat at ``start_s`` is number ``position`` of a bar of ``beats_in_bar``."""

    start_s: float
    bpm: float
    position: int = 1
    beats_in_bar: int = 4


def spread(marks: Sequence[TempoMark], duration_s: float) -> BeatGrid | None:
    """The beats that ``marks`` (rising in time) stand for, up to ``duration_s`` or the last mark. None without marks."""
    times: list[NDArray[np.float64]] = []
    positions: list[NDArray[np.int8]] = []
    tempos: list[NDArray[np.float64]] = []
    room = MOST_BEATS
    for number, mark in enumerate(marks):
        period = 60 / mark.bpm
        last = number + 1 == len(marks)
        if not last and marks[number + 1].start_s - mark.start_s < _SAME_S:
            continue
        # The beat that the next mark moves is that mark's own: nearer than half a beat is not another one.
        end = max(duration_s, mark.start_s) if last else marks[number + 1].start_s - period / 2
        count = min(room, max(1, int((end - mark.start_s) / period + 1e-6) + 1))
        if count < 1:
            break
        room -= count
        steps = np.arange(count)
        times.append((mark.start_s + steps * period).astype(np.float64))
        positions.append(((mark.position - 1 + steps) % mark.beats_in_bar + 1).astype(np.int8))
        tempos.append(np.full(count, mark.bpm))
    if not times:
        return None
    return BeatGrid(np.concatenate(times), np.concatenate(positions), np.concatenate(tempos))
