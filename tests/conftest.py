"""Fixtures that every part's tests may use. Nothing here imports torch until a fixture that needs it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Torch on one thread: tests of tiny models are faster so, and several can run at once."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A transformers MusicGen folder with tiny random weights: mono, 32 kHz, 50 Hz, 4 codebooks."""
    from engine.musicgen.tiny import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="session")
def tiny_stereo_checkpoint(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """The same in stereo: 8 codebooks, left and right interleaved."""
    from engine.musicgen.tiny import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny-stereo") / "checkpoint", channels=2)
