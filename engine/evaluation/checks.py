"""What is wrong with a clip that no distance tells plainly: silence, clipping, loop collapse; tempo and key lost in a continuation.

Levels, tempo and key are found by engine/music/analysis. Not here: whether such clips are more frequent than in real music (``report``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.music.audio import Audio

SILENT_S = 1.0
"""A clip with a silence as long as this is a silent one; techno's own stops are shorter."""
CLIPPED_SHARE = 0.001
"""A clip more of which is flattened at full scale is a clipped one."""
STUCK = 0.85
"""A clip that repeats itself within less than a beat more exactly than this has collapsed; synthesised techno reaches 0.6, a loop 0.99."""
STILL_DB = 2.5
"""And so has one whose bands rise and fall by less than this: noise 2, a tone 1.5, techno 4.5 and more."""
TEMPO_TOLERANCE = 0.02

_STEP_S = 0.02
_STRETCH_S = 3.0
_LAGS_S = (0.06, 0.32)
"""Below a beat of 180 BPM: techno repeats beats and bars, and is meant to."""


@dataclass(frozen=True, slots=True)
class Checks:
    """Of one clip. silent_s: its longest silence. clipped_share: of its samples. repetition: of its most repetitive three seconds; 1 is
    an exact loop shorter than a beat. movement_db: how much its bands rise and fall."""

    silent_s: float
    clipped_share: float
    repetition: float
    movement_db: float

    @property
    def silent(self) -> bool:
        return self.silent_s >= SILENT_S

    @property
    def clipped(self) -> bool:
        return self.clipped_share > CLIPPED_SHARE

    @property
    def collapsed(self) -> bool:
        """Stuck in a loop, or standing still. A silent clip is called silent instead."""
        return not self.silent and (self.repetition > STUCK or self.movement_db < STILL_DB)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a continuation kept of what it continues. None: there was nothing to keep, as no beat or key was found before."""

    bpm_before: float | None
    bpm_after: float | None
    tempo: bool | None
    key_before: str | None
    key_after: str | None
    key: bool | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of clips, 0 to 1."""

    clips: int
    silent: float
    clipped: float
    collapsed: float


def check(audio: Audio) -> Checks:
    """Silence, clipping and loop collapse of one clip."""
    from engine.music.analysis.levels import measure_levels

    levels = measure_levels(audio)
    repetition, movement_db = _self_similarity(audio)
    return Checks(max((end - start for start, end in levels.silences), default=0.0), levels.clipped_share, repetition, movement_db)


def rates(checks: Sequence[Checks]) -> Rates:
    """How many of the clips are what they should not be. Raises ValueError where there are none."""
    if not checks:
        raise ValueError("there are no clips")
    n = len(checks)
    return Rates(n, sum(one.silent for one in checks) / n, sum(one.clipped for one in checks) / n, sum(one.collapsed for one in checks) / n)


def kept(before: Audio, after: Audio) -> Kept:
    """Whether ``after``, the new audio alone, goes on in the tempo (within 2 %, or at half or double of it) and key of ``before``.

    A key is kept where the new one is the same or its neighbour on the Camelot wheel: detectors mistake these for each other, and mixes
    bear them.
    """
    from engine.music.analysis import analyse, compatible

    was, now = analyse(before), analyse(after)
    bpm_before, bpm_after = was.grid.bpm if was.grid else None, now.grid.bpm if now.grid else None
    tempo = None if bpm_before is None else bpm_after is not None and _same_tempo(bpm_before, bpm_after)
    key = None if was.key is None else now.key is not None and compatible(was.key, now.key)
    return Kept(bpm_before, bpm_after, tempo, was.key.name if was.key else None, now.key.name if now.key else None, key)


def _same_tempo(one: float, other: float) -> bool:
    return any(abs(other * factor / one - 1) <= TEMPO_TOLERANCE for factor in (0.5, 1.0, 2.0))


def _self_similarity(audio: Audio) -> tuple[float, float]:
    """Repetition and movement, from the loudness of 24 bands every 20 ms.

    Repetition is the highest autocorrelation at lags below a beat, of all bands together, in any three seconds of the clip.
    """
    from engine.music.analysis.features import extract

    features = extract(audio)
    step = max(1, round(_STEP_S * features.frame_rate))
    frames = len(features.bands) // step
    if frames == 0:
        return 0.0, 0.0
    power = features.bands[: frames * step].reshape(frames, step, -1).mean(axis=1, dtype=np.float64)  # (T, 24)
    decibels = 10 * np.log10(power + 1e-6 * power.max() + 1e-15)  # what is 60 dB below the loudest is not heard beside it
    stretch = round(_STRETCH_S / _STEP_S)
    starts = range(0, max(1, frames - stretch + 1), stretch // 2)
    return max(_repetition(decibels[start : start + stretch]) for start in starts), float(np.sqrt(decibels.var(axis=0).mean()))


def _repetition(decibels: NDArray[np.float64]) -> float:
    """(T, 24) -> the highest autocorrelation. A last bit too short to repeat anything has none."""
    first, last = (round(lag / _STEP_S) for lag in _LAGS_S)
    if len(decibels) < 4 * last:
        return 0.0
    centred = decibels - decibels.mean(axis=0)
    energy = np.square(centred).sum(axis=1)  # (T)
    shared = [(centred[lag:] * centred[:-lag]).sum() for lag in range(first, last + 1)]
    both = [0.5 * (energy[lag:].sum() + energy[:-lag].sum()) + 1e-9 for lag in range(first, last + 1)]
    return max(0.0, float(np.max(np.array(shared) / np.array(both))))
