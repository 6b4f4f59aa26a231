"""When will it be done? Pure arithmetic on frames: what is left, who waits, and how fast this engine has been so far."""

from __future__ import annotations

from collections.abc import Sequence

FIRST_GUESS = 50.0
"""Frames per second before anything was measured: real time for MusicGen."""


class FrameMeter:
    """Frames per second over all takes together, the recent past weighing most."""

    def __init__(self) -> None:
        self._frames = 0.0
        self._seconds = 0.0

    def add(self, frames: int, seconds: float) -> None:
        keep = 0.5 ** (seconds / 10.0)  # half of the weight is gone after ten seconds of work
        self._frames = self._frames * keep + frames
        self._seconds = self._seconds * keep + seconds

    @property
    def frames_per_s(self) -> float:
        return self._frames / self._seconds if self._seconds > 0 and self._frames > 0 else FIRST_GUESS


def done_in_s(running: Sequence[int], waiting: Sequence[int], *, slots: int, frames_per_s: float) -> list[float]:
    """Seconds until each take is done: first those that run, then those that wait, in their order.

    ``running`` and ``waiting`` are frames left. All that run share ``frames_per_s`` evenly, and at most ``slots`` run at once::

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
        step = left[first]
        now += step * len(active) / frames_per_s
        for take in active:
            left[take] -= step
        done[first] = now
        active.remove(first)
    return done
