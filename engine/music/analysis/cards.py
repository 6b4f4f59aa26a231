"""A track as a picture for a dark chat: ``draw_card``.

    ┌──────────────────────────────────────────┐
    │ title                                    │   1000 × 420 px, letters 20 px and more: a phone shows it 360 px wide
    │ 128.00 BPM  (8A A minor)  6:12  −8.4 LUFS│   what a DJ asks first
    │ ▀▀▀▀▀▀▀▀▀▀▀ ▀▀▀▀▀▀▀ ▀▀▀▀▀▀▀▀▀▀▀▀▀ ▀▀▀▀▀▀ │   sections, each in its colour, named where there is room
    │ ▂▅▇▅▂▂▅▇▅▂▂▂▂▁▁▁▂▂▅▇▇▇▇▇▇▇▅▇▇▇▇▇▂▂▂▂▂▁   │   waveform
    │ │bar 1  │17     │33     │49     │65      │   bar lines, numbered at their downbeats; seconds where there is no grid
    └──────────────────────────────────────────┘

A card needs the waveform's outline only, not the audio: keep an ``Envelope`` (3 kB) to draw it again. Style is shared with pictures.py.
"""

from __future__ import annotations

import base64
import colorsys
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from engine.music import pictures
from engine.music.analysis.facts import AnalysisError, Section, SectionKind, TrackAnalysis
from engine.music.analysis.keys import Key
from engine.music.audio import Audio

COLUMNS = pictures.WIDTH_PX - 2 * pictures.MARGIN_PX

_COLOURS: dict[SectionKind, tuple[str, str]] = {  # peaks, and the brighter body within
    "intro": ("#3d5a80", "#7fa6d6"),
    "main": ("#12897d", "#5fe3d0"),
    "build": ("#b0761b", "#ffc15e"),
    "breakdown": ("#6343c9", "#b39bff"),
    "drop": ("#c22f57", "#ff7d9c"),
    "outro": ("#4a5568", "#94a3bd"),
}
_PLAIN = ("#5b6273", "#a3abbd")
_NUMBER_PX, _FACT_PX, _BPM_PX, _NAME_PX = 21, 25, 38, 19
_WAVE_TOP, _WAVE_BOTTOM, _BAND_PX = 264, 44, 32
_TITLE_ROW_PX = 46


@dataclass(frozen=True, slots=True)
class Envelope:
    """A waveform's outline: lowest, highest and root-mean-square value of each of ``COLUMNS`` pieces, in 1/127 of full scale."""

    low: bytes
    high: bytes
    rms: bytes

    @classmethod
    def of(cls, audio: Audio) -> Envelope:
        """Piece by piece, so that no copy of the track is made."""
        edges = np.linspace(0, audio.length_samples, 17).astype(np.int64)  # sixteen parts of the track, each a share of the columns
        columns = np.linspace(0, COLUMNS, 17).astype(np.int64)
        parts = []
        for start, end, width in zip(edges[:-1], edges[1:], np.diff(columns), strict=True):
            mono = audio.samples[:, start:end].mean(axis=0) if end > start else np.zeros(1, dtype=np.float32)
            parts.append(pictures.envelope(mono, int(width)))
        low, high, rms = (np.concatenate(rows) for rows in zip(*parts, strict=True))
        return cls(*(np.clip(np.rint(127 * row), -127, 127).astype(np.int8).tobytes() for row in (low, high, rms)))

    def curves(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Lowest, highest, root-mean-square: float32 [COLUMNS] each, −1 to 1."""
        low, high, rms = (np.frombuffer(row, dtype=np.int8).astype(np.float32) for row in (self.low, self.high, self.rms))
        full = np.float32(127)
        return low / full, high / full, rms / full

    def record(self) -> dict[str, Any]:
        """For JSON: 4 kB."""
        return {name: base64.b64encode(row).decode("ascii") for name, row in (("low", self.low), ("high", self.high), ("rms", self.rms))}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Envelope:
        """Raises AnalysisError."""
        try:
            rows = [base64.b64decode(record[name], validate=True) for name in ("low", "high", "rms")]
        except (KeyError, TypeError, ValueError) as error:
            raise AnalysisError("That is no outline of a waveform: analyse the track again.") from error
        if any(len(row) != COLUMNS for row in rows):
            raise AnalysisError("An outline of another width: analyse the track again.")
        return cls(*rows)


def draw_card(audio: Audio | Envelope, analysis: TrackAnalysis, *, title: str = "") -> bytes:
    """PNG bytes, 1000 × 420 px. title: shortened to one line; letters that the font lacks are left out. Without one: 1000 × 374 px."""
    envelope = audio if isinstance(audio, Envelope) else Envelope.of(audio)
    figure = Figure(figsize=(pictures.WIDTH_PX / 100, pictures.HEIGHT_PX / 100), dpi=100, facecolor=pictures.BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    duration_s = max(analysis.duration_s, 1e-3)
    title = pictures.drawable(title)
    if title:
        _draw_title(figure, canvas, title)
    _draw_facts(figure, canvas, analysis)
    wave = _panel(figure, bottom_px=_WAVE_BOTTOM, top_px=_WAVE_TOP, duration_s=duration_s)
    band = _panel(figure, bottom_px=_WAVE_TOP + 4, top_px=_WAVE_TOP + 4 + _BAND_PX, duration_s=duration_s)
    band.set_facecolor(pictures.BACKGROUND)
    _draw_sections(band, canvas, analysis.sections, duration_s)
    _draw_wave(wave, envelope, analysis.sections, duration_s)
    if analysis.grid is not None:
        _draw_bars(wave, analysis, duration_s)
    else:
        marks = pictures.seconds_marks(duration_s)
        _draw_numbers(wave, [(mark, pictures.clock(mark, duration_s)) for mark in marks], duration_s)
    file = io.BytesIO()
    whole = Bbox.from_extents(0.0, 0.0, pictures.WIDTH_PX / 100, (pictures.HEIGHT_PX - (0 if title else _TITLE_ROW_PX)) / 100)
    figure.savefig(file, format="png", facecolor=pictures.BACKGROUND, bbox_inches=whole, metadata={"Software": None})
    return file.getvalue()


def key_colour(key: Key) -> str:
    """A colour for the key's place on the Camelot wheel: keys that fit look alike. '#rrggbb'."""
    red, green, blue = colorsys.hls_to_rgb(((key.wheel - 1) / 12 + 0.48) % 1.0, 0.72 if key.mode == "major" else 0.64, 0.75)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _draw_facts(figure: Figure, canvas: FigureCanvasAgg, analysis: TrackAnalysis) -> None:
    """Tempo, key, length, loudness, in a row; each begins where the one before it ends."""
    middle = 1.0 - 89 / pictures.HEIGHT_PX
    left = float(pictures.MARGIN_PX)

    def write(text: str, pixels: float, colour: str, gap: float, **style: Any) -> Any:
        nonlocal left
        drawn = figure.text(
            left / pictures.WIDTH_PX,
            middle,
            text,
            color=colour,
            size=_points(pixels),
            va="center_baseline",
            parse_math=False,
            **style,
        )
        left = float(drawn.get_window_extent(canvas.get_renderer()).x1) + gap
        return drawn

    grid, key = analysis.grid, analysis.key
    if grid is None:
        write("no beat", _FACT_PX, pictures.FAINT_INK, 34)
    else:
        write(f"{grid.bpm:.2f}" if grid.steady else f"≈ {grid.bpm:.1f}", _BPM_PX, pictures.INK, 9, weight="bold")
        write("BPM", _FACT_PX, pictures.FAINT_INK, 44)
    if key is not None:
        colour = key_colour(key)
        code = write(key.camelot, _FACT_PX, pictures.BACKGROUND, 24, weight="bold")
        box = code.get_window_extent(canvas.get_renderer())
        centre = middle * pictures.HEIGHT_PX
        pill = FancyBboxPatch(
            (box.x0, centre - 8),
            box.width,
            16,
            boxstyle="round,pad=11,rounding_size=15",
            facecolor=colour,
            edgecolor="none",
            transform=None,
        )
        figure.add_artist(pill)
        code.set_zorder(5)
        write(key.name, _FACT_PX, colour, 36)
    write(_length(analysis.duration_s), _FACT_PX, pictures.INK, 36)
    if analysis.lufs is not None:
        write(f"{analysis.lufs:.1f} LUFS".replace("-", "−"), _FACT_PX, pictures.FAINT_INK, 36)
    sources = {source for source in (grid and grid.source, key and key.source) if source and source != "detected"}
    if sources:
        write("from " + pictures.drawable(", ".join(sorted(sources)))[:16], _NAME_PX, pictures.FAINT_INK, 0)


def _length(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _draw_sections(axes: Any, canvas: FigureCanvasAgg, sections: tuple[Section, ...], duration_s: float) -> None:
    axes.set_ylim(0.0, 1.0)
    gap = 2.0 * duration_s / COLUMNS
    renderer = canvas.get_renderer()
    for section in sections:
        core = _COLOURS[section.kind][1]
        width = section.end_s - section.start_s
        axes.fill_between([section.start_s + gap / 2, section.end_s - gap / 2], 0.0, 0.2, color=core, linewidth=0)
        for word in (section.kind, "break" if section.kind == "breakdown" else ""):
            name = axes.text(section.start_s + gap, 0.34, word, color=core, size=_points(_NAME_PX), va="bottom", ha="left")
            if name.get_window_extent(renderer).width <= width / duration_s * COLUMNS - 4:
                break
            name.remove()


def _draw_wave(axes: Any, envelope: Envelope, sections: tuple[Section, ...], duration_s: float) -> None:
    low, high, rms = envelope.curves()
    tallest = max(float(np.max(np.abs([low, high]))), 0.02)
    times = (np.arange(COLUMNS) + 0.5) * duration_s / COLUMNS
    hair = 0.006 * tallest
    parts = [(section.start_s, section.end_s, *_COLOURS[section.kind]) for section in sections] or [(0.0, duration_s, *_PLAIN)]
    for start_s, end_s, outer, core in parts:
        part = slice(int(np.searchsorted(times, start_s)), int(np.searchsorted(times, end_s)) + 1)
        axes.fill_between(times[part], np.minimum(low, -hair)[part], np.maximum(high, hair)[part], color=outer, linewidth=0)
        axes.fill_between(times[part], np.maximum(-rms, low)[part], np.minimum(rms, high)[part], color=core, linewidth=0)
    axes.set_ylim(-1.06 * tallest, 1.06 * tallest)


def _draw_bars(axes: Any, analysis: TrackAnalysis, duration_s: float) -> None:
    """A line at each step of 1, 2, 4 … bars for which there is room, numbered where there is more."""
    assert analysis.grid is not None
    lines = analysis.grid.bars_s(duration_s)
    fine = _every(len(lines), COLUMNS / 9)
    coarse = _every(len(lines), 9)
    for number, line in enumerate(lines):
        if number % coarse == 0:
            axes.axvline(line, color=pictures.INK, linewidth=1.4, alpha=0.55, zorder=3)
        elif number % fine == 0:
            axes.axvline(line, ymax=0.035, color=pictures.INK, linewidth=1.0, alpha=0.5, zorder=3)
            axes.axvline(line, ymin=0.965, color=pictures.INK, linewidth=1.0, alpha=0.5, zorder=3)
    _draw_numbers(
        axes,
        [(float(line), str(number + 1) if number else "bar 1") for number, line in enumerate(lines) if number % coarse == 0],
        duration_s,
    )


def _every(bars: int, most: float) -> int:
    """1, 2, 4, 8 …: the smallest step that gives at most ``most`` lines."""
    step = 1
    while bars / step > most:
        step *= 2
    return step


def _draw_numbers(axes: Any, marks: list[tuple[float, str]], duration_s: float) -> None:
    """Below the waveform, each at the right of its line; one too near the right edge is left out."""
    for place, text in marks:
        if place < 0.93 * duration_s or len(marks) < 3:
            axes.text(
                place, -0.04, f" {text}", color=pictures.FAINT_INK, size=_points(_NUMBER_PX), va="top", ha="left",
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip


def _panel(figure: Figure, *, bottom_px: float, top_px: float, duration_s: float) -> Any:
    width = (pictures.WIDTH_PX - 2 * pictures.MARGIN_PX) / pictures.WIDTH_PX
    axes = figure.add_axes(
        (pictures.MARGIN_PX / pictures.WIDTH_PX, bottom_px / pictures.HEIGHT_PX, width, (top_px - bottom_px) / pictures.HEIGHT_PX),
        facecolor=pictures.PANEL,
    )
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlim(0.0, duration_s)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def _points(pixels: float) -> float:
    return pixels * 0.72  # at 100 dots an inch


def _draw_title(figure: Figure, canvas: FigureCanvasAgg, title: str) -> None:
    """The title, cut with an ellipsis where it would leave the picture."""
    place = (pictures.MARGIN_PX / pictures.WIDTH_PX, (pictures.HEIGHT_PX - 31) / pictures.HEIGHT_PX)
    text = figure.text(*place, title, color=pictures.INK, size=_points(pictures.TITLE_PX), weight="bold", va="center", parse_math=False)
    renderer = canvas.get_renderer()
    room = pictures.WIDTH_PX - 2 * pictures.MARGIN_PX
    while (taken := text.get_window_extent(renderer).width) > room and len(title) > 1:
        title = title[: max(1, min(len(title) - 1, int(len(title) * room / taken)))].rstrip()
        text.set_text(f"{title}…")
