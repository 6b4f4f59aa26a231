"""A run as a picture: training loss, held-out loss and the base's, over steps. Drawn like clips, for a dark chat."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from engine.training.figures import Figures

_BACKGROUND, _PANEL, _INK, _FAINT = "#15161b", "#0d0e12", "#f2f3f5", "#b5bac1"
_TRAINING, _HELD_OUT, _BEST = "#5b6273", "#1fb6a6", "#ffd166"


def draw(history: Sequence[Figures], *, title: str = "") -> bytes:
    """PNG bytes, 1000 × 560 px. Held-out loss is the line that matters; its lowest point is what is kept."""
    figure = Figure(figsize=(10, 5.6), dpi=100, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.13, 0.88, 0.73), facecolor=_PANEL)
    steps = [(f.step, f.loss) for f in history if f.loss is not None]
    validated = [(f.step, f.held_out) for f in history if f.held_out is not None]
    if steps:
        axes.plot(*zip(*steps, strict=True), color=_TRAINING, linewidth=1.2, label="training")
    if validated:
        axes.axhline(validated[0][1], color=_FAINT, linewidth=1.2, linestyle=(0, (4, 4)), label="base, on unseen tracks")
        axes.plot(*zip(*validated, strict=True), color=_HELD_OUT, linewidth=2.6, marker="o", markersize=6, label="on unseen tracks")
        best = min(validated, key=lambda point: point[1])
        axes.plot(*best, marker="o", markersize=13, color=_BEST, fillstyle="none", markeredgewidth=2.5, linestyle="none", label="kept")
    axes.set_xlabel("step", color=_FAINT, fontsize=15)
    axes.set_ylabel("nats a code", color=_FAINT, fontsize=15)
    axes.tick_params(colors=_FAINT, labelsize=14)
    axes.grid(color=_FAINT, alpha=0.15)
    for spine in axes.spines.values():
        spine.set_color(_TRAINING)
    if steps or validated:
        axes.legend(facecolor=_PANEL, edgecolor=_TRAINING, labelcolor=_INK, fontsize=14)
    figure.text(0.02, 0.92, title, color=_INK, fontsize=20, fontweight="bold")
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=_BACKGROUND)
    return out.getvalue()
