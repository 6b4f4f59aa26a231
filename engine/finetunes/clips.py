"""Clips of the base and of the finetune, for the report card: the same prompt and seeds, several side by side, kept as they are made.

::

    FOLDER/before-000.flac …    of the base         16-bit, at the loudness of every clip that is delivered
    FOLDER/after-000.flac …     of the finetune     what is there is not made again
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from engine.files import write_atomically
from engine.models import precision_for
from engine.music.audio import Audio
from engine.music.loudness import normalise
from engine.musicgen.generate import MusicGen, TakeDecoder

TOGETHER = 8
"""Clips that are decoded side by side."""
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
        return folder / f"{side}-{index:03}.flac"

    def make(self, model: MusicGen, folder: Path, side: Side, tell: Callable[[int], None] = lambda done: None) -> list[Path]:
        """Those that are not there yet, a company at a time; ``tell`` hears after each how many are there. All of them, in order."""
        paths = [self.path(folder, side, index) for index in range(self.number)]
        missing = [index for index, path in enumerate(paths) if not path.is_file()]
        if missing:
            self.prepare(model)
        for first in range(0, len(missing), TOGETHER):
            company = missing[first : first + TOGETHER]
            takes = self.start(model, company)
            while waiting := [take for take in takes if not take.done]:
                model.advance(waiting)
            for index, take in zip(company, takes, strict=True):
                _write(paths[index], take.audio().float().cpu().numpy(), model.sample_rate, self.seconds)
            tell(self.number - len(missing) + first + len(company))
        return paths

    def prepare(self, model: MusicGen) -> None:
        """As the engine serves it, its weights as they are now."""
        precision, _why = precision_for(self.precision, model.device.type, model.parameters)
        model.prepare(precision, rows=2 * TOGETHER)

    def start(self, model: MusicGen, company: list[int], *, frames: int | None = None) -> list[TakeDecoder]:
        """Decoders of some of the clips, by number. ``frames``: fewer than the whole."""
        length = frames or math.ceil(self.seconds * model.frame_rate)
        return [
            model.start(prompt=self.prompt, frames=length, sampling=model.default_sampling, seed=self.seed + index) for index in company
        ]


def read(path: Path) -> Audio:
    """One of the clips."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)  # [N, C]
    return Audio(np.ascontiguousarray(samples.T), int(rate))


def _write(path: Path, samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]], sample_rate: int, seconds: float) -> None:
    """``samples`` [C, N]: the last frame may reach past the end."""
    audio = normalise(Audio(np.ascontiguousarray(samples[:, : round(seconds * sample_rate)]), sample_rate))
    write_atomically(path, lambda file: soundfile.write(file, audio.samples.T, sample_rate, format="FLAC", subtype="PCM_16"))
