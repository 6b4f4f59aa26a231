"""When will it be done? Pure arithmetic on frames: what is left, who waits, and how long this engine's steps have been so far.

A step makes one frame of every take that runs, and costs more with every take, but not in proportion: the weights are read once for all::

    seconds a step = fixed + each · takes          1 take: 20 ms, 50 frames a second;  8 takes: 45 ms, 178 in sum

Not here: who runs (``batcher``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

FIRST_GUESS = 50.0
"""Frames per second before anything was measured: real time for MusicGen."""
_HALF_LIFE_S = 10.0
"""Seconds of work after which a measurement counts half: for how fast it is of late."""
_SHAPE_HALF_LIFE_S = 300.0
"""The same for what company costs, which does not change with a busy minute."""


@dataclass(slots=True)
class _Company:
    """What is known of steps of one number of takes: frames that each take made in them, and the seconds that took."""

    frames: float = 0.0
    seconds: float = 0.0

    def keep(self, share: float) -> None:
        self.frames *= share
        self.seconds *= share


class FrameMeter:
    """How long a step takes, by the number of takes in it; the recent past weighs most."""

    def __init__(self) -> None:
        self._by_takes: dict[int, _Company] = {}
        self._frames = 0.0  # of late, all takes together
        self._seconds = 0.0
        self._expected = 0.0  # seconds that those frames would have taken by what is known of each company
        self._unmade = 0.0  # seconds since the last frame: a prompt that was heard

    def add(self, frames: int, seconds: float, takes: int = 1) -> None:
        """``takes`` made ``frames`` in all. Time in which none was made (prompts are heard) goes to the next frames."""
        self._unmade += seconds
        if frames < 1 or takes < 1:
            return
        seconds, self._unmade = self._unmade, 0.0
        each = frames / takes
        known = self._by_takes.setdefault(takes, _Company())
        known.keep(0.5 ** (seconds / _SHAPE_HALF_LIFE_S))
        known.frames += each
        known.seconds += seconds
        keep = 0.5 ** (seconds / _HALF_LIFE_S)
        self._frames = self._frames * keep + frames
        self._seconds = self._seconds * keep + seconds
        self._expected = self._expected * keep + each * self._usual_s(takes)

    @property
    def frames_per_s(self) -> float:
        """Of all takes together, of late."""
        return self._frames / self._seconds if self._seconds > 0 else FIRST_GUESS

    def step_s(self, takes: int) -> float:
        """Seconds that a step of ``takes`` takes will take: as usual for so many, times how much slower than usual it is of late."""
        if self._seconds <= 0 or self._expected <= 0:
            return takes / FIRST_GUESS
        return self._usual_s(takes) * self._seconds / self._expected

    def _usual_s(self, takes: int) -> float:
        """Of numbers of takes that were not measured: by the line through the nearest two that were; more takes never take less."""
        known = {count: each.seconds / each.frames for count, each in self._by_takes.items() if each.frames > 0}
        if takes in known:
            return known[takes]
        if len(known) < 2:
            (count, seconds), *_ = known.items()
            return seconds * takes / count  # nothing is known of company: each pays in full
        below, above = [count for count in known if count < takes], [count for count in known if count > takes]
        first, second = (max(below), min(above)) if below and above else sorted(sorted(known, key=lambda count: abs(count - takes))[:2])
        slope = max(0.0, (known[second] - known[first]) / (second - first))
        return max(known[first] + slope * (takes - first), 0.25 * known[first])


def done_in_s(running: Sequence[int], waiting: Sequence[int], *, slots: int, step_s: Callable[[int], float]) -> list[float]:
    """Seconds until each take is done: first those that run, then those that wait, in their order.

    ``running`` and ``waiting`` are frames left. All that run make a frame a step, ``step_s(takes)`` long, and at most ``slots`` run::

        slots 2    ├── a ──┤├──── c ────┤
                   ├────── b ──────┤├ d ┤
    """
    left = [float(frames) for frames in (*running, *waiting)]
    active = list(range(len(running)))
    queue = list(range(len(running), len(left)))
    done = [0.0] * len(left)
    now = 0.0
    while active or queue:
        while queue and len(active) < max(1, slots):
            active.append(queue.pop(0))
        first = min(active, key=lambda take: left[take])
        frames = left[first]
        now += frames * step_s(len(active))
        for take in active:
            left[take] -= frames
        done[first] = now
        active.remove(first)
    return done
