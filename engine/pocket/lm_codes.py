"""The language model's data: codes of every track, and segments of them with captions. What learns from it is in lm_training.py.

OUT/codes/train_000000.safetensors   codes of the tracks of the stage `data`, a hundred a file
OUT/codes/more_000000.safetensors    of further, shorter tracks, with their facts: rendered, encoded and forgotten
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.files import write_atomically
from engine.pocket.codec import PocketCodec
from engine.pocket.codec_training import load_trained as load_codec
from engine.pocket.data import CODES_ONLY_FIRST_SEED, TrackFacts, facts_of, read_facts, stored_tracks
from engine.pocket.lm import tokenise
from engine.pocket.synth import TRAINING_MANNERS, render_track
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


@torch.no_grad()
def encode_more(team: Team, out: Path, codec: PocketCodec, span: range, *, bars: int = 8) -> None:
    """Renders and encodes the further short tracks numbered in `span`, in shards with their facts, the team taking turns; then all wait
    for each other. Their samples are not kept (6 kB of codes a track).

    The language model needs many more tracks than the codec: with 1,400 it knew each by its kick after three passes, read the tempo from
    that, and had no need of the prompt.
    """
    for number, start in enumerate(span[::SHARD]):
        path = more_shard(out, start)
        if path.exists() or number % team.size != team.rank:
            continue
        codes, facts = {}, []
        for i in range(start, min(start + SHARD, span.stop)):
            track = render_track(TRAINING_MANNERS[i % len(TRAINING_MANNERS)], CODES_ONLY_FIRST_SEED + i, bars=bars)
            fact = facts_of(track, path.parent)
            codes[fact.name] = codec.to_codes(torch.from_numpy(track.samples)[None])[0].to(torch.int16)
            facts.append(fact.record())

        def write(p: Path, codes: dict[str, Tensor] = codes, facts: list[dict[str, object]] = facts) -> None:
            save_file(codes, p, {"facts": json.dumps(facts)})

        write_atomically(path, write)
    team.wait()


def more_shard(out: Path, start: int) -> Path:
    """Where the codes of the further tracks from `start` on are."""
    return out / "codes" / f"more_{start:06d}.safetensors"


def read_more(out: Path, span: range) -> tuple[list[TrackFacts], dict[str, Tensor]]:
    """The further tracks that `encode_more` made for this very span, and their codes."""
    tracks: list[TrackFacts] = []
    codes: dict[str, Tensor] = {}
    for start in span[::SHARD]:
        with safe_open(more_shard(out, start), "pt") as f:
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
    beats: Tensor  # [B, T]: frames from here to the next beat, 1 … beat_frames


@dataclass(slots=True)
class Crate:
    """Tracks with their codes and captions, from which segments are drawn."""

    tracks: list[TrackFacts]
    codes: dict[str, Tensor]
    tokenizer: Any

    def batch(self, rng: np.random.Generator, frames: int, size: int, null_share: float) -> Batch:
        """Segments of `size` tracks with a caption each."""
        segments, captions, has_text, beats = [], [], [], []
        for _ in range(size):
            track = self.tracks[int(rng.integers(len(self.tracks)))]
            whole = self.codes[track.name]
            start = segment_start(track, whole.shape[1], frames, rng)
            segments.append(whole[:, start : start + frames].long())
            beats.append(track.beat_frames - (start + torch.arange(frames)) % track.beat_frames)
            captions.append(track.caption(rng, tempo=frames <= DRILL_FRAMES))
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


def segment_start(track: TrackFacts, total: int, frames: int, rng: np.random.Generator) -> int:
    """Four of five segments start on a downbeat, mostly with a kick, as a new clip should; the rest anywhere, as continuations do.
    Drills always start on a kick."""
    bar, last = 4 * track.beat_frames, total - frames
    assert last >= 0, "a segment is longer than its track"
    draw = rng.random() if frames > DRILL_FRAMES else 0.0
    if draw < 0.8:
        bars = [b for b in (track.kick_bars if draw < 0.7 else range(track.bars)) if b * bar <= last]
        if bars:
            return bar * bars[int(rng.integers(len(bars)))]
    return int(rng.integers(0, last + 1))
