"""A loop out of what a model played: ``cut_loop`` to whole bars, ``around`` to treat it as the ring that it is. Pure.

    generated  ░░░┌bar line──────────┬──────────┬──────────┬──────────┐bar line░░░
               ▒▒▒│ start            beats pinned to the asked tempo      end │
    loop          └──────── exactly bars · 4 · 60 / bpm · rate samples ──▒▒▒┘    ▒ what came before the start, faded in at the end

The end fades into what led up to the first bar line, over 30 ms, so that the last sample runs into the first as it did when it was
played, and the first kick stays untouched. Not here: finding tempo and bar lines (``analysis``), stretching (``stretch``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.music.audio import Audio
from engine.music.seam import crossfade
from engine.music.stretch import attacks, stretch
from engine.musical import BEATS_A_BAR, MAX_STRETCH, LoopFacts, bars_seconds, nearest_octave

if TYPE_CHECKING:
    from engine.music.analysis import Grid

FADE_S = 0.03
_LEAD_S = 0.001  # a loop starts this long before its first attack: an attack has a foot
_NEAR_S = 0.02  # how far from its bar line an attack still is that bar's first
_BEAT_NEAR_S = 0.01
_AROUND_S = 0.5


def cut_loop(audio: Audio, grid: Grid | None, *, length_s: float, bars: int | None, bpm: float | None) -> tuple[Audio, LoopFacts]:
    """A piece of ``audio`` that repeats without a click, and what became of the tempo.

    grid: of ``audio``. length_s: wanted, where ``bars`` is None: the nearest whole number of bars is taken. bpm: wanted, None: its own.

    * Its own tempo within 4 % of ``bpm``: stretched to it. The length is round(bars · 4 · 60 / bpm · rate) samples.
    * Farther away: cut at its own tempo, to as many of the bars as there are.
    * No grid: cut to the length alone.
    """
    rate = audio.sample_rate
    fade = min(round(FADE_S * rate), audio.length_samples // 4)
    if grid is None:
        if bars is None and bpm is not None:
            bars = max(1, round(length_s / bars_seconds(1, bpm)))
        wanted_s = bars_seconds(bars, bpm) if bars is not None and bpm is not None else length_s
        length = min(round(wanted_s * rate), audio.length_samples - fade)
        whole = length == round(wanted_s * rate)
        ring = _closed(audio.samples[:, fade : fade + length].copy(), audio.samples[:, :fade])
        return Audio(ring, rate), LoopFacts(bars if whole else None, bpm if whole and bars is not None else None, None)
    own = nearest_octave(grid.bpm, bpm) if bpm is not None else grid.bpm
    fits = bpm is not None and abs(own / bpm - 1.0) <= MAX_STRETCH
    aimed = bpm if fits and bpm is not None else round(own, 2)
    wanted = bars if bars is not None else max(1, round(length_s / bars_seconds(1, aimed)))
    onsets = attacks(audio.samples, rate)[0]
    start = _start(grid, own=own, onsets=onsets, fade=fade, rate=rate)
    there = (audio.length_samples - start) / rate / bars_seconds(1, own if fits else aimed)
    count = min(wanted, int(there + (0.01 if fits else 0.0)))  # stretching makes up for a hundredth of a bar
    if count < 1:
        return cut_loop(audio, None, length_s=length_s, bars=None, bpm=None)
    length = round(bars_seconds(count, aimed) * rate)
    before = audio.samples[:, start - fade : start]
    if not fits:
        return Audio(_closed(audio.samples[:, start : start + length].copy(), before), rate), LoopFacts(count, aimed, grid.bpm)
    end, pins = _pins(audio, start, own=own, bars=count, length=length, onsets=onsets)
    ring = _closed(stretch(audio.samples, start, end, length, sample_rate=rate, pins=pins), before)
    return Audio(ring, rate), LoopFacts(count, aimed, grid.bpm)


def around(loop: Audio, treat: Callable[[Audio], Audio]) -> Audio:
    """``treat`` (levels, limits) with the loop's own end before it and its start behind it, so that the result still closes."""
    margin = min(round(_AROUND_S * loop.sample_rate), loop.length_samples)
    samples = loop.samples
    wide = Audio(np.concatenate([samples[:, -margin:], samples, samples[:, :margin]], axis=1), loop.sample_rate)
    treated = treat(wide).samples
    return Audio(np.ascontiguousarray(treated[:, margin : margin + loop.length_samples]), loop.sample_rate)


def _closed(ring: NDArray[np.float32], before: NDArray[np.float32]) -> NDArray[np.float32]:
    """``ring`` [C, N], its end faded into ``before`` [C, F]: what its first sample followed when it was played."""
    fade = min(before.shape[1], ring.shape[1])
    if fade:
        ring[:, -fade:] = crossfade(ring[:, -fade:], before[:, -fade:])
    return ring


def _start(grid: Grid, *, own: float, onsets: NDArray[np.int64], fade: int, rate: int) -> int:
    """The first bar line that has a fade's length before it, moved to the attack that is there."""
    lines = [round((grid.downbeat_s + index * bars_seconds(1, own)) * rate) for index in range(-1, 4)]
    attacks_there = (_attack_near(onsets, line, round(_NEAR_S * rate), rate) for line in lines)
    starts = (line if attack is None else attack for line, attack in zip(lines, attacks_there, strict=True))
    return next(start for start in starts if start >= fade)


def _attack_near(onsets: NDArray[np.int64], place: int, within: int, rate: int) -> int | None:
    """Just before the attack nearest to ``place``; None where there is none."""
    near = onsets[np.abs(onsets - place) <= within]
    return int(near[np.argmin(np.abs(near - place))]) - round(_LEAD_S * rate) if len(near) else None


def _pins(audio: Audio, start: int, *, own: float, bars: int, length: int, onsets: NDArray[np.int64]) -> tuple[int, list[tuple[int, int]]]:
    """Where the loop ends in ``audio``, and which moment in it belongs to which beat of the loop."""
    rate = audio.sample_rate
    span = bars_seconds(bars, own) * rate
    last = _attack_near(onsets, round(start + span), round(_NEAR_S * rate), rate)
    end = min(round(start + span) if last is None else last, audio.length_samples)
    beats = bars * BEATS_A_BAR
    pins: list[tuple[int, int]] = []
    for beat in range(1, beats):
        expected = round(start + (end - start) * beat / beats)
        place = _attack_near(onsets, expected, round(_BEAT_NEAR_S * rate), rate)
        if place is not None:
            pins.append((place, round(length * beat / beats)))
    return end, pins
