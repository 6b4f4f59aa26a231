"""Manners that draw in: minimal, dub, Detroit, melodic, hypnotic. What lanes share is in lanes.py, the harder ones are in driving.py."""

from __future__ import annotations

from engine.pocket.synth import drums, effects, voices
from engine.pocket.synth.lanes import bass_lane, hat_lane, kick_lane, perc_lane, progression
from engine.pocket.synth.score import STEPS, Lane, Score
from engine.pocket.synth.voices import SAMPLE_RATE


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


def write_hypnotic(score: Score) -> list[Lane]:
    """Tribal: tuned toms in threes against four, shakers, one note that a slow filter opens over four bars, a drone."""
    rng = score.rng
    kick = drums.kick(rng, floor_hz=rng.uniform(44, 50), drop_hz=130, decay_s=0.19, click=0.35, drive=1.6)
    tuning = sorted(rng.uniform(90, 330, 3))
    toms = [drums.tom(tone_hz=float(f), decay_s=rng.uniform(0.07, 0.16)) for f in tuning]
    start = int(rng.integers(3))
    threes = [(s, toms[0], rng.uniform(0.5, 0.8)) for s in range(start, STEPS, 3)]
    others = [(s, shot, rng.uniform(0.35, 0.7)) for shot in toms[1:] for s in score.pattern(0.2, off_beat=True)]
    circle = score.place([*threes, *others], tail_s=1.2)
    circle = circle + 0.35 * effects.reverb(circle, rng, t60_s=rng.uniform(0.6, 1.2))
    shaker = drums.hat(rng, decay_s=0.045, highpass_hz=rng.uniform(5200, 6800), metal=0.0)
    swells = score.place([(s, shaker, 0.35 + 0.4 * (s % 4 == 2) + 0.15 * (s % 2)) for s in range(STEPS)])
    steps, low = score.pattern(0.5, off_beat=True), rng.uniform(350, 700)
    degree, bars = int(rng.choice([0, 0, 2, 4])), []
    for opened in (1.0, 1.6, 2.6, 1.6):
        note = float(score.degree(degree, 2))
        shot = voices.stab([note], int(0.25 * SAMPLE_RATE), cutoff_hz=low * opened, kind="square", decay_s=0.09)
        line = score.place([(s, shot, 1.0) for s in steps], tail_s=1.2)
        bars.append(line + 0.45 * effects.delay(line, 3 * score.step_samples, feedback=0.55))
    drone = voices.pad([score.root + 12, score.root + 19.04], score.bar_samples, cutoff_hz=420)
    score.tags += ["tribal", "toms", "shakers", "drone", "looping"]
    return [
        kick_lane(score, kick),
        Lane("hats", [swells], 0.42),
        Lane("perc", [circle], 0.42),
        bass_lane(score, [2, 6, 10, 14] if rng.random() < 0.5 else score.pattern(0.35), cutoff_hz=260, moving=0.05, gain=0.55, duck=0.55),
        Lane("lead", bars, 0.3, 0.4),
        Lane("pad", [drone], 0.3, 0.6),
    ]
