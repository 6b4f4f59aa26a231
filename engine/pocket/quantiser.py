"""How codebooks are learned: k-means to begin with, moving averages after, Lloyd's algorithm at the end. Its networks: codec.py."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.pocket.codec import PocketCodec


class Quantiser:
    """The moving averages behind `PocketCodec.codebooks`: how often each entry is chosen, and the sum of what chose it."""

    def __init__(self, codec: PocketCodec, decay: float) -> None:
        self.codec, self.decay = codec, decay
        K, V, D = codec.codebooks.shape
        self.counts = torch.ones(K, V)
        self.sums = torch.zeros(K, V, D)

    def start(self, latents: Tensor, rounds: int = 12) -> None:
        """k-means on latents [M, K, T, D], each codebook on its own band."""
        for k in range(latents.shape[1]):
            x = latents[:, k].reshape(-1, latents.shape[-1])
            V = self.counts.shape[1]
            centres = x[torch.randperm(len(x))[:V]].clone()
            for _ in range(rounds):
                nearest = torch.cdist(x, centres).argmin(1)
                counts = torch.bincount(nearest, minlength=V).float()
                centres = torch.zeros_like(centres).index_add_(0, nearest, x) / counts.clamp(min=1)[:, None]
                empty = counts == 0
                centres[empty] = x[torch.randint(len(x), (int(empty.sum()),))]
            self.codec.codebooks.data[k] = centres
            self.counts[k], self.sums[k] = 1.0, centres

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor) -> None:
        """One batch of latents [B, K, T, D] and their codes [B, K, T]."""
        V = self.counts.shape[1]
        for k in range(codes.shape[1]):
            x, index = latents[:, k].reshape(-1, latents.shape[-1]), codes[:, k].reshape(-1)
            counts = torch.bincount(index, minlength=V).float()
            self.counts[k].mul_(self.decay).add_(counts, alpha=1 - self.decay)
            self.sums[k].mul_(self.decay).add_(torch.zeros_like(self.sums[k]).index_add_(0, index, x), alpha=1 - self.decay)
            book = self.sums[k] / self.counts[k].clamp(min=1e-5)[:, None]
            dead = self.counts[k] < 0.03 * len(x) / V
            if dead.any():  # move to the frames that are worst served, so that rare sounds get an entry
                error = (x - book[index]).square().sum(-1)
                n = int(dead.sum())
                worst = torch.multinomial(error + 1e-6, n, replacement=True)
                book[dead] = x[worst]
                self.counts[k][dead] = 0.2 * len(x) / V
                self.sums[k][dead] = book[dead] * self.counts[k][dead][:, None]
            self.codec.codebooks.data[k] = book


@torch.no_grad()
def settle(codec: PocketCodec, latents: Tensor, rounds: int = 8) -> None:
    """Lloyd's algorithm on latents [M, K, T, D]: every entry to the middle of what chooses it, then half precision's rounding."""
    for _ in range(rounds):
        codes = codec.nearest(latents)
        for k in range(codes.shape[1]):
            x, index = latents[:, k].reshape(-1, latents.shape[-1]), codes[:, k].reshape(-1)
            counts = torch.bincount(index, minlength=codec.config.codebook_size).float()[:, None]
            means = torch.zeros_like(codec.codebooks[k]).index_add_(0, index, x) / counts.clamp(min=1)
            codec.codebooks.data[k] = torch.where(counts > 0, means, codec.codebooks[k])
    codec.codebooks.data = codec.codebooks.data.half().float()


def usage(codes: Tensor, V: int) -> list[tuple[int, float]]:
    """Per codebook of codes [B, K, T]: entries used, entropy in bits."""
    figures = []
    for k in range(codes.shape[1]):
        p = torch.bincount(codes[:, k].reshape(-1), minlength=V).float()
        p = p / p.sum()
        figures.append((int((p > 0).sum()), round(float(-(p * (p + 1e-12).log2()).sum()), 2)))
    return figures
