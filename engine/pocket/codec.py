"""The pocket codec: audio ↔ four codebooks at 50 frames a second, each codebook listening to its own band of the spectrum.

              ┌ 0–200 Hz    → encoder → nearest of 512 ┐
    STFT ────▶│ 200–1200 Hz → encoder → nearest of 512 │──▶ concatenate ─▶ ConvNeXt ─▶ magnitude, phase ─▶ inverse STFT
    40 ms/10  │ 1.2–4.8 kHz → encoder → nearest of 512 │    their vectors   (50 Hz)      of 2 × 641 bins
              └ 4.8–16 kHz  → encoder → nearest of 512 ┘

Bands instead of residual stages, because a language model of few parameters has to learn the codes: a kick under a chord is the same
first code as a kick alone, and hats have a codebook to themselves. Encoders see ±2 frames and the STFT window, so a hit that comes back
in the same phase comes back as the same codes. The decoder is in Vocos' style (Siuzdak 2023, arXiv 2306.00814) and deterministic.

The class answers to EnCodec's `encode` and `decode`, and is registered with transformers' AutoModel when this module is imported, so that
`MusicgenForConditionalGeneration` holds it like any audio encoder. Its training is in codec_training.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

SPECTRUM_FLOOR = 1e-4


class PocketCodecConfig(PretrainedConfig):
    """Sizes of a `PocketCodec`. `band_edges_hz` has one entry more than there are codebooks."""

    model_type = "pocket_codec"

    def __init__(  # noqa: PLR0917 - transformers' way
        self,
        sampling_rate: int = 32_000,
        audio_channels: int = 1,
        frame_rate: int = 50,
        codebook_size: int = 512,
        codebook_dim: int = 16,
        band_edges_hz: tuple[float, ...] | list[float] = (0, 200, 1200, 4800, 16_000),
        n_fft: int = 1280,
        encoder_width: int = 128,
        encoder_layers: int = 2,
        decoder_width: int = 320,
        decoder_layers: int = 6,
        **kwargs: Any,
    ) -> None:
        self.sampling_rate = sampling_rate
        self.audio_channels = audio_channels
        self.frame_rate = frame_rate
        self.codebook_size = codebook_size
        self.codebook_dim = codebook_dim
        self.band_edges_hz = [float(f) for f in band_edges_hz]
        self.num_codebooks = len(self.band_edges_hz) - 1
        self.num_quantizers = self.num_codebooks
        self.hidden_size = codebook_dim * self.num_codebooks
        self.n_fft = n_fft
        self.encoder_width = encoder_width
        self.encoder_layers = encoder_layers
        self.decoder_width = decoder_width
        self.decoder_layers = decoder_layers
        kwargs.pop("num_codebooks", None)
        kwargs.pop("num_quantizers", None)
        kwargs.pop("hidden_size", None)
        super().__init__(**kwargs)

    @property
    def frame_samples(self) -> int:
        """Samples of one frame of codes."""
        return self.sampling_rate // self.frame_rate

    @property
    def band_bins(self) -> list[slice]:
        """The STFT bins of each codebook's band."""
        spacing = self.sampling_rate / self.n_fft
        cuts = [round(f / spacing) for f in self.band_edges_hz]
        cuts[-1] = self.n_fft // 2 + 1
        return [slice(a, b) for a, b in pairwise(cuts)]


@dataclass
class PocketCodecEncoderOutput(ModelOutput):
    """`audio_codes` [1, B, K, T] int64; `audio_scales` is `[None]`: nothing is scaled."""

    audio_codes: Tensor | None = None
    audio_scales: list[Tensor | None] | None = None


@dataclass
class PocketCodecDecoderOutput(ModelOutput):
    """`audio_values` [B, 1, N] float, N = T × 640."""

    audio_values: Tensor | None = None


class Block(nn.Module):
    """ConvNeXt block over time, channels last: `[B, T, C]` → the same."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Parameter(torch.randn(kernel, width) / kernel**0.5)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 3 * width)
        self.narrow = nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        # Shifted products: on a CPU 2.5 times as quick as a grouped Conv1d, backwards included.
        k, T = len(self.depthwise), x.shape[1]
        padded = F.pad(x, (0, 0, k // 2, k // 2))
        y = padded[:, :T] * self.depthwise[0]
        for i in range(1, k):
            y = y + padded[:, i : i + T] * self.depthwise[i]
        return x + self.scale * self.narrow(F.gelu(self.wide(self.norm(y)), approximate="tanh"))


class BandEncoder(nn.Module):
    """One band's features [B, T, F] → latents [B, T, D], normalised so that every frame has the same length."""

    def __init__(self, features: int, config: PocketCodecConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.input = nn.Linear(features, width)
        self.blocks = nn.Sequential(*[Block(width, 3) for _ in range(config.encoder_layers)])
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, config.codebook_dim)
        self.dim = config.codebook_dim

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(self.output(self.norm(self.blocks(self.input(x)))).float(), (self.dim,))


class Decoder(nn.Module):
    """Vectors of all codebooks [B, T, K·D] → log-magnitude and phase of two STFT frames each, [B, 2T, bins] twice."""

    def __init__(self, config: PocketCodecConfig) -> None:
        super().__init__()
        width, self.bins = config.decoder_width, config.n_fft // 2 + 1
        self.input = nn.Linear(config.hidden_size, width)
        self.blocks = nn.Sequential(*[Block(width, 7) for _ in range(config.decoder_layers)])
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, 2 * 2 * self.bins)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        B, T, _ = x.shape
        y = self.output(self.norm(self.blocks(self.input(x)))).float()  # (B, T, 2 · 2 · bins)
        y = y.reshape(B, 2 * T, 2, self.bins)
        return y[:, :, 0], y[:, :, 1]


class PocketCodec(PreTrainedModel):
    """See the module's docstring. Mono; any length, padded with zeros to whole frames."""

    config_class = PocketCodecConfig
    base_model_prefix = "pocket_codec"
    main_input_name = "input_values"

    def __init__(self, config: PocketCodecConfig) -> None:
        super().__init__(config)
        self.encoders = nn.ModuleList([BandEncoder(2 * 3 * (b.stop - b.start), config) for b in config.band_bins])
        self.decoder = Decoder(config)
        self.codebooks = nn.Parameter(
            torch.randn(config.num_codebooks, config.codebook_size, config.codebook_dim), requires_grad=False
        )  # (K, V, D); learned by moving averages, not by gradients
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initialisation stands."""

    # ------------------------------------------------------------------------------------------------ EnCodec's two calls
    @torch.no_grad()
    def encode(self, input_values: Tensor, padding_mask: Tensor | None = None, **_: Any) -> PocketCodecEncoderOutput:
        """Audio [B, 1, N] at `sampling_rate` → codes [1, B, K, ceil(N / 640)].

        Raises ValueError unless there is exactly one channel. `padding_mask` [B, N] or [B, 1, N] silences what it masks.
        """
        if input_values.dim() != 3 or input_values.shape[1] != 1:
            raise ValueError(f"the pocket codec is mono and takes [B, 1, N], not {list(input_values.shape)}")
        audio = input_values[:, 0]
        if padding_mask is not None:
            audio = audio * padding_mask.reshape(audio.shape).to(audio.dtype)
        return PocketCodecEncoderOutput(audio_codes=self.to_codes(audio)[None], audio_scales=[None])

    @torch.no_grad()
    def decode(
        self, audio_codes: Tensor, audio_scales: Any = None, padding_mask: Tensor | None = None, **_: Any
    ) -> PocketCodecDecoderOutput:
        """Codes [1, B, K, T] → audio [B, 1, T × 640]; `audio_scales` and `padding_mask` are there for EnCodec's signature."""
        if audio_codes.dim() != 4 or audio_codes.shape[0] != 1 or audio_codes.shape[2] != self.config.num_codebooks:
            raise ValueError(f"codes must be [1, B, {self.config.num_codebooks}, T], not {list(audio_codes.shape)}")
        return PocketCodecDecoderOutput(audio_values=self.to_audio(audio_codes[0])[:, None])

    def forward(self, input_values: Tensor, padding_mask: Tensor | None = None, **_: Any) -> PocketCodecDecoderOutput:
        """Round trip."""
        return PocketCodecDecoderOutput(audio_values=self.to_audio(self.to_codes(input_values[:, 0]))[:, None])

    # ------------------------------------------------------------------------------------------------ the parts, for training
    @torch.no_grad()
    def to_codes(self, audio: Tensor) -> Tensor:
        """Audio [B, N] → codes [B, K, T]."""
        return self.nearest(self.latents(audio))

    @torch.no_grad()
    def to_audio(self, codes: Tensor) -> Tensor:
        """Codes [B, K, T] → audio [B, T × 640]."""
        return self.synthesise(self.vectors(codes))

    def latents(self, audio: Tensor) -> Tensor:
        """Audio [B, N] → latents [B, K, T, D], one vector a band and frame."""
        spectrum = self._spectrum(audio)  # (B, 2T, bins) complex
        magnitude = spectrum.abs() + SPECTRUM_FLOOR
        direction = spectrum / magnitude.sqrt()  # re and im with the square root of the magnitude: nearer to loudness
        features = torch.stack([0.3 * magnitude.log() + 1, direction.real, direction.imag], 2)  # (B, 2T, 3, bins)
        B, _, _, _ = features.shape
        outputs, dtype = [], self.codebooks.dtype
        for encoder, band in zip(self.encoders, self.config.band_bins, strict=True):
            x = features[..., band]  # (B, 2T, 3, F)
            outputs.append(encoder(x.reshape(B, -1, 2 * 3 * x.shape[-1]).to(dtype)))  # (B, T, D)
        return torch.stack(outputs, 1)

    def nearest(self, latents: Tensor) -> Tensor:
        """Latents [B, K, T, D] → codes [B, K, T], by Euclidean distance."""
        books = self.codebooks.float()
        x = latents.float()
        distance = books.square().sum(-1)[None, :, None] - 2 * torch.einsum("bktd,kvd->bktv", x, books)  # (B, K, T, V)
        return distance.argmin(-1)

    def vectors(self, codes: Tensor) -> Tensor:
        """Codes [B, K, T] → codebook vectors [B, K, T, D]."""
        return torch.stack([self.codebooks[k][codes[:, k]] for k in range(codes.shape[1])], 1)

    def synthesise(self, vectors: Tensor) -> Tensor:
        """Vectors [B, K, T, D] → audio [B, T × 640]."""
        B, K, T, D = vectors.shape
        joined = vectors.permute(0, 2, 1, 3).reshape(B, T, K * D).to(self.codebooks.dtype)
        log_magnitude, phase = self.decoder(joined)  # (B, 2T, bins) each
        magnitude = log_magnitude.clamp(max=7).exp()
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        return self._overlap_add(torch.fft.irfft(spectrum, self.config.n_fft))

    # ------------------------------------------------------------------------------------------------ STFT with hop = n_fft / 4
    def _window(self, device: torch.device) -> Tensor:
        return torch.hann_window(self.config.n_fft, device=device)

    def _spectrum(self, audio: Tensor) -> Tensor:
        """[B, N] → [B, 2T, bins]; frame j is centred on sample 320 j + 160, so two of them tile one frame of codes."""
        n_fft, hop = self.config.n_fft, self.config.n_fft // 4
        missing = -audio.shape[-1] % self.config.frame_samples
        side = (n_fft - hop) // 2
        padded = F.pad(audio.float(), (side, side + missing))
        return torch.fft.rfft(padded.unfold(-1, n_fft, hop) * self._window(audio.device))

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Windowed frames [B, 2T, n_fft] → [B, 2T × hop], divided by the windows' own sum."""
        window, hop = self._window(frames.device), self.config.n_fft // 4
        side = (self.config.n_fft - hop) // 2

        def add(x: Tensor) -> Tensor:
            B, J, _ = x.shape
            quarters = x.reshape(B, J, 4, hop)
            out = x.new_zeros(B, J + 3, hop)
            for q in range(4):
                out = out + F.pad(quarters[:, :, q], (0, 0, q, 3 - q))
            return out.reshape(B, -1)[:, side : side + J * hop]

        total = add((window**2).expand(1, frames.shape[1], -1))
        return add(frames * window) / total.clamp(min=1e-3)


AutoConfig.register("pocket_codec", PocketCodecConfig, exist_ok=True)
AutoModel.register(PocketCodecConfig, PocketCodec, exist_ok=True)
