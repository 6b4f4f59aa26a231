"""Lanes → sections → side-chain → mix: a whole track with its facts. What the lanes play is in manners.py."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.pocket.synth import drums, effects, voices
from engine.pocket.synth.manners import MANNERS
from engine.pocket.synth.score import FRAME_SAMPLES, STEPS, Lane, Score
from engine.pocket.synth.sections import Bar, Kind, form
from engine.pocket.synth.voices import SAMPLE_RATE, Signal

__all__ = ["FRAME_SAMPLES", "SAMPLE_RATE", "Track", "render_track"]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A rendered track and everything that is known about it because it was made."""

    samples: NDArray[np.float32]  # [N], mono, SAMPLE_RATE, in [-1, 1]; sample 0 is the first downbeat
    manner: str
    seed: int
    step_samples: int  # a sixteenth note, exact
    key: str
    bars: int
    kick_bars: tuple[int, ...]  # the bars in which the kick plays
    kick_steps: tuple[int, ...]  # where in such a bar, in sixteenths: 0, 4, 8, 12 unless the beat is broken
    sections: tuple[tuple[int, Kind], ...]  # the first bar of each section, and its kind
    tags: tuple[str, ...]

    @property
    def bpm(self) -> float:
        """Exact tempo."""
        return 15 * SAMPLE_RATE / self.step_samples

    @property
    def bar_samples(self) -> int:
        """Four beats."""
        return STEPS * self.step_samples

    @property
    def downbeats_s(self) -> list[float]:
        """Where each bar starts, exact."""
        return [b * self.bar_samples / SAMPLE_RATE for b in range(self.bars)]


def render_track(manner: str, seed: int, *, bars: int = 16, bpm: float | None = None) -> Track:
    """Renders a track; the same arguments give the same bytes.

    Raises KeyError for an unknown manner. `bpm` overrides the tempo that the seed draws from the manner's grid; it is met to the sample
    of a sixteenth, within 0.02 %.
    From 40 bars on a track has a whole form, with intro and outro; shorter ones are excerpts of one.
    """
    spec = MANNERS[manner]
    rng = np.random.default_rng([list(MANNERS).index(manner), seed])
    step_samples = int(rng.choice(spec.beat_frames)) * FRAME_SAMPLES // 4
    if bpm is not None:
        step_samples = round(15 * SAMPLE_RATE / bpm)
    score = Score(rng, step_samples, root=int(rng.integers(31, 43)), scale=str(rng.choice(spec.scales)))
    lanes = spec.write(score)
    playing = form(rng, bars)
    samples = _mix(score, lanes, playing, rng)
    score.tags.append(str(rng.choice(spec.moods)))
    return Track(
        samples=samples,
        manner=manner,
        seed=seed,
        step_samples=score.step_samples,
        key=score.key,
        bars=bars,
        kick_bars=tuple(b for b, bar in enumerate(playing) if "kick" in bar.roles),
        kick_steps=score.kick_steps,
        sections=tuple((b, bar.kind) for b, bar in enumerate(playing) if bar.begins),
        tags=tuple(dict.fromkeys(score.tags)),
    )


def _mix(score: Score, lanes: list[Lane], playing: list[Bar], rng: np.random.Generator) -> NDArray[np.float32]:
    bar, total = score.bar_samples, score.bar_samples * len(playing)
    kicked = np.concatenate([_pump(score) if "kick" in b.roles else np.zeros(bar) for b in playing])
    drum, music = np.zeros(total), np.zeros(total)
    for lane in lanes:
        track = np.zeros(total + max(len(x) for x in lane.bars))
        for b, at in enumerate(playing):
            if lane.role in at.roles:
                shot = lane.bars[b % len(lane.bars)]
                track[b * bar : b * bar + len(shot)] += shot
        target = music if lane.role in ("bass", "lead", "pad") else drum
        target += lane.gain * track[:total] * (1 - lane.duck * kicked)
    mix = drum + _automated(score, music, playing) + _risers(score, playing, rng)
    mix = voices.fixed_filter(mix, 25, "high")
    # The level of a usual full bar, not of the loudest moment, sets the gain: a riser must not turn the kick down.
    level = float(np.percentile(np.abs(mix), 99.5)) + 1e-9
    return (0.85 * np.tanh(1.15 * mix / level)).astype(np.float32)


def _pump(score: Score) -> Signal:
    """How far the kick pushes the rest down within a bar, 1 at each of its hits."""
    n, bar = score.step_samples, np.zeros(score.bar_samples)
    for start, end in pairwise([*score.kick_steps, STEPS]):
        bar[start * n : end * n] = np.exp(-np.arange((end - start) * n) / (0.11 * SAMPLE_RATE))
        bar[start * n : start * n + SAMPLE_RATE // 500] *= np.linspace(0, 1, SAMPLE_RATE // 500)  # 2 ms, so that ducking does not click
    return bar


def _spans(playing: list[Bar]) -> list[tuple[Kind, int, int]]:
    """Each section's kind, first bar, and the bar after its last."""
    starts = [b for b, bar in enumerate(playing) if bar.begins] + [len(playing)]
    return [(playing[a].kind, a, b) for a, b in pairwise(starts)]


def _automated(score: Score, music: Signal, playing: list[Bar]) -> Signal:
    """Filter and echo move where the form does: a breakdown opens from below, a build thins out from above and drowns in its echo."""
    bar, out = score.bar_samples, music
    for kind, first, end in _spans(playing):
        part = slice(first * bar, end * bar)
        ramp = np.linspace(0, 1, (end - first) * bar)
        if kind == "breakdown":
            out[part] = voices.moving_lowpass(out[part], 500 * 24**ramp, 1.0, stages=1, block=512)
        elif kind == "build":
            echo = effects.delay(out[part], 3 * score.step_samples, feedback=0.7, repeats=4)
            out[part] += ramp * echo - voices.moving_lowpass(out[part], 60 * 15**ramp, 0.8, stages=1, block=512)
    return out


def _risers(score: Score, playing: list[Bar], rng: np.random.Generator) -> Signal:
    """Noise that climbs through a build, or a snare roll in the last bar before the kick comes back."""
    bar, out = score.bar_samples, np.zeros(score.bar_samples * len(playing))
    hit = drums.snare(rng)
    for b in range(1, len(playing)):
        if "kick" in playing[b].roles and "kick" not in playing[b - 1].roles:
            first = max((a for a in range(b) if playing[a].begins), default=0)
            if rng.random() < 0.6:
                out[first * bar : b * bar] += voices.noise_sweep(rng, (b - first) * bar, 400, 6000)
            else:
                roll = score.place([(s, hit, 0.1 + 0.02 * s) for s in range(STEPS)])[: len(out) - (b - 1) * bar]
                out[(b - 1) * bar : (b - 1) * bar + len(roll)] += roll
    return out
