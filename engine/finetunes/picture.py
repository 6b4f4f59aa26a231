"""The report card as a picture for a dark chat: ``draw``. 1000 px wide, read at a glance and at 550 px, as Discord shows it.

    ┌────────────────────────────────────────────────┐
    │ Alice                                 ✓ PASSED │
    │ lora on pocket · 8 tracks · best of 120 steps  │
    │ UNSEEN TRACKS   ──────●───────○──  2.11 ← 2.35 │  ● finetune, ○ base; the further left, the better
    │ KAD             ───┃──●━━━━──○━━─  4.1 ← 7.0   │  ━ interval, ┃ two halves of the real tracks
    │ near-copies 4 %   silent 0 %   stuck 0 %       │
    │ what would help                                │
    └────────────────────────────────────────────────┘

matplotlib's object interface only (no pyplot), so that threads may draw at once.
"""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from engine.api.evaluation import Estimate
from engine.api.finetunes import ReportCard
from engine.music.pictures import drawable

WIDTH_PX, HEIGHT_PX = 1000, 850
_BACKGROUND, _PANEL, _INK, _FAINT, _LINE = "#15161b", "#0d0e12", "#f2f3f5", "#b5bac1", "#3a3d48"
_NEW, _BASE, _BAD, _REAL = "#1fb6a6", "#b5bac1", "#f0616d", "#ffd166"
_ROW_PX, _FIRST_PX = 96, 196
_MARGIN_PX = 32


@dataclass(frozen=True, slots=True)
class _Row:
    """A figure of both sides; smaller is better. check: the gate's question that it answers, if any."""

    title: str
    what: str
    before: Estimate | float
    after: Estimate | float
    real: Estimate | None = None
    check: str | None = None
    digits: int = 2
    from_zero: bool = True
    """Loss moves by some percent, and would look still on an axis that begins at zero."""


def draw(card: ReportCard, name: str) -> bytes:
    """PNG bytes."""
    figure = Figure(figsize=(WIDTH_PX / 100, HEIGHT_PX / 100), dpi=100, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    passed = {check.name: check.passed for check in card.checks}
    title = drawable(name)
    _text(figure, _MARGIN_PX, 56, title if len(title) <= 26 else title[:25] + "…", size=27, weight="bold")
    _badge(figure, card)
    _text(figure, _MARGIN_PX, 108, drawable(_facts(card)), size=17, color=_FAINT)
    rows = _rows(card)
    if rows:
        _legend(figure, card)
    for number, row in enumerate(rows):
        _row(figure, row, _FIRST_PX + number * _ROW_PX, passed)
    if not rows:
        _text(figure, _MARGIN_PX, 300, "Too little was held out to compare with.", size=20, color=_FAINT)
    _rates(figure, card, passed, _FIRST_PX + 4 * _ROW_PX + 12)
    _words(figure, card)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=_BACKGROUND, metadata={"Software": None})
    return file.getvalue()


def _facts(card: ReportCard) -> str:
    tracks = f"{card.tracks} tracks, {card.held_out_tracks} more held out" if card.held_out_tracks else f"{card.tracks} tracks"
    steps = f"step {card.best_step} of {card.steps} kept" if card.best_step else f"{card.steps} steps"
    return f"{card.recipe} on {card.base}  ·  {tracks}  ·  {steps}"


def _rows(card: ReportCard) -> list[_Row]:
    rows = []
    if card.held_out is not None and card.held_out_base is not None:
        rows.append(
            _Row("Unseen tracks", "nats a code", card.held_out_base, card.held_out, check="held-out loss", digits=3, from_zero=False)
        )
    if card.before is not None and card.after is not None:
        real = card.real.kad if card.real else None
        rows.append(_Row("KAD", "distance of the sound", card.before.kad, card.after.kad, real, "distance"))
        rows.append(_Row("FAD", "its older relative", card.before.fad, card.after.fad))
        if card.before.kl is not None and card.after.kl is not None:
            rows.append(_Row("KL of tags", "what it is taken for", card.before.kl, card.after.kl))
    return rows


def _badge(figure: Figure, card: ReportCard) -> None:
    text, colour = {"passed": ("PASSED", _NEW), "failed": ("BASE STAYS", _BAD), None: ("NOT JUDGED", _FAINT)}[card.gate]
    width = 46 + 17 * len(text)
    left = WIDTH_PX - _MARGIN_PX - width
    box = FancyBboxPatch(
        (left / WIDTH_PX, 1 - 84 / HEIGHT_PX), width / WIDTH_PX, 56 / HEIGHT_PX,
        boxstyle="round,pad=0,rounding_size=0.012", linewidth=0, facecolor=colour, transform=figure.transFigure,
    )  # fmt: skip
    figure.add_artist(box)
    _text(figure, left + width / 2, 57, text, size=21, weight="bold", color=_BACKGROUND, ha="center")


def _legend(figure: Figure, card: ReportCard) -> None:
    """What the marks mean, right above them."""
    parts = [("●", "finetune", _NEW), ("○", "base", _BASE)]
    if card.real is not None and card.real.kad is not None:
        parts.append(("│", "real tracks", _REAL))
    _text(figure, _MARGIN_PX, 154, f"{card.clips_compared} clips of each", size=16, color=_FAINT)
    x = 330.0
    for mark, word, colour in parts:
        _text(figure, x, 154, mark, size=17, color=colour, weight="bold")
        _text(figure, x + 24, 154, word, size=16, color=_FAINT)
        x += 60 + 11.5 * len(word)
    _text(figure, WIDTH_PX - _MARGIN_PX, 154, "← nearer", size=16, color=_FAINT, ha="right")


def _row(figure: Figure, row: _Row, top_px: float, passed: dict[str, bool]) -> None:
    ok = passed.get(row.check or "", True)
    _text(figure, _MARGIN_PX, top_px + 24, row.title, size=20, weight="bold")
    _text(figure, _MARGIN_PX, top_px + 56, row.what, size=15, color=_FAINT)
    before, after = _value(row.before), _value(row.after)
    axes = figure.add_axes((330 / WIDTH_PX, 1 - (top_px + 74) / HEIGHT_PX, 400 / WIDTH_PX, 68 / HEIGHT_PX))
    _marks(axes, row, _NEW if after <= before and ok else _BAD)
    _text(figure, 765, top_px + 24, _number(after, row.digits), size=23, weight="bold", color=_NEW if after <= before and ok else _BAD)
    _text(figure, 765, top_px + 58, f"base {_number(before, row.digits)}", size=16, color=_FAINT)
    change = (after - before) / before if before else 0.0
    _text(figure, WIDTH_PX - _MARGIN_PX, top_px + 24, f"{change:+.0%}".replace("-", "−"), size=18, color=_FAINT, ha="right")


def _marks(axes: Axes, row: _Row, colour: str) -> None:
    axes.set_facecolor(_PANEL)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    low, high = _span(row)
    axes.set_xlim(low, high)
    axes.set_ylim(-1, 1)
    if row.real is not None:
        axes.axvline(row.real.value, color=_REAL, linewidth=2.5)
    for figure, height, paint, filled in ((row.before, -0.42, _BASE, False), (row.after, 0.42, colour, True)):
        edges = _edges(figure)
        axes.plot([low, high], [height, height], color=_LINE, linewidth=1.2, zorder=1)
        if len(edges) > 1:
            axes.plot([edges[0], edges[-1]], [height, height], color=paint, linewidth=5, alpha=0.55, solid_capstyle="round", zorder=2)
        axes.plot(
            [_value(figure)], [height], marker="o", markersize=13, color=paint, zorder=3,
            markerfacecolor=paint if filled else _PANEL, markeredgewidth=3,
        )  # fmt: skip


def _span(row: _Row) -> tuple[float, float]:
    """Of the axis, with room for the marks."""
    values = [edge for figure in (row.before, row.after) for edge in _edges(figure)]
    if row.real is not None:
        values.append(row.real.value)
    if row.from_zero:
        low, high = min(0.0, *values), max(values)
    else:
        base = _value(row.before)
        low, high = min(0.9 * base, *values), max(1.05 * base, *values)
    room = 0.06 * max(high - low, 1e-6)
    return low - room, high + room


def _rates(figure: Figure, card: ReportCard, passed: dict[str, bool], top_px: float) -> None:
    """What no clip should be, in three boxes."""
    if card.after is None or card.before is None or card.real is None:
        return
    boxes = (
        ("near-copies", "near-copies", card.after.near_copies, f"real tracks {card.real.near_copies:.0%}"),
        ("silence", "silent clips", card.after.silent, f"base {card.before.silent:.0%}"),
        ("collapse", "stuck clips", card.after.collapsed, f"base {card.before.collapsed:.0%}"),
    )
    width, gap = 299, 19.5
    for number, (check, title, share, beside) in enumerate(boxes):
        left = _MARGIN_PX + number * (width + gap)
        box = FancyBboxPatch(
            (left / WIDTH_PX, 1 - (top_px + 92) / HEIGHT_PX), width / WIDTH_PX, 92 / HEIGHT_PX,
            boxstyle="round,pad=0,rounding_size=0.008", linewidth=0, facecolor=_PANEL, transform=figure.transFigure,
        )  # fmt: skip
        figure.add_artist(box)
        ok = passed.get(check, True)
        _text(figure, left + 18, top_px + 46, f"{share:.0%}", size=27, weight="bold", color=_NEW if ok else _BAD)
        _text(figure, left + 124, top_px + 30, title, size=18, weight="bold")
        _text(figure, left + 124, top_px + 64, beside, size=16, color=_FAINT)


def _words(figure: Figure, card: ReportCard) -> None:
    """The verdict: why not, in short, as the figures are above; and what would help."""
    failed = [_SHORT.get(check.name, check.name) for check in card.checks if not check.passed]
    why = " and ".join([", ".join(failed[:-1]), failed[-1]] if len(failed) > 1 else failed)
    if card.gate == "passed":
        parts = [(card.words, _NEW), *((note, _FAINT) for note in card.notes[:1])]
    else:
        parts = [(f"It {why}." if why else card.words, _INK), *((said, _REAL) for said in card.advice[:1])]
    top = _FIRST_PX + 4 * _ROW_PX + 134
    for said, colour in parts:
        lines = textwrap.wrap(drawable(said), 74)
        for line in lines[:2] if len(lines) <= 2 else [lines[0], lines[1][:70] + " …"]:
            _text(figure, _MARGIN_PX, top, line, size=17, color=colour)
            top += 33


_SHORT = {
    "held-out loss": "is no better on unseen tracks",
    "distance": "sounds farther from unseen tracks",
    "near-copies": "copies its training tracks",
    "silence": "falls silent more often",
    "collapse": "gets stuck more often",
}


def _text(figure: Figure, x_px: float, y_px: float, text: str, *, size: float, color: str = _INK, **more: Any) -> None:
    """From the top left; ``y_px`` is the middle of the line."""
    figure.text(x_px / WIDTH_PX, 1 - y_px / HEIGHT_PX, text, color=color, size=size, va="center", **more)


def _value(figure: Estimate | float) -> float:
    return figure.value if isinstance(figure, Estimate) else figure


def _edges(figure: Estimate | float) -> list[float]:
    return [figure.low, figure.value, figure.high] if isinstance(figure, Estimate) else [figure]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits if abs(value) < 10 else 1}f}".replace("-", "−")
