"""Spectrograms side by side, for eyes: ten clips on the left, ten held-out tracks on the right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.files import write_atomically
from engine.pocket.rhythm import SAMPLE_RATE

ROWS, ROW_PIXELS, COLUMN_PIXELS, GAP = 10, 96, 480, 6


def spectrogram(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """[ROW_PIXELS, COLUMN_PIXELS] in 0 … 1: 40 Hz below to 16 kHz above on a logarithmic scale, 80 dB deep."""
    n_fft = 2048
    starts = np.linspace(0, max(0, len(x) - n_fft), COLUMN_PIXELS).astype(int)
    padded = np.pad(x.astype(np.float64), (0, n_fft))
    frames = np.stack([padded[s : s + n_fft] for s in starts]) * np.hanning(n_fft)
    power = np.abs(np.fft.rfft(frames)) ** 2  # (columns, bins)
    edges = np.geomspace(40, SAMPLE_RATE / 2, ROW_PIXELS + 1) * n_fft / SAMPLE_RATE
    total = np.concatenate([np.zeros((len(power), 1)), power.cumsum(1)], 1)
    places = np.arange(total.shape[1])
    level = np.stack([np.interp(edges, places, row) for row in total])  # energy below each edge
    bands = np.diff(level, axis=1) / np.diff(edges)
    decibels = 10 * np.log10(bands + 1e-9)
    return np.asarray(np.clip((decibels - decibels.max() + 80) / 80, 0, 1).T[::-1])


def write_sheet(path: Path, left: Sequence[tuple[str, NDArray[np.float32]]], right: Sequence[tuple[str, NDArray[np.float32]]]) -> None:
    """A PNG with ten (title, samples) on either side; fewer where there are fewer."""
    from matplotlib.figure import Figure

    rows = min(ROWS, max(len(left), len(right)))
    figure = Figure(figsize=(13, 1.35 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    for side, (name, clips) in enumerate((("clip", left), ("track", right))):
        for row in range(rows):
            ax = axes[row][side]
            ax.set_axis_off()
            if row < len(clips):
                title, samples = clips[row]
                ax.imshow(spectrogram(samples), aspect="auto", cmap="magma", vmin=0, vmax=1)
                ax.set_title(f"{name}: {title}", fontsize=8, loc="left")
    write_atomically(path, lambda p: figure.savefig(p, format="png", dpi=90))
