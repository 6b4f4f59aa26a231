"""Figures of clips: is there a beat, and is it the one that was asked for? `python -m engine.pocket evaluate` prints them beside those of
held-out synthesised tracks, as rendered and after a round trip through the codec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.musicgen.generate import MusicGen
from engine.musicgen.sampling import SamplingOptions, sample
from engine.pocket.data import HELD_OUT_FIRST_SEED, stored_tracks
from engine.pocket.lm import PocketLM, tokenise
from engine.pocket.synth import HELD_OUT_MANNERS, MANNERS, render_track

SAMPLE_RATE = 32_000
HOP = 160  # 5 ms
# What training listens to now and then: a prompt, and the tempo that it names (None: whatever).
PROBES: tuple[tuple[str, float | None], ...] = (
    ("acid techno, 130 bpm", 130), ("minimal techno, 125 bpm, cold", 125), ("hard techno at 150 bpm", 150), ("dub techno, 115 bpm", 115),
    ("melodic techno, 120 bpm, A minor", 120), ("hypnotic techno, 136 bpm", 136), ("techno, 143 bpm", 143), ("techno, 120 bpm", 120),
)  # fmt: skip
# What `evaluate` asks for: every manner at two of its tempi, the bare word, and nothing.
EVALUATION_PROMPTS: tuple[tuple[str, float | None], ...] = (
    ("acid techno, 130 bpm", 130), ("acid techno, 136 bpm, dark", 136), ("minimal techno, 125 bpm", 125), ("minimal techno, 130 bpm", 130),
    ("hard techno at 150 bpm", 150), ("hard techno, 143 bpm", 143), ("dub techno, 120 bpm", 120), ("dub techno, 125 bpm, deep", 125),
    ("detroit techno, 130 bpm", 130), ("detroit techno at 125 bpm", 125), ("melodic techno, 125 bpm, A minor", 125),
    ("melodic techno, 120 bpm", 120), ("techno, 128 bpm", 128), ("techno", None), ("", None),
)  # fmt: skip
DEFAULT_SAMPLING = SamplingOptions(temperature=0.6, top_k=64, guidance_scale=2.5)


@dataclass(frozen=True, slots=True)
class Beat:
    """What the low end of a clip does."""

    bpm: float  # the strongest period between 100 and 165
    periodicity: float  # autocorrelation of the low-band onsets at that period, 1 = every beat the same
    hit: bool  # within 2 % of the tempo asked for (True if none was)


def onsets(x: NDArray[np.float32], *, low_hz: float = 0.0, high_hz: float = 150.0) -> NDArray[np.float64]:
    """Rises of log-magnitude in a band, summed, one value every 5 ms, zero mean."""
    n_fft = 1024
    padded = np.pad(x.astype(np.float64), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::HOP] * np.hanning(n_fft)
    f = np.arange(n_fft // 2 + 1) * SAMPLE_RATE / n_fft
    band = np.log1p(50 * np.abs(np.fft.rfft(frames)[:, (f >= low_hz) & (f < high_hz)]) / 32)
    rise = np.maximum(0, band[2:] - band[:-2]).sum(1)
    return rise - rise.mean()


def beat(x: NDArray[np.float32], asked_bpm: float | None = None) -> Beat:
    """Tempo and steadiness of a mono clip at 32 kHz. Octaves count apart: 65 for 130 is a miss."""
    o = onsets(x)
    spectrum = np.abs(np.fft.rfft(o, 2 * len(o))) ** 2
    ac = np.fft.irfft(spectrum)[: len(o)]
    if ac[0] <= 1e-9:
        return Beat(0.0, 0.0, False)
    ac = ac / ac[0] * len(o) / np.maximum(1, len(o) - np.arange(len(o)))  # unbiased: later lags have fewer pairs
    tempi = np.arange(100, 165, 0.25)
    lags = 60 / tempi * SAMPLE_RATE / HOP
    at = np.interp(lags, np.arange(len(ac)), ac)
    twice = np.interp(2 * lags, np.arange(len(ac)), ac)
    i = int(np.argmax(at + 0.5 * twice))
    bpm = float(tempi[i])
    return Beat(bpm, float(at[i]), asked_bpm is None or abs(bpm / asked_bpm - 1) <= 0.02)


@torch.no_grad()
def sample_codes(
    model: PocketLM, tokenizer: Any, prompts: list[str], *, frames: int, seed: int, sampling: SamplingOptions = DEFAULT_SAMPLING
) -> Tensor:
    """Many clips at once, for measuring: codes [B, K, frames]. The engine's own generation, one take at a time, is engine/musicgen."""
    B, K, pad = len(prompts), model.sizes.num_codebooks, model.sizes.card
    ids, mask = tokenise(tokenizer, prompts)
    states = model.text_states(ids, mask)
    has = torch.tensor([bool(p.strip()) for p in prompts])
    rows, masks = torch.cat([states, torch.zeros_like(states)]), torch.cat([mask * has[:, None], torch.zeros_like(mask)])
    state = model.lm.begin(rows, masks, capacity=frames + K)
    generator = torch.Generator().manual_seed(seed)
    codes = torch.full((B, K, frames), pad)
    current = torch.full((B, K), pad)
    for s in range(frames + K - 1):
        doubled = current.repeat(2, 1)
        logits = model.lm.decode_one(doubled, state)  # (2B, K, card)
        text, null = logits.chunk(2)
        drawn = sample(null + (text - null) * sampling.guidance_scale, sampling, generator)
        for k in range(K):
            inside = k <= s < frames + k
            current[:, k] = drawn[:, k] if inside else pad
            if inside:
                codes[:, k, s - k] = drawn[:, k]
    return codes


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


def beat_phase_s(x: NDArray[np.float32], bpm: float) -> float:
    """Where in the beat the low end rises most, counted from the first sample: 0 … 60 / bpm."""
    o, period, bins = onsets(x), 60 / bpm, 200
    at = (np.arange(len(o)) * HOP / SAMPLE_RATE % period / period * bins).astype(int)
    folded = np.bincount(at, o, bins) / np.maximum(1, np.bincount(at, minlength=bins))
    smooth = np.convolve(np.tile(folded, 3), np.ones(7) / 7, "same")[bins : 2 * bins]
    return float(np.argmax(smooth) / bins * period)


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
