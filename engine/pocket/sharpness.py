"""How sharp a decoded sound is beside its original, in figures: for the log of the stage `sharpen`. What is trained on is in losses.py."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.pocket.losses import RESOLUTIONS, SAMPLE_RATE, SpectralLoss, mel_bank, power_spectrum

FINE = 4096  # a window in which the partials of a chord are lines
FINE_BINS = 6000 * FINE // SAMPLE_RATE


@torch.no_grad()
def compare(x: Tensor, y: Tensor, loss: SpectralLoss) -> dict[str, float]:
    """Decoded `y` beside its original `x`, both [B, N]: distances, and how far it stands out where the original does, over frequency
    (below 6 kHz) and over time: 1 is as sharp as the original, 0 a smear."""
    X, Y = (_contrast(_log_magnitude(w, FINE)[..., :FINE_BINS]) for w in (x, y))
    lines = X > 0.8  # bins that stay 7 dB above those around them for 0.3 s: partials of chords, bass and acid
    coarse = mel_bank(512, 48).T
    P, Q = ((_log_magnitude(w, 512).exp() @ coarse).log().diff(dim=1) for w in (x, y))
    onsets = P > 0.8  # bands that rise by 7 dB within 4 ms
    bank = mel_bank(2048, 96).T
    U, V = ((_log_magnitude(w, 2048).exp() @ bank).log10() for w in (x, y))
    return {
        "loss": float(loss(x, y, list(range(len(RESOLUTIONS))))),
        "mel_db": 20 * float((U - V).abs().mean()),
        "lines": float(Y[lines].mean() / X[lines].mean()),
        "power_db": float(10 * (_mid(y).mean() / _mid(x).mean()).log10()),
        "detail": float(_mid(y).add(1e-5).log().diff(dim=2).abs().mean() / _mid(x).add(1e-5).log().diff(dim=2).abs().mean()),
        "onsets": float(Q[onsets].mean() / P[onsets].mean()),
    }


def _log_magnitude(x: Tensor, n_fft: int) -> Tensor:
    """[B, N] → [B, frames, bins], natural logarithm, floor at 1e-3 of a window's sum of ones."""
    spectrum = torch.stft(x, n_fft, n_fft // 4, window=torch.hann_window(n_fft), center=False, return_complex=True)
    return (spectrum.abs().transpose(1, 2) + 1e-3).log()


def _contrast(x: Tensor) -> Tensor:
    """How far each bin of [B, frames, bins] is above the mean of the nine around it, over eight frames."""
    above = x - F.avg_pool1d(x, 9, 1, 4, count_include_pad=False)
    return F.avg_pool1d(above.transpose(1, 2), 8, 4)  # (B, bins, frames / 4)


def _mid(x: Tensor) -> Tensor:
    """Power of [B, N] between 600 and 2400 Hz, [B, frames, bins]: where chords and acid lines are."""
    return power_spectrum(x, 2048)[..., 600 * 2048 // SAMPLE_RATE : 2400 * 2048 // SAMPLE_RATE]
