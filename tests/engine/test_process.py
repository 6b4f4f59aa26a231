"""``python -m engine serve`` as a process: it says where it is, plays, and ends as it should, or as it should not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.api import GenerateRequest, Progress
from engine.client import EngineClient, EngineError, EngineUnreachable

LONG = GenerateRequest(take_id="long", kind="text", prompt="secret ingredient", seconds=240)


@contextlib.asynccontextmanager
async def serving(checkpoint: Path, data: Path, log: list[str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The process and its URL, once it listens. Killed at the end if it still lives; ``log`` gets what it said."""
    environment = os.environ | {
        "ENGINE_CHECKPOINT": str(checkpoint),
        "ENGINE_DATA": str(data),
        "ENGINE_PORT": "0",
        "ENGINE_THREADS": "1",
        "ENGINE_TOKEN": "",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "serve", env=environment, cwd=data, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    said = b""
    while not (found := re.search(rb"listening on (http://\S+),", said)):
        line = await process.stderr.readline()
        assert line, said.decode()
        said += line

    async def keep() -> None:
        assert process.stderr is not None
        log.append((said + await process.stderr.read()).decode())

    keeper = asyncio.create_task(keep())
    try:
        yield process, found.group(1).decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await keeper


async def test_sigterm_tells_those_who_wait_and_ends_with_0(tiny_checkpoint: Path, tmp_path: Path) -> None:
    said: list[str] = []
    async with serving(tiny_checkpoint, tmp_path, said) as (process, url), EngineClient(url) as client:
        await client.wait_until_ready(90)
        with pytest.raises(EngineError) as caught:
            async for event in client.generate(LONG):
                if isinstance(event, Progress) and process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.send_signal(signal.SIGTERM)
        assert (caught.value.code, caught.value.message) == ("not_ready", "The engine is being stopped: ask again when it is back.")
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    log = "".join(said)
    assert "ready: checkpoint" in log
    assert log.rstrip().endswith("engine: stopped")
    assert "take long: not_ready" in log
    assert "secret ingredient" not in log
    assert "Traceback" not in log
    assert "WARNING" not in log


async def test_an_engine_that_is_killed_in_the_middle_of_a_take(tiny_checkpoint: Path, tmp_path: Path) -> None:
    said: list[str] = []
    async with serving(tiny_checkpoint, tmp_path, said) as (process, url), EngineClient(url) as client:
        await client.wait_until_ready(90)
        with pytest.raises(EngineUnreachable, match="ask again"):
            async for event in client.generate(LONG):
                if isinstance(event, Progress):
                    process.kill()
        await process.wait()
        with pytest.raises(EngineUnreachable, match="No engine answers"):
            await client.health()
