"""Stage `data`: renders the synthesised tracks to a folder, and reads them back. The sound itself is in synth/.

OUT/data/train/acid_00000.npy    int16 [N], memory-mapped when read
OUT/data/train/acid_00000.json   the track's facts; written last, so its presence means that the track is whole
OUT/data/held_out/…              seeds that training never sees, all manners, the held-out ones among them
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.files import write_atomically, write_json
from engine.pocket.log import FigureLog
from engine.pocket.synth import FRAME_SAMPLES, MANNERS, SAMPLE_RATE, TRAINING_MANNERS, Track, caption, render_track
from engine.training.team import Team

HELD_OUT_FIRST_SEED = 1_000_000
CODES_ONLY_FIRST_SEED = 2_000_000  # tracks of which only the codes are kept
ANY_TEMPO_FIRST_SEED = 3_000_000  # of the stage `tempo`
UNSEEN_FIRST_SEED = 4_000_000  # what that is measured on


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """A stored track: what it is, and where its samples are."""

    name: str
    manner: str
    seed: int
    step_samples: float  # a sixteenth note; whole unless the track was played at another speed than it was rendered for
    key: str  # empty where another speed has put it between two keys
    bars: int
    kick_bars: tuple[int, ...]
    kick_steps: tuple[int, ...]
    sections: tuple[tuple[int, str], ...]
    tags: tuple[str, ...]
    folder: Path
    front_samples: int = 0  # silence before the first downbeat, which takes the beat out of phase with the codec's frames

    @property
    def bpm(self) -> float:
        """Exact tempo."""
        return 15 * SAMPLE_RATE / self.step_samples

    @property
    def beat_frames(self) -> float:
        """Codec frames a beat; whole on the grid of tempi."""
        return 4 * self.step_samples / FRAME_SAMPLES

    @property
    def bar_samples(self) -> float:
        """Four beats."""
        return 16 * self.step_samples

    def downbeat_frames(self, bar: int) -> float:
        """Where a bar begins, in the codec's frames."""
        return (self.front_samples + bar * self.bar_samples) / FRAME_SAMPLES

    def samples(self) -> NDArray[np.int16]:
        """`[N]` int16, mapped from disk."""
        mapped: NDArray[np.int16] = np.load(self.folder / f"{self.name}.npy", mmap_mode="r", allow_pickle=False)
        return mapped

    def record(self) -> dict[str, object]:
        """As JSON, without the folder."""
        return {k: v for k, v in asdict(self).items() if k != "folder"}

    def crop(self, start: int, length: int) -> Tensor:
        """`[length]` float32 from sample `start`, zeros past the end."""
        x = np.zeros(length, np.float32)
        part = self.samples()[start : start + length]
        x[: len(part)] = part / np.float32(32768)
        return torch.from_numpy(x)

    def caption(self, rng: np.random.Generator, *, tempo: bool = False, grid: bool = True) -> str:
        """Words for this track, varied by `rng`; surely with its tempo if asked. `grid` as in synth/captions.py."""
        return caption(self.manner, self.bpm, self.key, self.tags, rng, tempo=tempo, grid=grid)


def facts_of(track: Track, folder: Path) -> TrackFacts:
    """The facts of a rendered track that is, or would be, stored in `folder`."""
    name = f"{track.manner}_{track.seed:07d}"
    return TrackFacts(
        name, track.manner, track.seed, track.step_samples, track.key, track.bars, track.kick_bars, track.kick_steps, track.sections,
        track.tags, folder,
    )  # fmt: skip


def store(track: Track, folder: Path, rng: np.random.Generator) -> TrackFacts:
    """Writes a rendered track; atomic, samples before facts."""
    facts = facts_of(track, folder)
    write_samples(folder / f"{facts.name}.npy", track.samples)
    record = facts.record()
    record |= {"bpm": track.bpm, "downbeats_s": track.downbeats_s, "captions": [facts.caption(rng) for _ in range(4)]}
    write_json(folder / f"{facts.name}.json", record)
    return facts


def write_samples(path: Path, samples: NDArray[np.float32]) -> None:
    """`[N]` within ±1 as int16, atomic."""
    rounded = np.round(samples * 32767).astype(np.int16)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as f:
            np.save(f, rounded, allow_pickle=False)

    write_atomically(path, write)


def read_facts(r: dict[str, Any], folder: Path) -> TrackFacts:
    """The inverse of `TrackFacts.record`."""
    return TrackFacts(
        r["name"], r["manner"], r["seed"], r["step_samples"], r["key"], r["bars"], tuple(r["kick_bars"]), tuple(r["kick_steps"]),
        tuple((b, kind) for b, kind in r["sections"]), tuple(r["tags"]), folder, r.get("front_samples", 0),
    )  # fmt: skip


def stored_tracks(folder: Path) -> list[TrackFacts]:
    """All whole tracks of a folder, by seed and manner: never in the disk's order, and any beginning has all manners."""
    return sorted(
        (read_facts(json.loads(p.read_text(encoding="utf-8")), folder) for p in folder.glob("*.json")), key=lambda t: (t.seed, t.manner)
    )


def planned(tracks: int, held_out: int) -> Iterator[tuple[str, str, int]]:
    """(split, manner, seed) for the whole data set, manners in turn, so that any beginning of it is balanced."""
    for i in range(held_out):
        for manner in MANNERS:
            yield "held_out", manner, HELD_OUT_FIRST_SEED + i
    for i in range(-(-tracks // len(TRAINING_MANNERS))):
        for manner in TRAINING_MANNERS:
            yield "train", manner, i


def build(team: Team, out: Path, *, tracks: int, held_out: int, bars: int = 16) -> None:
    """Renders what is still missing, the team taking turns. `held_out` counts tracks a manner."""
    log, seconds, rendered, skipped = FigureLog(out / "data.jsonl"), 0.0, 0, 0
    for number, (split, manner, seed) in enumerate(planned(tracks, held_out)):
        if number % team.size != team.rank:
            continue
        folder = out / "data" / split
        if (folder / f"{manner}_{seed:07d}.json").exists():
            skipped += 1
            continue
        track = render_track(manner, seed, bars=bars)
        store(track, folder, np.random.default_rng([seed, len(manner)]))
        seconds += len(track.samples) / 32_000
        rendered += 1
        if rendered % 200 == 0:
            log.write(stage="data", worker=team.rank, rendered=rendered, skipped=skipped, audio_s=round(seconds))
    log.write(stage="data", worker=team.rank, rendered=rendered, skipped=skipped, audio_s=round(seconds), done=True)
