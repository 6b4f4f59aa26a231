"""Processes that listen: what they say, that they are ended, and that one which breaks takes nobody with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from engine.analyses import workers
from engine.analyses.workers import BACKGROUND, Unavailable, Workers
from engine.errors import EngineError

HASH = "0" * 64
Listening = Callable[[], list[psutil.Process]]


@pytest.fixture
async def one() -> AsyncIterator[Workers]:
    """One process at most."""
    made = Workers(1)
    yield made
    await made.stop()


@pytest.fixture
def listening() -> Listening:
    """The processes that listen for this test; an engine of other tests may have its own."""
    others = {child.pid for child in psutil.Process().children()}

    def ours() -> list[psutil.Process]:
        found = []
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.pid not in others and "engine.analyses.worker" in child.cmdline():
                    found.append(child)
        return found

    return ours


async def test_a_file_that_is_gone_or_is_another_is_an_unknown_track(one: Workers, tmp_path: Path, listening: Listening) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other bytes than the name says")
    for path in (tmp_path / "nothing", other):
        with pytest.raises(EngineError) as caught:
            await one.run("embed", path=str(path), sha256=HASH)
        assert caught.value.code == "unknown_track"
    assert len(listening()) == 1, "one process for both"


async def test_a_process_that_dies_fails_its_track_and_the_next_is_heard_by_another(
    one: Workers, caplog: pytest.LogCaptureFixture, listening: Listening
) -> None:
    with pytest.raises(EngineError, match="Something broke"):
        await one.run("sing")  # what nobody foresaw: its traceback is in the log
    (process,) = listening()
    process.suspend()
    stuck = asyncio.create_task(one.run("embed", path="/nowhere", sha256=HASH))
    await asyncio.sleep(0)
    process.kill()
    with pytest.raises(EngineError) as caught:
        await stuck
    assert caught.value.code == "internal"
    with pytest.raises(EngineError, match="no longer has the track"):
        await one.run("embed", path="/nowhere", sha256=HASH)
    assert [child.pid for child in listening()] != [process.pid]
    assert "a listening process broke" in caplog.text


async def test_one_that_takes_too_long_is_killed(one: Workers, monkeypatch: pytest.MonkeyPatch, listening: Listening) -> None:
    monkeypatch.setattr(workers, "JOB_S", 0.0)
    with pytest.raises(EngineError, match="It took too long to listen to the track") as caught:
        await one.run("embed", path="/nowhere", sha256=HASH)
    assert caught.value.code == "bad_audio"
    assert listening() == []


async def test_an_idle_process_goes_and_comes_back(one: Workers, monkeypatch: pytest.MonkeyPatch, listening: Listening) -> None:
    monkeypatch.setattr(workers, "IDLE_S", 0.0)
    for _ in range(2):
        with pytest.raises(EngineError):
            await one.run("embed", path="/nowhere", sha256=HASH)
        async with asyncio.timeout(10):
            while listening():  # noqa: ASYNC110 - what is awaited is another process
                await asyncio.sleep(0.01)


async def test_what_somebody_waits_for_comes_before_what_nobody_does(one: Workers) -> None:
    order: list[str] = []

    async def ask(name: str, priority: int) -> None:
        with contextlib.suppress(EngineError):
            await one.run("embed", priority=priority, path="/nowhere", sha256=HASH)
        order.append(name)

    await asyncio.gather(ask("first", BACKGROUND), ask("background", BACKGROUND), ask("urgent", workers.URGENT))
    assert order == ["urgent", "first", "background"]


async def test_stopping_ends_what_is_under_way_and_what_waits(listening: Listening) -> None:
    two = Workers(2)
    asked = [asyncio.create_task(two.run("embed", path="/nowhere", sha256=HASH)) for _ in range(5)]
    await asyncio.sleep(0)
    await two.stop()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert {result.code for result in results if isinstance(result, EngineError)} <= {"not_ready", "unknown_track"}
    assert len(results) == 5 and listening() == []
    with pytest.raises(EngineError, match="being stopped"):
        await two.run("embed", path="/nowhere", sha256=HASH)
    await two.stop()


def test_what_is_not_installed_is_told_apart() -> None:
    with pytest.raises(Unavailable, match="pip install"):
        workers._read({"missing": "pip install it"})


def test_it_ends_with_whoever_started_it_and_inherits_no_token() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.analyses.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}
    )
    out, _ = process.communicate(b"", timeout=60)  # its standard input closes, as when the engine is killed
    assert (process.returncode, out) == (0, b"")
    assert "ENGINE_TOKEN" in workers._PRIVATE
