"""Real engines on loopback: the app under uvicorn in a thread, with a tiny random checkpoint; and real audio files to send them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pydantic import SecretStr

from engine.api import Done, GenerateRequest, Heartbeat, Progress, Queued
from engine.client import EngineClient
from engine.settings import EngineSettings


@dataclass(frozen=True)
class RunningEngine:
    """An engine that listens. ``app.state.engine`` is the live object, for looking inside."""

    url: str
    app: Any
    settings: EngineSettings


StartEngine = Callable[..., RunningEngine]


@pytest.fixture(scope="session")
def settings_for(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EngineSettings]:
    """Settings with the tiny checkpoint, one thread, a folder of their own, and nothing from the environment."""

    def make(**changes: Any) -> EngineSettings:
        given: dict[str, Any] = {
            "checkpoint": str(tiny_checkpoint),
            "device": "cpu",
            "threads": 1,
            "port": 0,
            "data": tmp_path_factory.mktemp("engine-data"),
        }
        with pytest.MonkeyPatch.context() as patch:
            for field in EngineSettings.model_fields:
                patch.delenv(f"ENGINE_{field.upper()}", raising=False)
            return EngineSettings(_env_file=None, **(given | changes))

    return make


@pytest.fixture(scope="session")
def start_engine(settings_for: Callable[..., EngineSettings]) -> Iterator[StartEngine]:
    """Starts engines that live until the end of the session: a process' worth of app each, ready when returned."""
    from engine.cli.serve import EngineServer, _listen
    from engine.server import create_app

    with contextlib.ExitStack() as stack:

        def start(**changes: Any) -> RunningEngine:
            settings = settings_for(**changes)
            app = create_app(settings)
            listener = stack.enter_context(_listen("127.0.0.1", 0))
            server = EngineServer(app)
            thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join(30)
                assert not thread.is_alive()

            stack.callback(stop)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with ThreadPoolExecutor(1) as pool:  # the caller may be on a loop of its own
                pool.submit(asyncio.run, _wait(url, settings.token)).result()
            return RunningEngine(url, app, settings)

        yield start


async def _wait(url: str, token: SecretStr) -> None:
    async with EngineClient(url, token.get_secret_value()) as client:
        await client.wait_until_ready(60)


@pytest.fixture(scope="session")
def shared_engine(start_engine: StartEngine, tmp_path_factory: pytest.TempPathFactory) -> RunningEngine:
    """One engine for all tests that leave it as they found it: two takes run, sixteen wait; further checkpoints in its folder."""
    from engine.musicgen.tiny import write_tiny_checkpoint

    data = tmp_path_factory.mktemp("shared-engine")
    finetuned = write_tiny_checkpoint(data / "checkpoints" / "alice", seed=1)
    (finetuned / "card.json").write_text(
        '{"name": "Alice", "kind": "finetuned", "parent": "checkpoint", "token": "Alice_hash", "licence": "hers"}'
    )
    write_tiny_checkpoint(data / "checkpoints" / "stereo", seed=2, channels=2)
    broken = write_tiny_checkpoint(data / "checkpoints" / "broken", seed=3)
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:5000])
    return start_engine(data=data, batch=2)


@pytest.fixture
async def client(shared_engine: RunningEngine) -> AsyncIterator[EngineClient]:
    async with EngineClient(shared_engine.url) as client:
        yield client


Event = Queued | Progress | Heartbeat | Done


@pytest.fixture(scope="session")
def collect() -> Callable[[EngineClient, GenerateRequest], Any]:
    """All events of a take, the last being Done."""

    async def run(client: EngineClient, request: GenerateRequest) -> list[Event]:
        return [event async for event in client.generate(request)]

    return run


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Audio by name, made once: real files, by soundfile and ffmpeg."""
    folder = tmp_path_factory.mktemp("files")
    made: dict[str, Path] = {}

    def ffmpeg(name: str, *arguments: str) -> Path:
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *arguments, "-y", str(folder / name)], check=True)
        return folder / name

    def wav(name: str, samples: Any, rate: int) -> Path:
        soundfile.write(folder / name, samples, rate, subtype="PCM_16")
        return folder / name

    def beat(seconds: float, rate: int) -> Any:
        """A kick, a hat and a bass at 120 BPM, driven hard, as loud as a mastered track: [N], float."""
        t = np.arange(round(seconds * rate)) / rate
        since_kick, since_hat = t % 0.5, (t + 0.25) % 0.5
        noise = np.random.default_rng(0).standard_normal(t.size)
        kick = np.sin(2 * np.pi * 55 * since_kick) * np.exp(-12 * since_kick)
        bass = np.sin(2 * np.pi * 220 * t) + 0.5 * np.sin(2 * np.pi * 660 * t)
        return 0.8 * np.tanh(2 * (kick + 0.5 * bass + 0.2 * noise * np.exp(-60 * since_hat)))

    def text(name: str, content: str) -> Path:
        (folder / name).write_text(content)
        return folder / name

    def binary(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    makers: dict[str, Callable[[], Path]] = {
        "track.wav": lambda: wav("track.wav", np.stack([beat(12, 44100)] * 2, axis=1), 44100),
        "track.mp3": lambda: ffmpeg("track.mp3", "-i", str(get("track.wav")), "-b:a", "128k"),
        "silent.wav": lambda: wav("silent.wav", np.zeros((44100 * 6, 2)), 44100),
        "ends_silent.wav": lambda: wav("ends_silent.wav", np.concatenate([beat(6, 32000), np.zeros(32000 * 6)]), 32000),
        "phone.wav": lambda: wav("phone.wav", beat(6, 8000), 8000),
        "surround.wav": lambda: wav("surround.wav", np.stack([beat(6, 96000)] * 6, axis=1), 96000),
        "short.wav": lambda: wav("short.wav", beat(0.3, 32000), 32000),
        "text.mp3": lambda: text("text.mp3", "this is a letter, not a song\n" * 50),
        "empty.mp3": lambda: binary("empty.mp3", b""),
        "playlist.m3u8": lambda: text("playlist.m3u8", "#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/secret.mp3\n"),
        "truncated.m4a": lambda: binary("truncated.m4a", ffmpeg("whole.m4a", "-i", str(get("track.wav"))).read_bytes()[:20000]),
        "corrupt.flac": lambda: binary("corrupt.flac", b"fLaC" + bytes(np.random.default_rng(1).integers(0, 256, 60000, dtype=np.uint8))),
        "mute_video.mp4": lambda: ffmpeg(
            "mute_video.mp4", "-f", "lavfi", "-i", "color=size=64x64:rate=5:duration=2", "-pix_fmt", "yuv420p"
        ),
        "video.mp4": lambda: ffmpeg(
            "video.mp4",
            "-f",
            "lavfi",
            "-i",
            "color=size=64x64:rate=5:duration=6",
            "-i",
            str(get("track.wav")),
            "-t",
            "6",
            "-pix_fmt",
            "yuv420p",
        ),
        "three_hours.flac": lambda: ffmpeg("three_hours.flac", "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "10800"),
    }

    def get(name: str) -> Path:
        if name not in made:
            made[name] = makers[name]()
        return made[name]

    return get
