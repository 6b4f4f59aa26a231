"""A take's life: each legal step, each illegal one, and what the database itself refuses."""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage import Clip, NotFound, StorageError, Store, Take, WrongState

HASH = "ab" * 32
CLIP = Clip(sha256=HASH, delivery_sha256=HASH, delivery_extension="mp3", picture_sha256=HASH, duration_s=8.0, sample_rate=32000, channels=1)
MADE: Any = {"seed": 5, "checkpoint": "pocket", "checkpoint_kind": "base"}
STATES = ("queued", "running", "done", "failed", "cancelled")
LEGAL = {"queued": ("running", "failed", "cancelled"), "running": ("done", "failed", "cancelled")}


async def in_state(store: Store, queued: Any, state: str) -> Take:
    take: Take = await queued(store)
    if state == "failed":
        return await store.takes.fail(take.id, "no")
    if state == "cancelled":
        return await store.takes.cancel(take.id)
    if state in ("running", "done"):
        take = await store.takes.start(take.id)
        await store.takes.keep_clip(take.id, CLIP, **MADE)
        take = await store.takes.attach_message(take.id, 900, 20)
    return await store.takes.finish(take.id) if state == "done" else take


async def test_from_asked_to_posted(store: Store, queued: Any) -> None:
    take = await queued(store, prompt="Alice_hash techno", seed=None, checkpoint=None)
    assert (take.state, take.prompt_kind, take.category, take.message_id, take.clip) == ("queued", "token", None, None, None)
    assert take.created_at.tzinfo is UTC or take.created_at.utcoffset() == timedelta(0)
    take = await store.takes.start(take.id)
    assert take.state == "running"
    take = await store.takes.keep_clip(take.id, CLIP, **MADE)
    assert (take.state, take.clip, take.seed, take.checkpoint, take.category) == ("running", CLIP, 5, "pocket", "B")
    with pytest.raises(WrongState, match="without a message"):
        await store.takes.finish(take.id)
    take = await store.takes.attach_message(take.id, 900, 21)
    take = await store.takes.finish(take.id)
    assert (take.state, take.message_id, take.channel_id, take.message_channel_id, take.ended) == ("done", 900, 20, 21, True)
    assert take == await store.takes.get(take.id) == await store.takes.get_for_guild(1, take.id) == await store.takes.by_message(1, 900)


async def test_the_category_follows_the_token_of_the_moment_of_asking(store: Store, queued: Any) -> None:
    await store.guilds.update(1, token="Bob_hash")
    take = await queued(store, prompt="Bob_hash techno")
    await store.guilds.update(1, token="Carol_hash")
    await store.takes.start(take.id)
    assert (await store.takes.keep_clip(take.id, CLIP, seed=1, checkpoint="x", checkpoint_kind="finetuned")).category == "A"


async def test_tempo_key_bars_and_loop_are_kept_as_asked_and_as_heard(store: Store, queued: Any) -> None:
    take = await queued(store, prompt="techno", bpm=130.5, key="A minor", bars=8, loop=True, track_name=None)
    assert (take.bpm, take.key, take.bars, take.loop, take.track_name) == (130.5, "A minor", 8, True, None)
    assert take.prompt_kind == "other"  # the model is told more than "techno"
    await store.takes.start(take.id)
    clip = replace(CLIP, heard_bpm=130.4, heard_key="E minor", loop_bars=8, loop_bpm=130.5, loop_own_bpm=130.4)
    assert (await store.takes.keep_clip(take.id, clip, **MADE)).clip == clip
    plain = await queued(store, prompt="techno", bars=4)
    assert (plain.prompt_kind, plain.bpm, plain.loop) == ("plain", None, False)
    named = await queued(store, kind="continuation", track_sha256=HASH, track_name="Nachtschicht")
    assert named.track_name == "Nachtschicht"


@pytest.mark.parametrize(("state", "step"), list(itertools.product(STATES, ("start", "keep_clip", "finish", "fail", "cancel"))))
async def test_every_step_from_every_state(store: Store, queued: Any, state: str, step: str) -> None:
    take = await in_state(store, queued, state)
    steps: dict[str, Any] = {
        "start": lambda: store.takes.start(take.id),
        "keep_clip": lambda: store.takes.keep_clip(take.id, CLIP, **MADE),
        "finish": lambda: store.takes.finish(take.id),
        "fail": lambda: store.takes.fail(take.id, "why"),
        "cancel": lambda: store.takes.cancel(take.id),
    }
    legal = {"queued": ("start", "fail", "cancel"), "running": ("finish", "fail", "cancel")}.get(state, ())
    if step in legal:
        after = await steps[step]()
        assert after.ended == (step != "start")
    else:
        with pytest.raises(WrongState):
            await steps[step]()
        assert await store.takes.get(take.id) == take


@pytest.mark.parametrize(("state", "to"), [(state, to) for state in STATES for to in STATES if to not in LEGAL.get(state, ())])
async def test_the_database_itself_refuses_illegal_transitions(store: Store, queued: Any, state: str, to: str) -> None:
    take = await in_state(store, queued, state)
    with pytest.raises(sqlite3.IntegrityError):
        async with store.database.transaction() as transaction:
            await transaction.execute("UPDATE takes SET state = ? WHERE take_id = ?", to, take.id)
    assert await store.takes.get(take.id) == take


@pytest.mark.parametrize(
    "change",
    [
        "state = 'failed'",  # without a reason and an end
        "state = 'failed', finished_at = 'now'",
        "state = 'cancelled'",
        "state = 'done', finished_at = 'now'",  # without a clip
        "finished_at = 'now'",
        "error = 'but not failed'",
        "state = 'asleep'",
        "kind = 'continuation'",  # of no track
        "seconds = 0",
        "guild_id = 99",
    ],
)
async def test_the_database_itself_refuses_half_ends(store: Store, queued: Any, change: str) -> None:
    take = await queued(store)
    await store.takes.start(take.id)
    await store.takes.attach_message(take.id, 900, 20)
    with pytest.raises(sqlite3.IntegrityError):
        async with store.database.transaction() as transaction:
            await transaction.execute(f"UPDATE takes SET {change} WHERE take_id = ?", take.id)


async def test_a_take_can_not_begin_in_the_middle(store: Store, queued: Any) -> None:
    await queued(store)
    with pytest.raises(sqlite3.IntegrityError, match="begins as queued"):
        async with store.database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO takes (take_id, guild_id, channel_id, member_id, kind, prompt, prompt_kind, seconds, guidance_scale, "
                "temperature, state, created_at) SELECT 'x', guild_id, channel_id, member_id, "
                "kind, prompt, prompt_kind, seconds, guidance_scale, "
                "temperature, 'running', created_at FROM takes"
            )


async def test_messages(store: Store, queued: Any) -> None:
    take = await queued(store)
    other = await queued(store)
    await store.takes.attach_message(take.id, 900, 20)
    again = await store.takes.attach_message(take.id, 900, 20)
    assert again.message_id == 900
    moved = await store.takes.attach_message(take.id, 901, 22)
    assert (moved.message_id, moved.message_channel_id) == (901, 22)
    assert await store.takes.by_message(1, 900) is None, "the take is shown elsewhere now"
    assert (await store.takes.attach_message(take.id, 900, 20)).message_id == 900
    with pytest.raises(StorageError, match="another take"):
        await store.takes.attach_message(other.id, 901, 20)
    await store.takes.cancel(take.id)
    with pytest.raises(WrongState):
        await store.takes.attach_message(take.id, 902, 20)


async def test_deleted_messages(store: Store, posted: Any) -> None:
    take = await posted(store)
    assert await store.takes.mark_message_deleted(123) is None
    gone = await store.takes.mark_message_deleted(take.message_id)
    assert gone is not None
    assert gone.message_deleted_at is not None
    assert await store.takes.mark_message_deleted(take.message_id) == gone, "the first time counts"
    assert await store.takes.recent_messages() == []


async def test_unknown_takes(store: Store) -> None:
    for step in (store.takes.start, store.takes.finish, store.takes.cancel):
        with pytest.raises(NotFound):
            await step("nothing")
    with pytest.raises(NotFound):
        await store.takes.attach_message("nothing", 1, 2)
    assert await store.takes.get("nothing") is None


async def test_a_guild_sees_only_its_own(store: Store, queued: Any, posted: Any) -> None:
    mine = await posted(store, guild_id=1)
    waiting = await queued(store, guild_id=1)
    assert await store.takes.get_for_guild(2, mine.id) is None
    assert await store.takes.by_message(2, mine.message_id) is None
    assert await store.takes.queue(2) == []
    assert [take.id for take in await store.takes.queue(1)] == [waiting.id]
    with pytest.raises(sqlite3.IntegrityError):
        await queued(store, guild_id=2, parent_take_id=mine.id)
    assert (await queued(store, guild_id=1, parent_take_id=mine.id)).parent_take_id == mine.id


async def test_what_the_last_run_left_behind(store: Store, queued: Any, posted: Any) -> None:
    await posted(store)
    waiting = await queued(store, guild_id=1)
    running = await store.takes.start((await queued(store, guild_id=2)).id)
    assert [take.id for take in await store.takes.unfinished()] == [waiting.id, running.id]


async def test_recent_messages_newest_first(store: Store, posted: Any) -> None:
    takes = [await posted(store) for _ in range(3)]
    assert [take.id for take in await store.takes.recent_messages()] == [take.id for take in reversed(takes)]
    assert [take.id for take in await store.takes.recent_messages(limit=1)] == [takes[2].id]
    assert [take.id for take in await store.takes.recent_messages(since=takes[1].finished_at)] == [takes[2].id, takes[1].id]
    assert await store.takes.recent_messages(since=datetime.now(UTC) + timedelta(days=1)) == []
