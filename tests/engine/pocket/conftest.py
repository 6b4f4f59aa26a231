"""A whole recipe in miniature: a few bars of data and networks of a few thousand numbers, so that every stage really runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.pocket import data, text
from engine.pocket.codec import PocketCodecConfig
from engine.pocket.codec_training import CodecTraining
from engine.pocket.lm import PocketSizes
from engine.pocket.lm_training import LMTraining
from engine.pocket.synth import render_track


@pytest.fixture(scope="session")
def recipe_data(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """OUT with six short tracks, two held out, and a tokenizer. Read only: use `recipe` to train."""
    out = tmp_path_factory.mktemp("recipe")
    for i, manner in enumerate(("minimal", "hard", "dub")):
        for seed in (0, 1):
            data.store(render_track(manner, seed, bars=2), out / "data" / "train", np.random.default_rng(i))
    data.store(render_track("minimal", 9, bars=8), out / "data" / "held_out", np.random.default_rng(9))
    data.store(render_track("hard", 9, bars=8), out / "data" / "held_out", np.random.default_rng(9))
    text.train(out)
    return out


@pytest.fixture
def recipe(recipe_data: Path, tmp_path: Path) -> Path:
    """A fresh OUT on the same data."""
    (tmp_path / "data").symlink_to(recipe_data / "data")
    (tmp_path / "tokenizer").symlink_to(recipe_data / "tokenizer")
    return tmp_path


@pytest.fixture
def codec_config() -> PocketCodecConfig:
    return PocketCodecConfig(codebook_size=16, codebook_dim=4, encoder_width=8, encoder_layers=1, decoder_width=16, decoder_layers=1)


@pytest.fixture
def codec_training() -> CodecTraining:
    return CodecTraining(steps=8, joint_steps=6, batch=2, frames=16, unquantised_steps=2, save_every=1, log_every=2)


@pytest.fixture
def lm_training_settings() -> LMTraining:
    return LMTraining(
        steps=6, tokens=64, segments=(16, 32), shares=(0.5, 0.5), save_every=1, log_every=2, measure_every=4, listen_every=6,
        first_tracks=2, new_tracks=1, new_every=2, more_tracks=3, more_bars=1,
    )  # fmt: skip


@pytest.fixture
def sizes(recipe_data: Path) -> PocketSizes:
    vocabulary = len(text.train(recipe_data))
    return PocketSizes(
        card=16, width=16, num_layers=1, num_heads=2, ffn_width=32, text_width=8, text_layers=1, text_heads=2, vocabulary=vocabulary
    )
