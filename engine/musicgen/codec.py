"""The codec: audio to codes and back, by any transformers audio encoder that has EnCodec's ``encode`` and ``decode``.

A model in stereo has a mono codec: left and right are coded apart, and their codebooks alternate (left 0, right 0, left 1, …).
Long audio is decoded in pieces, so that memory does not grow with it. Not here: files, resampling, loudness (``engine.music``).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

_PIECE_FRAMES = 500
"""Frames decoded at once: 10 s at 50 Hz, 80 MB for EnCodec's widest layer."""
_OVERLAP_FRAMES = 16
"""What the convolutions of EnCodec's decoder see on either side of a frame, with room to spare (they see less than 3)."""
_UNKNOWN_OVERLAP_FRAMES = 100
"""The same for a codec about which nothing is known: 2 s."""


class Codec(nn.Module):
    """Wraps ``audio_encoder`` for a language model of ``num_codebooks`` codebooks (of all channels) and ``channels``."""

    def __init__(self, audio_encoder: Any, *, num_codebooks: int, channels: int) -> None:
        super().__init__()
        config = audio_encoder.config
        self.audio_encoder = audio_encoder
        self.num_codebooks = num_codebooks
        self.channels = channels
        self.sample_rate = int(config.sampling_rate)
        """Hz"""
        ratios = getattr(config, "upsampling_ratios", None)
        self.hop_samples = math.prod(ratios) if ratios else self.sample_rate // int(config.frame_rate)
        """samples in a frame"""
        self.card = int(config.codebook_size)
        self._by_layer = config.model_type == "encodec" and config.norm_type == "weight_norm"

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_samples

    @property
    def device(self) -> torch.device:
        return next(self.audio_encoder.parameters()).device

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        """Audio ``[C, N]`` at ``sample_rate`` -> codes ``[K, T]`` with T = ⌈N / hop⌉."""
        C, N = audio.shape
        if self.channels != C:
            raise ValueError(f"this codec takes {self.channels} channel(s), not {C}")
        if N < 1:
            raise ValueError("there is no audio to encode")
        values = audio.to(self.device, next(self.audio_encoder.parameters()).dtype)[:, None]  # (C, 1, N): channels as a batch
        codes = self.audio_encoder.encode(values).audio_codes  # (1, C, K / C, T)
        if codes.shape[0] != 1:
            raise ValueError("a codec that cuts audio into chunks does not fit MusicGen")
        codes = codes[0].transpose(0, 1).reshape(-1, codes.shape[-1])  # (K / C, C, T) -> (K, T): channels alternate
        assert codes.shape[0] == self.num_codebooks, f"codec gave {codes.shape[0]} codebooks, the model has {self.num_codebooks}"
        return codes

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes ``[K, T]`` -> audio ``[C, T × hop]``, float32. The same as in one piece, in bounded memory."""
        K, T = codes.shape
        assert self.num_codebooks == K, f"{K} codebooks, expected {self.num_codebooks}"
        channels = codes.to(self.device).reshape(K // self.channels, self.channels, T).transpose(0, 1)  # (C, K / C, T)
        if T <= _PIECE_FRAMES:
            audio = self._decode_at_once(channels)
        elif self._by_layer:
            audio = self._decode_encodec(channels)
        else:
            audio = self._decode_pieces(channels)
        return audio.float()[:, : T * self.hop_samples]

    def _decode_at_once(self, codes: Tensor) -> Tensor:
        """(C, K / C, T) -> (C, N)"""
        return self.audio_encoder.decode(codes[None], [None]).audio_values[:, 0]

    def _decode_encodec(self, codes: Tensor) -> Tensor:
        """EnCodec, equal to one piece: the LSTM hears every frame, at frame rate; the convolutions after it go piece by piece."""
        model = self.audio_encoder
        x = model.quantizer.decode(codes.transpose(0, 1))  # (C, width, T)
        layers = list(model.decoder.layers)
        for layer in layers[:2]:  # convolution, LSTM
            x = layer(x)  # (C, wider, T)
        pieces = []
        for start, end, left, right in _pieces(codes.shape[-1], _OVERLAP_FRAMES):
            y = x[..., left:right]
            for layer in layers[2:]:
                y = layer(y)  # at last (C, 1, frames × hop)
            pieces.append(y[:, 0, (start - left) * self.hop_samples : (end - left) * self.hop_samples])
        return torch.cat(pieces, dim=-1)  # (C, N)

    def _decode_pieces(self, codes: Tensor) -> Tensor:
        """Any codec: pieces with frames around them that are decoded and thrown away. Equal to one piece as far as it hears no further."""
        pieces = []
        for start, end, left, right in _pieces(codes.shape[-1], _UNKNOWN_OVERLAP_FRAMES):
            y = self._decode_at_once(codes[..., left:right])
            pieces.append(y[:, (start - left) * self.hop_samples : (end - left) * self.hop_samples])
        return torch.cat(pieces, dim=-1)  # (C, N)


def _pieces(frames: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """(start, end) of each piece, and (left, right) of the frames to decode for it."""
    starts = range(0, frames, _PIECE_FRAMES)
    ends = [min(start + _PIECE_FRAMES, frames) for start in starts]
    return [(start, end, max(0, start - overlap), min(frames, end + overlap)) for start, end in zip(starts, ends, strict=True)]
