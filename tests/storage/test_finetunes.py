"""Finetunes: one under way in a guild, one end each, and what stays of it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from storage import Clip, Finetune, FinetuneUnderWay, NameTaken, Store, WrongState
from storage.finetunes import new_id

HASHES = ["a" * 64, "b" * 64]


async def begun(store: Store, **changes: Any) -> Finetune:
    asked: dict[str, Any] = {
        "finetune_id": new_id(),
        "guild_id": 1,
        "channel_id": 20,
        "member_id": 300,
        "name": "Warehouse",
        "recipe": "lora",
        "base": None,
        "token": "Alice_hash",
        "tracks": HASHES,
        "request": '{"tracks": []}',
    }
    return await store.finetunes.create(**asked | changes)


async def done(store: Store, *, gate: Any = "passed", **changes: Any) -> Finetune:
    finetune = await begun(store, **changes)
    await store.finetunes.start(finetune.id)
    return await store.finetunes.finish(finetune.id, checkpoint=finetune.id, gate=gate, verdict="It passed.", report="{}")


async def test_one_that_passes_is_the_guilds_checkpoint_at_once(store: Store) -> None:
    await store.guilds.update(1, token="Other_hash")
    finetune = await begun(store)
    await store.finetunes.attach_message(finetune.id, 77)
    await store.finetunes.start(finetune.id)
    await store.finetunes.keep_forecast(finetune.id, '{"steps": 40}')
    assert [left.forecast for left in await store.finetunes.unfinished()] == ['{"steps": 40}']
    ended = await store.finetunes.finish(finetune.id, checkpoint="w-1", gate="passed", verdict="It passed.", report="{}")
    assert (ended.state, ended.gate, ended.checkpoint, ended.message_id, ended.request) == ("done", "passed", "w-1", 77, None)
    settings = await store.guilds.settings(1)
    assert (settings.checkpoint, settings.token) == ("w-1", "Alice_hash"), "its token is the one that asks for its sound"
    assert await store.finetunes.unfinished() == []
    assert (await store.guilds.settings(2)).checkpoint is None


@pytest.mark.parametrize("gate", ["failed", None])
async def test_one_that_does_not_pass_leaves_the_base(store: Store, gate: Any) -> None:
    ended = await done(store, gate=gate)
    assert (ended.state, ended.gate) == ("done", gate)
    assert (await store.guilds.settings(1)).checkpoint is None
    assert [made.id for made in await store.finetunes.made(1)] == [ended.id], "it can be chosen all the same"


async def test_each_ends_once(store: Store) -> None:
    failed = await begun(store)
    assert (await store.finetunes.fail(failed.id, "no memory")).error == "no memory"
    cancelled = await begun(store)
    await store.finetunes.ask_cancel(cancelled.id, 300)
    assert (await store.finetunes.ask_cancel(cancelled.id, 301)).cancel_by == 300
    assert (await store.finetunes.cancel(cancelled.id)).state == "cancelled"
    ended = await done(store)
    for finetune in (failed, cancelled, ended):
        with pytest.raises(WrongState, match=r"finetune .* can't become failed"):
            await store.finetunes.fail(finetune.id, "again")
        with pytest.raises(WrongState):
            await store.finetunes.start(finetune.id)
    assert [finetune.state for finetune in await store.finetunes.list(1)] == ["done", "cancelled", "failed"]
    assert await store.finetunes.count(1) == 3
    with pytest.raises(sqlite3.IntegrityError, match="illegal transition"):
        async with store.database.transaction() as transaction:
            await transaction.execute("UPDATE finetunes SET state = 'done' WHERE finetune_id = ?", failed.id)


async def test_a_guild_has_one_under_way_and_a_name_means_one(store: Store) -> None:
    first = await done(store, name="Nacht ÄÖ")
    with pytest.raises(NameTaken, match="another `name`"):
        await begun(store, name="nacht äö")
    second = await begun(store, name="Other")
    with pytest.raises(FinetuneUnderWay, match="/finetune cancel"):
        await begun(store, name="Third")
    assert (await begun(store, guild_id=2, name="Nacht ÄÖ")).guild_id == 2, "another guild's names and finetunes are its own"
    await store.finetunes.cancel(second.id)
    assert (await begun(store, name="Other")).name == "Other", "the name of one that came to nothing is free"
    assert await store.finetunes.get_for_guild(2, first.id) is None
    assert await store.finetunes.by_checkpoint(2, first.id) is None
    found = await store.finetunes.by_checkpoint(1, first.id)
    assert found is not None and found.name == "Nacht ÄÖ"


async def test_what_it_learns_from_stays_until_its_end(store: Store) -> None:
    sha256 = await store.blobs.put(b"a track")
    facts: dict[str, Any] = {"filename": "a.mp3", "title": None, "artist": None, "duration_s": 60.0, "sample_rate": 44100, "channels": 2}
    track = await store.tracks.add(1, 300, sha256=sha256, codec="mp3", size_bytes=7, **facts)
    finetune = await begun(store, tracks=[sha256])
    await store.tracks.remove(1, track.id)
    assert await store.tracks.to_forget() == []
    learning = await store.finetunes.learning(1, sha256)
    assert learning is not None and learning.id == finetune.id
    assert await store.finetunes.learning(2, sha256) is None
    assert (await store.check()).good
    assert {row["sha256"] for row in await store.database.all("SELECT sha256 FROM blob_names")} == {sha256}
    await store.finetunes.fail(finetune.id, "it stopped")
    assert await store.tracks.to_forget() == [sha256]
    assert await store.database.all("SELECT sha256 FROM blob_names") == []


async def test_an_owner_is_the_guilds_own_and_says_nothing(store: Store) -> None:
    first, second = await store.guilds.owner(1), await store.guilds.owner(2)
    assert first == await store.guilds.owner(1) != second
    assert len(first) == 32 and int(first, 16)
    salt = await store.database.one("SELECT salt FROM guilds WHERE guild_id = 1")
    assert salt is not None and first not in salt["salt"].hex()


async def test_who_may_finetune(store: Store) -> None:
    assert (await store.guilds.settings(1)).finetune_by == "moderators"
    await store.guilds.update(1, token="Nacht_hash")
    changed = await store.guilds.update(1, finetune_by="role", finetune_role_id=55)
    assert changed == await store.guilds.settings(1)
    assert (changed.token, changed.finetune_by, changed.finetune_role_id) == ("Nacht_hash", "role", 55)
    with pytest.raises(sqlite3.IntegrityError):
        await store.guilds.update(1, finetune_by="everyone")  # a role that means nothing
    assert (await store.guilds.settings(1)).finetune_by == "role"


async def test_a_finetune_at_part_of_its_strength_is_in_no_category(store: Store, queued: Any) -> None:
    clip: dict[str, Any] = {"delivery_extension": "mp3", "duration_s": 8.0, "sample_rate": 32000, "channels": 1}
    for number, (strength, category) in enumerate([(None, "A"), (1.0, "A"), (0.5, "other")]):
        take = await queued(store, prompt="Alice_hash techno", strength=strength)
        assert take.strength == strength
        await store.takes.start(take.id)
        hashes: dict[str, Any] = {"sha256": f"{number}" * 64, "delivery_sha256": "d" * 64, "picture_sha256": "e" * 64}
        kept = await store.takes.keep_clip(
            take.id,
            Clip(**hashes, **clip),
            seed=1,
            checkpoint="w-1",
            checkpoint_kind="finetuned",
            strength=strength,
        )
        assert (kept.category, kept.strength) == (category, strength)
