"""Clips of a checkpoint for measuring, eight at a time: the engine's own takes, so that each is what a person with its seed would hear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.music.audio import Audio
from engine.musicgen.generate import MusicGen, SamplingOptions

AT_ONCE = 8
"""Takes side by side: the kernel's best on a CPU, and 16 rows of caches."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """codes: ``[K, T]`` as the model made them."""

    prompt: str | None
    seed: int
    codes: NDArray[np.int16]
    audio: Audio


def make(
    model: MusicGen, prompts: Sequence[str | None], seeds: Sequence[int], frames: int, *, sampling: SamplingOptions | None = None,
    done: Callable[[int], None] = lambda _count: None,
) -> Iterator[Clip]:  # fmt: skip
    """One clip for each prompt and seed, in order, by default with the checkpoint's own sampling.

    ``done`` hears after each eight how many there are.

    A clip depends on its prompt and seed alone, not on its company. Raises ValueError where ``frames`` can't be.
    """
    assert len(prompts) == len(seeds)
    for first in range(0, len(seeds), AT_ONCE):
        some = list(zip(prompts, seeds, strict=True))[first : first + AT_ONCE]
        takes = [model.start(prompt=prompt, frames=frames, sampling=sampling or model.default_sampling, seed=seed) for prompt, seed in some]
        while running := [take for take in takes if not take.done]:
            model.advance(running)
        for (prompt, seed), take in zip(some, takes, strict=True):
            samples = np.asarray(take.audio(), dtype=np.float32)  # (C, N)
            yield Clip(prompt, seed, take.codes().numpy().astype(np.int16), Audio(samples, model.sample_rate))
        done(first + len(some))
