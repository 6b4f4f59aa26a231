"""The picture of a clip: its size, its marks, odd titles, threads; the arithmetic below it."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import matplotlib.image
import numpy as np
import pytest

from engine.music.audio import Audio
from engine.music.pictures import HEIGHT_PX, WIDTH_PX, draw, drawable, envelope, seconds_marks, spectrogram

RATE = 32000
SEAM_RGB = np.array([0xFF, 0xD1, 0x66]) / 255
NEW_RGB = np.array([0x1F, 0xB6, 0xA6]) / 255
TRACK_RGB = np.array([0x5B, 0x62, 0x73]) / 255


def pixels(png: bytes) -> np.ndarray:
    """[height, width, 3], 0 to 1."""
    return np.asarray(matplotlib.image.imread(io.BytesIO(png), format="png"))[..., :3]


def columns_of(picture: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Columns in which that colour fills at least five pixels."""
    return np.flatnonzero((np.abs(picture - rgb).max(axis=2) < 0.02).sum(axis=0) >= 5)


@pytest.fixture(scope="module")
def noise() -> Audio:
    return Audio(np.random.default_rng(0).uniform(-0.8, 0.8, (2, 8 * RATE)).astype(np.float32), RATE)


def test_the_seam_is_where_it_should_be(noise: Audio) -> None:
    picture = pixels(draw(noise, seam_s=2.0, title="dark techno"))
    assert picture.shape == (HEIGHT_PX, WIDTH_PX, 3)
    line = np.flatnonzero((np.abs(picture - SEAM_RGB).max(axis=2) < 0.02).sum(axis=0) > 250)  # through both panels
    assert line.mean() == pytest.approx(22 + 956 * 2 / 8, abs=2)
    assert columns_of(picture, TRACK_RGB).max() < line.min()
    assert columns_of(picture, NEW_RGB).min() > line.max()


@pytest.mark.parametrize("seam_s", [None, 0.0, 8.0, 99.0])
def test_without_a_seam_there_is_no_line(noise: Audio, seam_s: float | None) -> None:
    picture = pixels(draw(noise, seam_s=seam_s))
    assert columns_of(picture, SEAM_RGB).size == 0
    assert columns_of(picture, TRACK_RGB).size == 0


def test_silence_is_dark_and_no_error() -> None:
    for samples in (np.zeros((1, RATE)), np.zeros((2, 0))):
        picture = pixels(draw(Audio(samples.astype(np.float32), RATE)))
        assert picture[150:360, 150:].mean() < 0.1
    assert draw(Audio(np.full((1, 1), 0.5, dtype=np.float32), RATE)).startswith(b"\x89PNG")


@pytest.mark.parametrize("title", ["$x_1^2$ \\frac{", "音楽 🎛", "x" * 3000, "\n\t", "مرحبا", "a\ud800b"])
def test_any_title_is_drawn(noise: Audio, title: str) -> None:
    assert draw(noise, title=title).startswith(b"\x89PNG")


def test_letters_that_the_font_lacks_are_left_out() -> None:
    assert drawable("acid 🎛 線 line\nÄ") == "acid line Ä"


def test_threads_draw_the_same_picture(noise: Audio) -> None:
    with ThreadPoolExecutor(4) as pool:
        drawn = set(pool.map(lambda _: draw(noise, seam_s=1.0, title="same"), range(4)))
    assert len(drawn) == 1


def test_a_tone_is_a_line_at_its_pitch() -> None:
    time = np.arange(4 * RATE) / RATE
    for hertz in (100.0, 1000.0, 8000.0):
        rows = spectrogram(np.sin(2 * np.pi * hertz * time).astype(np.float32), RATE, columns=50, rows=160)
        assert rows.shape == (160, 50)
        loudest = rows[:, 25].argmax()
        assert 32.0 * (16000 / 32) ** (loudest / 159) == pytest.approx(hertz, rel=0.12)


@pytest.mark.parametrize("length", [1, 7, 955, 956, 957, 100_000])
def test_the_envelope_covers_every_sample(length: int) -> None:
    samples = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
    low, high, rms = envelope(samples, 956)
    assert (low.min(), high.max()) == (samples.min(), samples.max())
    assert ((rms >= 0) & (rms <= np.maximum(-low, high) + 1e-6)).all()


@pytest.mark.parametrize("duration_s", [0.05, 0.9, 1.0, 4.0, 8.0, 12.3, 30.0, 61.0, 100.0, 244.0, 7200.0])
def test_the_axis_has_a_few_round_marks(duration_s: float) -> None:
    marks = seconds_marks(duration_s)
    assert 1 <= len(marks) <= 8
    assert marks[0] == 0.0
    assert marks[-1] <= duration_s + 1e-6
