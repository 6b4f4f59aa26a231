"""The codec: audio to codes and back, by any transformers audio encoder that has EnCodec's ``encode`` and ``decode``.

A model in stereo has a mono codec: left and right are coded apart, and their codebooks alternate (left 0, right 0, left 1, …).
Long audio is decoded in pieces, so that memory does not grow with it; ``CodecStream`` decodes them while the codes are still being made.
Not here: files, resampling, loudness (``engine.music``).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

_PIECE_FRAMES = 500
"""Frames decoded at once: 10 s at 50 Hz, 80 MB for EnCodec's widest layer."""
_STREAM_FRAMES = 50
"""Frames of a piece that is decoded while the take goes on: 1 s."""
_OVERLAP_FRAMES = 4
"""What the convolutions of EnCodec's decoder see on either side of a frame, with room to spare (they see less than 3)."""
_LAST_SPECTRA_FRAMES = 3
"""The same for what follows the embedded codec's blocks: a spectrum is two frames long."""
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
        self._overlap = _UNKNOWN_OVERLAP_FRAMES
        if config.model_type == "pocket_codec":  # blocks of kernel 7, then an inverse spectrum
            self._overlap = 3 * config.decoder_layers + _LAST_SPECTRA_FRAMES

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

    def stream(self, first_frame: int = 0) -> CodecStream:
        """A decoder for codes that come one after the other; audio of the frames from ``first_frame`` on is wanted."""
        return CodecStream(self, first_frame)

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
        for start, end, left, right in _pieces(codes.shape[-1], self._overlap):
            y = self._decode_at_once(codes[..., left:right])
            pieces.append(y[:, (start - left) * self.hop_samples : (end - left) * self.hop_samples])
        return torch.cat(pieces, dim=-1)  # (C, N)


class CodecStream:
    """Decodes ``[K, T]`` piece by piece while T grows; in all equal to decoding at once within 1e-5, at a constant cost for each second.

    A piece waits for the frames after it that the codec's convolutions see. Where pieces begin and end, and with it every byte, depends
    on the codes alone, never on when they came. EnCodec's LSTM hears each frame once and is kept. For one thread at a time.
    """

    def __init__(self, codec: Codec, first_frame: int) -> None:
        self._codec = codec
        self._first = self._next = first_frame
        self._pieces: list[Tensor] = []  # (C, ·)
        self._overlap = _OVERLAP_FRAMES if codec._by_layer else codec._overlap
        self._ahead = self._overlap
        self._kernel = 0
        if codec._by_layer:
            self._kernel = codec.audio_encoder.config.kernel_size // 2
            self._ahead += self._kernel
        self._heard = 0  # frames that the LSTM has heard
        self._state: Any = None
        self._features: Tensor | None = None  # what it made of them, (C, width, ·), from frame _kept_from on
        self._kept_from = 0

    @property
    def frames(self) -> int:
        """Frames from the first on that are decoded."""
        return self._next - self._first

    def needs(self, pieces: int) -> int:
        """Frames T at which so many pieces can be decoded."""
        return self._first + pieces * _STREAM_FRAMES + self._ahead

    @torch.inference_mode()
    def feed(self, codes: Tensor, *, last: bool = False) -> None:
        """All codes so far, ``[K, T]``; ``last`` when no more will come."""
        codec, T = self._codec, codes.shape[1]
        channels = codes.to(codec.device).reshape(codes.shape[0] // codec.channels, codec.channels, T).transpose(0, 1)  # (C, K / C, T)
        while self._next < T and (last or self._next + _STREAM_FRAMES + self._ahead <= T):
            end = min(self._next + _STREAM_FRAMES, T)
            left, right = max(0, self._next - self._overlap), min(T, end + self._overlap)
            audio = self._tail(channels, left, right) if codec._by_layer else codec._decode_at_once(channels[..., left:right])
            piece = audio[:, (self._next - left) * codec.hop_samples : (end - left) * codec.hop_samples]
            self._pieces.append(piece.float().cpu())
            self._next = end

    def audio(self) -> Tensor:
        """What is decoded, ``[C, frames × hop]``, float32."""
        if not self._pieces:
            return torch.zeros(self._codec.channels, 0)
        return torch.cat(self._pieces, dim=-1)

    def _tail(self, codes: Tensor, left: int, right: int) -> Tensor:
        """EnCodec's frames ``left`` to ``right`` of (C, K / C, T), after the LSTM has heard all before ``right`` -> (C, N)."""
        model = self._codec.audio_encoder
        layers = list(model.decoder.layers)
        if self._heard < right:
            begin, end = max(0, self._heard - self._kernel), min(codes.shape[-1], right + self._kernel)
            x = layers[0](model.quantizer.decode(codes[..., begin:end].transpose(0, 1)))  # (C, width, end - begin)
            x = x[..., self._heard - begin : right - begin].permute(2, 0, 1)  # (·, C, width)
            y, self._state = layers[1].lstm(x, self._state)
            new = (y + x).permute(1, 2, 0)  # (C, width, ·)
            self._features = new if self._features is None else torch.cat([self._features, new], dim=-1)
            self._heard = right
        assert self._features is not None
        self._features = self._features[..., left - self._kept_from :]  # no later piece looks further back
        self._kept_from = left
        y = self._features[..., : right - left]
        for layer in layers[2:]:
            y = layer(y)
        return y[:, 0]


def _pieces(frames: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """(start, end) of each piece, and (left, right) of the frames to decode for it."""
    starts = range(0, frames, _PIECE_FRAMES)
    ends = [min(start + _PIECE_FRAMES, frames) for start in starts]
    return [(start, end, max(0, start - overlap), min(frames, end + overlap)) for start, end in zip(starts, ends, strict=True)]
