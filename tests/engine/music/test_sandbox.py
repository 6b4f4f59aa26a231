"""The limits around ffmpeg, each driven over its edge by the real program."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import psutil
import pytest

from engine.music.audio import AudioError, AudioToolsMissing, probe
from engine.music.sandbox import Limits, private_file, require_tools, run

ENDLESS = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine", "-f", "s16le", "pipe:1"]


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True) if "ffmpeg" in child.name()}


def test_the_clock_ends_it_and_everything_it_started() -> None:
    before, began = children(), time.monotonic()
    # -re makes ffmpeg wait for real time: no CPU and hardly any output
    outcome = run("ffmpeg", ["-re", *ENDLESS], lambda _: None, Limits(wall_s=0.4))
    assert outcome.stopped == "time"
    assert time.monotonic() - began < 20  # and not 60, the default
    assert children() == before


def test_cpu_time_ends_it() -> None:
    outcome = run("ffmpeg", [*ENDLESS[:-1], "-f", "null", "-"], lambda _: None, Limits(cpu_s=1, wall_s=30))
    assert outcome.stopped == "time"


def test_output_ends_it() -> None:
    received = 0

    def sink(piece: bytes) -> None:
        nonlocal received
        received += len(piece)

    assert run("ffmpeg", ENDLESS, sink, Limits(output_bytes=1_000_000)).stopped == "output"
    assert received <= 1_000_000


def test_memory_is_limited() -> None:
    """120 MB of address space don't even hold ffmpeg's libraries."""
    version = ["-nostdin", "-version"]
    assert run("ffmpeg", version, lambda _: None, Limits()).returncode == 0
    outcome = run("ffmpeg", version, lambda _: None, Limits(memory_bytes=120 << 20))
    assert outcome.returncode != 0
    assert outcome.stopped is None


def test_it_writes_no_file(tmp_path: Path) -> None:
    target = tmp_path / "out.wav"
    outcome = run("ffmpeg", ["-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", str(target)], lambda _: None, Limits())
    assert "File too large" in outcome.stderr
    assert target.stat().st_size == 0


def test_it_inherits_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFREPORT makes ffmpeg write a log, if it sees it."""
    monkeypatch.setenv("FFREPORT", f"file={tmp_path / 'report.log'}")
    monkeypatch.setenv("ENGINE_TOKEN", "secret")
    assert run("ffmpeg", ["-nostdin", "-version"], lambda _: None, Limits()).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_the_sink_raises() -> None:
    before = children()

    def sink(_: bytes) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run("ffmpeg", ENDLESS, sink, Limits())
    assert children() == before


def test_a_private_file_is_private_and_goes() -> None:
    with private_file(b"abc") as path:
        assert Path(path).read_bytes() == b"abc"
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
    assert not Path(path).parent.exists()


def test_missing_tools_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioToolsMissing, match=r"ffmpeg is missing.*apt install ffmpeg"):
        require_tools()
    with pytest.raises(AudioToolsMissing):
        probe(b"RIFF" + bytes(100))
    with pytest.raises(AudioError):  # what needs no tool is still said
        probe(b"")
