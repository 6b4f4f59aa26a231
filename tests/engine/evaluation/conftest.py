"""The default embedder, made once: its weights come with scripts/setup."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest

from engine.evaluation.embeddings import MUSICNN, Musicnn
from engine.music.audio import Audio


@pytest.fixture(scope="session")
def musicnn(one_thread: None) -> Musicnn:
    if importlib.util.find_spec("musicnn") is None:
        pytest.skip(f"the embedder's weights are not installed (pip install --no-deps {MUSICNN})")
    return Musicnn()


@pytest.fixture(scope="session")
def techno() -> Callable[..., Audio]:
    """Synthesised techno, by manner and seed: mono, 32 kHz, ``seconds`` from bar 5 on."""
    from engine.pocket.synth import SAMPLE_RATE, render_track

    made: dict[tuple[str, int, float | None], np.ndarray] = {}

    def make(manner: str = "minimal", seed: int = 0, *, seconds: float = 9.0, bpm: float | None = None) -> Audio:
        key = (manner, seed, bpm)
        if key not in made:
            track = render_track(manner, seed, bars=10, bpm=bpm)
            made[key] = track.samples[round(track.downbeats_s[4] * SAMPLE_RATE) :]
        return Audio(made[key][None, : round(seconds * SAMPLE_RATE)].copy(), SAMPLE_RATE)

    return make
