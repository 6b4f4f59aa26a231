"""What a member's page may ask, and what it is told, without a bot."""

from __future__ import annotations

import pytest

from bot.rehearsal.app import Stage
from bot.rehearsal.visitor import File, RefusedError, Visitor


async def test_hello_tells_who_is_there(alice: Visitor) -> None:
    state = alice.state
    assert state["guild"]["name"] == "Alice's techno lab"
    assert [channel["name"] for channel in state["channels"]] == ["lab", "listening", "bot-status"]
    assert {member["username"]: (member["moderator"], member["bot"]) for member in state["members"]} == {
        "alice": (True, False),
        "bob": (False, False),
        "mod_mira": (True, False),
        "techno-composer": (False, True),
    }
    assert (state["bot_online"], state["commands"], state["upload_limit"]) == (False, [], 50 * 2**20)
    assert b"<svg" in await alice.download(state["me"]["avatar_url"])


async def test_messages_with_files_reach_every_page(stage: Stage, alice: Visitor) -> None:
    async with Visitor(stage.url, "bob") as bob:
        sent = await alice.send("my set", File("Set 1: live.mp3", b"ID3 music"), File("../../etc/passwd", b"x"))
        seen = await bob.until(lambda: bob.messages.get(sent["id"]), "the message")
        assert [(a["filename"], a["size"], a["content_type"]) for a in seen["attachments"]] == [
            ("Set_1_live.mp3", 9, "audio/mpeg"),
            ("passwd", 1, "application/octet-stream"),
        ]
        assert seen["attachments"][0]["url"].startswith("/cdn/attachments/")
        assert await bob.download(seen["attachments"][0]) == b"ID3 music"
        history = await bob.ask("history", channel_id=seen["channel_id"], before=None, limit=50)
        assert [message["id"] for message in history["messages"]] == [sent["id"]]
        earlier = await bob.ask("history", channel_id=seen["channel_id"], before=sent["id"], limit=50)
        assert earlier["messages"] == []


async def test_reactions_are_counted_per_member(stage: Stage, alice: Visitor) -> None:
    async with Visitor(stage.url, "bob") as bob:
        message = await alice.send("rate me")
        await alice.react(message, "4️⃣")
        await alice.react(message, "4️⃣")  # a second time changes nothing
        await bob.react(message, "4️⃣")
        told = [push["data"] for push in bob.pushes if push["push"] == "MESSAGE_REACTION_ADD"]
        assert [(t["count"], t["me"]) for t in told] == [(1, False), (2, True)]
        for emoji in ("1", ":custom:", "", "x" * 17):
            with pytest.raises(RefusedError, match="one emoji"):
                await alice.react(message, emoji)


async def test_who_may_delete_what(stage: Stage, alice: Visitor) -> None:
    async with Visitor(stage.url, "bob") as bob, Visitor(stage.url, "mod_mira") as mira:
        first, second = await alice.send("one"), await bob.send("two")
        with pytest.raises(RefusedError, match="you may not do this here"):
            await bob.delete(first)
        await bob.delete(second)
        await mira.delete(first)
        await alice.until(lambda: not alice.messages, "both to go")
        with pytest.raises(RefusedError, match="this message is gone"):
            await mira.delete(first)


async def test_words_for_people_when_a_message_cannot_be_sent(alice: Visitor) -> None:
    with pytest.raises(RefusedError, match="an empty message"):
        await alice.send("  ")
    with pytest.raises(RefusedError, match=r"at most 2,000 characters; this one has 2,001"):
        await alice.send("x" * 2001)
    with pytest.raises(RefusedError, match="at most 10 files"):
        await alice.ask("send", channel_id=alice.channel_id(None), content="", uploads=["x"] * 11)
    with pytest.raises(RefusedError, match="no member 'eve'"):
        await alice.be("eve")
    with pytest.raises(RefusedError, match="no operation 'shout'"):
        await alice.ask("shout")
    with pytest.raises(RefusedError, match="cannot be read"):
        await alice.ask("history")
    with pytest.raises(RefusedError, match="channel is gone"):
        await alice.ask("send", channel_id="1", content="x")


async def test_uploads_have_a_limit(stage: Stage, alice: Visitor) -> None:
    stage.uploads.max_bytes = 1000
    with pytest.raises(RefusedError, match="at most"):
        await alice.upload(File("big.wav", bytes(1001)))
    assert not list(stage.uploads.folder.iterdir())
    assert await alice.upload(File("small.wav", bytes(1000)))
