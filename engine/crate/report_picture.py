"""The dataset report as a picture for a dark chat: ``draw``. 1000 × 620 px, as readable on a phone as a clip's picture.

    ┌───────────────────────────────────────────────┐
    │ alice              92 tracks · 9.7 h · 131 BPM │
    │ ▂▅█▅▂ tempo                   ◔ Camelot wheel  │
    │ what would help, two lines                     │
    └───────────────────────────────────────────────┘

matplotlib's object interface only (no pyplot), so that threads may draw at once.
"""

from __future__ import annotations

import io
import textwrap
from collections import Counter

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from engine.crate.report import Report
from engine.music.pictures import drawable

WIDTH_PX, HEIGHT_PX = 1000, 620
_BACKGROUND, _PANEL, _INK, _FAINT = "#15161b", "#0d0e12", "#f2f3f5", "#b5bac1"
_NEW, _HELD = "#1fb6a6", "#ffd166"
_EMPTY = "#22242c"


def draw(report: Report) -> bytes:
    """PNG bytes."""
    figure = Figure(figsize=(WIDTH_PX / 100, HEIGHT_PX / 100), dpi=100, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    tempos = [line.bpm for line in report.lines if line.bpm is not None]
    hours = sum(line.duration_s for line in report.lines) / 3600
    length = f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
    facts = [f"{len(report.lines)} tracks", length]
    if tempos:
        facts.append(f"{np.median(tempos):.0f} BPM")
    if report.dataset is not None:
        facts.append(f"{report.dataset.held_out_tracks} held out")
    title = drawable(report.name)
    figure.text(0.025, 0.915, title if len(title) <= 28 else title[:27] + "…", color=_INK, size=22, weight="bold", va="center")
    figure.text(0.975, 0.915, "  ·  ".join(facts), color=_FAINT, size=17, va="center", ha="right")
    advice = textwrap.wrap(drawable(report.advice[0]) if report.advice else "Nothing to mend: enough tracks, in good shape.", 86)
    shown = advice[:2] if len(advice) <= 2 else [advice[0], advice[1] + " …"]
    for number, text in enumerate(shown):
        figure.text(0.025, 0.1 - 0.052 * number, text, color=_HELD if report.advice else _NEW, size=15, va="center")
    _tempo(figure, tempos)
    _wheel(figure, report)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=_BACKGROUND, metadata={"Software": None})
    return file.getvalue()


def _tempo(figure: Figure, tempos: list[float]) -> None:
    axes = figure.add_axes((0.06, 0.25, 0.5, 0.55), facecolor=_PANEL)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(colors=_FAINT, labelsize=15, length=0, pad=6)
    axes.set_title("tempo, BPM", color=_FAINT, size=16, loc="left")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    if not tempos:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no tempo is known", color=_FAINT, size=16, ha="center", va="center", transform=axes.transAxes)
        return
    low, high = int(min(tempos)) - 2, int(max(tempos)) + 3
    width = 1 if high - low <= 48 else 2 if high - low <= 96 else 5
    axes.hist(tempos, bins=np.arange(low, high + width, width).tolist(), color=_NEW, rwidth=0.82)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.margins(x=0.01)


def _wheel(figure: Figure, report: Report) -> None:
    counts = Counter(line.key.camelot for line in report.lines if line.key)
    most = max(counts.values(), default=1)
    axes = figure.add_axes((0.6, 0.16, 0.38, 0.7), projection="polar")
    axes.set_theta_zero_location("N")  # type: ignore[attr-defined]  # of polar axes
    axes.set_theta_direction(-1)  # type: ignore[attr-defined]
    axes.set_axis_off()
    for number in range(1, 13):
        angle = 2 * np.pi * number / 12
        for letter, bottom, height in (("A", 0.42, 0.36), ("B", 0.8, 0.36)):
            count = counts.get(f"{number}{letter}", 0)
            hue = ((number * 30 + 120) % 360) / 360
            colour = hsv_to_rgb((hue, 0.62, 0.38 + 0.5 * count / most)) if count else _EMPTY
            axes.bar(angle, height, width=2 * np.pi / 12 * 0.94, bottom=bottom, color=colour)
            axes.text(
                angle,
                bottom + height / 2,
                f"{number}{letter}" + (f"\n{count}" if count else ""),
                color=_INK if count else "#6b7280",
                size=13 if count else 11,
                weight="bold" if count else "normal",
                ha="center",
                va="center",
                linespacing=1.0,
            )
    axes.set_ylim(0, 1.18)
