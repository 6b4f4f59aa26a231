"""Manners that push: acid, hard, breakbeat, industrial. What their lanes share is in lanes.py, the slower ones are in deep.py."""

from __future__ import annotations

import numpy as np

from engine.pocket.synth import drums, effects, voices
from engine.pocket.synth.lanes import bass_lane, hat_lane, kick_lane, perc_lane
from engine.pocket.synth.score import STEPS, Lane, Score
from engine.pocket.synth.voices import SAMPLE_RATE

BROKEN_KICKS = ((0, 10), (0, 6, 10), (0, 3, 10), (0, 2, 10), (0, 7, 10), (0, 6, 11), (0, 10, 13), (0, 3, 6, 10))  # each starts the bar


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


def write_breakbeat(score: Score) -> list[Lane]:
    """A broken kick under a snare with ghost notes, a sub that answers it, rave stabs. No four on the floor."""
    rng = score.rng
    score.swing = rng.uniform(0, 0.16)
    score.kick_steps = tuple(BROKEN_KICKS[int(rng.integers(len(BROKEN_KICKS)))])
    kick = drums.kick(rng, floor_hz=rng.uniform(48, 56), drop_hz=170, decay_s=0.16, click=0.8, drive=rng.uniform(1.5, 3))
    snare = drums.snare(rng, tone_hz=rng.uniform(170, 240), decay_s=rng.uniform(0.09, 0.16))
    ghosts = [s for s in (1, 7, 9, 15) if rng.random() < 0.5]
    backbeat = score.place([*((s, snare, 0.9) for s in (4, 12)), *((s, snare, 0.25) for s in ghosts)], tail_s=0.9)
    backbeat = backbeat + 0.2 * effects.reverb(backbeat, rng, t60_s=rng.uniform(0.3, 0.8))
    steps, n = sorted({0, *score.pattern(0.22)})[:4], int(0.35 * SAMPLE_RATE)
    chord = score.chord(0, 2, 3)
    shot = voices.stab(chord, n, cutoff_hz=rng.uniform(1800, 4500), kind=str(rng.choice(["saw", "square"])), detune=0.12, decay_s=0.11)
    stabs = score.place([(s, shot, 1.0) for s in steps], tail_s=1.6)
    stabs = stabs + 0.4 * effects.delay(stabs, 3 * score.step_samples, feedback=0.5)
    answers = sorted({*(s for s in score.kick_steps if rng.random() < 0.7), *score.pattern(0.15)})
    score.tags += ["broken beat", "breaks", "rave stabs", "sub bass"]
    return [
        kick_lane(score, kick),
        hat_lane(score, density=0.8, open_hats=float(rng.random() < 0.5) * 0.6),
        Lane("perc", [backbeat], 0.55),
        perc_lane(score, backbeat=None, extras=1),
        bass_lane(score, answers, cutoff_hz=rng.uniform(160, 500), length_steps=2.2, kind="square", decay_s=0.25, gain=0.5, duck=0.3),
        Lane("lead", [stabs], 0.3, 0.35),
    ]
