"""Tracks whose tempo, bar lines and key are known because they were made: what the tempo benchmark listens to.

    number ─▶ render_track (engine/pocket/synth), put off the codec's tempi by resampling ─┐
          └▶ compose: a drum machine of this module, any tempo, major and minor ───────────┴▶ intro, cut, noise, MP3 ─▶ BenchTrack

Kinds in turn: four on the floor, broken, half-time, swung. Of ten tracks, four begin at a bar line, the others after silence, after a
beatless intro, or within a bar; half have noise, half went through MP3 at 128 kbit/s. The same number is always the same track.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from engine.music.analysis.keys import Key, Mode, parse_key
from engine.music.audio import Audio, decode
from engine.music.encode import encode
from engine.pocket.synth import MANNERS, SAMPLE_RATE, drums, render_track, voices

KINDS = ("four on the floor", "broken", "half-time", "swung")
FRONTS = ("none", "silence", "beatless intro", "cut within a bar")
MP3_KBITS = 128

_SCALES = {"minor": (0, 2, 3, 5, 7, 8, 10), "major": (0, 2, 4, 5, 7, 9, 11)}
_KICKS: dict[str, tuple[tuple[int, ...], ...]] = {
    "four on the floor": ((0, 4, 8, 12),),
    "swung": ((0, 4, 8, 12),),
    "broken": ((0, 6, 10), (0, 3, 10), (0, 7, 10), (0, 6, 8, 14), (0, 10, 11), (0, 3, 6, 10)),
    "half-time": ((0,), (0, 10), (0, 6), (0, 3, 11)),
}
_CHORDS = ((0, 0, 0, 0), (0, 0, 5, 5), (0, 5, 3, 4), (0, 3, 0, 4))


@dataclass(frozen=True, slots=True, eq=False)
class BenchTrack:
    """A track and the truth about it. downbeat_s: a bar line. noise_db: of the noise below the music, None without."""

    number: int
    audio: Audio
    kind: str
    front: str
    noise_db: float | None
    mp3: bool
    origin: str
    bpm: float
    downbeat_s: float
    key: Key


def make_track(number: int, *, bars: int = 32) -> BenchTrack:
    """The benchmark's track of that number, about ``bars`` bars long, stereo."""
    rng = np.random.default_rng([20, number])
    kind = KINDS[number % 4]
    front = str(rng.choice(FRONTS, p=(0.4, 0.2, 0.2, 0.2)))
    noise_db = float(rng.choice([-24.0, -18.0, -12.0])) if rng.random() < 0.5 else None
    mp3 = bool(rng.random() < 0.5)
    samples, bpm, key, origin = (_rendered if number // 4 % 2 else _composed)(rng, kind, bars)
    samples, downbeat_s = _with_front(rng, samples, front, bpm, key)
    stereo = np.stack([samples, samples])  # [2, N]
    if noise_db is not None:
        level = float(np.sqrt(np.mean(np.square(samples)))) * 10.0 ** (noise_db / 20.0)
        stereo = stereo + level * rng.standard_normal(stereo.shape)
    audio = Audio((0.9 * stereo / np.abs(stereo).max()).astype(np.float32), SAMPLE_RATE)
    if mp3:
        audio = _through_mp3(audio)
    return BenchTrack(number, audio, kind, front, noise_db, mp3, origin, bpm, downbeat_s, key)


def _rendered(rng: np.random.Generator, kind: str, bars: int) -> tuple[NDArray[np.float64], float, Key, str]:
    """A manner of the synth whose kick fits the kind, resampled by up to ±2 % so that any tempo comes up; half-time has no manner."""
    names = list(MANNERS)
    wanted = {"broken": "breakbeat"}.get(kind)
    if kind == "half-time" or (wanted is not None and wanted not in names):
        return _composed(rng, kind, bars)
    straight = [name for name in names if name != "breakbeat"]
    manner = wanted or str(rng.choice(straight))
    seed = int(rng.integers(1_000_000, 2_000_000))  # never a seed that anything is trained on
    track = render_track(manner, seed, bars=bars, bpm=3000 / int(rng.integers(19, 28)))
    down = int(rng.integers(314, 327))  # 320 is as rendered; ±0.34 of a semitone at most
    key = parse_key(track.key)
    assert key is not None, track.key
    samples = resample_poly(track.samples.astype(np.float64), 320, down)
    return samples, track.bpm * down / 320, key, manner


def _composed(rng: np.random.Generator, kind: str, bars: int) -> tuple[NDArray[np.float64], float, Key, str]:
    """Drums, bass and chords on a grid of any tempo from 110 to 160 BPM."""
    bpm = float(np.round(rng.uniform(110.0, 160.0), 2))
    mode: Mode = "major" if rng.random() < 0.35 else "minor"
    tonic = int(rng.integers(12))
    step = 60.0 / bpm / 4 * SAMPLE_RATE
    total = round(bars * 16 * step)
    swing = float(rng.uniform(0.15, 0.33)) if kind == "swung" else 0.0

    def lay(lane: NDArray[np.float64], bar: int, at: int, shot: NDArray[np.float64], gain: float) -> None:
        start = round((bar * 16 + at + (swing if at % 2 else 0.0)) * step)
        count = min(len(shot), len(lane) - start)
        lane[start : start + count] += gain * shot[:count]

    kick = drums.kick(rng, floor_hz=rng.uniform(42, 55), drop_hz=rng.uniform(100, 260), drive=rng.uniform(1.2, 4))
    closed, opened = drums.hat(rng, decay_s=rng.uniform(0.02, 0.04)), drums.hat(rng, decay_s=rng.uniform(0.08, 0.14), highpass_hz=6500)
    backbeat = drums.snare(rng, tone_hz=rng.uniform(150, 220)) if rng.random() < 0.5 else drums.clap(rng)
    kicks = _KICKS[kind][int(rng.integers(len(_KICKS[kind])))]
    snares = (8,) if kind == "half-time" else (4, 12)
    with_backbeat = kind in ("broken", "half-time") or rng.random() < 0.8
    hats = [s for s in range(16) if s % 2 == 0 or rng.random() < (0.9 if swing else 0.4)]
    open_hats = rng.random() < 0.6 and kind != "half-time"
    bass_steps = [s for s in range(16) if rng.random() < 0.35] or [2, 10]
    bass_degrees = [int(rng.choice([0, 0, 0, 2, 4, 6])) for _ in bass_steps]
    chords = _CHORDS[int(rng.integers(len(_CHORDS)))]
    stab_steps = [s for s in range(16) if rng.random() < 0.2] or [3]
    scale = _SCALES[mode]

    def note(degree: int, octave: int) -> float:
        return 36.0 + (tonic - 36) % 12 + 12 * (octave + degree // 7) + scale[degree % 7]

    notes = {d: voices.bass_note(note(d, 0), round(1.3 * step), cutoff_hz=rng.uniform(250, 900)) for d in set(bass_degrees)}
    triads = {c: [note(c + 2 * i, 2) for i in range(3)] for c in set(chords)}
    pads = {c: voices.pad(triad, round(16 * step), cutoff_hz=900) for c, triad in triads.items()}
    stabs = {c: voices.stab(triad, round(3 * step), cutoff_hz=rng.uniform(1200, 3500)) for c, triad in triads.items()}
    drum, music = np.zeros(total), np.zeros(total)
    for bar, roles in enumerate(_form(rng, bars)):
        chord = chords[bar % 8 // 2]
        played: list[tuple[str, NDArray[np.float64], list[tuple[int, NDArray[np.float64], float]]]] = [
            ("kick", drum, [(at, kick, 1.0) for at in kicks]),
            ("perc", drum, [(at, backbeat, 0.6) for at in snares if with_backbeat]),
            ("hats", drum, [(at, closed, 0.25 if at % 4 else 0.18) for at in hats]),
            ("hats", drum, [(at, opened, 0.3) for at in range(2, 16, 4) if open_hats]),
            ("bass", music, [(at, notes[degree], 0.5) for at, degree in zip(bass_steps, bass_degrees, strict=True)]),
            ("pad", music, [(0, pads[chord], 0.5)]),
            ("lead", music, [(at, stabs[chord], 0.5) for at in stab_steps]),
        ]
        for lane, hits in ((lane, hits) for role, lane, hits in played if role in roles):
            for at, shot, gain in hits:
                lay(lane, bar, at, shot, gain)
    mix = drum + music
    return np.tanh(1.1 * mix / (np.percentile(np.abs(mix), 99.5) + 1e-9)), bpm, Key(tonic, mode), "composed"


def _form(rng: np.random.Generator, bars: int) -> list[frozenset[str]]:
    """What plays in each bar: pieces of four or eight bars."""
    everything = frozenset({"kick", "hats", "perc", "bass", "pad", "lead"})
    plan: list[frozenset[str]] = [frozenset({"kick", "hats"} | ({"perc"} if rng.random() < 0.5 else {"bass"}))] * int(rng.choice([4, 8]))
    while len(plan) < bars:
        draw = rng.random()
        if draw < 0.25:
            plan += [frozenset({"pad", "lead", "hats"} if rng.random() < 0.4 else {"pad", "lead"})] * 4
            plan += [everything] * 8
        else:
            plan += [everything - {str(rng.choice(["hats", "lead", "pad", "perc"]))}] * int(rng.choice([4, 8]))
    return plan[:bars]


def _with_front(
    rng: np.random.Generator, samples: NDArray[np.float64], front: str, bpm: float, key: Key
) -> tuple[NDArray[np.float64], float]:
    """What comes before the first bar, and the second at which that bar begins (or the next, when the track begins within one)."""
    if front == "cut within a bar":
        bar_s = 240.0 / bpm
        cut = round(float(rng.uniform(0.1, 0.9)) * bar_s * SAMPLE_RATE)
        return samples[cut:], bar_s - cut / SAMPLE_RATE
    if front == "silence":
        lead = np.zeros(round(float(rng.uniform(0.05, 1.5)) * SAMPLE_RATE))
    elif front == "beatless intro":  # as long as it likes: no whole number of bars
        triad = [60.0 + key.tonic, 60.0 + key.tonic + (3 if key.mode == "minor" else 4), 67.0 + key.tonic]
        lead = 0.5 * voices.pad(triad, round(float(rng.uniform(6.0, 14.0)) * SAMPLE_RATE), cutoff_hz=1200)
    else:
        lead = np.zeros(0)
    return np.concatenate([lead, samples]), len(lead) / SAMPLE_RATE


def _through_mp3(audio: Audio) -> Audio:
    """128 kbit/s stereo at 44.1 kHz and back."""
    at_44k = resample_poly(audio.samples, 441, 320, axis=1)
    encoded = encode(
        Audio(np.clip(at_44k, -1, 1).astype(np.float32), 44100), "mp3", max_bytes=round(1.02 * MP3_KBITS * 125 * audio.duration_s)
    )
    assert encoded.kbits is not None
    assert encoded.kbits <= MP3_KBITS, encoded.kbits
    return decode(encoded.data)


def facts(track: BenchTrack) -> dict[str, Any]:
    """The truth, for JSON."""
    return {
        "number": track.number,
        "kind": track.kind,
        "front": track.front,
        "noise_db": track.noise_db,
        "mp3": track.mp3,
        "origin": track.origin,
        "bpm": track.bpm,
        "downbeat_s": track.downbeat_s,
        "key": track.key.name,
    }
