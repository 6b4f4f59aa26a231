"""The pocket codec: shapes, determinism, EnCodec's signature, and a code that depends on its band alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

from engine.pocket.codec import PocketCodec, PocketCodecConfig


@pytest.fixture(scope="module")
def codec(one_thread: None) -> PocketCodec:
    torch.manual_seed(0)
    config = PocketCodecConfig(codebook_size=32, codebook_dim=4, encoder_width=16, encoder_layers=1, decoder_width=24, decoder_layers=2)
    return PocketCodec(config).eval()


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 32_000])
def test_round_trip_has_whole_frames(codec: PocketCodec, samples: int) -> None:
    x = torch.randn(2, 1, samples, generator=torch.Generator().manual_seed(1)) * 0.1
    encoded = codec.encode(x)
    frames = -(-samples // 640)
    assert encoded.audio_codes.shape == (1, 2, 4, frames)
    assert encoded.audio_scales == [None]
    assert encoded.audio_codes.min() >= 0 and encoded.audio_codes.max() < 32
    y = codec.decode(encoded.audio_codes, encoded.audio_scales).audio_values
    assert y.shape == (2, 1, frames * 640)
    assert torch.equal(y, codec.decode(encoded.audio_codes, [None]).audio_values)


def test_a_sound_that_comes_back_in_the_same_phase_has_the_same_codes(codec: PocketCodec) -> None:
    hit = torch.randn(3 * 640, generator=torch.Generator().manual_seed(2))
    x = torch.zeros(60 * 640)
    for frame in (10, 30):
        x[frame * 640 : frame * 640 + len(hit)] = hit
    codes = codec.to_codes(x[None])[0]
    assert torch.equal(codes[:, 5:20], codes[:, 25:40])


def test_each_codebook_hears_its_own_band(codec: PocketCodec) -> None:
    t = torch.arange(32_000) / 32_000
    kick, hats = torch.sin(2 * torch.pi * 55 * t), 0.2 * torch.sin(2 * torch.pi * 9000 * t)
    alone, together = codec.to_codes(kick[None])[0], codec.to_codes((kick + hats)[None])[0]
    assert torch.equal(alone[0], together[0])
    assert not torch.equal(alone[3], together[3])


def test_bad_shapes_say_so(codec: PocketCodec) -> None:
    with pytest.raises(ValueError, match="mono"):
        codec.encode(torch.zeros(1, 2, 640))
    with pytest.raises(ValueError, match="codes must be"):
        codec.decode(torch.zeros(1, 1, 3, 5, dtype=torch.long))


def test_transformers_auto_classes_know_it(codec: PocketCodec, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.model_type, config.sampling_rate, config.frame_rate, config.num_codebooks) == ("pocket_codec", 32_000, 50, 4)
    loaded = AutoModel.from_pretrained(tmp_path)
    codes = torch.randint(32, (1, 1, 4, 12), generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.decode(codes).audio_values, codec.decode(codes).audio_values)


def test_the_mask_silences(codec: PocketCodec) -> None:
    x = torch.randn(1, 1, 6400, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(1, 6400)
    mask[:, 3200:] = 0
    cut = x.clone()
    cut[..., 3200:] = 0
    assert torch.equal(codec.encode(x, mask).audio_codes, codec.encode(cut).audio_codes)
