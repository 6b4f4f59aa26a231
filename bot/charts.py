"""Ratings by category as a picture. Pure: numbers in, PNG bytes out; matplotlib's objects, never its global state.

A  token · finetuned    ├────●────┤      3.9   12 clips, 41 ratings
B  token · base            ├──●──┤       ...
                      1    2    3    4    5
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
    figure = Figure(figsize=(8.0, 1.35 + 0.62 * len(results)), dpi=150, facecolor=GROUND)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.285, 1.0 / (1.35 + 0.62 * len(results)) * 0.62, 0.52, 1 - 1.25 / (1.35 + 0.62 * len(results))))
    axes.set_facecolor(GROUND)
    rows = range(len(results))
    for row, result in zip(rows, results, strict=True):
        colour = COLOURS[result.category]
        axes.axhline(row, color=GRID, linewidth=0.8, zorder=1)
        if result.mean is not None:
            if result.low is not None and result.high is not None:
                axes.plot((result.low, result.high), (row, row), color=colour, linewidth=5, alpha=0.45, solid_capstyle="round", zorder=2)
            axes.plot(result.mean, row, marker="o", markersize=11, color=colour, markeredgecolor=GROUND, markeredgewidth=1.5, zorder=3)
        axes.text(
            -0.52, row, _letter(result.category), transform=_row_transform(axes), color=colour, fontsize=15, fontweight="bold", va="center"
        )
        axes.text(-0.44, row, CATEGORY_NAMES[result.category], transform=_row_transform(axes), color=INK, fontsize=11, va="center")
        mean = "–" if result.mean is None else f"{result.mean:.2f}"
        axes.text(1.05, row, mean, transform=_row_transform(axes), color=INK, fontsize=14, fontweight="bold", va="center")
        axes.text(1.18, row, _counts(result), transform=_row_transform(axes), color=QUIET, fontsize=9, va="center", linespacing=1.35)
    axes.set_xlim(0.85, 5.15)
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_xticks((1, 2, 3, 4, 5))
    axes.set_yticks(())
    axes.tick_params(colors=QUIET, labelsize=11, length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.text(0.02, 1 - 0.14 / figure.get_figheight(), title, color=INK, fontsize=14, fontweight="bold", va="top")
    figure.text(0.98, 1 - 0.16 / figure.get_figheight(), "dot: mean   bar: 95 % interval", color=QUIET, fontsize=9, va="top", ha="right")
    png = io.BytesIO()
    figure.savefig(png, format="png", facecolor=GROUND)
    return png.getvalue()


def _row_transform(axes: Any) -> Any:
    """x in the axes' own width, y in rows."""
    return axes.get_yaxis_transform()


def _letter(category: str) -> str:
    return category if len(category) == 1 else "·"


def _counts(result: CategoryResult) -> str:
    return f"{plural(result.clips, 'clip')}\n{plural(result.ratings, 'rating')}"


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
