from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.musicgen import codec as codec_module
from engine.musicgen.generate import MusicGen


@pytest.mark.parametrize("kind", ["tiny", "tiny_stereo"])
@pytest.mark.parametrize("way", ["encodec", "any codec"])
def test_decoding_in_pieces_equals_decoding_at_once(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, way: str
) -> None:
    codec = request.getfixturevalue(kind).codec
    codes = torch.randint(codec.card, (codec.num_codebooks, 260), generator=torch.Generator().manual_seed(2))
    at_once = codec.decode(codes)
    monkeypatch.setattr(codec_module, "_PIECE_FRAMES", 60)
    monkeypatch.setattr(codec, "_by_layer", way == "encodec")
    in_pieces = codec.decode(codes)
    assert in_pieces.shape == at_once.shape == (codec.channels, 260 * codec.hop_samples)
    assert (in_pieces - at_once).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["tiny", "tiny_stereo"])
@pytest.mark.parametrize("way", ["encodec", "any codec"])
@pytest.mark.parametrize("first", [0, 30])
def test_a_stream_of_codes_equals_decoding_at_once(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, way: str, first: int
) -> None:
    codec = request.getfixturevalue(kind).codec
    codes = torch.randint(codec.card, (codec.num_codebooks, 231), generator=torch.Generator().manual_seed(2))
    at_once = codec.decode(codes)[:, first * codec.hop_samples :]
    monkeypatch.setattr(codec, "_by_layer", way == "encodec")
    streams = [codec.stream(first), codec.stream(first)]
    for frames in range(1, 231, 7):
        streams[0].feed(codes[:, :frames])
    assert streams[0].frames >= (100 if way == "encodec" else 50)
    for stream in streams:
        stream.feed(codes, last=True)
        assert stream.audio().shape == at_once.shape
        assert (stream.audio() - at_once).abs().max() < 1e-5
    assert torch.equal(streams[0].audio(), streams[1].audio())  # whenever the codes came


def test_each_second_of_a_stream_costs_the_same(tiny: MusicGen) -> None:
    """Forty seconds, told second by second: the LSTM hears each frame once, and what follows it a second and its surroundings."""
    codes = torch.randint(tiny.card, (4, 2_000), generator=torch.Generator().manual_seed(2))
    layers = tiny.codec.audio_encoder.decoder.layers
    heard: list[int] = []
    decoded: list[int] = []
    hooks = [
        layers[1].lstm.register_forward_hook(lambda _module, given, _made: heard.append(given[0].shape[0])),
        layers[2].register_forward_hook(lambda _module, given, _made: decoded.append(given[0].shape[-1])),
    ]
    try:
        stream = tiny.codec.stream()
        for frames in range(50, 2_000, 50):
            stream.feed(codes[:, :frames])
            assert stream.frames >= frames - 50  # never more than a second behind
        stream.feed(codes, last=True)
    finally:
        for hook in hooks:
            hook.remove()
    assert sum(heard) == 2_000
    assert len(decoded) == 40
    assert max(decoded) <= 58
    assert (stream.audio() - tiny.codec.decode(codes)).abs().max() < 1e-5


def test_four_minutes_are_decoded(tiny: MusicGen) -> None:
    codes = torch.randint(tiny.card, (4, 12_000), generator=torch.Generator().manual_seed(2))
    audio = tiny.codec.decode(codes)
    assert audio.shape == (1, 240 * 32_000)
    assert audio.isfinite().all()


def test_encoding_gives_whole_frames(tiny: MusicGen, some_audio: Callable[..., Tensor]) -> None:
    assert tiny.codec.encode(some_audio(1.0)).shape == (4, 50)
    assert tiny.codec.encode(some_audio(1.0)[:, :-1]).shape == (4, 50)  # the last frame is filled up
    assert tiny.codec.hop_samples == 640
    assert tiny.codec.frame_rate == 50


def test_left_and_right_alternate_and_stay_apart(tiny_stereo: MusicGen, some_audio: Callable[..., Tensor]) -> None:
    left, right = some_audio(0.5, 1), some_audio(0.5, 2)
    codes = tiny_stereo.codec.encode(torch.cat([left, right]))
    swapped = tiny_stereo.codec.encode(torch.cat([right, left]))
    assert codes.shape == (8, 25)
    assert torch.equal(codes[0::2], swapped[1::2])
    assert torch.equal(codes[1::2], swapped[0::2])
    assert not torch.equal(codes[0::2], codes[1::2])
    assert torch.equal(tiny_stereo.codec.decode(codes).flip(0), tiny_stereo.codec.decode(swapped))


def test_what_cannot_be_encoded_is_refused(tiny: MusicGen) -> None:
    with pytest.raises(ValueError, match="1 channel"):
        tiny.codec.encode(torch.zeros(2, 640))
    with pytest.raises(ValueError, match="no audio"):
        tiny.codec.encode(torch.zeros(1, 0))
