"""Runs as pictures: training loss, held-out loss and the base's, over steps; one run or several. Drawn like clips, for a dark chat."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from engine.training.figures import Figures

_BACKGROUND, _PANEL, _INK, _FAINT = "#15161b", "#0d0e12", "#f2f3f5", "#b5bac1"
_TRAINING, _HELD_OUT, _BEST = "#5b6273", "#1fb6a6", "#ffd166"
_RUNS = ("#1fb6a6", "#ff8a5b", "#8f7bff", "#ffd166", "#4fa3ff", "#ff6f91", "#9bd770", "#d0a5ff")


def draw(history: Sequence[Figures], *, title: str = "") -> bytes:
    """PNG bytes, 1000 × 560 px. Held-out loss is the line that matters; its lowest point is what is kept."""
    figure, axes = _sheet()
    steps = [(f.step, f.loss) for f in history if f.loss is not None]
    validated = [(f.step, f.held_out) for f in history if f.held_out is not None]
    if steps:
        axes.plot(*zip(*steps, strict=True), color=_TRAINING, linewidth=1.2, label="training")
    if not steps and history:
        axes.set_xlim(0, history[-1].of_steps)  # all that is there yet is the base, at step 0
    if validated:
        axes.axhline(validated[0][1], color=_FAINT, linewidth=1.2, linestyle=(0, (4, 4)), label="base, on unseen tracks")
        axes.plot(*zip(*validated, strict=True), color=_HELD_OUT, linewidth=2.6, marker="o", markersize=6, label="on unseen tracks")
        best = min(validated, key=lambda point: point[1])
        axes.plot(*best, marker="o", markersize=13, color=_BEST, fillstyle="none", markeredgewidth=2.5, linestyle="none", label="kept")
    return _finished(figure, axes, title, legend=bool(steps or validated))


def compare(runs: Mapping[str, Sequence[Figures]], *, title: str = "") -> bytes:
    """Several runs by name, in colours of their own: PNG bytes, 1000 × 560 px.

    Held-out loss is a thick line and its base's a dashed one; training loss is thin, and all there is of runs that held nothing out.
    """
    figure, axes = _sheet()
    for number, (name, history) in enumerate(runs.items()):
        colour = _RUNS[number % len(_RUNS)]
        steps = [(f.step, f.loss) for f in history if f.loss is not None]
        validated = [(f.step, f.held_out) for f in history if f.held_out is not None]
        if steps:
            axes.plot(*zip(*steps, strict=True), color=colour, linewidth=1.0, alpha=0.45, label=None if validated else f"{name}, training")
        if validated:
            best = min(validated, key=lambda point: point[1])
            axes.axhline(validated[0][1], color=colour, linewidth=1.0, linestyle=(0, (4, 4)), alpha=0.7)
            axes.plot(*zip(*validated, strict=True), color=colour, linewidth=2.6, marker="o", markersize=5, label=f"{name}, unseen tracks")
            axes.plot(*best, marker="o", markersize=12, color=colour, fillstyle="none", markeredgewidth=2.5, linestyle="none")
    return _finished(figure, axes, title, legend=any(runs.values()))


def _sheet() -> tuple[Figure, Any]:
    figure = Figure(figsize=(10, 5.6), dpi=100, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    return figure, figure.add_axes((0.09, 0.13, 0.88, 0.73), facecolor=_PANEL)


def _finished(figure: Figure, axes: Any, title: str, *, legend: bool) -> bytes:
    axes.set_xlabel("step", color=_FAINT, fontsize=15)
    axes.set_ylabel("nats a code", color=_FAINT, fontsize=15)
    axes.tick_params(colors=_FAINT, labelsize=14)
    axes.grid(color=_FAINT, alpha=0.15)
    for spine in axes.spines.values():
        spine.set_color(_TRAINING)
    if legend:
        axes.legend(facecolor=_PANEL, edgecolor=_TRAINING, labelcolor=_INK, fontsize=14)
    figure.text(0.02, 0.92, title, color=_INK, fontsize=20, fontweight="bold")
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=_BACKGROUND)
    return out.getvalue()
