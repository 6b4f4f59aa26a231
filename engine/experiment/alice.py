"""Alice: tracks in a manner that the embedded model has never heard, and the datasets that each recipe begins from.

alice   what is learned: `crate prepare` with the preset bars, and with alice-2023
unseen  further tracks of hers that nobody trains on, stops by or chooses by: what everything is measured against
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine.crate import importing, manifest, preparing
from engine.crate.codes import Target
from engine.crate.store import Crates
from engine.experiment.plan import Place, Plan
from engine.files import write_atomically

WINDOW_OF_SEGMENTS_2023 = 3
"""A window is so many segments long, as musicgen's 30 s are of 10 s: the rest is silence, which was trained on."""
_FIRST_SEED, _SEEDS_A_CRATE = 3_010_000, 10_000
DATASETS: dict[str, tuple[str, manifest.Preset]] = {
    "bars": ("alice", "bars"),
    "alice-2023": ("alice", "alice-2023"),
    "unseen": ("unseen", "bars"),
}
"""By name: of which tracks, cut how."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """One track: a job."""

    path: Path
    manner: str
    seed: int
    bars: int

    @property
    def done(self) -> bool:
        return self.path.is_file()

    @property
    def share(self) -> float:
        return float(self.done)

    def run(self) -> None:
        from engine.pocket.synth import SAMPLE_RATE, render_track

        track = render_track(self.manner, self.seed, bars=self.bars)
        write_atomically(self.path, lambda path: soundfile.write(path, track.samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16"))


def renderings(plan: Plan, place: Place) -> list[Rendering]:
    """All her tracks, those to learn first."""
    seeds = _FIRST_SEED + plan.crate * _SEEDS_A_CRATE + np.arange(plan.tracks + plan.unseen)
    names = ["alice"] * plan.tracks + ["unseen"] * plan.unseen
    return [
        Rendering(place.music(name) / f"Alice - Track {number:03d}.flac", plan.manner, int(seed), plan.bars)
        for number, (name, seed) in enumerate(zip(names, seeds, strict=True))
    ]


def prepare(plan: Plan, place: Place, target: Target, *, processes: int, tell: Callable[[str, int, int], None]) -> None:
    """The three datasets, by the crate's own importing and preparing. What is there is not made again. Raises EngineError."""
    crates = Crates(place.data)
    for name in ("alice", "unseen"):
        wanted = [(one, preset) for one, (of, preset) in _datasets(plan).items() if of == name and not _is_there(place, one)]
        if not wanted:
            continue
        importing.import_into(crates, name, place.music(name), importing.Wanted(), copy=False, processes=processes, tell=tell)
        for dataset, preset in wanted:
            old_s = target.window_frames // WINDOW_OF_SEGMENTS_2023 * target.hop_samples / target.sample_rate
            segment_s = old_s if preset == "alice-2023" else None
            options = preparing.Options(plan.token, preset, segment_s=segment_s)
            found = crates.read(name).tracks
            preparing.prepare(found, place.data, place.dataset(dataset), target, options, device="cpu", processes=processes, tell=tell)


def _datasets(plan: Plan) -> dict[str, tuple[str, manifest.Preset]]:
    """Without the old recipe, its dataset isn't needed."""
    return {name: found for name, found in DATASETS.items() if name != "alice-2023" or name in plan.recipes}


def _is_there(place: Place, dataset: str) -> bool:
    return (place.dataset(dataset) / manifest.FILE).is_file()


def first_codebooks(plan: Plan, place: Place, tracks: str) -> list[NDArray[Any]]:
    """The first codebook ``[T]`` of each segment of 'alice' or 'unseen', however it was cut."""
    found = []
    for dataset, (of, _preset) in _datasets(plan).items():
        folder = place.dataset(dataset)
        found += [np.load(folder / line.codes, allow_pickle=False)[0] for line in (manifest.read(folder) if of == tracks else ())]
    return found


def middle_segments(place: Place) -> list[manifest.Segment]:
    """One segment of each unseen track, from its middle: what loss is measured on."""
    by_track: dict[str, list[manifest.Segment]] = {}
    for line in manifest.read(place.dataset("unseen")):
        by_track.setdefault(line.track, []).append(line)
    return [lines[len(lines) // 2] for lines in by_track.values()]
