"""Engine and bot are killed, tokens expire, rights are missing: each take still ends in a clip or in words that say what to do."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from simcord.backend.models import Overwrite
from simcord.backend.permissions import flag
from simcord.enums import OverwriteType

from bot.rehearsal.visitor import Used, Visitor, audio_of, reactions_of, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def under_way(visitor: Visitor, **options: Any) -> Used:
    """A long take that the engine has begun."""
    used = await visitor.slash("generate", prompt="a long one", **{"seconds": 120, **options})
    await visitor.until(lambda: used.message and "▰" in text_of(used.message), "progress")
    return used


async def failed(visitor: Visitor, used: Used) -> str:
    message = await visitor.until(lambda: used.message if used.message and "⚠️" in text_of(used.message) else None, "words")
    assert audio_of(message) is None
    return text_of(message)


@asynccontextmanager
async def denied(stack: Any, channel: str, *rights: str) -> AsyncIterator[None]:
    """Take rights from the bot in one channel, as an owner does in its settings."""
    backend = stack.stage.backend
    where = next(c for c in backend.channels.values() if c.name == channel)
    deny = sum(flag(right) for right in rights)
    backend.edit_channel(where.id, {}, overwrites=[Overwrite(backend.bot_user.id, OverwriteType.MEMBER, deny=deny)])
    try:
        yield
    finally:
        backend.edit_channel(where.id, {}, overwrites=[])


async def test_an_expired_token_means_that_the_clip_is_posted_in_the_channel(alice: Visitor, stack: Any) -> None:
    stack.stage.backend.token_lifetime_s = 1.0
    try:
        used = await alice.slash("generate", prompt="later", seconds=60)  # longer in the making than the token lives
    finally:
        stack.stage.backend.token_lifetime_s = 900.0

    def posted() -> dict[str, Any] | None:
        found = (m for m in alice.messages.values() if audio_of(m) and "later" in text_of(m) and len(m["reactions"]) == 5)
        return next(found, None)

    clip = await alice.until(posted, "the clip")
    assert clip["id"] != used.message_id and "interaction_metadata" not in clip
    await alice.until(lambda: used.message_id not in alice.messages, "the progress message to go")


async def test_a_missing_right_to_attach_is_said_before_anything_is_made(alice: Visitor, stack: Any, words: Callable[..., Any]) -> None:
    async with denied(stack, "listening", "attach_files"):
        answer = await words(alice, await alice.slash("generate", prompt="techno", seconds=1, channel="listening"))
    assert "Attach Files" in answer


async def test_a_missing_right_to_react_is_said_on_the_clip(alice: Visitor, stack: Any) -> None:
    async with denied(stack, "listening", "add_reactions"):
        used = await alice.slash("generate", prompt="techno", seconds=1, channel="listening")
        clip = await alice.clip(used, reactions=0)
        assert reactions_of(clip) == {} and "Add Reactions" in text_of(clip)


async def test_an_engine_that_is_killed_in_the_middle(alice: Visitor, stack: Any) -> None:
    used = await under_way(alice)
    await stack.engine.kill()
    assert "stopped while" in await failed(alice, used)
    down = await alice.slash("generate", prompt="techno", seconds=1)
    assert "isn't answering" in await failed(alice, down)
    await stack.engine.start()
    await stack.engine_ready()
    assert down.message is not None
    clip = await alice.clip(await alice.click(down.message, "Try again"))
    assert "techno" in text_of(clip)


async def test_a_bot_that_is_stopped_says_goodbye_and_comes_back(
    alice: Visitor, bob: Visitor, stack: Any, make: Callable[..., Any], scores: Any
) -> None:
    clip = await make(alice)
    await bob.react(clip, "4️⃣")
    assert await scores(alice, clip, [4]) == [4]
    used = await under_way(alice)
    assert await stack.bot.stop() == 0
    assert "restarted" in await failed(alice, used)
    await alice.until(lambda: not alice.bot_online, "the bot to be away")
    await bob.react(clip, "4️⃣", on=False)  # while nobody listens
    await alice.react(clip, "5️⃣")
    ready = stack.ready_lines()
    await stack.bot.start()
    await stack.bot_ready()
    await stack.bot_settled(ready)
    assert await scores(alice, clip, [5]) == [5]
    assert "techno" in text_of(await alice.clip(await alice.click(clip, "Again")))  # buttons from before work


async def test_a_bot_that_is_killed_ends_what_it_left_behind(alice: Visitor, stack: Any) -> None:
    used = await under_way(alice)
    await stack.bot.kill()
    ready = stack.ready_lines()
    await stack.bot.start()
    await stack.bot_ready()
    await stack.bot_settled(ready)
    assert "restarted" in await failed(alice, used)
    assert "interaction_metadata" in (used.message or {})


async def test_in_the_end_every_take_has_an_end_and_the_store_is_whole(stack: Any, alice: Visitor, make: Callable[..., Any]) -> None:
    await make(alice)
    log = stack.bot.log.read_text()
    assert "Traceback" not in log, log
    await stack.bot.stop()
    database = stack.folder / "bot" / "composer.sqlite3"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        states = dict(connection.execute("SELECT state, count(*) FROM takes GROUP BY state"))
    connection.close()
    assert set(states) <= {"done", "failed", "cancelled"} and states["done"] >= 1
    command = (sys.executable, "-m", "storage", "check", "--data", str(stack.folder / "bot"))
    check = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said, _ = await check.communicate()
    assert check.returncode == 0, said.decode()
    await stack.bot.start()
    await stack.bot_ready()
