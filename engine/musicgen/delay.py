"""The delay pattern of MusicGen (arXiv 2306.05284, section 2.2): codebook k is shifted by its delay, so that one step of the
language model predicts all codebooks, each knowing the coarser codes of its own frame.

Four codebooks, five frames (a = codebook 0 and so on, · = padding)::

    codes [B, K, T=5]          sequence [B, K, S=9]
    a0 a1 a2 a3 a4             ·  a0 a1 a2 a3 a4 ·  ·  ·
    b0 b1 b2 b3 b4      ─▶     ·  ·  b0 b1 b2 b3 b4 ·  ·
    c0 c1 c2 c3 c4             ·  ·  ·  c0 c1 c2 c3 c4 ·
    d0 d1 d2 d3 d4             ·  ·  ·  ·  d0 d1 d2 d3 d4

Step 0 is padding only: what the model hears before the first frame. Pure functions; nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def delays_for(num_codebooks: int, channels: int = 1) -> tuple[int, ...]:
    """Delay of each codebook in steps: 0 1 2 3, and in stereo, where left and right alternate, 0 0 1 1 2 2 3 3."""
    return tuple(k // channels for k in range(num_codebooks))


def sequence_length(frames: int, delays: Sequence[int]) -> int:
    """S for T frames: one step of padding, the frames, and the largest delay."""
    return 1 + frames + max(delays)


def apply_delay(codes: Tensor, pad: int, delays: Sequence[int] | None = None) -> Tensor:
    """Codes ``[B, K, T]`` -> sequence ``[B, K, S]``, ``pad`` where the pattern has no code.

    ``delays``: steps by codebook; None is 0, 1, 2, … K − 1.
    """
    B, K, T = codes.shape
    delays = delays_for(K) if delays is None else delays
    assert len(delays) == K, f"{len(delays)} delays for {K} codebooks"
    sequence = codes.new_full((B, K, sequence_length(T, delays)), pad)
    for k, delay in enumerate(delays):
        sequence[:, k, 1 + delay : 1 + delay + T] = codes[:, k]
    return sequence


def undo_delay(sequence: Tensor, delays: Sequence[int] | None = None) -> Tensor:
    """Sequence ``[B, K, S]`` -> codes ``[B, K, T]``: the frames of which every codebook is in the sequence."""
    _, K, S = sequence.shape
    delays = delays_for(K) if delays is None else delays
    assert len(delays) == K, f"{len(delays)} delays for {K} codebooks"
    T = max(0, S - 1 - max(delays))
    return torch.stack([sequence[:, k, 1 + delay : 1 + delay + T] for k, delay in enumerate(delays)], dim=1)
