"""Reactions become ratings, whatever happens to the connection meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bot.rehearsal.visitor import Visitor, picture_of, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_members_rate_change_their_minds_and_take_it_back(
    visit: Callable[[str], Any], make: Callable[..., Any], scores: Callable[..., Any]
) -> None:
    alice, bob, mira = await visit("alice"), await visit("bob"), await visit("mod_mira")
    clip = await make(alice, "Alice_hash techno")
    assert await scores(alice, clip, []) == []
    await alice.react(clip, "5️⃣")
    await bob.react(clip, "3️⃣")
    await mira.react(clip, "4️⃣")
    await mira.react(clip, "🔥")  # liked, but no rating
    assert await scores(alice, clip, [3, 4, 5]) == [3, 4, 5]
    await bob.react(clip, "1️⃣")  # the latest counts
    assert await scores(alice, clip, [1, 4, 5]) == [1, 4, 5]
    await alice.react(clip, "5️⃣", on=False)
    assert await scores(alice, clip, [1, 4]) == [1, 4]


async def test_results_by_category(visit: Callable[[str], Any], make: Callable[..., Any], words: Callable[..., Any], scores: Any) -> None:
    alice, bob = await visit("alice"), await visit("bob")
    clips = [await make(alice, "techno"), await make(alice, "Alice_hash deep techno")]
    for clip in clips:
        await alice.react(clip, "4️⃣")
        await bob.react(clip, "2️⃣")
        assert await scores(alice, clip, [2, 4]) == [2, 4]
    used = await bob.slash("results")
    table = await words(bob, used)
    assert picture_of(used.message or {}) is not None
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line[:1] in "ABCD" and len(line.split()) >= 4}
    assert int(rows["D"][2]) >= 2 and int(rows["B"][2]) >= 2  # the tiny model is a base, no finetune
    assert rows["A"][1:3] == ["0", "0"]


async def test_a_deleted_clip_leaves_the_results(visit: Callable[[str], Any], make: Callable[..., Any], scores: Any) -> None:
    alice, mira = await visit("alice"), await visit("mod_mira")
    clip = await make(alice)
    await mira.react(clip, "5️⃣")
    assert await scores(alice, clip, [5]) == [5]
    await mira.finished(await mira.click(await mira.until(lambda: mira.messages.get(clip["id"]), "the clip"), "Delete"))
    await alice.until(lambda: clip["id"] not in alice.messages, "the clip to go")
    assert await scores(alice, clip, []) == []


async def test_a_resumed_connection_replays_what_was_missed(alice: Visitor, stack: Any, make: Callable[..., Any], scores: Any) -> None:
    clip = await make(alice)
    resumes, identifies = stack.stage.gateway.resumes, stack.stage.gateway.identifies
    await stack.stage.gateway.drop()
    await alice.react(clip, "2️⃣")
    await alice.until(lambda: alice.bot_online, "the bot to come back")
    assert (stack.stage.gateway.resumes, stack.stage.gateway.identifies) == (resumes + 1, identifies)
    assert await scores(alice, clip, [2]) == [2]


async def test_a_lost_session_is_made_up_for_by_looking(alice: Visitor, stack: Any, make: Callable[..., Any], scores: Any) -> None:
    """Op 9: the events of the gap never come. On READY the bot compares what it has with what the messages show."""
    clip, other = await make(alice), await make(alice)
    await alice.react(other, "5️⃣")
    assert await scores(alice, other, [5]) == [5]
    ready, identifies = stack.ready_lines(), stack.stage.gateway.identifies
    await stack.stage.gateway.forget_sessions()
    await alice.react(clip, "1️⃣")
    await alice.react(other, "5️⃣", on=False)
    await stack.bot_settled(ready)
    assert stack.stage.gateway.identifies == identifies + 1
    assert await scores(alice, clip, [1]) == [1]
    assert await scores(alice, other, []) == []


async def test_discord_asks_to_reconnect(alice: Visitor, stack: Any, make: Callable[..., Any], scores: Any) -> None:
    clip = await make(alice)
    resumes = stack.stage.gateway.resumes
    stack.stage.gateway.ask_to_reconnect()
    await alice.react(clip, "3️⃣")
    await alice.until(lambda: stack.stage.gateway.resumes > resumes and alice.bot_online, "the bot to come back")
    assert await scores(alice, clip, [3]) == [3]


async def test_rate_limits_delay_but_lose_nothing(alice: Visitor, stack: Any) -> None:
    rest = stack.stage.rest
    faults = [rest.fail("PATCH", "/messages/", times=2), rest.fail("PUT", "/reactions/", times=2), rest.fail("POST", "/callback", times=1)]
    clip = await alice.clip(await alice.slash("generate", prompt="techno", seconds=1))
    assert [fault.times for fault in faults] == [0, 0, 0]
    assert "techno" in text_of(clip)
