"""A DJ's folder: real files of real (if plain) techno, made once; and the command line as she types it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from engine.cli import main

if shutil.which("ffmpeg") is None:
    pytest.skip("ffmpeg is not installed: apt install ffmpeg", allow_module_level=True)

RATE = 32000


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Type = Callable[..., Answer]


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    """``type_("show", "alice")``: 'python -m engine crate show alice', in this process."""

    def run(*words: str) -> Answer:
        capsys.readouterr()
        code = main(["crate", *words])
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def beat() -> Callable[..., NDArray[np.float32]]:
    """``beat(bpm, tonic, seconds)``: kick, hats and a minor bass line, [N] at 32 kHz; ``seed`` makes another piece of it."""

    def make(bpm: float, tonic: float, seconds: float, seed: int = 0) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        t = np.arange(round(seconds * RATE)) / RATE
        at = t * bpm / 60
        kick = np.sin(2 * np.pi * 9 * np.exp(-(at % 1) * 9)) * np.exp(-(at % 1) * 6)
        hat = rng.standard_normal(t.size) * np.exp(-((at + 0.5) % 1) * 14)
        steps = rng.choice([0, 3, 7, 10, 12], 16)
        note = tonic * 2 ** (steps[(at * 2).astype(int) % 16] / 12)
        bass = np.sign(np.sin(2 * np.pi * np.cumsum(note) / RATE)) * np.exp(-((at * 2) % 1) * 2)
        accent = 1.0 + 0.5 * ((at % 4) < 1)
        return np.asarray(0.9 * np.tanh(1.6 * kick * accent + 0.3 * hat + 0.7 * bass), dtype=np.float32)  # as loud as a master

    return make


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory, beat: Callable[..., NDArray[np.float32]]) -> Path:
    """Five tracks of 16 s in WAV, FLAC and MP3, in two folders; a remix, a copy as MP3, and what is no audio. Never written to."""
    folder = tmp_path_factory.mktemp("music")
    (folder / "more").mkdir()
    for number, (bpm, tonic, name) in enumerate(
        [
            (128.0, 55.0, "Ann - First.wav"),
            (132.0, 49.0, "Ben - Second.wav"),
            (126.0, 58.27, "more/Cat - Third.flac"),
            (135.0, 61.74, "more/Dan - Fourth.wav"),
            (130.0, 46.25, "Ann - First (Eva Remix).wav"),
        ]
    ):
        soundfile.write(folder / name, beat(bpm, tonic, 16.0, seed=number), RATE, subtype="PCM_16")
    tags = ["-metadata", "title=Second", "-metadata", "artist=Ben", "-metadata", "genre=Techno (Peak Time / Driving)"]
    tags += ["-metadata", "TBPM=132", "-metadata", "TKEY=Abm"]
    source = folder / "Ben - Second.wav"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(source), "-b:a", "160k", *tags, str(folder / "more" / "second.mp3")]
    subprocess.run(command, check=True)
    (folder / "broken.mp3").write_bytes(np.random.default_rng(0).integers(0, 256, 30000, dtype=np.uint8).tobytes())
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "._Ann - First.wav").write_bytes(b"a Mac's")
    return folder


@pytest.fixture
def home(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine's data folder of its own, with the tiny checkpoint as the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGINE_CHECKPOINT", str(tiny_checkpoint))
    monkeypatch.setenv("ENGINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ENGINE_DEVICE", "cpu")
    return tmp_path / "data"


@pytest.fixture(scope="session")
def heard(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which ``music`` is in the crate 'alice': heard once, to be copied from."""
    data = tmp_path_factory.mktemp("heard") / "data"
    assert main(["crate", "import", str(music), "--crate", "alice", "--data", str(data), "--processes", "1"]) == 0
    return data


@pytest.fixture
def alice(heard: Path, home: Path) -> Path:
    """``home`` with the crate 'alice' in it."""
    shutil.copytree(heard, home)
    return home


@pytest.fixture(scope="session")
def ready(heard: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the crate 'alice' and a dataset of it, in segments of up to six seconds. To be read, or copied from."""
    data = tmp_path_factory.mktemp("ready") / "data"
    shutil.copytree(heard, data)
    words = ["--tag", "Warehouse", "--segment-seconds", "6", "--processes", "1", "--data", str(data), "--checkpoint", str(tiny_checkpoint)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGINE_DEVICE", "cpu")
        assert main(["crate", "prepare", "alice", *words]) == 0
    return data
