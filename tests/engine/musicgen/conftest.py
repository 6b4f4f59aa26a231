"""Tiny models in memory, and what the parity tests compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.musicgen.checkpoint import load, quiet_transformers
from engine.musicgen.generate import MusicGen, SamplingOptions, TakeDecoder

GREEDY = SamplingOptions(temperature=0.0, guidance_scale=3.0)


@pytest.fixture(scope="session")
def tiny(tiny_checkpoint: Path) -> MusicGen:
    return load(tiny_checkpoint)


@pytest.fixture(scope="session")
def tiny_stereo(tiny_stereo_checkpoint: Path) -> MusicGen:
    return load(tiny_stereo_checkpoint)


@pytest.fixture(scope="session")
def load_transformers(one_thread: None) -> Callable[[Path], Any]:
    """transformers' own model from a folder."""

    def load_it(folder: Path) -> Any:
        from transformers import MusicgenForConditionalGeneration

        with quiet_transformers():
            return MusicgenForConditionalGeneration.from_pretrained(folder).eval()

    return load_it


@pytest.fixture(scope="session")
def hf_tiny(load_transformers: Callable[[Path], Any], tiny_checkpoint: Path) -> Any:
    return load_transformers(tiny_checkpoint)


@pytest.fixture(scope="session")
def hf_tiny_stereo(load_transformers: Callable[[Path], Any], tiny_stereo_checkpoint: Path) -> Any:
    return load_transformers(tiny_stereo_checkpoint)


@pytest.fixture
def hf_greedy() -> Callable[..., Tensor]:
    """Greedy codes of transformers' ``generate`` ``[B, K, P + frames]``; seen on their way into its codec."""

    def generate(hf: Any, tokenizer: Any, prompts: Sequence[str], frames: int, audio: Tensor | None = None) -> Tensor:
        seen: list[Tensor] = []
        decode = hf.audio_encoder.decode

        def watch(audio_codes: Tensor, *args: Any, **kwargs: Any) -> Any:
            seen.append(audio_codes[0])
            return decode(audio_codes, *args, **kwargs)

        inputs = dict(tokenizer(list(prompts), padding=True, return_tensors="pt"))
        heard = 0
        if audio is not None:
            inputs["input_values"] = audio
            heard = audio.shape[-1] // hf.config.audio_encoder.hop_length
        channels = hf.config.decoder.audio_channels
        steps = heard + frames + hf.config.decoder.num_codebooks // channels
        hf.audio_encoder.decode = watch
        try:
            with quiet_transformers():
                hf.generate(**inputs, do_sample=False, guidance_scale=3.0, max_length=steps)
        finally:
            del hf.audio_encoder.decode
        return seen[0] if channels == 1 else torch.stack(seen, dim=2).flatten(1, 2)  # left and right alternate

    return generate


@pytest.fixture(scope="session")
def run() -> Callable[..., Tensor]:
    """Step takes in turn until all are done -> their new codes, ``[B, K, frames]``."""

    def run_all(*takes: TakeDecoder) -> Tensor:
        while waiting := [take for take in takes if not take.done]:
            for take in waiting:
                take.step()
        return torch.stack([take.codes() for take in takes])

    return run_all


@pytest.fixture(scope="session")
def some_audio() -> Callable[..., Tensor]:
    """Clicks and hum, ``[C, N]`` at 32 kHz."""

    def make(seconds: float, seed: int = 0, channels: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        count = round(seconds * 32_000)
        t = torch.arange(count) / 32_000
        hum = 0.2 * torch.sin(2 * torch.pi * (55.0 * (1 + seed)) * t)
        noise = torch.rand(channels, count, generator=generator) - 0.5
        return hum + noise * torch.exp(-30 * (t % 0.46875))

    return make


@pytest.fixture(scope="session")
def t5_folder(tiny: MusicGen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    tiny.conditioner.text_encoder.save_pretrained(folder)
    tiny.conditioner.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def _t5_from_disk(monkeypatch: pytest.MonkeyPatch, t5_folder: Path) -> None:
    """Where audiocraft asks the hub for t5-base, it gets the tiny T5."""
    from audiocraft.modules import conditioners
    from transformers import AutoTokenizer, T5EncoderModel

    class FromDisk:
        def __init__(self, kind: Any) -> None:
            self.from_pretrained = lambda name: kind.from_pretrained(t5_folder)

    monkeypatch.setattr(conditioners, "T5Tokenizer", FromDisk(AutoTokenizer))
    monkeypatch.setattr(conditioners, "T5EncoderModel", FromDisk(T5EncoderModel))
    monkeypatch.setitem(conditioners.T5Conditioner.MODELS_DIMS, "t5-base", 32)
