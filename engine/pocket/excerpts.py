"""What clips are measured beside: excerpts of synthesised tracks with their exact grid, other people's music, and sound that is none."""

from __future__ import annotations

import copy
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from engine.musicgen.generate import MusicGen
from engine.pocket.data import TrackFacts, facts_of, stored_tracks
from engine.pocket.rhythm import SAMPLE_RATE, Sound
from engine.pocket.synth import effects, render_track

MUSIC_PACKAGE = "immich-memories-music"  # MIT; 28 generated pieces with their tempi, for comparison where it is installed


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """Seconds of a synthesised track, starting on a downbeat."""

    track: TrackFacts
    sound: Sound
    first_bar: int
    speed: Fraction = Fraction(1)

    @property
    def manner(self) -> str:
        return self.track.manner

    @property
    def bpm(self) -> float:
        """Exact."""
        return self.track.bpm * float(self.speed)


def tracks_of(out: Path, split: str, manners: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[TrackFacts, Sound]]:
    """Seeds in turn, each with all manners: from OUT/data/SPLIT where they are stored, else rendered now, which gives the same sound."""
    stored = {t.name: t for t in stored_tracks(out / "data" / split)}
    for seed in seeds:
        for manner in manners:
            track = stored.get(f"{manner}_{seed:07d}")
            if track is not None:
                yield track, (track.samples() / np.float32(32768)).astype(np.float32)
            else:
                rendered = render_track(manner, seed)
                yield facts_of(rendered, out), rendered.samples


def excerpts(out: Path, split: str, manners: Sequence[str], seeds: Sequence[int], *, seconds: float, kick: bool = False) -> list[Excerpt]:
    """One excerpt a manner and seed: from the fifth bar on, past a short intro. With `kick`, from the first of three bars with a kick."""
    found = []
    for track, samples in tracks_of(out, split, manners, seeds):
        bar = 4
        if kick:
            bar = next((b for b in track.kick_bars if {b + 1, b + 2} <= set(track.kick_bars)), 0)
        start = round(bar * track.bar_samples)
        sound = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
        part = samples[start : start + len(sound)]
        sound[: len(part)] = part
        found.append(Excerpt(track, sound, bar))
    return found


def played_at(excerpt: Excerpt, speed: Fraction) -> Excerpt:
    """As from a turntable: tempo and pitch times `speed`, as long as before, with silence where the excerpt is over."""
    if speed == 1:
        return excerpt
    sound = np.zeros_like(excerpt.sound)
    faster = effects.played_at(excerpt.sound, speed)[: len(sound)]
    sound[: len(faster)] = faster
    return replace(excerpt, sound=sound, speed=speed)


def other_music(seconds: float) -> list[tuple[float, Sound]]:
    """(tempo, samples) of electronic pieces between 110 and 160 BPM from the package above; none where it isn't installed."""
    from engine.music.audio import decode, resample

    try:
        files = importlib.metadata.files(MUSIC_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    licence = next((f.read_text() for f in files if f.name == "LICENSE-MUSIC"), "")
    tempi = {name: float(bpm) for name, bpm in re.findall(r"(\w+\.opus)\s+(\d+) bpm", licence)}
    found = []
    for file in files:
        bpm = tempi.get(file.name, 0.0)
        if "electronic" in file.name and 110 <= bpm <= 160:
            data = Path(str(file.locate())).read_bytes()
            for start in (5.0, 5.0 + seconds):
                found.append((bpm, resample(decode(data, start_s=start, duration_s=seconds), SAMPLE_RATE, 1).samples[0]))
    return found


def noise(count: int, seconds: float) -> list[Sound]:
    """White noise at −20 dB."""
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32) for _ in range(count)]


@torch.inference_mode()
def through_codec(model: MusicGen, sounds: Sequence[Sound], *, shuffled: bool = False) -> list[Sound]:
    """Each sound encoded and decoded; `shuffled`: with its frames in random order in between."""
    generator, found = torch.Generator().manual_seed(0), []
    for sound in sounds:
        codes = model.codec.encode(torch.from_numpy(sound.copy())[None])  # (K, T)
        if shuffled:
            codes = codes[:, torch.randperm(codes.shape[1], generator=generator)]
        found.append(model.codec.decode(codes)[0].numpy())
    return found


@torch.no_grad()
def untrained(model: MusicGen) -> MusicGen:
    """The same networks, but for a language model whose matrices are drawn anew: what all that training was for."""
    lm = copy.deepcopy(model.lm)
    generator = torch.Generator().manual_seed(0)
    for p in lm.parameters():
        if p.dim() >= 2:
            p.normal_(0, p.shape[-1] ** -0.5, generator=generator)
    return MusicGen(lm, model.codec, model.conditioner, model.window_frames, model.config, model.default_sampling)
