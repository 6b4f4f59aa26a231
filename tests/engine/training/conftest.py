"""Segments that can be learned: each has its own few codes, which come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.musicgen import checkpoint
from engine.musicgen.generate import MusicGen
from engine.training.segments import Segment


@pytest.fixture
def model(tiny_checkpoint: Path) -> MusicGen:
    return checkpoint.load(tiny_checkpoint)


@pytest.fixture
def segments(model: MusicGen) -> Callable[..., list[Segment]]:
    """``segments(count, frames=…, seed=…)``: each repeats a bar of four frames, drawn from eight codes."""

    def make(count: int, *, frames: int = 12, seed: int = 0, caption: str = "Alice_hash, techno") -> list[Segment]:
        generator = torch.Generator().manual_seed(seed)
        K = model.lm.config.num_codebooks
        bars = [torch.randint(0, 8, (K, 4), generator=generator) for _ in range(count)]
        return [Segment(f"s{seed}-{i}", f"t{i}", bar.repeat(1, frames)[:, :frames], caption) for i, bar in enumerate(bars)]

    return make
