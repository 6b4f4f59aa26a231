"""A clip as a picture for a dark chat: ``draw``. Waveform over log-frequency spectrogram, seconds below, the seam of a continuation marked.

    ┌──────────────────────────────────────────┐
    │ title                                    │   1000 × 420 px. A phone shows it 360 px wide, so letters are 22 to 28 px
    │ ▂▅▇▅▂▂▅▇ track │ new ▂▅▇▅▂▂▅▇▅▂          │   waveform: the track's own part grey, the new part in colour
    │ ░░▒▒▓▓▒▒░░▒▒▓▓ │ ░░▒▒▓▓▒▒░░▒▒▓▓          │   spectrogram, 32 Hz to 16 kHz, as high notes are up
    │ 0 s      5 s      10 s      15 s         │
    └──────────────────────────────────────────┘

matplotlib's object interface only (no pyplot), so that threads may draw at once. The arithmetic is in plain functions over numpy.
"""

from __future__ import annotations

import functools
import io
import math
from typing import Any

import numpy as np
from matplotlib import font_manager, patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from engine.music.audio import Audio

WIDTH_PX, HEIGHT_PX = 1000, 420
COVER_PX = 400

BACKGROUND = "#15161b"
PANEL = "#0d0e12"
INK, FAINT_INK = "#f2f3f5", "#b5bac1"
_NEW, _NEW_CORE = "#1fb6a6", "#7df5dd"
_TRACK, _TRACK_CORE = "#5b6273", "#a3abbd"
_SEAM = "#ffd166"
_HEAT = LinearSegmentedColormap.from_list(
    "clip",
    [(0.0, PANEL), (0.18, "#1d1440"), (0.38, "#4b1d8f"), (0.58, "#a3238e"), (0.76, "#ef4d6c"), (0.9, "#ffa45c"), (1.0, "#fff3c4")],
)

MARGIN_PX = 22
TITLE_PX, LABEL_PX, AXIS_PX, _PITCH_PX = 28, 24, 24, 19
_LOWEST_HZ, _HIGHEST_HZ = 32.0, 16000.0
_WINDOW_SECONDS = 0.064
_RANGE_DB = 62.0
_TILT_DB = 3.0  # dB an octave: music falls off about so towards the top, and a picture of it should not
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)


def draw(audio: Audio, *, seam_s: float | None = None, title: str = "") -> bytes:
    """PNG bytes, 1000 × 420 px.

    seam_s: where the new audio begins. title: shortened to one line; letters that the font lacks (emoji) are left out.
    """
    figure = Figure(figsize=(WIDTH_PX / 100, HEIGHT_PX / 100), dpi=100, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    duration_s = max(audio.duration_s, 1e-3)
    if seam_s is not None and not 0.0 < seam_s < duration_s:
        seam_s = None  # all of it is one part: nothing to mark
    title = drawable(title)
    top = HEIGHT_PX - (58 if title else 16)
    wave = panel(figure, bottom_px=top - 128, top_px=top, duration_s=duration_s)
    heat = panel(figure, bottom_px=50, top_px=top - 136, duration_s=duration_s)
    if title:
        draw_title(figure, canvas, title)
    _draw_wave(wave, audio, duration_s, seam_s)
    _draw_heat(heat, audio, duration_s, labels_right=seam_s is not None and seam_s < 0.12 * duration_s)
    _draw_seconds(heat, duration_s)
    if seam_s is not None:
        _draw_seam(wave, heat, seam_s, duration_s)
    file = io.BytesIO()
    # zlib's usual level took a third of the drawing; this takes half of that, for a tenth more bytes.
    figure.savefig(file, format="png", facecolor=BACKGROUND, metadata={"Software": None}, pil_kwargs={"compress_level": 3})
    return file.getvalue()


def envelope(samples: NDArray[np.float32], columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Lowest, highest and root-mean-square value of mono samples [N] in each of ``columns`` equal pieces: three arrays [columns]."""
    edges = np.linspace(0, len(samples), columns + 1).astype(np.int64)
    starts = np.minimum(edges[:-1], max(0, len(samples) - 1))
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    power = np.add.reduceat(np.square(samples, dtype=np.float64), starts) / np.maximum(np.diff(np.append(starts, len(samples))), 1)
    return low, high, np.sqrt(np.maximum(power, 0.0)).astype(np.float32)


def spectrogram(samples: NDArray[np.float32], sample_rate: int, columns: int, rows: int) -> NDArray[np.float32]:
    """[rows, columns] dB below the loudest, 0 to −62, of mono samples [N]; rows are equal steps of pitch from 32 Hz up, lowest first."""
    window = 1 << round(math.log2(_WINDOW_SECONDS * sample_rate))
    per_column = int(np.clip(round(len(samples) / columns / (window / 2)), 1, 8))  # a long clip: several frames are averaged
    padded = np.pad(samples, (window // 2, window // 2 + 1))
    centres = np.linspace(0, max(0, len(samples) - 1), columns * per_column).astype(np.int64)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[centres] * np.hanning(window).astype(np.float32)  # [F, window]
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).astype(np.float32)  # [F, bins]
    power = power.reshape(columns, per_column, -1).mean(axis=1)  # [columns, bins]
    pitched = power @ _pitch_bands(sample_rate, window, rows)  # [columns, rows]
    decibels = 10.0 * np.log10(np.maximum(pitched, 1e-12)) + _TILT_DB * np.linspace(0.0, math.log2(_HIGHEST_HZ / _LOWEST_HZ), rows)
    decibels -= max(float(decibels.max()), 10.0 * math.log10(window) - 60.0)  # silence stays dark
    return np.asarray(np.clip(decibels, -_RANGE_DB, 0.0).T, dtype=np.float32)


@functools.lru_cache(maxsize=8)
def _pitch_bands(sample_rate: int, window: int, rows: int) -> NDArray[np.float32]:
    """[bins, rows]: triangles over the bins, equally spaced in pitch, at least one bin wide; nothing above half the rate."""
    bins = np.fft.rfftfreq(window, 1.0 / sample_rate)[:, None]  # [bins, 1]
    centres = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, rows)[None, :]  # [1, rows]
    width = np.maximum(centres * ((_HIGHEST_HZ / _LOWEST_HZ) ** (1.0 / rows) - 1.0), bins[1, 0])
    weights = np.maximum(0.0, 1.0 - np.abs(bins - centres) / width)
    weights /= np.maximum(weights.sum(axis=0), 1e-9)
    weights[:, centres[0] > sample_rate / 2] = 0.0
    return np.asarray(weights, dtype=np.float32)


def seconds_marks(duration_s: float, most: int = 7) -> list[float]:
    """At most ``most`` round moments from 0 on, evenly spaced."""
    step = next((step for step in _STEPS_S if duration_s / step <= most - 1 + 0.5), _STEPS_S[-1])
    return [index * step for index in range(int(duration_s / step + 1e-6) + 1)]


@functools.lru_cache(maxsize=1)
def _letters() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def drawable(text: str) -> str:
    """``text`` in one line, without what the font can't draw (emoji, CJK)."""
    return " ".join("".join(letter if ord(letter) in _letters() and letter.isprintable() else " " for letter in text).split())


def panel(figure: Figure, *, bottom_px: float, top_px: float, duration_s: float) -> Any:
    width = (WIDTH_PX - 2 * MARGIN_PX) / WIDTH_PX
    axes = figure.add_axes((MARGIN_PX / WIDTH_PX, bottom_px / HEIGHT_PX, width, (top_px - bottom_px) / HEIGHT_PX), facecolor=PANEL)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlim(0.0, duration_s)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def points(pixels: float) -> float:
    return pixels * 0.72  # at 100 dots an inch


def draw_title(figure: Figure, canvas: FigureCanvasAgg, title: str) -> None:
    """The title, cut with an ellipsis where it would leave the picture."""
    place = (MARGIN_PX / WIDTH_PX, (HEIGHT_PX - 31) / HEIGHT_PX)
    text = figure.text(*place, title, color=INK, size=points(TITLE_PX), weight="bold", va="center", parse_math=False)
    renderer = canvas.get_renderer()
    room = WIDTH_PX - 2 * MARGIN_PX
    while (taken := text.get_window_extent(renderer).width) > room and len(title) > 1:
        title = title[: max(1, min(len(title) - 1, int(len(title) * room / taken)))].rstrip()
        text.set_text(f"{title}…")


def _draw_wave(axes: Any, audio: Audio, duration_s: float, seam_s: float | None) -> None:
    columns = WIDTH_PX - 2 * MARGIN_PX
    mono = audio.samples.mean(axis=0) if audio.length_samples else np.zeros(1, dtype=np.float32)
    low, high, rms = envelope(mono, columns)
    tallest = max(float(np.max(np.abs([low, high]))), 0.02)
    times = (np.arange(columns) + 0.5) * duration_s / columns
    hair = 0.006 * tallest  # a line remains where there is silence
    split = int(np.searchsorted(times, seam_s)) if seam_s is not None else 0
    for part, outer, core in ((slice(0, split + 1), _TRACK, _TRACK_CORE), (slice(split, None), _NEW, _NEW_CORE)):
        if split == 0 and outer == _TRACK:
            continue
        axes.fill_between(times[part], np.minimum(low, -hair)[part], np.maximum(high, hair)[part], color=outer, linewidth=0)
        axes.fill_between(times[part], np.maximum(-rms, low)[part], np.minimum(rms, high)[part], color=core, linewidth=0)
    axes.set_ylim(-1.1 * tallest, (1.1 if seam_s is None else 1.75) * tallest)  # room for the seam's words


def _draw_heat(axes: Any, audio: Audio, duration_s: float, *, labels_right: bool) -> None:
    mono = audio.samples.mean(axis=0) if audio.length_samples else np.zeros(1, dtype=np.float32)
    rows = 160
    octaves = math.log2(_HIGHEST_HZ / _LOWEST_HZ)
    decibels = spectrogram(mono, audio.sample_rate, WIDTH_PX - 2 * MARGIN_PX, rows)
    axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        extent=(0.0, duration_s, 0.0, octaves),
        cmap=_HEAT,
        vmin=-_RANGE_DB,
        vmax=0.0,
        interpolation="bilinear",
    )
    axes.set_ylim(0.0, octaves)
    edge, inwards = (duration_s, -duration_s) if labels_right else (0.0, duration_s)
    for hertz, name in ((100, "100 Hz"), (1000, "1 kHz"), (8000, "8 kHz")):
        height = math.log2(hertz / _LOWEST_HZ)
        axes.plot([edge, edge + 0.008 * inwards], [height, height], color=INK, linewidth=1.5, alpha=0.8, solid_capstyle="butt")
        place = {"va": "center", "ha": "right" if labels_right else "left"}
        outlined(axes.text(edge + 0.013 * inwards, height, name, color=INK, size=points(_PITCH_PX), alpha=0.9, **place))


def _draw_seconds(axes: Any, duration_s: float) -> None:
    marks = seconds_marks(duration_s)
    axes.set_xticks(marks, [clock(mark, duration_s) for mark in marks])
    axes.tick_params(axis="x", colors=FAINT_INK, labelsize=points(AXIS_PX), length=6, width=1.5, pad=3)
    for mark, label in zip(marks, axes.get_xticklabels(), strict=True):
        if mark == 0.0:
            label.set_horizontalalignment("left")
        elif mark > 0.965 * duration_s:
            label.set_horizontalalignment("right")


def clock(mark: float, duration_s: float) -> str:
    if duration_s >= 120:
        return f"{int(mark) // 60}:{int(mark) % 60:02d}"
    return f"{mark:g} s"


def _draw_seam(wave: Any, heat: Any, seam_s: float, duration_s: float) -> None:
    for axes in (wave, heat):
        line = axes.axvline(seam_s, color=_SEAM, linewidth=3)
        line.set_path_effects([patheffects.Stroke(linewidth=6, foreground=PANEL), patheffects.Normal()])
    share = seam_s / duration_s
    gap = 0.012 * duration_s
    style = {"size": points(LABEL_PX), "weight": "bold", "va": "top", "transform": wave.get_xaxis_transform()}
    if share > 0.1:
        outlined(wave.text(seam_s - gap, 0.95, "track", color=INK, ha="right", **style))
    if share < 0.93:
        outlined(wave.text(seam_s + gap, 0.95, "new", color=_SEAM, ha="left", **style))


def outlined(text: Any) -> None:
    text.set_path_effects([patheffects.Stroke(linewidth=4, foreground=PANEL, alpha=0.85), patheffects.Normal()])


def cover(audio: Audio) -> bytes:
    """A square cover for the file itself: JPEG bytes, 400 × 400 px, 20 to 40 kB: the waveform, coloured by the spectrogram."""
    from PIL import Image

    mono = audio.samples.mean(axis=0) if audio.length_samples else np.zeros(1, dtype=np.float32)
    size, bars = COVER_PX, COVER_PX // 4
    low, high, _rms = envelope(mono, bars)
    tall = np.maximum(high, -low) / max(float(np.max(np.maximum(high, -low))), 0.02)  # [bars], 0 to 1
    heat = _HEAT(1.0 + spectrogram(mono, audio.sample_rate, bars, size // 2) / _RANGE_DB)[..., :3]  # [rows, bars, RGB], low notes first
    heat = np.repeat(np.concatenate([heat[::-1], heat]), 4, axis=1)  # [size, size, RGB]: mirrored at the middle
    offset = np.abs(np.arange(size) - size / 2 + 0.5)[:, None] / (size / 2)  # [size, 1] from the middle
    reach = np.repeat(0.08 + 0.82 * tall, 4)[None, :]  # [1, size]
    gap = (np.arange(size) % 4 == 3)[None, :]
    ground = np.array([int(PANEL[place : place + 2], 16) for place in (1, 3, 5)]) / 255.0
    lit = ((offset <= reach) & ~gap)[..., None]
    pixels = np.where(lit, np.maximum(heat, 0.25 * ground), ground)
    file = io.BytesIO()
    Image.fromarray(np.round(pixels * 255).astype(np.uint8), "RGB").save(file, format="JPEG", quality=85, optimize=True)
    return file.getvalue()
