"""Where the bars begin, once the tempo is known: ``find_bars``.

    onsets folded at one bar  ─▶  ▌ ▖ ▌▖▌ ▖ ▌▗   the eighths' exact place: the sharpest rises; swung sixteenths have their own
    16 places for 'one'       ─▶  evidence for each: kick, backbeat, off-beat hats, what changes from bar to bar, where things enter
                              ─▶  the likeliest

Loops change on bar lines: averaged over bars that begin in the right place, neighbouring bars differ most, since a wrong place puts half
of each change into both. That and the drums' usual places are weighed by a logistic model; its weights were fitted on synthesised
tracks (bench_tracks.py, other numbers than the benchmark's), none below 0.3, since real drums have backbeats and off-beat hats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.music.analysis.features import OCTAVES, PER_SEMITONE, PITCH_STEP_S, Features

STEPS = 16
EVIDENCE: dict[str, float] = {
    "kick here": 2.3,
    "kick on the other beats": 1.0,
    "kick half a bar on": 0.8,
    "kick off the beat": 0.3,
    "onsets here": 2.7,
    "onsets on even steps": 2.6,
    "backbeat": 0.3,
    "half-time backbeat": 0.3,
    "off-beat hats": 0.3,
    "bands change": 6.8,
    "pitches change": 0.3,
    "sections change": 2.7,
    "first kick": 1.4,
    "first sound": 0.7,
}
"""What speaks for a place being the first of the bar, and how loudly."""

_FINE = 32  # places within a sixteenth
_BAR = STEPS * _FINE
_SECTION_BARS = 4


@dataclass(frozen=True, slots=True)
class Bars:
    """downbeat_s: one bar line, any. confidence: 0 to 1, of that place among the sixteen."""

    downbeat_s: float
    confidence: float


def find_bars(features: Features, onsets: NDArray[np.float32], bpm: float) -> Bars:
    """The likeliest bar line for a tempo."""
    places, evidence = weigh(features, onsets, bpm)
    odds = evidence @ np.array(list(EVIDENCE.values()))
    likely = np.exp(odds - odds.max())
    best = int(np.argmax(likely))
    return Bars(float(places[best]), float(likely[best] / likely.sum()))


def weigh(features: Features, onsets: NDArray[np.float32], bpm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sixteen moments [16] in s, in the first bar's time, and the evidence [16, 14] that a bar begins there, in the order of EVIDENCE."""
    bar_s = 240.0 / bpm
    folded = fold(onsets, features.frame_rate, bar_s)  # [512, 3]
    places = _places(folded)  # [16] in fine places
    low, mid, high = _at_steps(folded, places)  # each [16 candidates, 16 steps from there]
    columns = [
        low[:, 0],
        low[:, [4, 8, 12]].mean(axis=1),
        low[:, 8],
        low[:, 2::4].mean(axis=1),
        mid[:, 0],
        (mid + high)[:, ::2].mean(axis=1) / 2,
        mid[:, [4, 12]].mean(axis=1) - mid[:, [0, 8]].mean(axis=1),
        mid[:, 8] - mid[:, [4, 12]].mean(axis=1),
        high[:, 2::4].mean(axis=1) - high[:, ::4].mean(axis=1),
    ]
    moments = places / _BAR * bar_s
    level = 10.0 * np.log10(features.bands + 1e-3 * features.bands.mean(axis=0) + 1e-10)
    octaves = features.pitch.reshape(len(features.pitch), OCTAVES, 12, PER_SEMITONE)
    classes = octaves[:, 1:6].sum(axis=(1, 3))  # [P, 12], 65 Hz to 2 kHz
    pitches = 10.0 * np.log10(classes + 1e-2 * classes.mean() + 1e-10)
    columns += [
        _standard([_change(level, features.frame_rate, moment, bar_s) for moment in moments]),
        _standard([_change(pitches, 1.0 / PITCH_STEP_S, moment, bar_s) for moment in moments]),
        _sections(level, features.frame_rate, moments, bar_s),
        _near(moments, _first(onsets[:, 0], 4.0) / features.frame_rate, bar_s),
        _near(moments, _first(features.bands.sum(axis=1), 1e-3 * float(features.bands.sum(axis=1).max())) / features.frame_rate, bar_s),
    ]
    return moments, np.stack(columns, axis=1)


def fold(onsets: NDArray[np.float32], frame_rate: float, bar_s: float) -> NDArray[np.float64]:
    """[512, 3]: the mean onset at each place of a bar that begins with the track; outliers (fills, crashes) count little."""
    place = np.arange(len(onsets)) / frame_rate / bar_s * _BAR
    index = np.floor(place).astype(np.int64) % _BAR
    capped = np.minimum(onsets, 12.0)
    counts = np.bincount(index, minlength=_BAR).astype(np.float64)
    sums = np.stack([np.bincount(index, capped[:, group], minlength=_BAR) for group in range(onsets.shape[1])], axis=1)
    kernel = np.array([1.0, 2.0, 3.0, 2.0, 1.0])  # ±7 ms at 130 BPM: frames may fall into every second place only
    around = range(-2, 3)
    smooth = sum(weight * np.roll(sums, shift, axis=0) for weight, shift in zip(kernel, around, strict=True))
    share = sum(weight * np.roll(counts, shift) for weight, shift in zip(kernel, around, strict=True))
    return np.asarray(smooth / np.maximum(share, 1e-9)[:, None])


def _places(folded: NDArray[np.float64]) -> NDArray[np.float64]:
    """[16] in fine places: where each sixteenth lies. Even ones are one eighth apart; so are odd ones, but swing may put those late."""
    sharp = folded[:, 1] + np.roll(folded[:, 2], 1)  # hats' rises are seen a little earlier than those of drums
    eighth = 2 * _FINE
    kicks = np.max([np.roll(folded[:, 0], -shift) for shift in range(int(0.35 * _FINE))], axis=0)  # a kick's body comes after its click
    by_eighth = (sharp * (1.0 + 0.5 * kicks)).reshape(8, eighth).mean(axis=0)
    even = int(np.argmax(by_eighth))
    reach = int(0.4 * _FINE)
    around = (even + _FINE + np.arange(-reach, reach + 1)) % eighth
    odd = int(around[np.argmax(by_eighth[around])])
    exact = [_summit(by_eighth, place) for place in (even, odd)]
    late = (exact[1] - exact[0]) % eighth
    starts = exact[0] + np.array([0.0, late])
    return np.asarray((starts[None, :] + eighth * np.arange(8)[:, None]).ravel() % _BAR)


def _summit(curve: NDArray[np.float64], place: int) -> float:
    """The top of the parabola through a circular maximum and its neighbours."""
    before, here, after = (float(curve[(place + shift) % len(curve)]) for shift in (-1, 0, 1))
    bend = before - 2.0 * here + after
    return place + (0.5 * (before - after) / bend if bend < -1e-12 else 0.0)


def _at_steps(folded: NDArray[np.float64], places: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Per group [16, 16]: the strongest onset at each step of a bar that begins at each place; strongest of all is 1."""
    reach = {0: (-4, 14), 1: (-4, 5), 2: (-5, 4)}  # in fine places of 3.6 ms at 130 BPM; the low group lags
    found = []
    for group, (early, late) in reach.items():
        curve = np.max([np.roll(folded[:, group], -shift) for shift in range(early, late + 1)], axis=0)
        at = curve[np.rint(places).astype(np.int64) % _BAR]  # [16]
        at = np.maximum(0.0, at - np.percentile(folded[:, group], 30))
        at = at / max(float(at.max()), 1e-9)
        found.append(np.stack([np.roll(at, -place) for place in range(STEPS)]))
    return found


def _change(level: NDArray[np.float64], rate: float, moment: float, bar_s: float) -> float:
    """How much neighbouring bars differ, squared, when bars begin at ``moment`` (s)."""
    edges = np.rint(np.arange(moment, len(level) / rate, bar_s) * rate).astype(np.int64)
    edges = edges[edges < len(level)]
    if len(edges) < 4:
        return 0.0
    bars = np.add.reduceat(level, edges, axis=0)[:-1] / np.diff(edges)[:, None]
    return float(np.square(np.diff(bars, axis=0)).mean())


def _standard(values: list[float]) -> NDArray[np.float64]:
    """How far each is above the mean of all, in shares of it."""
    array = np.asarray(values)
    return np.asarray(array / max(float(array.mean()), 1e-9) - 1.0)


def _sections(level: NDArray[np.float64], rate: float, moments: NDArray[np.float64], bar_s: float) -> NDArray[np.float64]:
    """[16] shares of all section changes: four bars before and after differ most there, within a bar to each side."""
    step_s = bar_s / STEPS
    count = int((len(level) / rate - moments.min()) / step_s)
    span = _SECTION_BARS * STEPS
    if count < 2 * span:
        return np.zeros(STEPS)
    sums = np.concatenate([np.zeros((1, level.shape[1])), np.cumsum(level, axis=0)])
    edges = np.minimum(np.rint((moments[0] % step_s + step_s * np.arange(count)) * rate).astype(np.int64), len(level))
    at = sums[edges]  # [count, 24]
    middle = np.arange(span, count - span)
    long = span * step_s * rate
    novelty = np.square((at[middle + span] - at[middle]) - (at[middle] - at[middle - span])).mean(axis=1) / long**2
    votes = np.zeros(STEPS)
    first = round((moments[0] - moments[0] % step_s) / step_s)
    for place in range(len(novelty)):
        around = novelty[max(0, place - STEPS) : place + STEPS + 1]
        if novelty[place] == around.max() and novelty[place] > 4.0:
            votes[(int(middle[place]) - first) % STEPS] += np.sqrt(novelty[place])
    return np.asarray(votes / max(float(votes.sum()), 1e-9))


def _first(curve: NDArray[np.float32], threshold: float) -> float:
    """The first frame above a threshold."""
    above = np.flatnonzero(curve > threshold)
    return float(above[0]) if len(above) else 0.0


def _near(moments: NDArray[np.float64], at_s: float, bar_s: float) -> NDArray[np.float64]:
    """[16]: 1 where a moment of the bar is at ``at_s``, falling to 0 within a sixteenth."""
    away = (moments - at_s + bar_s / 2) % bar_s - bar_s / 2
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(away) / (bar_s / STEPS)))
