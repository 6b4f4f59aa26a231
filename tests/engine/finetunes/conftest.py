"""A crate of six short tracks, a base that hears five seconds at once, and engines as processes that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
import soundfile

from engine.api import CrateTrack
from engine.api.finetunes import FinetuneRequest, ReportCard

if shutil.which("ffmpeg") is None:
    pytest.skip("ffmpeg is not installed: apt install ffmpeg", allow_module_level=True)

RATE = 32_000


def _techno(seed: int, seconds: float = 9.0) -> bytes:
    """Kick, hats and a bass line of its own, as a WAV."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    at = t * (126 + 2 * seed) / 60
    kick = np.sin(2 * np.pi * 9 * np.exp(-(at % 1) * 9)) * np.exp(-(at % 1) * 6)
    hat = rng.standard_normal(t.size) * np.exp(-((at + 0.5) % 1) * 14)
    note = 50.0 * 2 ** (rng.choice([0, 3, 7, 10, 12], 16)[(at * 2).astype(int) % 16] / 12)
    bass = np.sign(np.sin(2 * np.pi * np.cumsum(note) / RATE)) * np.exp(-((at * 2) % 1) * 2)
    file = io.BytesIO()
    soundfile.write(file, 0.9 * np.tanh(1.6 * kick * (1 + 0.5 * ((at % 4) < 1)) + 0.3 * hat + 0.7 * bass), RATE, "PCM_16", format="WAV")
    return file.getvalue()


@pytest.fixture(scope="session")
def music() -> dict[str, bytes]:
    """By SHA-256, in order."""
    return {hashlib.sha256(data).hexdigest(): data for data in (_techno(seed) for seed in range(6))}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    from engine.musicgen.tiny import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("base") / "tiny", window_frames=200)


@pytest.fixture(scope="session")
def asked(music: dict[str, bytes]) -> Callable[..., FinetuneRequest]:
    """A request for a short finetune of ``music``."""

    def make(finetune_id: str = "alice", **changes: Any) -> FinetuneRequest:
        tracks = [CrateTrack(sha256=sha256, title=f"Track {number}", artist="Alice") for number, sha256 in enumerate(music)]
        given: dict[str, Any] = {
            "id": finetune_id, "name": "Alice's warehouse", "token": "Alice_hash", "owner": "guild-1", "tracks": tracks,
            "overrides": {"steps": 6, "rank": 2, "rate": 0.01}, "clips": 4, "clip_seconds": 4.0,
        }  # fmt: skip
        return FinetuneRequest.model_validate(given | changes)

    return make


@pytest.fixture(scope="session")
def bytes_of(music: dict[str, bytes]) -> Callable[[str], Any]:
    async def read(sha256: str) -> bytes:
        return music[sha256]

    return read


class Serving:
    """An engine in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process, self.url = process, url

    def worker(self) -> psutil.Process | None:
        """The process that a finetune runs in."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                if "engine.finetunes.worker" in child.cmdline():
                    return child
        return None


@pytest.fixture(scope="session")
def serving(base: Path) -> Callable[..., contextlib.AbstractAsyncContextManager[Serving]]:
    """``serving(data)``: listens when it is entered, is killed when it is left."""

    @contextlib.asynccontextmanager
    async def serve(data: Path) -> AsyncIterator[Serving]:
        changes = {"CHECKPOINT": base, "DATA": data, "PORT": 0, "THREADS": 1, "TOKEN": "", "DEVICE": "cpu", "FINETUNE_THREADS": 1}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine", "serve"),
            env=os.environ | {f"ENGINE_{name}": str(value) for name, value in changes.items()},
            cwd=data,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        said = b""
        while not (found := re.search(rb"listening on (http://\S+),", said)):
            line = await process.stderr.readline()
            assert line, said.decode()
            said += line
        keeper = asyncio.create_task(process.stderr.read())
        try:
            yield Serving(process, found.group(1).decode())
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            log = (said + await keeper).decode()
            assert "Traceback" not in log, log
            assert "Fatal" not in log, log

    return serve


@dataclass(frozen=True)
class Ran:
    """A finetune that was run here, in this process: ENGINE_DATA, what it told, and its card."""

    data: Path
    told: list[dict[str, Any]]
    card: ReportCard


@pytest.fixture(scope="session")
def run_here(base: Path, music: dict[str, bytes]) -> Callable[..., Ran]:
    """``run_here(request, data)``: in one go, without an engine. Tracks that ``music`` doesn't have are noise on the disk."""
    from engine.crate.codes import target
    from engine.finetunes import steps
    from engine.finetunes.jobs import JobFacts, JobFolder
    from engine.finetunes.work import Work
    from engine.settings import EngineSettings

    def run(request: FinetuneRequest, data: Path) -> Ran:
        folder = data / "finetunes" / request.id
        (folder / "tracks").mkdir(parents=True)
        for track in request.tracks:
            (folder / "tracks" / f"{track.sha256}.audio").write_bytes(music.get(track.sha256, b"\xff" * 5000))
        job = JobFolder.take_on(folder, JobFacts(request=request, base=base.name, base_is_default=True, licence="hers", created_at=0))
        job.work.mkdir()
        settings = EngineSettings.read(checkpoint=str(base), data=data, device="cpu", threads=1, finetune_threads=1)
        told: list[dict[str, Any]] = []
        _id, card = steps.run(Work(job, settings, target(settings), told.append, lambda: False))
        return Ran(data, told, card)

    return run


@pytest.fixture(scope="session")
def unbroken(run_here: Callable[..., Ran], asked: Callable[..., FinetuneRequest], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """'alice' in one go. One more track can't be read."""
    request = asked()
    broken = CrateTrack(sha256="0" * 64, title="Scratched/torn", artist="Eve")
    return run_here(request.model_copy(update={"tracks": [*request.tracks, broken]}), tmp_path_factory.mktemp("unbroken"))
