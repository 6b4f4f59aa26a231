"""The real bot process on the rehearsal Discord, the real engine process with a tiny random model, real SQLite, real audio files.

One stack for all tests: each makes its own clips and leaves the stack running. The stage lives in this process, so that a test can
drop sockets, forge rate limits or take rights away.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bot.rehearsal.app import Stage, StageOptions
from bot.rehearsal.children import Child, bot_program, engine_program, free_port, healthy
from bot.rehearsal.visitor import Used, Visitor, text_of

WAIT_S = 60.0
READY_WITHIN_S = 150.0


class Stack:
    """Stage, engine and bot, and what tests do to them."""

    def __init__(self, stage: Stage, folder: Path, checkpoint: Path, http: aiohttp.ClientSession) -> None:
        self.stage = stage
        self.folder = folder
        self.http = http
        engine_token = secrets.token_urlsafe(8)
        port = free_port()
        self.engine_url = f"http://127.0.0.1:{port}"
        self.engine = Child(
            engine_program(port=port, data=folder / "engine", token=engine_token, checkpoint=str(checkpoint), ENGINE_THREADS="1"), folder
        )
        self.bot = Child(
            bot_program(
                stage_url=stage.url,
                token=stage.options.token,
                engine_url=self.engine_url,
                engine_token=engine_token,
                data=folder / "bot",
            ),
            folder,
        )

    async def engine_ready(self) -> None:
        await self.engine.ready(healthy(self.http, self.engine_url, "ready"), within_s=READY_WITHIN_S)

    async def bot_ready(self) -> None:
        await self.bot.ready(healthy(self.http, self.stage.url, "bot_online"), within_s=READY_WITHIN_S)

    async def bot_settled(self, ready_before: int) -> None:
        """Wait until the bot has handled one READY more than ``ready_before``: what was missed is made up for by then."""

        async def settled() -> bool:
            return self.ready_lines() > ready_before

        await self.bot.ready(settled, within_s=WAIT_S)

    def ready_lines(self) -> int:
        return self.bot.log.read_text().count("ready as ")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    async with Stage(StageOptions(data=folder / "stage", port=0)) as stage, aiohttp.ClientSession() as http:
        stack = Stack(stage, folder, tiny_checkpoint, http)
        try:
            await stack.engine.start()
            await stack.bot.start()
            await stack.engine_ready()
            await stack.bot_ready()
            yield stack
        finally:
            await stack.bot.stop()
            await stack.engine.stop()
            for child in (stack.bot, stack.engine):
                print(f"==== {child.program.name}\n{child.log.read_text()}")


@pytest_asyncio.fixture(loop_scope="session")
async def visit(stack: Stack) -> AsyncIterator[Callable[[str], Any]]:
    """Opens the page as a member."""
    opened: list[Visitor] = []

    async def visit(member: str) -> Visitor:
        visitor = await Visitor(stack.stage.url, member, wait_s=WAIT_S).__aenter__()
        opened.append(visitor)
        return visitor

    try:
        yield visit
    finally:
        for visitor in opened:
            await visitor.__aexit__()


@pytest_asyncio.fixture(loop_scope="session")
async def alice(visit: Callable[[str], Any]) -> Visitor:
    visitor: Visitor = await visit("alice")
    return visitor


@pytest_asyncio.fixture(loop_scope="session")
async def bob(visit: Callable[[str], Any]) -> Visitor:
    visitor: Visitor = await visit("bob")
    return visitor


@pytest.fixture
def make() -> Callable[..., Any]:
    """A short clip for tests that need one."""

    async def make(visitor: Visitor, prompt: str = "techno", **options: Any) -> dict[str, Any]:
        return await visitor.clip(await visitor.slash("generate", prompt=prompt, **{"seconds": 1, **options}))

    return make


@pytest.fixture
def words() -> Callable[..., Any]:
    """What the bot answers, in words."""

    async def words(visitor: Visitor, used: Used) -> str:
        await visitor.finished(used)
        message = await visitor.until(lambda: used.message, "an answer")
        return text_of(message)

    return words


@pytest.fixture
def scores() -> Callable[..., Any]:
    """The ratings of a clip in the database, lowest first, by way of ``/export``; ``become`` waits until they are as given."""

    async def read(visitor: Visitor, clip: dict[str, Any]) -> list[int]:
        seed = re.search(r"seed `(\d+)`", text_of(clip))
        assert seed is not None
        used = await visitor.finished(await visitor.slash("export"))
        message = await visitor.until(lambda: used.message if used.message and used.message["attachments"] else None, "the file")
        rows = csv.DictReader(io.StringIO((await visitor.download(message["attachments"][0])).decode("utf-8-sig")))
        return sorted(int(row["score"]) for row in rows if row["seed"] == seed[1])

    async def scores(visitor: Visitor, clip: dict[str, Any], become: list[int]) -> list[int]:
        found: list[int] = []
        for _ in range(40):  # each look is a round trip to the bot and its database
            found = await read(visitor, clip)
            if found == become:
                return found
            await asyncio.sleep(0.05)
        return found

    return scores
