"""What a finetune will take: ``forecast`` does one step, one validation and a bit of a clip for real, and counts. It spoils the model."""

from __future__ import annotations

import os
import resource
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from engine.finetunes.clips import Clips
from engine.musicgen.generate import MusicGen
from engine.training.finetune import PLAIN_CAPTION, Finetune
from engine.training.recipes import Recipe
from engine.training.sets import FinetuneSet

HEARD_PER_S = 20.0
"""Seconds of audio that are embedded and checked in a second, on one slow core."""
CLIP_FRAMES = 16
_BYTES_A_NUMBER = 4
_COPIES_IN_STATE = 4
"""Weights, their average, and AdamW's two moments."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """seconds, disk_bytes: at most, from the first step to the report card. memory_bytes: the most that was held so far."""

    segments: int
    held_out_segments: int
    tracks: int
    held_out_tracks: int
    steps: int
    trained_parameters: int
    seconds_a_step: float
    seconds_a_validation: float
    train_s: float
    report_s: float
    memory_bytes: int
    disk_bytes: int
    niceness: int
    threads: int
    advice: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return self.train_s + self.report_s

    def record(self) -> dict[str, Any]:
        """As JSON, with hours and GiB for a person."""
        readable = {
            "seconds": round(self.seconds, 1),
            "hours_at_most": round(self.train_s / 3600, 3),
            "peak_memory_gib": round(self.memory_bytes / 2**30, 2),
        }
        return asdict(self) | readable


def forecast(model: MusicGen, data: FinetuneSet, recipe: Recipe, clips: Clips | None, *, plain: str = PLAIN_CAPTION) -> Estimate:
    """Measure in a folder that goes away. ``clips`` None: there will be no report. Raises FinetuneError where there is too little."""
    with tempfile.TemporaryDirectory() as folder:
        run = Finetune(model, data.training, data.held_out, recipe, Path(folder), plain=plain)
        seconds = run.measure()
    held_bytes, report_s = memory_bytes(), 0.0
    if run.adapter is not None:
        run.adapter.detach()
    if clips is not None:
        heard_s = 2 * clips.number * clips.seconds + data.seconds + sum(segment.codes.shape[1] for segment in data.held_out) / 50
        report_s = 2 * clips.seconds_of(model, CLIP_FRAMES) + heard_s / HEARD_PER_S
    validations = run.steps // run.validate_every + 1 if data.held_out else 0
    trained = sum(p.numel() for p in run.parameters)
    whole = sum(p.numel() for p in model.lm.parameters()) + sum(p.numel() for p in model.codec.parameters())
    made = trained if run.adapter is not None else whole
    return Estimate(
        segments=len(data.training),
        held_out_segments=len(data.held_out),
        tracks=data.training_tracks,
        held_out_tracks=data.held_out_tracks,
        steps=run.steps,
        trained_parameters=trained,
        seconds_a_step=round(seconds.step, 3),
        seconds_a_validation=round(seconds.validation, 3),
        train_s=round(run.steps * seconds.step + validations * seconds.validation, 1),
        report_s=round(report_s, 1),
        memory_bytes=held_bytes,
        # The state and the best, each beside its successor while that is written, and what is served at the end.
        disk_bytes=_BYTES_A_NUMBER * (2 * _COPIES_IN_STATE * trained + 2 * trained + made),
        niceness=niceness(),
        threads=torch.get_num_threads(),
        advice=tuple(advice(data)),
    )


def advice(data: FinetuneSet) -> list[str]:
    """What would make the result better, in words."""
    found = []
    if data.training_tracks < 15:
        found.append(f"{data.training_tracks} tracks are few: 30 or more in one manner give the model something to learn.")
    if data.held_out and data.held_out_tracks < 5:
        few = "Only one track is" if data.held_out_tracks == 1 else f"Only {data.held_out_tracks} tracks are"
        found.append(f"{few} held out: what is measured there is uncertain.")
    if data.seconds < 1200:
        found.append("Less than 20 minutes of music to learn from: more tracks, or longer excerpts of them, help.")
    return found


def memory_bytes() -> int:
    """The most that this process has held: of the GPU's memory where it trains there, else of the machine's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def niceness() -> int:
    """Of this process: 0 is as urgent as serving, 19 waits for everybody."""
    return os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0
