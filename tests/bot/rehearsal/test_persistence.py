"""A rehearsal that was stopped goes on where it was."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bot.rehearsal.app import Stage, StageOptions
from bot.rehearsal.persistence import StateError
from bot.rehearsal.visitor import File, Visitor, reactions_of
from bot.rehearsal.world import find_channel, the_guild

COMMANDS = [{"name": "help", "type": 1, "description": "help"}, {"name": "Peek", "type": 3}]


async def test_messages_files_reactions_and_ids_come_back(tmp_path: Path) -> None:
    options = StageOptions(data=tmp_path, port=0)
    async with Stage(options) as stage, Visitor(stage.url) as alice:
        registered = stage.backend.register_commands(None, COMMANDS)
        message = await alice.send("my set", File("set.mp3", b"music"))
        await alice.react(message, "5️⃣")
        gone = await alice.send("gone", File("gone.mp3", b"gone"))
        await alice.delete(gone)
        await alice.upload(File("never-sent.mp3", b"x"))
        embed = {"image": {"url": "attachment://p.png"}}
        files = stage.backend.store_attachments(find_channel(stage.backend, "lab").id, [("p.png", b"png")])
        stage.backend.create_message(
            find_channel(stage.backend, "lab").id, stage.backend.bot_user.id, "drawn", embeds=[embed], attachments=files
        )
        before = {"bot": stage.backend.bot_user.id, "application": stage.backend.application_id, "guild": the_guild(stage.backend).id}
        members, last_id = alice.state["members"], stage.backend.last_id
    async with Stage(options) as stage, Visitor(stage.url) as alice:
        assert stage.backend.last_id >= last_id
        after = {"bot": stage.backend.bot_user.id, "application": stage.backend.application_id, "guild": the_guild(stage.backend).id}
        assert after == before
        assert alice.state["members"] == members
        assert [m["content"] for m in alice.messages.values()] == ["my set", "drawn"]
        kept, drawn = alice.messages.values()
        assert reactions_of(kept) == {"5️⃣": 1} and kept["reactions"][0]["me"]
        assert await alice.download(kept["attachments"][0]) == b"music"
        assert await alice.download(drawn["embeds"][0]["image"]["url"]) == b"png"
        # Syncing again keeps the commands' ids, on which mentions like </help:id> rest.
        assert stage.backend.register_commands(None, COMMANDS) == registered
        new = await alice.send("a new one")
        assert int(new["id"]) > last_id
    assert len(list((tmp_path / "cdn").iterdir())) == 2
    assert not list((tmp_path / "uploads").iterdir())


async def test_ephemeral_messages_do_not_come_back(tmp_path: Path) -> None:
    options = StageOptions(data=tmp_path, port=0)
    async with Stage(options) as stage:
        channel = find_channel(stage.backend, "lab")
        alice_id = the_guild(stage.backend).owner_id
        mine = {"id": "1", "user": {"id": str(alice_id)}}
        stage.backend.create_message(channel.id, stage.backend.bot_user.id, "psst", flags=64, interaction_metadata=mine, broadcast=False)
        async with Visitor(stage.url) as alice:
            assert len(alice.messages) == 1
    async with Stage(options) as stage, Visitor(stage.url) as alice:
        assert not alice.messages


async def test_changes_are_written_soon_and_whole(tmp_path: Path) -> None:
    async with Stage(StageOptions(data=tmp_path, port=0)) as stage, Visitor(stage.url) as alice:
        await alice.send("hello")
        await asyncio.wait_for(stage.keeper.written.wait(), 10)
        assert [m["content"] for m in json.loads((tmp_path / "world.json").read_text())["messages"]] == ["hello"]


async def test_ids_go_on_when_the_clock_goes_back(tmp_path: Path) -> None:
    async with Stage(StageOptions(data=tmp_path, port=0)) as stage:
        stage.backend.last_id += 10**12
        future = stage.backend.snowflake()
    async with Stage(StageOptions(data=tmp_path, port=0)) as stage:
        assert stage.backend.snowflake() == future + 1


async def test_two_stages_on_one_folder_are_refused(tmp_path: Path) -> None:
    async with Stage(StageOptions(data=tmp_path, port=0)):
        with pytest.raises(StateError, match="in use by another rehearsal"):
            await Stage(StageOptions(data=tmp_path, port=0)).__aenter__()


@pytest.mark.parametrize("content", ["{", "{}", '{"format": 99}'])
async def test_a_spoilt_file_is_not_overwritten(content: str, tmp_path: Path) -> None:
    (tmp_path / "world.json").write_text(content)
    with pytest.raises(StateError, match="--fresh"):
        await Stage(StageOptions(data=tmp_path, port=0)).__aenter__()
    assert (tmp_path / "world.json").read_text() == content
