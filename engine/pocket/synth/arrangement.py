"""Lanes → sections → side-chain → mix: a whole track with its facts. What the lanes play is in manners.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.pocket.synth import drums, voices
from engine.pocket.synth.manners import MANNERS
from engine.pocket.synth.score import FRAME_SAMPLES, Lane, Score
from engine.pocket.synth.voices import SAMPLE_RATE, Signal

__all__ = ["FRAME_SAMPLES", "SAMPLE_RATE", "Track", "render_track"]

ALL_ROLES = frozenset({"kick", "hats", "perc", "bass", "lead", "pad"})


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A rendered track and everything that is known about it because it was made."""

    samples: NDArray[np.float32]  # [N], mono, SAMPLE_RATE, in [-1, 1]; sample 0 is the first downbeat
    manner: str
    seed: int
    beat_frames: int  # codec frames a beat, exact
    key: str
    bars: int
    kick_bars: tuple[int, ...]  # the bars in which the kick plays
    tags: tuple[str, ...]

    @property
    def bpm(self) -> float:
        """Exact tempo."""
        return 3000 / self.beat_frames

    @property
    def downbeats_s(self) -> list[float]:
        """Where each bar starts, exact."""
        return [b * 4 * self.beat_frames * FRAME_SAMPLES / SAMPLE_RATE for b in range(self.bars)]


def sections(rng: np.random.Generator, bars: int) -> list[frozenset[str]]:
    """Which roles play in each bar: intro, build, main, now and then a short breakdown without the kick, drop, outro."""
    plan: list[tuple[int, frozenset[str]]] = []
    if rng.random() < 0.6:
        plan.append((4, frozenset({"kick", "hats"} | ({"perc"} if rng.random() < 0.5 else {"bass"}))))
    while sum(n for n, _ in plan) < bars:
        draw = rng.random()
        if draw < 0.14 and plan:
            plan.append((int(rng.choice([2, 4])), frozenset({"lead", "pad", "hats"} if rng.random() < 0.5 else {"lead", "pad", "bass"})))
            plan.append((8, ALL_ROLES))
        elif draw < 0.35:
            plan.append((4, ALL_ROLES - {str(rng.choice(["hats", "perc", "lead", "pad", "bass"]))}))
        else:
            plan.append((8, ALL_ROLES))
    return [roles for n, roles in plan for _ in range(n)][:bars]


def render_track(manner: str, seed: int, *, bars: int = 16, beat_frames: int | None = None) -> Track:
    """Renders a track; the same arguments give the same bytes.

    Raises KeyError for an unknown manner. `beat_frames` overrides the manner's tempo (20 = 150 BPM … 27 = 111).
    """
    spec = MANNERS[manner]
    rng = np.random.default_rng([list(MANNERS).index(manner), seed])
    tempo = int(rng.choice(spec.beat_frames))
    root = int(rng.integers(31, 43))
    scale = "phrygian" if manner in ("hard", "acid", "industrial") and rng.random() < 0.4 else "minor"
    score = Score(rng, beat_frames or tempo, root=root, scale=scale)
    lanes = spec.write(score)
    playing = sections(rng, bars)
    samples = _mix(score, lanes, playing, rng)
    score.tags.append(str(rng.choice(spec.moods)))
    return Track(
        samples=samples,
        manner=manner,
        seed=seed,
        beat_frames=score.beat_frames,
        key=score.key,
        bars=bars,
        kick_bars=tuple(b for b, roles in enumerate(playing) if "kick" in roles),
        tags=tuple(dict.fromkeys(score.tags)),
    )


def _mix(score: Score, lanes: list[Lane], playing: list[frozenset[str]], rng: np.random.Generator) -> NDArray[np.float32]:
    bar, total = score.bar_samples, score.bar_samples * len(playing)
    pump = np.exp(-np.arange(bar // 4) / (0.11 * SAMPLE_RATE))
    pump[: SAMPLE_RATE // 500] *= np.linspace(0, 1, SAMPLE_RATE // 500)  # 2 ms, so that ducking does not click
    kicked = np.concatenate([np.tile(pump, 4) if "kick" in roles else np.zeros(bar) for roles in playing])
    mix = np.zeros(total)
    for lane in lanes:
        track = np.zeros(total + max(len(x) for x in lane.bars))
        for b, roles in enumerate(playing):
            if lane.role in roles:
                shot = lane.bars[b % len(lane.bars)]
                track[b * bar : b * bar + len(shot)] += shot
        mix += lane.gain * track[:total] * (1 - lane.duck * kicked)
    mix += _transitions(score, playing, rng)
    mix = voices.fixed_filter(mix, 25, "high")
    # The level of a usual full bar, not of the loudest moment, sets the gain: a riser must not turn the kick down.
    level = float(np.percentile(np.abs(mix), 99.5)) + 1e-9
    return (0.85 * np.tanh(1.15 * mix / level)).astype(np.float32)


def _transitions(score: Score, playing: list[frozenset[str]], rng: np.random.Generator) -> Signal:
    """A snare roll or a riser in the bar before the kick comes back."""
    bar, out = score.bar_samples, np.zeros(score.bar_samples * len(playing))
    hit = drums.snare(rng)
    for b in range(1, len(playing)):
        if "kick" in playing[b] and "kick" not in playing[b - 1]:
            start = (b - 1) * bar
            if rng.random() < 0.5:
                out[start : start + bar] += voices.noise_sweep(rng, bar, 400, 6000)
            else:
                roll = score.place([(s, hit, 0.1 + 0.02 * s) for s in range(16)])[: len(out) - start]
                out[start : start + len(roll)] += roll
    return out
