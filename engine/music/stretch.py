"""Audio a few per cent longer or shorter, with every attack as crisp as it was: ``stretch``. Pure numpy.

    in    o₀─────────────o₁────────────o₂──────────┤        o: attacks, found to the sample
          │   ╲╱ splice  │      ╲╱     │     ╲╱    │
    out   q₀──────────────q₁─────────────q₂─────────┤        q: exactly where each belongs after stretching

Each attack and what follows it are copied as they are; what is missing or too much before the next attack is put in or left out by
crossfaded splices where the sound least notices: where the audio is most like itself that many samples later. This is SOLA (Roucos and
Wilgus, 1985) with its splices kept away from attacks. A phase vocoder smears a kick over its window of 50 ms or more; and unlike both, the
time of each attack is exact, so a click train stays one. Meant for up to some 5 %: more is a matter of a phase vocoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from engine.music.seam import crossfade

_HOLD_S = 0.012  # after an attack: no splice begins in it
_LEAD_S = 0.002  # before an attack: all splices are over
_SPLICE_S = 0.010
_REACH = 8
_LARGEST_JUMP_S = 0.008  # more than one splice where more is to be made up for: no hat is ever further off than about this
_LARGEST_JUMP_IN_A_PAD_S = 0.02  # where nothing sets in for long: room for a bass's period
_PAD_S = 0.6
_SMALLEST_JUMP_S = 0.003
_LEAST_RISE_DB = 9.0
_APART_S = 0.05
_SHORTEST_S = 0.03  # a piece shorter than this has no room for a splice


def stretch(
    samples: NDArray[np.float32], start: int, end: int, length: int, *, sample_rate: int, pins: Sequence[tuple[int, int]] = ()
) -> NDArray[np.float32]:
    """[C, length]: what lies in ``samples`` [C, N] from ``start`` to ``end``, made ``length`` samples long.

    What surrounds it may be used near its ends. pins: (place in ``samples``, place in the result) of moments whose time is to be exact,
    such as beats, in rising order; between them time runs evenly, and every attack lands where that puts it.
    """
    assert 0 <= start < end <= samples.shape[1]
    assert length > 0
    if end - start == length and not pins:
        return samples[:, start:end].copy()
    places = np.array([start, *(place for place, _ in pins), end], dtype=np.float64)
    targets = np.array([0, *(target for _, target in pins), length], dtype=np.float64)
    assert bool(np.all(np.diff(places) > 0)) and bool(np.all(np.diff(targets) > 0)), (places, targets)
    anchors = _anchors(samples, start, end, [place for place, _ in pins], sample_rate)
    result = np.empty((samples.shape[0], length), dtype=np.float32)
    for here, following in pairwise(anchors):
        begin, until = (round(float(np.interp(place, places, targets))) for place in (here, following))
        result[:, begin:until] = _piece(samples, here, following, until - begin, sample_rate)
    return result


def attacks(samples: NDArray[np.float32], sample_rate: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where something begins in ``samples`` [C, N], to the sample, and by how many dB the level rises there; at least 50 ms apart."""
    hop = max(1, sample_rate // 1000)
    mono = samples.mean(axis=0, dtype=np.float64)
    frames = len(mono) // hop
    if frames < 16:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    strength = np.zeros(frames)
    for band in (mono, np.diff(mono, n=2, prepend=[0.0, 0.0])):  # all of it, and its highs: a hat over a bass is an attack too
        power = uniform_filter1d(np.square(band[: frames * hop]).reshape(frames, hop).mean(axis=1), 3)
        level = 10.0 * np.log10(power + 1e-5 * float(power.max(initial=0.0)) + 1e-12)
        before = np.concatenate([np.full(8, level[0]), maximum_filter1d(level, 9)[:-8]])  # the loudest from 12 to 4 ms earlier
        strength = np.maximum(strength, level - before)
    peaks = np.flatnonzero((strength == maximum_filter1d(strength, 2 * round(_APART_S * 1000) + 1)) & (strength > _LEAST_RISE_DB))
    found = np.array([_first_moment(mono, int(peak) * hop, hop) for peak in peaks], dtype=np.int64)
    return found, strength[peaks]


def _first_moment(mono: NDArray[np.float64], near: int, hop: int) -> int:
    """The sample at which the attack begins: the first, around ``near``, whose step is a third of the largest there."""
    since = max(1, near - 5 * hop)
    steps = np.abs(np.diff(mono[since - 1 : near + 3 * hop]))
    return since + int(np.argmax(steps >= steps.max(initial=0.0) / 3.0)) if len(steps) else near


def _anchors(samples: NDArray[np.float32], start: int, end: int, pins: Sequence[int], sample_rate: int) -> list[int]:
    """``start``, each pin and each attack between, ``end``: none closer to another than a splice has room for; pins come first."""
    room = round(_SHORTEST_S * sample_rate)
    found, strengths = attacks(samples[:, start:end], sample_rate)
    kept = [start, *pins, end]
    for place in found[np.argsort(-strengths, kind="stable")] + start:
        if min(abs(place - other) for other in kept) >= room:
            kept.append(int(place))
    return sorted(kept)


def _piece(samples: NDArray[np.float32], here: int, following: int, length: int, sample_rate: int) -> NDArray[np.float32]:
    """[C, length]: ``samples`` from ``here`` on, and at the end as it is before ``following``; spliced in between."""
    splice = round(_SPLICE_S * sample_rate)
    largest = round((_LARGEST_JUMP_IN_A_PAD_S if following - here > _PAD_S * sample_rate else _LARGEST_JUMP_S) * sample_rate)
    first, last = here + round(_HOLD_S * sample_rate), following - round(_LEAD_S * sample_rate)
    missing = length - (following - here)
    if missing and following - here < round(_SHORTEST_S * sample_rate):
        return _squeezed(samples[:, here:following], length)
    parts: list[NDArray[np.float32]] = []
    read = here  # what is copied next
    while missing:
        steps = -(-abs(missing) // largest)
        final = read + (last - read) // steps - splice  # leaves room for the splices that follow
        jumps = [missing] if steps == 1 else _jumps(missing, largest, sample_rate)
        at, jump = _best(samples, (max(read, first), final), jumps, splice, first)
        fade = max(0, min(splice, following - max(at, at - jump)))
        parts += [samples[:, read:at], crossfade(samples[:, at : at + fade], samples[:, at - jump : at - jump + fade])]
        read = at - jump + fade
        missing -= jump
    parts.append(samples[:, read:following])
    return np.concatenate(parts, axis=1)


def _squeezed(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """[C, length] by linear interpolation: only for scraps, of which nobody hears the pitch."""
    at = np.linspace(0, samples.shape[1] - 1, length)
    return np.stack([np.interp(at, np.arange(samples.shape[1]), channel) for channel in samples]).astype(np.float32)


def _jumps(missing: int, largest: int, sample_rate: int) -> list[int]:
    sign = 1 if missing > 0 else -1
    step = max(1, sample_rate // 6000)
    return [sign * jump for jump in range(round(_SMALLEST_JUMP_S * sample_rate), largest + 1, step)]


def _best(samples: NDArray[np.float32], between: tuple[int, int], jumps: Sequence[int], splice: int, first: int) -> tuple[int, int]:
    """Where to leave off, and by how much to jump back (below 0: ahead): where both sides of the splice differ least.

    Neither before ``first`` on either side: an attack is heard once.
    """
    best, least = (max(between), jumps[0]), np.inf
    reach = _REACH * splice  # farther from where the next attack sets in, a splice is better heard
    for jump in jumps:
        low, high = max(between[0], first + jump, between[1] - reach), between[1] + min(jump, 0)
        if high < low:
            continue
        one, other = samples[:, low : high + splice], samples[:, low - jump : high + splice - jump]
        total = np.concatenate([[0.0], np.cumsum(np.square(one - other, dtype=np.float64).sum(axis=0))])
        cost = total[splice:] - total[:-splice]  # [high − low + 1]
        at = int(np.argmin(cost))
        if cost[at] < least:
            best, least = (low + at, jump), float(cost[at])
    return best
