"""Lanes that several manners share: kicks, hats, percussion, bass, and chords' progressions. The manners are in driving.py and deep.py."""

from __future__ import annotations

from engine.pocket.synth import drums, effects, voices
from engine.pocket.synth.score import STEPS, Lane, Score
from engine.pocket.synth.voices import Signal


def kick_lane(score: Score, shot: Signal, *, gain: float = 0.95, ghost: bool = False) -> Lane:
    """The kick on the score's steps, four on the floor unless a manner breaks it; a ghost before every second bar's end if asked."""
    hits = [(s, shot, 1.0) for s in score.kick_steps]
    bars = [score.place(hits), score.place([*hits, (14, shot, 0.5)])] if ghost else [score.place(hits)]
    return Lane("kick", bars, gain)


def hat_lane(score: Score, *, density: float, open_hats: float, ride: float = 0.0, gain: float = 0.42) -> Lane:
    """Closed hats with accents, open hats on the off-beat, perhaps a ride on the beat."""
    rng = score.rng
    closed = [drums.hat(rng, decay_s=rng.uniform(0.018, 0.04), highpass_hz=rng.uniform(7500, 9500)) for _ in range(2)]
    opened = drums.hat(rng, decay_s=rng.uniform(0.08, 0.14), highpass_hz=6500)
    accents = rng.uniform(0.35, 0.85, STEPS)
    hits = [(s, closed[s % 2], accents[s] * (0.55 if s % 4 else 0.35)) for s in range(STEPS) if rng.random() < density]
    if open_hats:
        hits += [(4 * q + 2, opened, open_hats) for q in range(4)]
        score.tags.append("open hats")
    if ride:
        bell = drums.hat(rng, decay_s=0.14, highpass_hz=5200, metal=1.2)
        hits += [(4 * q, bell, ride) for q in range(4)]
        score.tags.append("ride cymbal")
    return Lane("hats", [score.place(hits)], gain)


def perc_lane(score: Score, *, backbeat: Signal | None, backbeat_gain: float = 0.75, extras: int = 2, room_s: float = 0.0,
              gain: float = 0.5) -> Lane:  # fmt: skip
    """Clap or snare on two and four, and a few sparse ticks and toms."""
    rng = score.rng
    hits = [(s, backbeat, backbeat_gain) for s in (4, 12)] if backbeat is not None else []
    for _ in range(extras):
        shot = (
            drums.rim(tone_hz=rng.uniform(900, 2600), decay_s=rng.uniform(0.01, 0.04))
            if rng.random() < 0.6
            else drums.tom(tone_hz=rng.uniform(120, 320), decay_s=rng.uniform(0.05, 0.12))
        )
        hits += [(s, shot, rng.uniform(0.3, 0.6)) for s in score.pattern(rng.uniform(0.1, 0.25), off_beat=True)]
    bar = score.place(hits, tail_s=0.5 + room_s)
    if room_s:
        bar += 0.3 * effects.reverb(bar, rng, t60_s=room_s)
    return Lane("perc", [bar], gain)


def bass_lane(score: Score, steps: list[int], *, cutoff_hz: float, length_steps: float = 1.2, kind: str = "saw", decay_s: float = 0.2,
              moving: float = 0.4, gain: float = 0.5, duck: float = 0.5) -> Lane:  # fmt: skip
    """One bar of plucked bass; with probability `moving` a step leaves the root."""
    rng = score.rng
    n = int(length_steps * score.step_samples)
    degrees = [int(rng.choice([2, 4, 6, 7])) if rng.random() < moving else 0 for _ in steps]
    shots = {d: voices.bass_note(score.degree(d), n, cutoff_hz=cutoff_hz, kind=kind, decay_s=decay_s) for d in set(degrees)}
    return Lane("bass", [score.place([(s, shots[d], 1.0) for s, d in zip(steps, degrees, strict=True)])], gain, duck)


def progression(score: Score) -> list[int]:
    """The chord's degree in each of four two-bar spans; most often it stays."""
    choices = ([0, 0, 0, 0], [0, 0, 5, 5], [0, 5, 3, 4], [0, 3, 5, 6])
    return list(choices[int(score.rng.choice(4, p=[0.5, 0.2, 0.15, 0.15]))])
