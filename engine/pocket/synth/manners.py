"""The manners of techno: what each one's lanes are and what they play. How lanes become a track is in arrangement.py.

A manner is a function from a `Score` to lanes. Loops are one, two or four bars long and come back exactly; what changes over a track
is which lanes play (sections) and, in acid and dub, where the filter stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.pocket.synth import drums, effects, voices
from engine.pocket.synth.score import STEPS, Lane, Score
from engine.pocket.synth.voices import SAMPLE_RATE, Signal


@dataclass(frozen=True, slots=True)
class Manner:
    """A name, the words people use for it, its tempi as frames a beat (3000 / frames = BPM) and its writer."""

    name: str
    words: tuple[str, ...]
    beat_frames: tuple[int, ...]
    moods: tuple[str, ...]
    write: Callable[[Score], list[Lane]]


# ------------------------------------------------------------------------------------------------------------------- shared lanes
def kick_lane(score: Score, shot: Signal, *, gain: float = 0.95, ghost: bool = False) -> Lane:
    """Four on the floor; a ghost kick before every second bar's end if asked."""
    four = [(4 * q, shot, 1.0) for q in range(4)]
    bars = [score.place(four), score.place([*four, (14, shot, 0.5)])] if ghost else [score.place(four)]
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


# ------------------------------------------------------------------------------------------------------------------------ manners
def write_acid(score: Score) -> list[Lane]:
    """A 303 line over straight drums; the filter opens and closes over eight bars."""
    rng = score.rng
    kick = drums.kick(rng, floor_hz=rng.uniform(47, 54), drop_hz=190, drive=rng.uniform(1.8, 2.8))
    degrees = rng.choice([0, 0, 0, 1, 2, 4, 6, 7], STEPS)
    octaves = rng.choice([0, 0, 1, -1], STEPS, p=[0.45, 0.2, 0.25, 0.1])
    notes = [float(score.degree(int(d), 1 + int(o))) for d, o in zip(degrees, octaves, strict=True)]
    gates, accents, slides = ([bool(x) for x in rng.random(STEPS) < p] for p in (0.8, 0.3, 0.25))
    kind, resonance, low = str(rng.choice(["saw", "square"])), rng.uniform(5, 11), rng.uniform(220, 420)
    opened = [0, 0, 1, 1, 2, 2, 1, 1]  # where the filter stands, bar by bar
    takes = [
        voices.acid_bar(
            notes, gates, accents, slides, score.step_samples, cutoff_hz=low * 2 ** (1.1 * o), resonance=resonance, kind=kind, drive=2.2
        )
        for o in range(3)
    ]
    wet = []
    for take in takes:
        bar = effects.with_tail(take, 1.0)
        wet.append(bar + 0.3 * effects.delay(bar, 3 * score.step_samples, feedback=0.45))
    score.tags += ["acid line", "303", "squelchy" if resonance > 8 else "rubbery bass line"]
    sub = voices.bass_note(score.root, int(1.8 * score.step_samples), cutoff_hz=120, kind="sine", decay_s=0.2)
    return [
        kick_lane(score, kick),
        hat_lane(score, density=0.95, open_hats=0.9),
        perc_lane(score, backbeat=drums.clap(rng, decay_s=rng.uniform(0.08, 0.18), centre_hz=rng.uniform(1000, 1600)), extras=1),
        Lane("lead", [wet[o] for o in opened], 0.42, 0.45),
        Lane("bass", [score.place([(4 * q + 2, sub, 1.0) for q in range(4)])], 0.35, 0.5),
    ]


def write_minimal(score: Score) -> list[Lane]:
    """Dry and sparse: short kick, swung ticks, a two-note bass, bells."""
    rng = score.rng
    score.swing = rng.uniform(0, 0.14)
    kick = drums.kick(rng, floor_hz=rng.uniform(45, 52), drop_hz=120, decay_s=0.15, click=0.7, drive=1.2)
    steps = sorted({2, *score.pattern(0.25)})
    bell_steps = score.pattern(0.2, off_beat=True)
    notes = [score.degree(int(rng.choice([0, 2, 4, 6])), 3) for _ in bell_steps]
    bells = score.place([(s, voices.blip(m, int(0.12 * SAMPLE_RATE)), 1.0) for s, m in zip(bell_steps, notes, strict=True)], tail_s=1.2)
    bells = bells + 0.4 * effects.reverb(bells, rng, t60_s=0.9) + 0.3 * effects.delay(bells, 3 * score.step_samples)
    score.tags += ["sparse", "dry", "bells"]
    return [
        kick_lane(score, kick, ghost=rng.random() < 0.4),
        hat_lane(score, density=0.5, open_hats=float(rng.random() < 0.4) * 0.5),
        perc_lane(score, backbeat=drums.clap(rng, decay_s=0.07) if rng.random() < 0.6 else None, backbeat_gain=0.45, extras=3),
        bass_lane(score, steps, cutoff_hz=420, moving=0.3, gain=0.55, duck=0.35),
        Lane("lead", [bells], 0.2, 0.2),
    ]


def write_hard(score: Score) -> list[Lane]:
    """Distorted kick with its own rumble, hats on every step, a screaming stab."""
    rng = score.rng
    kick = drums.kick(rng, floor_hz=rng.uniform(42, 48), drop_hz=260, bend_s=0.045, decay_s=0.3, click=0.8, drive=rng.uniform(5, 9))
    floor = score.place([(4 * q, kick, 1.0) for q in range(4)], tail_s=0.8)
    rumble = effects.reverb(floor, rng, t60_s=0.7, lowpass_hz=600, highpass_hz=30)
    rumble = np.tanh(3.0 * voices.fixed_filter(rumble, 170, "low", 3))
    steps, shots = score.pattern(0.4), {}
    degrees = [int(rng.choice([0, 0, 1, 3, 4])) for _ in steps]
    n = int(1.6 * score.step_samples)
    for d in set(degrees):
        m = float(score.degree(d, 3))
        shots[d] = np.tanh(2.5 * voices.stab([m, m + 7], n, cutoff_hz=rng.uniform(1500, 4000), detune=0.15, decay_s=0.1))
    line = score.place([(s, shots[d], 1.0) for s, d in zip(steps, degrees, strict=True)], tail_s=1.0)
    line = line + 0.35 * effects.reverb(line, rng, t60_s=1.0)
    score.tags += ["distorted kick", "rumble", "driving", "stabs"]
    return [
        kick_lane(score, kick),
        hat_lane(score, density=1.0, open_hats=0.9, ride=0.5 if rng.random() < 0.5 else 0.0),
        perc_lane(score, backbeat=drums.clap(rng) if rng.random() < 0.6 else None, extras=1),
        Lane("bass", [rumble], 0.75, 0.8),
        Lane("lead", [line], 0.26, 0.6),
    ]


def write_dub(score: Score) -> list[Lane]:
    """Soft kick, one chord stab thrown into long echoes, sub bass, hiss."""
    rng = score.rng
    score.swing = rng.uniform(0, 0.1)
    kick = drums.kick(rng, floor_hz=rng.uniform(43, 49), drop_hz=90, decay_s=0.26, click=0.15, drive=1.1)
    hits, chord = sorted({int(rng.choice([2, 3, 6])), *score.pattern(0.08)}), score.chord(0, 2)
    cutoff, bars = rng.uniform(600, 1000), []
    for opened in (1.0, 1.6):
        shot = voices.stab(chord, int(0.4 * SAMPLE_RATE), cutoff_hz=cutoff * opened)
        dry = score.place([(s, shot, 1.0) for s in hits[:3]], tail_s=3.2)
        echo = effects.delay(dry, 3 * score.step_samples, feedback=0.68, lowpass_hz=1900, highpass_hz=350, repeats=9)
        bars.append(dry + 0.9 * echo + 0.6 * effects.reverb(dry + 0.6 * echo, rng, t60_s=2.2, lowpass_hz=3000))
    score.tags += ["echoing chords", "deep", "spacious"]
    steps = sorted({6, *score.pattern(0.22)})
    return [
        kick_lane(score, kick),
        hat_lane(score, density=0.45, open_hats=0.5),
        perc_lane(score, backbeat=drums.clap(rng, decay_s=0.1) if rng.random() < 0.4 else None, backbeat_gain=0.4, extras=2, room_s=0.8),
        bass_lane(score, steps, cutoff_hz=220, length_steps=1.7, moving=0.25, gain=0.6, duck=0.4),
        Lane("pad", [bars[0], bars[0], bars[1], bars[1]], 0.5, 0.4),
    ]


def write_detroit(score: Score) -> list[Lane]:
    """Busy hats and ride, a moving bass line, minor-ninth stabs, strings."""
    rng = score.rng
    score.swing = rng.uniform(0, 0.1)
    kick = drums.kick(rng, floor_hz=rng.uniform(49, 55), drop_hz=200, decay_s=0.22, drive=1.8)
    stab_steps = score.pattern(0.25)
    shot = voices.stab(score.chord(0, 2), int(0.3 * SAMPLE_RATE), cutoff_hz=rng.uniform(2500, 4200), kind="square", decay_s=0.1)
    line = score.place([(s, shot, 1.0) for s in stab_steps], tail_s=1.2)
    line = line + 0.4 * effects.delay(line, 3 * score.step_samples, feedback=0.45)
    chords = progression(score)
    strings = {d: voices.pad(score.chord(d, 2), score.bar_samples, cutoff_hz=900) for d in set(chords)}
    score.tags += ["stabs", "strings", "soulful"]
    return [
        kick_lane(score, kick),
        hat_lane(score, density=0.85, open_hats=0.8, ride=0.45 if rng.random() < 0.5 else 0.0),
        perc_lane(score, backbeat=drums.clap(rng, decay_s=rng.uniform(0.1, 0.18)), extras=2),
        bass_lane(score, score.pattern(0.5), cutoff_hz=700, moving=0.45, gain=0.5, duck=0.5),
        Lane("lead", [line], 0.3, 0.4),
        Lane("pad", [strings[d] for d in chords for _ in range(2)], 0.28, 0.5),
    ]


def write_melodic(score: Score) -> list[Lane]:
    """Off-beat rolling bass, an arpeggio that follows the chords, wide pads."""
    rng = score.rng
    kick = drums.kick(rng, floor_hz=rng.uniform(46, 51), drop_hz=150, decay_s=0.2, click=0.3, drive=1.5)
    chords, arp = progression(score), rng.permutation([0, 2, 4, 7, 9, 11, 4, 2])
    played = [s for s in range(STEPS) if (s * 5) % 16 < 11]
    cutoff, n, bars, pads = rng.uniform(900, 2600), int(0.4 * SAMPLE_RATE), {}, {}
    for d in set(chords):
        degrees = {s: d + int(arp[s % 8]) for s in played}
        shots = {k: voices.stab([float(score.degree(k, 2))], n, cutoff_hz=cutoff, detune=0.1, decay_s=0.13) for k in set(degrees.values())}
        line = score.place([(s, shots[k], 1.0) for s, k in degrees.items()], tail_s=1.6)
        bars[d] = line + 0.45 * effects.delay(line, 3 * score.step_samples, feedback=0.55) + 0.2 * effects.reverb(line, rng, t60_s=1.4)
        pads[d] = voices.pad(score.chord(d, 2, 3), score.bar_samples, cutoff_hz=700)
    score.tags += ["arpeggio", "warm pads", "rolling bass", "emotional"]
    return [
        kick_lane(score, kick),
        hat_lane(score, density=0.7, open_hats=0.6),
        perc_lane(score, backbeat=drums.clap(rng, decay_s=0.14), backbeat_gain=0.6, extras=1, room_s=0.6),
        bass_lane(
            score, [s for s in range(STEPS) if s % 4], cutoff_hz=520, length_steps=1.0, moving=0.1, decay_s=0.12, gain=0.45, duck=0.6
        ),
        Lane("lead", [bars[d] for d in chords for _ in range(2)], 0.34, 0.5),
        Lane("pad", [pads[d] for d in chords for _ in range(2)], 0.3, 0.65),
    ]


def write_industrial(score: Score) -> list[Lane]:
    """Crushed kick, struck metal, a droning bass. Left out of training: the unseen manner of the finetuning experiments."""
    rng = score.rng
    kick = drums.kick(rng, floor_hz=rng.uniform(40, 47), drop_hz=300, bend_s=0.05, decay_s=0.34, click=1.2, drive=rng.uniform(9, 14))
    metal = [drums.scrap(rng, tone_hz=rng.uniform(180, 700), decay_s=rng.uniform(0.05, 0.16)) for _ in range(3)]
    hits = [(s, shot, rng.uniform(0.4, 0.8)) for shot in metal for s in score.pattern(0.18, off_beat=True)]
    scrapyard = score.place(hits, tail_s=1.6)
    scrapyard = scrapyard + 0.5 * effects.reverb(scrapyard, rng, t60_s=1.3)
    drone = effects.saturate(2.5 * voices.pad([score.root, score.root + 0.12], score.bar_samples, cutoff_hz=260), 3.0)
    score.tags += ["metallic", "crushed kick", "drone", "noisy"]
    return [
        kick_lane(score, kick),
        hat_lane(score, density=0.6, open_hats=0.4),
        Lane("perc", [scrapyard], 0.5),
        perc_lane(score, backbeat=drums.snare(rng, tone_hz=rng.uniform(150, 220)), extras=0, room_s=0.7),
        Lane("bass", [drone], 0.4, 0.8),
        bass_lane(score, score.pattern(0.4), cutoff_hz=900, kind="square", moving=0.15, gain=0.35, duck=0.6),
    ]


MANNERS: dict[str, Manner] = {
    m.name: m
    for m in (
        Manner("acid", ("acid techno", "acid"), (22, 23, 24), ("hypnotic", "psychedelic", "dark", "energetic"), write_acid),
        Manner("minimal", ("minimal techno", "minimal"), (23, 24, 25), ("hypnotic", "cold", "groovy", "subtle"), write_minimal),
        Manner("hard", ("hard techno", "peak-time techno"), (20, 21, 22), ("dark", "relentless", "fast", "aggressive"), write_hard),
        Manner("dub", ("dub techno", "deep techno"), (24, 25, 26), ("deep", "smoky", "warm", "hypnotic"), write_dub),
        Manner("detroit", ("detroit techno", "classic techno"), (23, 24, 25), ("soulful", "futuristic", "bright"), write_detroit),
        Manner("melodic", ("melodic techno", "progressive techno"), (24, 25), ("emotional", "dreamy", "uplifting"), write_melodic),
        Manner("industrial", ("industrial techno", "warehouse techno"), (21, 22, 23), ("dark", "harsh", "bleak"), write_industrial),
    )
}
HELD_OUT_MANNERS = ("industrial",)
TRAINING_MANNERS = tuple(name for name in MANNERS if name not in HELD_OUT_MANNERS)
