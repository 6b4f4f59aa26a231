"""The language model's data: codes of every track, and segments of them with captions. What learns from it is in lm_training.py.

OUT/codes/train_000000.safetensors   codes of the tracks of the stage `data`, a hundred a file
OUT/codes/more_000000.safetensors    of further, shorter tracks, with their facts: rendered, encoded and forgotten
OUT/codes/any_000000.safetensors     of such in any tempo, for the stage `tempo`; unseen_000000: those that it is measured on
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.files import write_atomically
from engine.pocket.codec import PocketCodec
from engine.pocket.codec_training import load_trained as load_codec
from engine.pocket.data import (
    ANY_TEMPO_FIRST_SEED,
    CODES_ONLY_FIRST_SEED,
    UNSEEN_FIRST_SEED,
    TrackFacts,
    facts_of,
    read_facts,
    stored_tracks,
)
from engine.pocket.lm import tokenise
from engine.pocket.synth import FRAME_SAMPLES, MANNERS, TRAINING_MANNERS, effects, render_track
from engine.training.team import Team

# Segments up to this long are drills for the tempo: their captions name it, and nothing but the caption says when the second kick comes.
# In a long segment that one moment is drowned by frames that are copied from the bar before.
DRILL_FRAMES = 64
SHARD = 100  # tracks a file of codes


@torch.no_grad()
def encode_tracks(team: Team, out: Path) -> None:
    """Writes the codes of every track to OUT/codes, in shards, the team taking turns; what is there is left alone."""
    codec = frozen_codec(out)
    shards = []
    for split in ("held_out", "train"):
        tracks = stored_tracks(out / "data" / split)
        shards += [(out / "codes" / f"{split}_{i:06d}.safetensors", tracks[i : i + SHARD]) for i in range(0, len(tracks), SHARD)]
    for number, (path, tracks) in enumerate(shards):
        if path.exists() or number % team.size != team.rank:
            continue
        codes = {}
        for track in tracks:
            audio = torch.from_numpy(track.samples() / np.float32(32768))
            codes[track.name] = codec.to_codes(audio[None])[0].to(torch.int16)

        def write(p: Path, codes: dict[str, Tensor] = codes) -> None:
            save_file(codes, p)

        write_atomically(path, write)


# What a kind of further track is made by: its number and length in bars → facts and samples of one or several tracks.
Maker = Callable[[int, int, Path], Iterator[tuple[TrackFacts, NDArray[np.float32]]]]


def _on_the_grid(number: int, bars: int, folder: Path) -> Iterator[tuple[TrackFacts, NDArray[np.float32]]]:
    track = render_track(TRAINING_MANNERS[number % len(TRAINING_MANNERS)], CODES_ONLY_FIRST_SEED + number, bars=bars)
    yield facts_of(track, folder), track.samples


def _in_any_tempo(first_seed: int, number: int, bars: int, folder: Path) -> Iterator[tuple[TrackFacts, NDArray[np.float32]]]:
    """A track at a tempo of DJs (a whole number, mostly) or any other, and the same twice more as from a turntable, up to 4 % slower or
    faster; those begin anywhere in a frame, as an upload does that is cut anywhere."""
    manner, rng = MANNERS[TRAINING_MANNERS[number % len(TRAINING_MANNERS)]], np.random.default_rng([first_seed, number])
    slowest, fastest = manner.tempi
    bpm = float(rng.integers(slowest, fastest + 1)) if rng.random() < 0.6 else float(rng.uniform(slowest, fastest))
    track = render_track(manner.name, first_seed + number, bars=bars, bpm=bpm)
    facts = facts_of(track, folder)
    yield facts, track.samples
    for again in (1, 2):
        pitch = int(rng.integers(307, 334)) if rng.random() < 0.85 else 320
        front, speed = int(rng.integers(0, FRAME_SAMPLES)), Fraction(pitch, 320)
        samples = np.concatenate([np.zeros(front, np.float32), effects.played_at(track.samples, speed)])
        key = facts.key if abs(pitch - 320) <= 3 else ""  # 16 cents
        name, step_samples = f"{facts.name}_{again}", facts.step_samples / float(speed)
        yield replace(facts, name=name, step_samples=step_samples, key=key, front_samples=front), samples


MAKERS: dict[str, Maker] = {
    "more": _on_the_grid,
    "any": partial(_in_any_tempo, ANY_TEMPO_FIRST_SEED),
    "unseen": partial(_in_any_tempo, UNSEEN_FIRST_SEED),
}


@torch.no_grad()
def encode_further(team: Team, out: Path, codec: PocketCodec, kind: str, span: range, *, bars: int = 8) -> None:
    """Renders and encodes the further short tracks of a kind (`MAKERS`) numbered in `span`, in shards with their facts, the team taking
    turns; then all wait for each other. Their samples are not kept (6 kB of codes a track).

    The language model needs many more tracks than the codec: with 1,400 it knew each by its kick after three passes, read the tempo from
    that, and had no need of the prompt.
    """
    for number, start in enumerate(span[::SHARD]):
        path = shard(out, kind, start)
        if path.exists() or number % team.size != team.rank:
            continue
        codes, facts = {}, []
        for i in range(start, min(start + SHARD, span.stop)):
            for fact, samples in MAKERS[kind](i, bars, path.parent):
                codes[fact.name] = codec.to_codes(torch.from_numpy(samples)[None])[0].to(torch.int16)
                facts.append(fact.record())

        def write(p: Path, codes: dict[str, Tensor] = codes, facts: list[dict[str, object]] = facts) -> None:
            save_file(codes, p, {"facts": json.dumps(facts)})

        write_atomically(path, write)
    team.wait()


def shard(out: Path, kind: str, start: int) -> Path:
    """Where the codes of the further tracks of a kind from `start` on are."""
    return out / "codes" / f"{kind}_{start:06d}.safetensors"


def read_further(out: Path, kind: str, span: range) -> tuple[list[TrackFacts], dict[str, Tensor]]:
    """The further tracks that `encode_further` made for this very span, and their codes."""
    tracks: list[TrackFacts] = []
    codes: dict[str, Tensor] = {}
    for start in span[::SHARD]:
        with safe_open(shard(out, kind, start), "pt") as f:
            tracks += [read_facts(r, out / "codes") for r in json.loads(f.metadata()["facts"])]
            codes |= {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - not a dict
    return tracks, codes


def read_codes(out: Path, split: str) -> dict[str, Tensor]:
    """Name → codes [K, T] int16 of a split."""
    codes: dict[str, Tensor] = {}
    for path in sorted((out / "codes").glob(f"{split}_*.safetensors")):
        with safe_open(path, "pt") as f:
            codes |= {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - not a dict
    return codes


def frozen_codec(out: Path) -> PocketCodec:
    """The trained codec as it will ship, in half precision's rounding. Raises RuntimeError while its codes still change."""
    codec, frozen = load_codec(out)
    if not frozen:
        raise RuntimeError("the codec's codes are not frozen yet: let the stage `codec` pass its joint steps first")
    return codec.half().float()


# --------------------------------------------------------------------------------------------------------------------- segments
class Batch(NamedTuple):
    """What a step learns from."""

    codes: Tensor  # [B, K, T]
    ids: Tensor  # [B, L]
    mask: Tensor  # [B, L]
    has_text: Tensor  # [B] bool
    beats: Tensor  # [B, T] float: frames from here to the next beat that is in none of this frame, 1 … beat_frames + 1


@dataclass(slots=True)
class Crate:
    """Tracks with their codes and captions, from which segments are drawn."""

    tracks: list[TrackFacts]
    codes: dict[str, Tensor]
    tokenizer: Any
    grid: bool = True  # how captions call tempi: see synth/captions.py

    def batch(self, rng: np.random.Generator, frames: int, size: int, null_share: float) -> Batch:
        """Segments of `size` tracks with a caption each."""
        segments, captions, has_text, beats = [], [], [], []
        for _ in range(size):
            track = self.tracks[int(rng.integers(len(self.tracks)))]
            whole = self.codes[track.name]
            start = segment_start(track, whole.shape[1], frames, rng)
            segments.append(whole[:, start : start + frames].long())
            beats.append(until_beat(track, start, frames))
            captions.append(track.caption(rng, tempo=frames <= DRILL_FRAMES, grid=self.grid))
            has_text.append(rng.random() >= null_share)
        ids, mask = tokenise(self.tokenizer, captions)
        return Batch(torch.stack(segments), ids, mask, torch.tensor(has_text), torch.stack(beats))

    def add(self, tracks: list[TrackFacts], codes: dict[str, Tensor]) -> None:
        """More to draw from."""
        self.tracks += tracks
        self.codes |= codes


def open_crate(out: Path, split: str, tokenizer: Any) -> Crate:
    """The tracks of a split that have been encoded, of the manners that are trained."""
    codes = read_codes(out, split)
    tracks = [t for t in stored_tracks(out / "data" / split) if t.name in codes and t.manner in TRAINING_MANNERS]
    if not tracks:
        raise FileNotFoundError(f"no codes under {out / 'codes'}: encode_tracks comes first")
    return Crate(tracks, codes, tokenizer)


def until_beat(track: TrackFacts, start: int, frames: int) -> Tensor:
    """For each of `frames` frames from `start` on, how far its beginning is from the next beat after it, in frames: [frames]."""
    at = torch.arange(start, start + frames, dtype=torch.float64) - track.downbeat_frames(0)
    return (((at + 1) / track.beat_frames).ceil() * track.beat_frames - at).float()


def segment_start(track: TrackFacts, total: int, frames: int, rng: np.random.Generator) -> int:
    """Four of five segments start with a downbeat in their first frame, mostly with a kick, as a new clip should; the rest anywhere, as
    continuations do. Drills always start on a kick."""
    last = total - frames
    assert last >= 0, "a segment is longer than its track"
    draw = rng.random() if frames > DRILL_FRAMES else 0.0
    if draw < 0.8:
        starts = [int(track.downbeat_frames(b)) for b in (track.kick_bars if draw < 0.7 else range(track.bars))]
        starts = [start for start in starts if start <= last]
        if starts:
            return starts[int(rng.integers(len(starts)))]
    return int(rng.integers(0, last + 1))
