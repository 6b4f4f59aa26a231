"""Clips of the base and of the finetune, for the report card: the same prompt and seeds, several side by side, kept as they are made.

::

    FOLDER/clips-0123abcd/before-000.flac …    of the base         16-bit, at the loudness of every clip that is delivered
                          after-000.flac …     of the finetune     what is there is not made again
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from engine.crate.disk import digest
from engine.evaluation.clips import AT_ONCE
from engine.evaluation.clips import make as make_clips
from engine.files import write_atomically
from engine.models import precision_for
from engine.music.audio import Audio
from engine.music.loudness import normalise
from engine.musicgen.generate import MusicGen

Side = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Clips:
    """``number`` clips of ``seconds``. Clip i is of ``seed`` + i. precision: of ENGINE_PRECISION's kinds."""

    prompt: str
    number: int
    seconds: float
    seed: int
    precision: str = "auto"

    def path(self, folder: Path, side: Side, index: int) -> Path:
        """Other prompts, lengths or seeds lie elsewhere."""
        return folder / f"clips-{digest([self.prompt, self.seconds, self.seed, self.precision], 8)}" / f"{side}-{index:03}.flac"

    def make(self, model: MusicGen, folder: Path, side: Side, tell: Callable[[int], None] = lambda done: None) -> list[Path]:
        """Those that are not there yet; ``tell`` hears how many are there. All of them, in order."""
        paths = [self.path(folder, side, index) for index in range(self.number)]
        missing = [index for index, path in enumerate(paths) if not path.is_file()]
        if missing:
            self.prepare(model)
        frames = math.ceil(self.seconds * model.frame_rate)
        made = make_clips(model, [self.prompt] * len(missing), [self.seed + index for index in missing], frames)
        for done, (index, clip) in enumerate(zip(missing, made, strict=True), self.number - len(missing) + 1):
            _write(paths[index], clip.audio, self.seconds)
            tell(done)
        return paths

    def prepare(self, model: MusicGen) -> None:
        """As the engine serves it, its weights as they are now."""
        precision, _why = precision_for(self.precision, model.device.type, model.parameters)
        model.prepare(precision, rows=2 * AT_ONCE)

    def seconds_of(self, model: MusicGen, frames: int) -> float:
        """What one side takes, by timing the first ``frames`` of some clips."""
        self.prepare(model)
        company = min(AT_ONCE, self.number)
        prompts, seeds = [self.prompt] * company, list(range(company))
        list(make_clips(model, prompts, seeds, 1))  # the first step warms up
        began = time.monotonic()
        list(make_clips(model, prompts, seeds, frames))
        return (time.monotonic() - began) / frames * self.seconds * model.frame_rate * -(-self.number // AT_ONCE)


def read(path: Path) -> Audio:
    """One of the clips."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)  # [N, C]
    return Audio(np.ascontiguousarray(samples.T), int(rate))


def _write(path: Path, audio: Audio, seconds: float) -> None:
    """The last frame may reach past the end."""
    cut = np.ascontiguousarray(audio.samples[:, : round(seconds * audio.sample_rate)])  # [C, N]
    whole = normalise(Audio(cut, audio.sample_rate))
    write_atomically(path, lambda file: soundfile.write(file, whole.samples.T, whole.sample_rate, format="FLAC", subtype="PCM_16"))
