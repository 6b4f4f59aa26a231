"""A clip as a picture for a dark chat: ``draw``. Waveform over log-frequency spectrogram, seconds below, the seam of a continuation marked.

    ┌──────────────────────────────────────────┐
    │ title                                    │   1000 × 420 px. A phone shows it 360 px wide, so letters are 22 to 28 px
    │ ▂▅▇▅▂▂▅▇ track │ new ▂▅▇▅▂▂▅▇▅▂          │   waveform: the track's own part grey, the new part in colour
    │ ░░▒▒▓▓▒▒░░▒▒▓▓ │ ░░▒▒▓▓▒▒░░▒▒▓▓          │   spectrogram, 32 Hz to 16 kHz, as high notes are up
    │ 0 s      5 s      10 s      15 s         │
    └──────────────────────────────────────────┘

Painted by numpy and Pillow: matplotlib took more than twice as long, of a processor that takes are decoding on. Threads may draw at once.
"""

from __future__ import annotations

import functools
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse
from matplotlib import font_manager
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

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
_COLUMNS = slice(MARGIN_PX, WIDTH_PX - MARGIN_PX)
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
    duration_s = max(audio.duration_s, 1e-3)
    if seam_s is not None and not 0.0 < seam_s < duration_s:
        seam_s = None  # all of it is one part: nothing to mark
    title = drawable(title)
    top = 58 if title else 16
    wave, heat = _Panel(top, 128), _Panel(top + 136, HEIGHT_PX - 50 - top - 136)
    mono = audio.samples.mean(axis=0) if audio.length_samples else np.zeros(1, dtype=np.float32)
    pixels = np.full((HEIGHT_PX, WIDTH_PX, 3), _rgb(BACKGROUND))
    pixels[wave.rows, _COLUMNS] = _wave(mono, wave.height, None if seam_s is None else seam_s / duration_s)
    pixels[heat.rows, _COLUMNS] = _heat(mono, audio.sample_rate, heat.height)
    picture = Image.fromarray(np.round(pixels).astype(np.uint8), "RGB")
    pen = ImageDraw.Draw(picture)
    if title:
        pen.text((MARGIN_PX, 31), _shortened(title), INK, _font(TITLE_PX, bold=True), anchor="lm")
    _draw_pitches(pen, heat, at_right=seam_s is not None and seam_s < 0.12 * duration_s)
    _draw_seconds(pen, heat, duration_s)
    if seam_s is not None:
        _draw_seam(pen, wave, heat, seam_s / duration_s)
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=3)  # the usual 6 takes twice the time, for a tenth fewer bytes
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class _Panel:
    """A dark field over the picture's width. top, height: pixels."""

    top: int
    height: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.height)


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
    power = np.square(np.abs(scipy.fft.rfft(frames, axis=1)))  # [F, bins]
    power = power.reshape(columns, per_column, -1).mean(axis=1)  # [columns, bins]
    pitched = power @ _pitch_bands(sample_rate, window, rows)  # [columns, rows]
    decibels = 10.0 * np.log10(np.maximum(pitched, 1e-12)) + _TILT_DB * np.linspace(0.0, math.log2(_HIGHEST_HZ / _LOWEST_HZ), rows)
    decibels -= max(float(decibels.max()), 10.0 * math.log10(window) - 60.0)  # silence stays dark
    return np.asarray(np.clip(decibels, -_RANGE_DB, 0.0).T, dtype=np.float32)


@functools.lru_cache(maxsize=8)
def _pitch_bands(sample_rate: int, window: int, rows: int) -> scipy.sparse.csc_array:
    """[bins, rows], nearly all zeros: triangles over the bins at equal steps of pitch, at least a bin wide; nothing above half the rate."""
    bins = np.fft.rfftfreq(window, 1.0 / sample_rate)[:, None]  # [bins, 1]
    centres = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, rows)[None, :]  # [1, rows]
    width = np.maximum(centres * ((_HIGHEST_HZ / _LOWEST_HZ) ** (1.0 / rows) - 1.0), bins[1, 0])
    weights = np.maximum(0.0, 1.0 - np.abs(bins - centres) / width)
    weights /= np.maximum(weights.sum(axis=0), 1e-9)
    weights[:, centres[0] > sample_rate / 2] = 0.0
    return scipy.sparse.csc_array(weights.astype(np.float32))


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


@functools.lru_cache(maxsize=8)
def _font(pixels: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """matplotlib brings DejaVu Sans along, so that a picture looks the same everywhere."""
    return ImageFont.truetype(font_manager.findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")), pixels)


def _rgb(colour: str) -> NDArray[np.float32]:
    """[3], 0 to 255, of '#rrggbb'."""
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], dtype=np.float32)


def _shortened(title: str) -> str:
    """The title, cut with an ellipsis where it would leave the picture."""
    font, room, end = _font(TITLE_PX, bold=True), WIDTH_PX - 2 * MARGIN_PX, ""
    title = title[:200]  # more than ever fits
    while (taken := font.getlength(title + end)) > room and len(title) > 1:
        title, end = title[: max(1, min(len(title) - 1, int(len(title) * room / taken)))].rstrip(), "…"
    return title + end


def _wave(mono: NDArray[np.float32], height: int, seam: float | None) -> NDArray[np.float32]:
    """[height, columns, RGB]: how far the samples reach, and in the lighter core how strong they are. seam: as a share of the width."""
    columns = WIDTH_PX - 2 * MARGIN_PX
    low, high, rms = envelope(mono, columns)
    tallest = max(float(np.max(np.abs([low, high]))), 0.02)
    hair = 0.006 * tallest  # a line remains where there is silence
    bottom, top = -1.1 * tallest, (1.1 if seam is None else 1.75) * tallest  # room for the seam's words
    edges = np.linspace(top, bottom, height + 1, dtype=np.float32)[:, None]  # of the rows of pixels
    of_track = (np.arange(columns) + 0.5 < (seam or 0.0) * columns)[:, None]
    pixels = np.broadcast_to(_rgb(PANEL), (height, columns, 3))
    for under, over, of_old, of_new in (
        (np.minimum(low, -hair), np.maximum(high, hair), _TRACK, _NEW),
        (np.maximum(-rms, low), np.minimum(rms, high), _TRACK_CORE, _NEW_CORE),
    ):
        covered = np.minimum(edges[:-1], over) - np.maximum(edges[1:], under)  # [height, columns]
        share = np.clip(covered / (edges[:-1] - edges[1:]), 0.0, 1.0)[..., None]
        pixels = pixels + share * (np.where(of_track, _rgb(of_old), _rgb(of_new)) - pixels)
    return np.asarray(pixels, dtype=np.float32)


def _heat(mono: NDArray[np.float32], sample_rate: int, height: int) -> NDArray[np.float32]:
    """[height, columns, RGB], high notes up."""
    decibels = spectrogram(mono, sample_rate, WIDTH_PX - 2 * MARGIN_PX, 160)[::-1]
    smooth = Image.fromarray(np.ascontiguousarray(decibels)).resize((decibels.shape[1], height), Image.Resampling.BILINEAR)
    return _colours()[np.round((1.0 + np.asarray(smooth) / _RANGE_DB) * 255).astype(np.intp)]


@functools.lru_cache(maxsize=1)
def _colours() -> NDArray[np.float32]:
    """[256, RGB], 0 to 255."""
    return np.asarray(255.0 * _HEAT(np.linspace(0.0, 1.0, 256))[:, :3], dtype=np.float32)


def _draw_pitches(pen: ImageDraw.ImageDraw, heat: _Panel, *, at_right: bool) -> None:
    octaves = math.log2(_HIGHEST_HZ / _LOWEST_HZ)
    edge, inwards, anchor = (WIDTH_PX - MARGIN_PX, -1, "rm") if at_right else (MARGIN_PX, 1, "lm")
    for hertz, name in ((100, "100 Hz"), (1000, "1 kHz"), (8000, "8 kHz")):
        height = heat.top + heat.height * (1.0 - math.log2(hertz / _LOWEST_HZ) / octaves)
        pen.line((edge, height, edge + 8 * inwards, height), INK, 2)
        _outlined(pen, (edge + 12 * inwards, height), name, INK, font=_font(_PITCH_PX), anchor=anchor)


def _draw_seconds(pen: ImageDraw.ImageDraw, heat: _Panel, duration_s: float) -> None:
    bottom = heat.top + heat.height
    for mark in seconds_marks(duration_s):
        x = MARGIN_PX + (WIDTH_PX - 2 * MARGIN_PX) * mark / duration_s
        side = "l" if mark == 0.0 else "r" if mark > 0.965 * duration_s else "m"
        pen.line((x, bottom, x, bottom + 7), FAINT_INK, 2)
        pen.text((x, bottom + 11), clock(mark, duration_s), FAINT_INK, _font(AXIS_PX), anchor=side + "a")


def _draw_seam(pen: ImageDraw.ImageDraw, wave: _Panel, heat: _Panel, share: float) -> None:
    x = round(MARGIN_PX + (WIDTH_PX - 2 * MARGIN_PX) * share)
    for panel in (wave, heat):
        for half, colour in ((4, PANEL), (2, _SEAM)):
            pen.rectangle((x - half, panel.top, x + half - 1, panel.top + panel.height - 1), colour)
    font, top = _font(LABEL_PX, bold=True), wave.top + 6
    if share > 0.1:
        _outlined(pen, (x - 11, top), "track", INK, font=font, anchor="ra")
    if share < 0.93:
        _outlined(pen, (x + 11, top), "new", _SEAM, font=font, anchor="la")


def _outlined(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: str, **style: Any) -> None:
    pen.text(place, text, colour, stroke_width=2, stroke_fill=PANEL, **style)


def clock(mark: float, duration_s: float) -> str:
    if duration_s >= 120:
        return f"{int(mark) // 60}:{int(mark) % 60:02d}"
    return f"{mark:g} s"


def cover(audio: Audio) -> bytes:
    """A square cover for the file itself: JPEG bytes, 400 × 400 px, 20 to 40 kB: the waveform, coloured by the spectrogram."""
    mono = audio.samples.mean(axis=0) if audio.length_samples else np.zeros(1, dtype=np.float32)
    size, bars = COVER_PX, COVER_PX // 4
    low, high, _rms = envelope(mono, bars)
    tall = np.maximum(high, -low) / max(float(np.max(np.maximum(high, -low))), 0.02)  # [bars], 0 to 1
    heat = _HEAT(1.0 + spectrogram(mono, audio.sample_rate, bars, size // 2) / _RANGE_DB)[..., :3]  # [rows, bars, RGB], low notes first
    heat = np.repeat(np.concatenate([heat[::-1], heat]), 4, axis=1)  # [size, size, RGB]: mirrored at the middle
    offset = np.abs(np.arange(size) - size / 2 + 0.5)[:, None] / (size / 2)  # [size, 1] from the middle
    reach = np.repeat(0.08 + 0.82 * tall, 4)[None, :]  # [1, size]
    gap = (np.arange(size) % 4 == 3)[None, :]
    ground = _rgb(PANEL) / 255.0
    lit = ((offset <= reach) & ~gap)[..., None]
    pixels = np.where(lit, np.maximum(heat, 0.25 * ground), ground)
    file = io.BytesIO()
    Image.fromarray(np.round(pixels * 255).astype(np.uint8), "RGB").save(file, format="JPEG", quality=85, optimize=True)
    return file.getvalue()
