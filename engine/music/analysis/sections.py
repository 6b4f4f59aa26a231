"""Intro, main, breakdown, build, drop, outro: ``find_sections``, with bounds on bar lines.

    a bar ─▶ does the kick play? how full is each band? ─▶ bounds where four bars before and after differ ─▶ what each part is

A part without the kick between parts with it is a breakdown; what rises at its end is a build; what follows is a drop. What comes before
the track is first full is the intro, what comes after it last was is the outro. Without a grid, two seconds stand in for a bar.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.music.analysis.facts import Grid, Section, SectionKind
from engine.music.analysis.features import BAND_EDGES_HZ, Features

_RASTER_S = 2.0
_LEAST_BARS = 2
_KICK_BINS = 32  # of a bar
_SIDES_BARS = (2, 4)  # short sections are found by the first, long ones by the second
_LEAST_NOVELTY = 0.3
_DROP_BARS = 16  # where nothing changes sooner, a drop is over then
_MUSIC_HZ = (150.0, 6000.0)  # where basses, chords and leads are, and drums are not all
_LONGEST_EDGE = 0.35  # intro and outro are at most this share of the track each
_FULL = 0.86  # of the fullness of the track's full bars


@dataclass(frozen=True, slots=True, eq=False)
class _Bars:
    """edges [B + 1] in s; kick [B] 0 to 1; level [B, 24] in dB; full [B], 0 to about 1."""

    edges: NDArray[np.float64]
    kick: NDArray[np.float64]
    level: NDArray[np.float64]
    full: NDArray[np.float64]


def find_sections(
    features: Features, onsets: NDArray[np.float32], grid: Grid | None, energy: tuple[float, ...], energy_s: float
) -> tuple[Section, ...]:
    """Sections that cover the track from 0 to its end; () for less than four bars."""
    duration_s = features.duration_s
    lines = grid.bars_s(duration_s) if grid else np.arange(0.0, duration_s, _RASTER_S)
    if len(lines) < 4:
        return ()
    bars = _describe(features, onsets, lines)
    bounds = _bounds(bars)
    kinds = _kinds(bars, bounds)
    spans = _spans(bars, bounds, kinds, duration_s)
    return tuple(Section(start_s, end_s, kind, _mean(energy, start_s / energy_s, end_s / energy_s)) for start_s, end_s, kind in spans)


def _describe(features: Features, onsets: NDArray[np.float32], lines: NDArray[np.float64]) -> _Bars:
    bar_s = float(np.median(np.diff(lines)))
    edges = np.append(lines, lines[-1] + bar_s)
    frames = np.clip(np.rint(edges * features.frame_rate).astype(np.int64), 0, len(features.bands))
    if frames[-1] - frames[-2] < 0.5 * (frames[1] - frames[0]) and len(frames) > 5:
        edges, frames = edges[:-1], frames[:-1]  # the rest of a bar belongs to the one before
    power = np.stack([features.bands[a : max(b, a + 1)].mean(axis=0) for a, b in itertools.pairwise(frames)])
    level = 10.0 * np.log10(power + 1e-4 * power.max(axis=0) + 1e-10)  # [B, 24]
    usual = np.percentile(level, 80, axis=0)
    weight = np.maximum(0.0, usual - usual.max() + 50.0)  # bands that hold next to nothing do not count
    weight *= (BAND_EDGES_HZ[:-1] >= _MUSIC_HZ[0]) & (BAND_EDGES_HZ[1:] <= _MUSIC_HZ[1])
    below = np.clip((usual - level) / 12.0, 0.0, 1.0)
    full = 1.0 - (below * weight).sum(axis=1) / max(float(weight.sum()), 1e-9)
    return _Bars(edges, _kick(features, onsets, frames), level, full)


def _kick(features: Features, onsets: NDArray[np.float32], frames: NDArray[np.int64]) -> NDArray[np.float64]:
    """[B]: how much of the track's usual pattern of low onsets each bar has, times how much of its usual low power."""
    patterns = np.zeros((len(frames) - 1, _KICK_BINS))
    for number, (a, b) in enumerate(itertools.pairwise(frames)):
        if b - a >= _KICK_BINS:
            edges = a + np.arange(_KICK_BINS) * (b - a) // _KICK_BINS
            patterns[number] = np.add.reduceat(np.minimum(onsets[a:b, 0], 12.0), edges - a)
    strength = patterns.sum(axis=1)
    usual = np.median(patterns[strength >= np.percentile(strength, 60)], axis=0)
    usual = np.maximum(0.0, usual - np.median(usual))
    alike = patterns @ usual / max(float(usual @ usual), 1e-9)
    low = features.bands[:, np.flatnonzero(BAND_EDGES_HZ[1:] < 130.0)].sum(axis=1)
    power = np.array([low[a : max(b, a + 1)].mean() for a, b in itertools.pairwise(frames)])
    loud = np.clip(1.0 + 10.0 * np.log10(np.maximum(power / max(float(np.percentile(power, 75)), 1e-12), 1e-4)) / 20.0, 0.0, 1.0)
    return np.asarray(np.clip(alike, 0.0, 1.0) * loud)


def _bounds(bars: _Bars) -> list[int]:
    """Bars at which a section begins, 0 and the number of bars among them."""
    count = len(bars.kick)
    shape = np.concatenate([bars.level / 6.0, 4.0 * np.repeat(bars.kick[:, None], 3, axis=1)], axis=1)  # the kick outweighs a few bands
    novelty = np.zeros(count)
    for side in _SIDES_BARS:
        for bar in range(1, count):
            before, after = shape[max(0, bar - side) : bar].mean(axis=0), shape[bar : bar + side].mean(axis=0)
            novelty[bar] += float(np.sqrt(np.square(after - before).mean())) / len(_SIDES_BARS)
    floor = max(_LEAST_NOVELTY, 1.5 * float(np.median(novelty[1:])))
    found = [0]
    for bar in sorted(range(1, count), key=lambda bar: -novelty[bar]):
        top = novelty[bar] >= novelty[max(1, bar - 1) : bar + 2].max()
        if top and novelty[bar] >= floor and all(abs(bar - other) >= _LEAST_BARS for other in (*found, count)):
            found.append(bar)
    return [*sorted(found), count]


def _kinds(bars: _Bars, bounds: list[int]) -> list[SectionKind]:
    parts = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    kick = [float(bars.kick[part].mean()) >= 0.5 for part in parts]
    full = [float(bars.full[part].mean()) for part in parts]
    enough = _FULL * float(np.percentile(bars.full, 90))
    whole = [kicks and fullness >= enough for kicks, fullness in zip(kick, full, strict=True)]
    kinds: list[SectionKind] = ["main"] * len(parts)
    if not any(whole):
        return kinds
    first, last = whole.index(True), len(whole) - 1 - whole[::-1].index(True)
    first = min([first, *(n for n in range(len(parts) - 1) if kick[n] and not kick[n + 1])])  # a break ends every intro
    last = max([last, *(n for n in range(1, len(parts)) if kick[n] and not kick[n - 1])])
    total = bounds[-1]
    while first > 0 and bounds[first] > _LONGEST_EDGE * total:
        first -= 1
    while last < len(parts) - 1 and total - bounds[last + 1] > _LONGEST_EDGE * total:
        last += 1
    for number in range(len(parts)):
        if number < first:
            kinds[number] = "intro"
        elif number > last:
            kinds[number] = "outro"
        elif not kick[number]:
            follows = number + 1 <= last and kick[number + 1]
            later = number > 0 and kinds[number - 1] == "breakdown"
            kinds[number] = "build" if later and follows and _rises(bars, bounds, number) else "breakdown"
        elif number > 0 and kinds[number - 1] in ("breakdown", "build"):
            kinds[number] = "drop"
    return kinds


def _rises(bars: _Bars, bounds: list[int], number: int) -> bool:
    """Whether a part is shorter than nine bars and brighter or fuller than the one before it."""
    part, before = slice(bounds[number], bounds[number + 1]), slice(bounds[number - 1], bounds[number])
    upper = bars.level[:, BAND_EDGES_HZ[1:] > 2000.0].mean(axis=1)
    brighter = float(upper[part].mean() - upper[before].mean())
    return part.stop - part.start <= 8 and (brighter > 1.0 or float(bars.full[part].mean()) > float(bars.full[before].mean()))


def _spans(bars: _Bars, bounds: list[int], kinds: list[SectionKind], duration_s: float) -> list[tuple[float, float, SectionKind]]:
    """Neighbours of one kind become one; the first begins at 0, the last ends with the track."""
    starts = [number for number in range(len(kinds)) if number == 0 or kinds[number] != kinds[number - 1]]
    edges = [*(bounds[number] for number in starts), bounds[-1]]
    spans: list[tuple[int, SectionKind]] = []
    for number, (first, end) in zip(starts, itertools.pairwise(edges), strict=True):
        spans.append((first, kinds[number]))
        if kinds[number] == "drop" and end - first > _DROP_BARS + _LEAST_BARS:
            spans.append((first + _DROP_BARS, "main"))
    joined = [span for number, span in enumerate(spans) if number == 0 or span[1] != spans[number - 1][1]]
    lines = [0.0, *(float(bars.edges[first]) for first, _ in joined[1:]), duration_s]
    return [(start_s, end_s, kind) for (_, kind), (start_s, end_s) in zip(joined, itertools.pairwise(lines), strict=True)]


def _mean(energy: tuple[float, ...], start: float, end: float) -> float:
    part = energy[int(start) : max(int(start) + 1, round(end))]
    return float(np.mean(part)) if part else 0.0
