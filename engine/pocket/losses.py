"""How far apart two waves are for the ear: what the codec's decoder is trained to make small. No training loop here."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_RATE = 32_000
RESOLUTIONS = ((256, 32), (512, 48), (1024, 80), (2048, 96), (4096, 128))  # n_fft, mel bands
PATCHES = ((512, (16, 8)), (2048, (8, 16)))  # n_fft; frames and bins of a patch: 64 ms × 500 Hz, 128 ms × 250 Hz
PHASE_RESOLUTION = 3  # 2048: used in every step; one of the others is drawn beside it, which is as good as all and cheaper


def mel_bank(n_fft: int, bands: int) -> Tensor:
    """Triangles on the mel scale, each summing to one: [bands, bins]."""
    bins = np.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1)
    mel = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), bands + 2)
    edge = 700 * (10 ** (mel / 2595) - 1)
    up = (bins - edge[:-2, None]) / np.maximum(edge[1:-1] - edge[:-2], 1)[:, None]
    down = (edge[2:, None] - bins) / np.maximum(edge[2:] - edge[1:-1], 1)[:, None]
    w = np.maximum(0, np.minimum(up, down))
    return torch.tensor(w / np.maximum(w.sum(1, keepdims=True), 1e-6), dtype=torch.float32)


class SpectralLoss(nn.Module):
    """Distance of two waves [B, N], per resolution: L1 of log-mel and log-magnitude, spectral convergence; and low-band phase."""

    def __init__(self) -> None:
        super().__init__()
        for n_fft, bands in RESOLUTIONS:
            self.register_buffer(f"mel_{n_fft}", mel_bank(n_fft, bands))
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft))

    def _stft(self, x: Tensor, n_fft: int) -> Tensor:
        """[B, N] → [B, frames, bins], hop n_fft / 4."""
        return torch.fft.rfft(windows(x, n_fft) * self.get_buffer(f"window_{n_fft}"))

    def forward(self, x: Tensor, y: Tensor, picked: list[int]) -> Tensor:
        """`picked`: which resolutions to use; the 2048 one must be there, for its phase."""
        total = x.new_zeros(())
        for i in picked:
            n_fft, _ = RESOLUTIONS[i]
            U, V = self._stft(x, n_fft), self._stft(y, n_fft)  # (B, frames, bins) complex
            if n_fft == 2048:
                low = 1000 * n_fft // SAMPLE_RATE
                # sqrt(re² + im² + ε), since the gradient of a complex abs at zero is not a number
                error = torch.view_as_real(U[..., :low] - V[..., :low]).square().sum(-1).add(1e-6).sqrt()
                total = total + len(picked) * 0.3 * error.mean() / (U[..., :low].abs().mean() + 1e-3)
            X, Y = (torch.view_as_real(w).square().sum(-1).add(1e-8).sqrt() for w in (U, V))
            bank = self.get_buffer(f"mel_{n_fft}").T
            loss = F.l1_loss((X @ bank + 1e-3).log(), (Y @ bank + 1e-3).log()) + (X - Y).norm() / (X.norm() + 1e-3)
            if n_fft >= 1024:
                loss = loss + 0.5 * F.l1_loss((X + 3e-3).log(), (Y + 3e-3).log())
            total = total + loss
        return total / len(picked)


def texture_loss(x: Tensor, y: Tensor) -> Tensor:
    """How unlike two waves [B, N] are in what they are made of, patch by patch of a spectrogram, wherever in the patch it is.

    A patch's power, and how much its log-magnitudes change from frame to frame and from bin to bin. L1 between spectrograms asks for the
    median of all sounds that a code may mean, in which a partial that may be here or there is nowhere: between 600 and 2400 Hz 4 dB of
    power are lost, and a quarter of the detail. These figures are the same for each of those sounds, and a smear misses them all.
    """
    total = x.new_zeros(())
    for n_fft, patch in PATCHES:
        parts = []
        for w in (x, y):
            power = power_spectrum(w, n_fft)  # (B, frames, bins)
            level = power.add(1e-5).log() / 2
            in_time, in_frequency = level.diff(dim=1).abs(), level.diff(dim=2).abs()
            parts.append((F.avg_pool2d(power, patch).add(1e-4).log() / 2, F.avg_pool2d(in_time, patch), F.avg_pool2d(in_frequency, patch)))
        total = total + sum(F.l1_loss(a, b) for a, b in zip(*parts, strict=True))
    return total / len(PATCHES)


def power_spectrum(x: Tensor, n_fft: int) -> Tensor:
    """[B, N] → [B, frames, bins], hop n_fft / 4."""
    return torch.view_as_real(torch.fft.rfft(windows(x, n_fft) * torch.hann_window(n_fft))).square().sum(-1)


def windows(x: Tensor, n_fft: int) -> Tensor:
    """[B, N] → [B, frames, n_fft], hop n_fft / 4; cut by slices, whose backward is far cheaper on a CPU than torch.stft's."""
    hop = n_fft // 4
    quarters = x[:, : x.shape[1] // hop * hop].reshape(x.shape[0], -1, hop)
    M = quarters.shape[1] - 3
    return torch.cat([quarters[:, q : q + M] for q in range(4)], -1)
