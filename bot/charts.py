"""Ratings by category as a picture. Pure: numbers in, PNG bytes out; matplotlib's objects, never its global state.

A  token · finetuned    ├────●────┤      3.9   12 clips, 41 ratings
B  token · base            ├──●──┤       ...
                      1    2    3    4    5
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from storage import CategoryResult

CATEGORY_NAMES = {
    "A": "token, finetuned",
    "B": "token, base",
    "C": "“techno”, finetuned",
    "D": "“techno”, base",
    "other": "other prompts",
}

# Discord's dark theme: a picture in these colours sits in the chat without a frame.
GROUND = "#2b2d31"
INK = "#f2f3f5"
QUIET = "#a9adb5"
GRID = "#43464d"
COLOURS = {"A": "#e879f9", "B": "#a78bfa", "C": "#22d3ee", "D": "#60a5fa", "other": "#9ca3af"}


def results_chart(results: Sequence[CategoryResult], *, title: str = "Ratings by category") -> bytes:
    """A PNG, 1200 pixels wide: mean and 95 % interval of each category, on the scale from 1 to 5.

    A category without ratings has its line all the same, and says so.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # heavy, and wanted only when somebody asks for results
    from matplotlib.figure import Figure

    height = 1.3 + 0.62 * len(results)  # inches
    figure = Figure(figsize=(6.6, height), dpi=182, facecolor=GROUND)  # dense: Discord's phone client shows it 350 points wide
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.315, 0.42 / height, 0.42, 1 - 1.0 / height), facecolor=GROUND)
    for row, result in enumerate(results):
        _draw_row(axes, row, result)
    axes.set_xlim(0.85, 5.15)
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_xticks((1, 2, 3, 4, 5))
    axes.set_yticks(())
    axes.tick_params(colors=QUIET, labelsize=12, length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.text(0.015, 1 - 0.14 / height, title, color=INK, fontsize=14, fontweight="bold", va="top")
    figure.text(0.98, 1 - 0.16 / height, "dot: mean · bar: 95 % interval", color=QUIET, fontsize=10, va="top", ha="right")
    png = io.BytesIO()
    figure.savefig(png, format="png", facecolor=GROUND)
    return png.getvalue()


def _draw_row(axes: Any, row: int, result: CategoryResult) -> None:
    colour = COLOURS[result.category]
    axes.axhline(row, color=GRID, linewidth=0.8, zorder=1)
    if result.mean is not None:
        if result.low is not None and result.high is not None:
            axes.plot((result.low, result.high), (row, row), color=colour, linewidth=5, alpha=0.45, solid_capstyle="round", zorder=2)
        axes.plot(result.mean, row, marker="o", markersize=11, color=colour, markeredgecolor=GROUND, markeredgewidth=1.5, zorder=3)
    across = {"transform": axes.get_yaxis_transform(), "va": "center"}  # x in widths of the axes, y in rows
    letter = result.category if len(result.category) == 1 else "·"
    axes.text(-0.715, row, letter, color=colour, fontsize=15, fontweight="bold", **across)
    axes.text(-0.61, row, CATEGORY_NAMES[result.category], color=INK, fontsize=11, **across)
    axes.text(1.03, row, "–" if result.mean is None else f"{result.mean:.2f}", color=INK, fontsize=14, fontweight="bold", **across)
    counts = f"{plural(result.clips, 'clip')}\n{plural(result.ratings, 'rating')}"
    axes.text(1.25, row, counts, color=QUIET, fontsize=10, linespacing=1.3, **across)


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
