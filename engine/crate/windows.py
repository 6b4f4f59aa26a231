"""Where to cut a track into segments: ``plan``. Pure arithmetic over bar lines, sections, silence and clipping.

::

    bar lines   │   │   │   │   │   │   │   │   │   │   │   │   │   │   │   │
    sections    └ intro ┘└────── main ──────┘└ breakdown ┘└── drop ──┘└ outro ┘
    weight         0.2           1                 0.8          1         0.2
    silence                                  ████
    segments             ├─────────┤├─────────┤      ├─────────┤

Each segment is as many whole bars as the model hears at once. Among all ways to lay them side by side, the one is taken in which the most
music lies: a segment counts by how much its mean weight exceeds one half, and those with silence or clipping in them are out of the
question (weighted interval scheduling, Kleinberg and Tardos, Algorithm Design, 6.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.music.analysis import Section

WEIGHTS = {"intro": 0.2, "outro": 0.2, "breakdown": 0.8, "build": 0.9, "main": 1.0, "drop": 1.0}
_WORTH = 0.5
_STEP_S = 0.05
_SILENT_SHARE = 0.05
_PHRASE_BARS = 4
_PHRASE_LOSS = 0.15
"""Of a window's bars, given up so that segments are whole phrases of four."""
_SHORTEST_SHARE = 0.25
"""Of the window: what a track that is shorter than a window, or silent in places, may still give."""
_TIES = 1e-3


@dataclass(frozen=True, slots=True)
class Limits:
    """What a segment must be. window_samples: what the model hears at once; hop_samples: one frame of codes."""

    window_samples: int
    hop_samples: int
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Crop:
    """[start, end) in samples; starts on a bar line, and ends on one but for less than a frame. bars: 0 where there is no grid."""

    start: int
    end: int
    bars: int


@dataclass(frozen=True, slots=True)
class Course:
    """A track as cutting sees it. bars_s: bar lines, rising, None without a grid. bad: (start, end) that must not be in a segment."""

    duration_s: float
    bars_s: NDArray[np.float64] | None
    sections: Sequence[Section] = ()
    silences: Sequence[tuple[float, float]] = ()
    bad: Sequence[tuple[float, float]] = ()


def plan(course: Course, limits: Limits, rng: np.random.Generator) -> tuple[Crop, ...]:
    """Side by side, in the track's order; none overlaps another. ``rng`` chooses between ways that are as good.

    Empty only where no quarter of a window is free of silence and clipping.
    """
    lines, on_bars = _lines(course, limits)
    spans = _spans(lines, course, limits, on_bars=on_bars)
    if not spans:
        return ()
    score = np.array([_mean_weight(course, lines[i], lines[j]) for i, j in spans]) - _WORTH
    score += _TIES * rng.random(len(spans))
    chosen = _best(spans, score, len(lines)) or [spans[int(np.argmax(score))]]
    return tuple(_crop(lines[i], lines[j], j - i if on_bars else 0, course, limits) for i, j in chosen)


def section_of(sections: Sequence[Section], start_s: float, end_s: float) -> str | None:
    """The kind of section that most of the time between the two moments belongs to."""
    shares: dict[str, float] = {}
    for section in sections:
        shares[section.kind] = shares.get(section.kind, 0.0) + max(0.0, min(end_s, section.end_s) - max(start_s, section.start_s))
    kind = max(shares, key=lambda kind: shares[kind], default=None)
    return kind if kind is not None and shares[kind] > 0 else None


def _lines(course: Course, limits: Limits) -> tuple[NDArray[np.float64], bool]:
    """Where a segment may begin and end: bar lines, or, without a grid, every fifth of a window."""
    if course.bars_s is not None:
        bars = course.bars_s[(course.bars_s >= 0) & (course.bars_s <= course.duration_s)]
        if len(bars) > 1:
            step_s = float(np.median(np.diff(bars)))
            if bars[-1] + step_s <= course.duration_s + 1e-6:
                bars = np.append(bars, bars[-1] + step_s)  # the last bar is whole: it ends on a line, too
            return bars, True
    step_s = limits.window_samples / limits.sample_rate / 5
    count = max(2, int(course.duration_s / step_s + 1e-9) + 1)
    return np.arange(count, dtype=np.float64) * min(step_s, course.duration_s / (count - 1)), False


def _spans(lines: NDArray[np.float64], course: Course, limits: Limits, *, on_bars: bool) -> list[tuple[int, int]]:
    """(first, last) line of every segment that could be cut: full windows, or where there is none, the longest that are left."""
    window_s = limits.window_samples / limits.sample_rate
    ends = np.searchsorted(lines, lines + window_s + 1e-6, side="right") - 1  # [L]: the last line within a window of each
    reach = ends - np.arange(len(lines))
    full = int(reach.max(initial=0))
    phrases = full // _PHRASE_BARS * _PHRASE_BARS
    wanted = phrases if on_bars and phrases >= full * (1 - _PHRASE_LOSS) else full
    bad, silent = _Cover(course.bad, course.duration_s), _Cover(course.silences, course.duration_s)

    def clean(length: int) -> list[tuple[int, int]]:
        found = []
        for i in range(len(lines)):
            # Bars of a DJ's own grid differ in length: as many as fit, where the wanted number does not.
            j = min(i + length, int(ends[i]))
            if j <= i or j < i + length - 1:
                continue
            start_s, end_s = float(lines[i]), float(lines[j])
            if bad.share(start_s, end_s) == 0 and silent.share(start_s, end_s) <= _SILENT_SHARE:
                found.append((i, j))
        return found

    least = max(1, int(np.ceil(wanted * _SHORTEST_SHARE)))
    for length in [wanted, *range(wanted - 1, least - 1, -1)]:
        if found := clean(length):
            return found
    return []


class _Cover:
    """How much of a stretch lies in given spans. Spans are taken in steps of 50 ms, widened, so that none is missed."""

    def __init__(self, spans: Sequence[tuple[float, float]], duration_s: float) -> None:
        steps = np.zeros(int(np.ceil(duration_s / _STEP_S)) + 1)
        for start_s, end_s in spans:
            steps[max(0, int(start_s / _STEP_S)) : int(np.ceil(end_s / _STEP_S))] = 1.0
        self._sums = np.concatenate([[0.0], np.cumsum(steps)])

    def share(self, start_s: float, end_s: float) -> float:
        first = min(int(start_s / _STEP_S + 1e-6), len(self._sums) - 2)
        last = min(max(first + 1, int(np.ceil(end_s / _STEP_S - 1e-6))), len(self._sums) - 1)
        return float(self._sums[last] - self._sums[first]) / (last - first)


def _mean_weight(course: Course, start_s: float, end_s: float) -> float:
    """1 where nothing is known."""
    total, known = 0.0, 0.0
    for section in course.sections:
        part = max(0.0, min(end_s, section.end_s) - max(start_s, section.start_s))
        total += part * WEIGHTS[section.kind]
        known += part
    return (total + max(0.0, end_s - start_s - known)) / (end_s - start_s)


def _best(spans: list[tuple[int, int]], score: NDArray[np.float64], lines: int) -> list[tuple[int, int]]:
    """The spans without overlap whose scores sum to the most; those with a score of 0 or less are never among them."""
    starting: dict[int, list[int]] = {}
    for number, (i, _j) in enumerate(spans):
        starting.setdefault(i, []).append(number)
    best = np.zeros(lines + 1)  # best[i]: the most from line i on
    choice: list[int | None] = [None] * (lines + 1)
    for i in range(lines - 1, -1, -1):
        best[i] = best[i + 1]
        for number in starting.get(i, ()):
            value = score[number] + best[spans[number][1]]
            if score[number] > 0 and value > best[i]:
                best[i], choice[i] = value, number
    chosen, i = [], 0
    while i < lines:
        taken = choice[i]
        if taken is None:
            i += 1
        else:
            chosen.append(spans[taken])
            i = spans[taken][1]
    return chosen


def _crop(start_s: float, end_s: float, bars: int, course: Course, limits: Limits) -> Crop:
    start = round(start_s * limits.sample_rate)
    end = min(round(end_s * limits.sample_rate), int(course.duration_s * limits.sample_rate), start + limits.window_samples)
    frames = (end - start) // limits.hop_samples  # whole frames: no code stands half for silence
    return Crop(start, start + frames * limits.hop_samples, bars)


def first_seconds(duration_s: float, limits: Limits, *, segment_s: float, first_s: float) -> tuple[Crop, ...]:
    """What the experiment of 2023 did: pieces of ``segment_s`` from the track's first ``first_s``, wherever they fall. Whole ones only."""
    length = round(segment_s * limits.sample_rate)
    end = round(min(duration_s, first_s) * limits.sample_rate)
    return tuple(Crop(start, start + length, 0) for start in range(0, end - length + 1, length))
