"""Parts that the command line can't show alone: processes that die, decoding to the sample, tags, codes, the report's words."""

from __future__ import annotations

import math
import signal
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from engine.crate.hints import dj_word
from engine.crate.pool import Failure, work_through
from engine.crate.report import Cut, DatasetFacts, Line, build
from engine.crate.report_page import page
from engine.crate.sound import clipped_spans, load
from engine.crate.tags import from_name, my_tags, read_tags
from engine.music.analysis import Key
from engine.music.audio import Audio, AudioError, resample
from engine.music.rekordbox import BeatGrid


def test_a_job_that_raises_and_one_whose_process_dies() -> None:
    found = dict(work_through(math.sqrt, [4.0, -1.0, 9.0], 2))
    assert (found[4.0], found[9.0]) == (2.0, 3.0)
    assert found[-1.0] == Failure("ValueError: math domain error")
    killed = list(work_through(signal.raise_signal, [0, signal.SIGKILL, 0, 0], 2))
    assert sum(isinstance(result, Failure) for _job, result in killed) == 1
    assert sum(result is None for _job, result in killed) == 3
    assert any(isinstance(result, Failure) and "for want of memory" in result.message for _job, result in killed)
    assert list(work_through(math.sqrt, [], 2)) == []


@pytest.fixture
def click(tmp_path: Path) -> Callable[[str, int], Path]:
    """A file of two seconds with one click at 1 s, left louder than right."""

    def make(name: str, rate: int) -> Path:
        samples = np.zeros((2 * rate, 2))
        samples[rate] = [0.9, 0.5]
        soundfile.write(tmp_path / name, samples, rate)
        return tmp_path / name

    return make


@pytest.mark.parametrize("rate", [44100, 48000, 32000])
def test_decoding_keeps_every_sample_in_its_place(click: Callable[[str, int], Path], rate: int) -> None:
    path = click("click.wav", rate)
    whole = load(path)
    assert (whole.sample_rate, whole.samples.shape) == (rate, (2, 2 * rate))
    assert np.argmax(whole.samples[0]) == rate
    mono = load(path, sample_rate=32000, channels=1)
    assert np.argmax(mono.samples[0]) == 32000
    assert abs(mono.length_samples - 64000) <= 32
    ours = resample(whole, 32000, 1)
    assert np.max(mono.samples) == pytest.approx(float(np.max(ours.samples)), rel=0.1)
    assert load(path, sample_rate=32000, channels=2).channels == 2


def test_what_can_not_be_loaded_says_so(tmp_path: Path) -> None:
    for data, told in ((b"", "is empty"), (b"PK\x03\x04" + b"x" * 50, "ZIP archive"), (b"\x00\x01" * 4000, "can't be played")):
        (tmp_path / "track.mp3").write_bytes(data)
        with pytest.raises(AudioError, match=told):
            load(tmp_path / "track.mp3")
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "1260", str(tmp_path / "mix.flac")]
    subprocess.run(command, check=True)
    with pytest.raises(AudioError, match="Cut it into tracks"):
        load(tmp_path / "mix.flac")


def test_clipping_is_what_stays_at_full_scale() -> None:
    t = np.arange(4 * 8000) / 8000
    loud = np.sin(2 * np.pi * 100 * t).astype(np.float32)
    broken = np.clip(3 * loud, -1, 1).astype(np.float32)
    broken[:8000], broken[24000:] = loud[:8000], loud[24000:]
    assert clipped_spans(Audio(loud[None] * 0.99, 8000)) == ()
    assert clipped_spans(Audio(broken[None], 8000)) == ((1.0, 3.0),)


@pytest.mark.parametrize(
    ("name", "artist", "title"),
    [
        ("01 - Ann - First.mp3", "Ann", "First"),
        ("A1. Ann - First (Eva Remix).wav", "Ann", "First (Eva Remix)"),
        ("03 First.flac", None, "First"),
        ("2 Bad Mice - Hold It.mp3", "2 Bad Mice", "Hold It"),
        ("909.wav", None, "909"),
        ("Ann_-_First.aiff", "Ann", "First"),
    ],
)
def test_names_of_files(name: str, artist: str | None, title: str) -> None:
    assert from_name(Path(name)) == (artist, title)


@pytest.mark.parametrize("ending", ["mp3", "flac", "m4a", "ogg", "aiff"])
def test_tags_of_every_format(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"track.{ending}"
    words = {"title": "Ä Title", "artist": "Ann", "genre": "Techno", "comment": "/* Dark / Peak */"}
    tags = [part for key, value in words.items() for part in ("-metadata", f"{key}={value}")]
    tags += ["-metadata", "TBPM=131.5" if ending in ("mp3", "aiff") else "BPM=131.5"]
    tags += ["-write_id3v2", "1"] if ending == "aiff" else []
    source = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *tags, str(path)], check=True)
    found = read_tags(path)
    assert (found.title, found.artist, found.genre) == ("Ä Title", "Ann", "Techno")
    if ending in ("mp3", "flac", "ogg"):
        assert found.bpm == 131.5
        assert my_tags(found.comment) == ("Dark", "Peak")
    path.write_bytes(path.read_bytes()[:100])
    read_tags(path)  # whatever is left of it


def grid(times: NDArray[np.float64], first: int = 1) -> BeatGrid:
    positions = ((np.arange(len(times)) + first - 1) % 4 + 1).astype(np.int8)
    return BeatGrid(times, positions, np.full(len(times), 130.0))


def test_the_djs_grid_as_one_tempo() -> None:
    times = np.round(0.213 + np.arange(400) * 60 / 130, 3)  # rekordbox rounds to milliseconds
    word = dj_word(grid(times, first=3), "8A", 130.0)
    assert word.hints.grid is not None
    assert word.hints.grid.bpm == pytest.approx(130.0, abs=1e-3)
    assert word.hints.grid.downbeat_s == pytest.approx(0.213 + 2 * 60 / 130, abs=2e-3)
    assert (word.bars_s, word.hints.grid.steady, word.hints.grid.source) == (None, True, "rekordbox")
    assert word.hints.key is not None
    assert (word.hints.key.name, word.hints.key.source) == ("A minor", "rekordbox")
    assert type(word).from_record(word.record()).digest == word.digest
    assert dj_word(None, None, None).digest != word.digest


def test_a_grid_bent_to_a_drummer_keeps_its_bars() -> None:
    times = 0.2 + np.cumsum(60 / 130 * (1 + 0.01 * np.sin(np.arange(200) / 20)))
    word = dj_word(grid(times), None, None)
    assert word.bars_s is not None
    np.testing.assert_allclose(word.bars_s, times[::4])
    assert word.hints.grid is not None
    assert not word.hints.grid.steady


def line(number: int, **changes: object) -> Line:
    given: dict[str, object] = {"title": f"Track {number}", "artist": "Ann", "duration_s": 360.0, "bpm": 130.0 + number % 5}
    given |= {"steady": True, "key": Key(9, "minor"), "lufs": -9.0}
    return Line(f"{number:064x}", **(given | changes))  # type: ignore[arg-type]


def test_a_good_crate_needs_nothing() -> None:
    report = build([line(number) for number in range(50)], name="alice")
    assert report.advice == ()
    assert report.text.startswith("alice: 50 tracks, 5 h")
    assert "8A 50" in report.text
    assert report.png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lufs": None}, "silent. Remove it"),
        ({"duration_s": 25.0}, "shorter than 1 min. Use the whole track"),
        ({"clipped_share": 0.02}, "clipped. What is clipped"),
        ({"silent_s": 100.0}, "silent for more than a tenth"),
        ({"lufs": -31.0}, "quieter than"),
        ({"bpm": None}, "No beat was found in Ann – Track 99"),
        ({"steady": False}, "not steady: bars may be off"),
    ],
)
def test_each_trouble_comes_with_what_to_do(changes: dict[str, object], told: str) -> None:
    report = build([*(line(number) for number in range(45)), line(99, **changes)])
    assert len(report.advice) == 1
    assert told in report.advice[0]
    assert "Ann – Track 99" in report.advice[0]


def test_too_few_and_unreadable() -> None:
    report = build([line(0), line(1)], unreadable=["“x.mp3” can't be played."])
    assert report.advice[0].startswith("2 different tracks are too few")
    assert "Add 13 or more" in report.advice[0]
    assert "x.mp3" in report.advice[1]
    assert build([]).text.startswith("This crate: 0 tracks")
    apart = build([line(number, bpm=90.0 if number % 2 else 150.0) for number in range(40)])
    assert "Tempos lie far apart (90 to 150 BPM)" in apart.advice[0]


class Outline(HTMLParser):
    """What a browser would fetch, and whether tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_trusts_no_title() -> None:
    nasty = line(7, title="<script>alert(1)</script>", artist='"><img src=x>', levels="0123456701234567", kinds="iimmmmbbuuddddoo")
    cuts = {nasty.sha256: [Cut(10.0, 40.0, held_out=False), Cut(50.0, 80.0, held_out=True)]}
    facts = DatasetFacts("bars", "pocket", 2, 30.0, 30.0, 1, cuts, ("<b>techno</b>",))
    report = build([nasty, line(8, bpm=None, key=None)], name="<i>alice</i>", dataset=facts)
    outline = Outline()
    written = page(report, "mark")
    outline.feed(written)
    assert outline.open == []
    assert outline.fetched == []
    assert "<script" not in written
    assert "<img" not in written
    assert "&lt;b&gt;techno" in written
    assert build([nasty, line(8)], name="🎛 alice", dataset=facts).png.startswith(b"\x89PNG")
