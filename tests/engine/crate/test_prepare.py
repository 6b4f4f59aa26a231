"""``crate prepare``: what lies in a dataset, that it comes out the same again, and that kill -9 costs nothing but time."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from engine.crate.manifest import read
from engine.crate.store import Crates
from engine.errors import EngineError
from engine.music.audio import Audio
from engine.music.loudness import measure
from engine.musicgen.checkpoint import load_codec

Type = Callable[..., Any]
OPTIONS = ("--segment-seconds", "6", "--processes", "1")


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ".lock"
    }


@pytest.fixture(scope="session")
def dataset(ready: Path) -> Path:
    """To be read only."""
    return ready / "datasets" / "alice-bars"


@pytest.fixture
def mine(ready: Path, home: Path) -> Path:
    """The same in a data folder of one's own; the folder."""
    shutil.copytree(ready, home)
    return home


def test_what_a_dataset_holds(dataset: Path, ready: Path, tiny_checkpoint: Path, one_thread: None) -> None:
    segments = read(dataset)
    codec = load_codec(tiny_checkpoint)
    assert len({segment.id for segment in segments}) == len(segments) >= 12
    for segment in segments:
        audio, rate = soundfile.read(dataset / segment.audio, dtype="float32", always_2d=True)
        codes = np.load(dataset / segment.codes, allow_pickle=False)
        assert (rate, audio.shape) == (32000, (segment.end - segment.start, 1))
        assert (codes.shape, codes.dtype) == ((4, segment.frames), np.int16)
        assert segment.frames <= 300
        assert segment.audio.startswith(f"{segment.split}/")
        assert segment.caption.startswith("Alice_hash, ")
        assert segment.bars >= 2
        assert measure(Audio(np.ascontiguousarray(audio.T), rate)).peak_dbfs <= 0.5
    one = segments[0]
    values = torch.from_numpy(soundfile.read(dataset / one.audio, dtype="float32", always_2d=True)[0].T.copy())
    np.testing.assert_array_equal(codec.encode(values).numpy(), np.load(dataset / one.codes))
    bpm = {track.sha256: track.bpm for track in Crates(ready).read("alice").tracks}
    for segment in segments:
        bars = (segment.end - segment.start) / 32000 * (bpm[segment.track] or 0) / 240
        assert bars == pytest.approx(segment.bars, abs=0.02)  # whole bars, but for less than a frame
    assert any("Warehouse".lower() in segment.caption for segment in segments)
    assert len({segment.caption for segment in segments}) > len(segments) / 2


def test_copies_and_remixes_stay_together(dataset: Path) -> None:
    segments = read(dataset)
    sides = {segment.title: segment.split for segment in segments}
    tracks = {segment.track for segment in segments}
    assert sides["First"] == sides["First (Eva Remix)"]
    assert len({segment.split for segment in segments if segment.title == "Second"}) == 1
    assert len(tracks) == 6
    assert 1 <= len({segment.track for segment in segments if segment.split == "held_out"}) <= 3
    assert "same recording" in (dataset / "report.html").read_text(encoding="utf-8")


def test_loudness_is_matched(dataset: Path) -> None:
    segments = read(dataset)
    levels = []
    for track in {segment.track for segment in segments}:
        parts = [soundfile.read(dataset / segment.audio, dtype="float32")[0] for segment in segments if segment.track == track]
        levels.append(measure(Audio(np.concatenate(parts)[None], 32000)).lufs or 0.0)
    assert max(levels) - min(levels) < 2.0
    assert np.mean(levels) == pytest.approx(-14.0, abs=1.5)


def test_a_second_run_only_reads(mine: Path) -> None:
    prepared = mine / "datasets" / "alice-bars"
    before = files_in(prepared)
    touched = {file: file.stat().st_mtime_ns for file in prepared.rglob("*.*") if file.name not in ("manifest.jsonl", ".lock")}
    code = (
        "import sys; from engine.cli import main; "
        f"code = main(['crate', 'prepare', 'alice', '--tag', 'Warehouse', *{OPTIONS!r}]); "
        "sys.exit(code or ('torch' in sys.modules) or ('matplotlib' in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "made now: 0; the rest was there" in result.stdout
    assert files_in(prepared) == before
    assert {file: file.stat().st_mtime_ns for file in touched} == touched


def test_another_folder_finds_the_codes(type_: Type, dataset: Path, mine: Path, tmp_path: Path) -> None:
    codes = {file: file.stat().st_mtime_ns for file in (mine / "codes").rglob("*.npy")}
    assert type_("prepare", "alice", "--tag", "Warehouse", "--out", str(tmp_path / "other"), *OPTIONS).code == 0
    assert {file: file.stat().st_mtime_ns for file in (mine / "codes").rglob("*.npy")} == codes
    assert (tmp_path / "other" / "manifest.jsonl").read_bytes() == (dataset / "manifest.jsonl").read_bytes()


def test_killed_and_started_again(type_: Type, dataset: Path, alice: Path, tmp_path: Path) -> None:
    whole = files_in(dataset)
    out = tmp_path / "killed"
    words = [sys.executable, "-m", "engine", "crate", "prepare", "alice", "--tag", "Warehouse", "--out", str(out)]
    screen, terminal = pty.openpty()  # a terminal's bar moves all the time, so that its reader never waits for long
    process = subprocess.Popen(
        [*words, "--segment-seconds", "6", "--processes", "2"], stdout=subprocess.DEVNULL, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    try:
        while not list(out.glob("*/*.flac")):
            os.read(screen, 4096)  # OSError once it has ended
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(screen)
    assert not (out / "manifest.jsonl").exists()
    (out / "train").mkdir(exist_ok=True)
    (out / "train" / ".0123.flac.99.tmp").write_bytes(b"half a file")
    deadline = time.monotonic() + 30
    while True:  # its workers end with it: until then they hold nothing, but may still write
        answer = type_("prepare", "alice", "--tag", "Warehouse", "--out", str(out), *OPTIONS)
        if answer.code == 0 or time.monotonic() > deadline:
            break
    assert answer.code == 0, answer.err
    assert files_in(out) == whole  # the report's picture, too


def test_the_experiment_of_2023(type_: Type, alice: Path) -> None:
    assert type_("prepare", "alice", "--preset", "alice-2023", "--segment-seconds", "7", "--processes", "1").code == 0
    folder = alice / "datasets" / "alice-alice-2023"
    segments = read(folder)
    assert {segment.split for segment in segments} == {"train"}
    assert {segment.caption for segment in segments} == {"Alice_hash techno"}
    assert {(segment.start, segment.end) for segment in segments} == {(0, 224000), (224000, 448000)}
    assert len(segments) == 12
    assert {soundfile.info(folder / segment.audio).format for segment in segments} == {"WAV"}
    assert {segment.gain_db for segment in segments} == {0.0}


def test_stereo_for_a_stereo_checkpoint(
    type_: Type, alice: Path, tiny_stereo_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "stereo"
    assert type_("prepare", "alice", "--checkpoint", str(tiny_stereo_checkpoint), "--out", str(out), *OPTIONS).code == 0
    segment = read(out)[0]
    assert (segment.channels, soundfile.info(out / segment.audio).channels) == (2, 2)
    assert np.load(out / segment.codes).shape == (8, segment.frames)


def test_a_track_that_changed_is_named_and_the_others_go_on(type_: Type, alice: Path, music: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("Ann - First.wav", "Ben - Second.wav", "more/Cat - Third.flac"):
        (tmp_path / "mine" / Path(name).name).write_bytes((music / name).read_bytes())
    assert type_("import", str(tmp_path / "mine"), "--crate", "mine", "--processes", "1").code == 0
    with (tmp_path / "mine" / "Ben - Second.wav").open("ab") as file:
        file.write(b"more")
    answer = type_("prepare", "mine", "--json", *OPTIONS)
    facts = json.loads(answer.out)
    assert answer.code == 0
    assert [problem["message"] for problem in facts["left_out"]] == ["“Second” has changed since it was imported: import it again."]
    assert facts["train"]["tracks"] + facts["held_out"]["tracks"] == 2


def test_a_folder_of_something_else_is_left_alone(type_: Type, alice: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    answer = type_("prepare", "alice", "--out", str(tmp_path / "thesis"), *OPTIONS)
    assert answer.code == 2
    assert "choose another folder with --out" in answer.err
    assert [file.name for file in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


@pytest.mark.parametrize("line", ["", "{}", "not JSON", '{"versions": {"manifest": 99}}', '{"versions": {"manifest": 1}, "id": 3}'])
def test_a_manifest_that_is_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(line)
    with pytest.raises(EngineError, match="prepare"):
        read(tmp_path)
