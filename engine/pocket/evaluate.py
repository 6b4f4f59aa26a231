"""Figures of clips: is there a beat, and is it the one that was asked for? `python -m engine.pocket evaluate` prints them beside those of
held-out synthesised tracks, as rendered and after a round trip through the codec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.musicgen.generate import MusicGen
from engine.pocket.data import HELD_OUT_FIRST_SEED, stored_tracks
from engine.pocket.rhythm import SAMPLE_RATE, Beat, beat, beat_phase_s
from engine.pocket.synth import HELD_OUT_MANNERS, MANNERS, render_track

# What `evaluate` asks for: every manner at two of its tempi, the bare word, and nothing.
EVALUATION_PROMPTS: tuple[tuple[str, float | None], ...] = (
    ("acid techno, 130 bpm", 130), ("acid techno, 136 bpm, dark", 136), ("minimal techno, 125 bpm", 125), ("minimal techno, 130 bpm", 130),
    ("hard techno at 150 bpm", 150), ("hard techno, 143 bpm", 143), ("dub techno, 120 bpm", 120), ("dub techno, 125 bpm, deep", 125),
    ("detroit techno, 130 bpm", 130), ("detroit techno at 125 bpm", 125), ("melodic techno, 125 bpm, A minor", 125),
    ("melodic techno, 120 bpm", 120), ("techno, 128 bpm", 128), ("techno", None), ("", None),
)  # fmt: skip


def real_clips(out: Path, seconds: float) -> Iterator[tuple[str, NDArray[np.float32], float]]:
    """(manner, samples, tempo) of held-out tracks from bar 5 on: those under `out`, or else a few rendered now."""
    tracks = stored_tracks(out / "data" / "held_out")
    if tracks:
        for stored in tracks:
            yield stored.manner, stored.crop(stored.beat_frames * 640 * 16, int(seconds * SAMPLE_RATE)).numpy(), stored.bpm
        return
    for manner in MANNERS:
        for seed in range(2):
            track = render_track(manner, HELD_OUT_FIRST_SEED + seed)
            start = track.beat_frames * 640 * 16
            yield manner, track.samples[start : start + int(seconds * SAMPLE_RATE)], track.bpm


def summary(beats: list[Beat]) -> dict[str, float]:
    """Of many clips: the share whose tempo is the one asked for, and how steady the kick is in the middle and at the weak end."""
    periodicity = [b.periodicity for b in beats]
    return {
        "clips": len(beats),
        "tempo_hits": float(np.mean([b.hit for b in beats])),
        "kick_periodicity_median": float(np.median(periodicity)),
        "kick_periodicity_lower_quarter": float(np.quantile(periodicity, 0.25)),
    }


def evaluate(model: MusicGen, out: Path, *, clips: int, seconds: float, save: Path | None = None) -> dict[str, dict[str, float]]:
    """Generates `clips` a prompt with the checkpoint's own sampling, and measures them, the held-out tracks, and their round trip."""
    figures: dict[str, dict[str, float]] = {}
    frames, everything = round(seconds * model.frame_rate), list[Beat]()
    for prompt, bpm in EVALUATION_PROMPTS:
        beats = []
        for seed in range(clips):
            take = model.start(prompt=prompt or None, frames=frames, sampling=model.default_sampling, seed=seed)
            while not take.done:
                take.step()
            samples = take.audio()[0].numpy()
            beats.append(beat(samples, bpm))
            if save is not None:
                write_wav(save / f"{prompt.replace(' ', '_').replace(',', '') or 'unconditional'}_{seed}.wav", samples)
        figures[prompt or "(unconditional)"] = summary(beats)
        everything += beats
    figures["all clips"] = summary(everything)
    real = list(real_clips(out, seconds))
    figures["held-out tracks"] = summary([beat(x, bpm) for _, x, bpm in real])
    coded = [(model.codec.decode(model.codec.encode(torch.from_numpy(x.copy())[None]))[0].numpy(), bpm) for _, x, bpm in real]
    figures["held-out tracks through the codec"] = summary([beat(x, bpm) for x, bpm in coded])
    sample_of = [x for x in real if x[0] not in HELD_OUT_MANNERS][: 6 * clips]
    figures["continuations of held-out tracks"] = continuations(model, sample_of, prompt_s=0.4 * seconds)
    noise = np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE)).astype(np.float32) * 0.1
    figures["white noise"] = summary([beat(noise)])
    return figures


def continuations(model: MusicGen, real: list[tuple[str, NDArray[np.float32], float]], *, prompt_s: float) -> dict[str, float]:
    """Held-out tracks cut after `prompt_s` seconds and continued: is the rest in tempo, and in phase with what the track did itself?"""
    beats, in_phase = [], []
    for seed, (_, track, bpm) in enumerate(real):
        cut = int(prompt_s * model.frame_rate) * SAMPLE_RATE // round(model.frame_rate)
        frames = (len(track) - cut) * round(model.frame_rate) // SAMPLE_RATE
        heard = torch.from_numpy(track[:cut].copy())[None]
        take = model.start(prompt="techno", frames=frames, sampling=model.default_sampling, seed=seed, prompt_audio=heard)
        while not take.done:
            take.step()
        new = take.audio()[0].numpy()
        beats.append(beat(new, bpm))
        period = 60 / bpm
        apart = abs(beat_phase_s(new, bpm) - beat_phase_s(track[cut : cut + len(new)], bpm)) % period
        in_phase.append(min(apart, period - apart) <= 0.03)
    return summary(beats) | {"in_phase": float(np.mean(in_phase))}


def write_wav(path: Path, samples: NDArray[np.float32]) -> None:
    """Mono, 16 bit, turned down where it would clip."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples / max(1.0, float(np.abs(samples).max())), SAMPLE_RATE)


def report(checkpoint: Path | None, out: Path, *, clips: int, seconds: float, save: Path | None, as_json: bool) -> None:
    """What the command prints."""
    from engine.musicgen.checkpoint import load

    model = load(checkpoint or Path(__file__).parent / "weights")
    figures = evaluate(model, out, clips=clips, seconds=seconds, save=save)
    if as_json:
        print(json.dumps(figures, indent=1))
        return
    print(f"{'':<44} clips  tempo hits  kick periodicity (median, lower quarter)")
    for name, f in figures.items():
        periodicity = f"{f['kick_periodicity_median']:>6.2f} {f['kick_periodicity_lower_quarter']:>6.2f}"
        phase = f"  {f['in_phase']:.0%} within 30 ms of the track's own beat" if "in_phase" in f else ""
        print(f"{name:<44} {f['clips']:>5.0f} {f['tempo_hits']:>10.0%}  {periodicity}{phase}")
