"""A stage in this process and the tiny bot in its own, over real sockets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from bot.rehearsal.app import Stage, StageOptions
from bot.rehearsal.visitor import Visitor

WAIT_S = 30.0


class BotProcess:
    """The tiny bot; ``heard`` are the lines it printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.heard: list[str] = []
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.heard.append(line.decode().rstrip())
            self._changed.set()

    async def hears(self, probe: Callable[[str], bool] | str, times: int = 1) -> str:
        test = probe if callable(probe) else lambda line: line.startswith(probe)
        async with asyncio.timeout(WAIT_S):
            while len(found := [line for line in self.heard if test(line)]) < times:
                self._changed.clear()
                await self._changed.wait()
        return found[-1]

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader


async def start_bot(stage: Stage, token: str = "rehearsal-token") -> BotProcess:
    script = Path(__file__).with_name("tiny_bot.py")
    arguments = (f"{stage.url}/api/v10", f"{stage.url.replace('http', 'ws')}/gateway", token)
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    return BotProcess(await asyncio.create_subprocess_exec(sys.executable, str(script), *arguments, **pipes))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(StageOptions(data=tmp_path / "stage", port=0)) as stage:
        yield stage


@pytest.fixture
async def alice(stage: Stage) -> AsyncIterator[Visitor]:
    async with Visitor(stage.url, "alice") as visitor:
        yield visitor


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bot_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One stage for all tests that need a bot."""
    async with Stage(StageOptions(data=tmp_path_factory.mktemp("stage"), port=0)) as stage:
        yield stage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tiny_bot(bot_stage: Stage) -> AsyncIterator[BotProcess]:
    bot = await start_bot(bot_stage)
    try:
        await bot.hears("ready")
        yield bot
    finally:
        await bot.end()
