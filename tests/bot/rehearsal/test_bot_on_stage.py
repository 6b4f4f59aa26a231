"""An unmodified discord.py bot in its own process, on the stage: what members do reaches it, and what it does reaches them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bot.rehearsal.app import Stage
from bot.rehearsal.visitor import EPHEMERAL, File, RefusedError, Visitor, files_of, reactions_of, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def alice(bot_stage: Stage, tiny_bot: Any) -> AsyncIterator[Visitor]:
    async with Visitor(bot_stage.url, "alice") as visitor:
        yield visitor


@pytest_asyncio.fixture(loop_scope="session")
async def bob(bot_stage: Stage, tiny_bot: Any) -> AsyncIterator[Visitor]:
    async with Visitor(bot_stage.url, "bob", channel="lab") as visitor:
        yield visitor


async def make_clip(alice: Visitor, size: int = 3000) -> dict[str, Any]:
    used = await alice.slash("make", track=File("my tune.mp3", b"ID3" + bytes(size)), bars=3)

    def done() -> dict[str, Any] | None:
        clip = used.message
        return clip if clip and "done" in clip["content"] and len(clip["reactions"]) == 2 else None

    return await alice.until(done, "the clip")


async def test_slash_with_a_file_is_deferred_then_answered_with_files_and_reactions(alice: Visitor, bob: Visitor) -> None:
    clip = await make_clip(alice, size=500_000)
    used = next(reversed(alice.used.values()))
    assert used.states == ["sent", "thinking", "answered"]
    assert text_of(clip).startswith("a clip, done\ndub 3 audio/mpeg")
    assert clip["interaction_metadata"]["user"]["username"] == "alice"
    assert clip["interaction_metadata"]["name"] == "make"
    # What the embed shows is not in the list of attachments, as on Discord.
    assert [a["filename"] for a in clip["attachments"]] == ["clip.mp3"]
    audio, picture = files_of(clip)
    assert len(await bob.download(audio["url"])) == 500_003
    assert await bob.download(picture["url"]) == b"picture"
    seen = await bob.until(lambda: bob.messages.get(clip["id"]), "the clip, seen by bob")
    assert reactions_of(seen) == {"1️⃣": 1, "2️⃣": 1}


async def test_reactions_reach_the_bot_and_the_other_pages(alice: Visitor, bob: Visitor, tiny_bot: Any) -> None:
    clip = await make_clip(alice)
    await bob.react(clip, "2️⃣")
    await tiny_bot.hears("reaction + 2️⃣ bob True")
    mine = await alice.until(lambda: next((r for r in alice.messages[clip["id"]]["reactions"] if r["count"] == 2), None), "two reactions")
    assert mine == {"emoji": {"id": None, "name": "2️⃣"}, "count": 2, "me": False}
    await bob.until(lambda: any(r["me"] for r in bob.messages[clip["id"]]["reactions"]), "bob's own")
    await bob.react(clip, "2️⃣", on=False)
    await tiny_bot.hears(f"reaction - 2️⃣ {bob.state['me']['id']}")
    await alice.until(lambda: reactions_of(alice.messages[clip["id"]])["2️⃣"] == 1, "the bot's reaction alone")


async def test_buttons_menus_and_forms(alice: Visitor) -> None:
    clip = await make_clip(alice)
    await alice.finished(await alice.click(clip, "Again"))
    await alice.until(lambda: alice.messages[clip["id"]]["content"] == "again!", "the edit")
    chosen = await alice.finished(await alice.select(clip, "length", "16"))
    assert chosen.message is not None and chosen.message["content"] == "length 16"
    opened = await alice.click(clip, "Add")
    sent = await alice.finished(await alice.submit(opened, name="set", files=[File("a.wav", b"123"), File("b b.wav", b"1234")]))
    assert sent.message is not None and sent.message["content"] == "set ['a.wav:3', 'b_b.wav:4']"
    with pytest.raises(RefusedError, match="no longer open"):
        await alice.submit(opened, name="again", files=[File("a.wav", b"1")])
    with pytest.raises(RefusedError, match="choose 1 to 10 files"):
        await alice.submit(await alice.click(clip, "Add"), name="none", files=[File(f"{n}.wav", b"1") for n in range(11)])


async def test_autocomplete_and_context_menu(alice: Visitor) -> None:
    assert [c["value"] for c in await alice.autocomplete("make", "style", style="a")] == ["acid", "hard"]
    message = await alice.send("listen", File("x.ogg", b"Ogg"))
    peeked = await alice.finished(await alice.context("Peek", message))
    assert peeked.message is not None
    # The target of a context menu is exempt from MESSAGE_CONTENT; an ordinary message event is not.
    assert peeked.message["content"] == "listen ['x.ogg']"


async def test_the_bot_sees_no_message_content(alice: Visitor, tiny_bot: Any) -> None:
    await alice.send("a secret", File("x.ogg", b"Ogg"))
    await tiny_bot.hears("message alice '' 0")
    assert not any("secret" in line for line in tiny_bot.heard)


async def test_ephemeral_answers_are_seen_by_one_member(alice: Visitor, bob: Visitor) -> None:
    used = await alice.finished(await alice.slash("whisper"))
    message = await alice.until(lambda: used.message if used.message and used.message["content"] == "psst!" else None, "the edit")
    assert message["flags"] & EPHEMERAL
    await bob.send("marker")  # whatever came before it has arrived
    assert message["id"] not in bob.messages
    await bob.be("alice")
    assert message["id"] in bob.messages
    await alice.delete(message)
    await bob.until(lambda: message["id"] not in bob.messages, "the dismissal")


async def test_a_silent_command_fails_after_the_time_to_answer(alice: Visitor, bot_stage: Stage) -> None:
    bot_stage.backend.ack_within_s = 0.3
    try:
        used = await alice.finished(await alice.slash("silent"))
    finally:
        bot_stage.backend.ack_within_s = 3.0
    assert used.states == ["sent", "failed"]


async def test_an_expired_token_is_refused_and_the_bot_can_still_post(alice: Visitor, bot_stage: Stage, tiny_bot: Any) -> None:
    bot_stage.backend.token_lifetime_s = 0.4
    try:
        used = await alice.slash("slow", seconds=0.8)
    finally:
        bot_stage.backend.token_lifetime_s = 900.0
    await tiny_bot.hears("token expired 50027")
    await alice.until(lambda: any(m["content"] == "too late, so here" for m in alice.messages.values()), "the message instead")
    assert used.states == ["sent", "thinking", "failed"]
    history = await alice.ask("history", channel_id=alice.channel_id(None), before=None, limit=10)
    assert next(m for m in history["messages"] if m["id"] == used.message_id)["interaction_failed"] is True


async def test_discords_limits_on_what_a_bot_sends(alice: Visitor) -> None:
    async def answer(**options: Any) -> str:
        used = await alice.finished(await alice.slash("post", **options))
        assert used.message is not None
        return str(used.message["content"])

    assert await answer(size=10 * 2**20) == f"posted {10 * 2**20}"
    assert await answer(size=10 * 2**20 + 1) == "refused 413 40005"
    assert await answer(size=26 * 2**20) == "refused 413 40005"


async def test_a_repeated_nonce_gives_the_first_message(alice: Visitor) -> None:
    used = await alice.finished(await alice.slash("twice"))
    assert used.message is not None and used.message["content"] == "same True"


async def test_rights_that_the_bot_lacks(alice: Visitor, bot_stage: Stage) -> None:
    from simcord.backend.models import Overwrite
    from simcord.backend.permissions import flag
    from simcord.enums import OverwriteType

    channel = bot_stage.backend.channels[int(alice.channel_id("listening"))]
    channel.overwrites = [Overwrite(bot_stage.backend.bot_user.id, OverwriteType.MEMBER, deny=flag("attach_files"))]
    try:
        used = await alice.finished(await alice.slash("post", size=10, channel="listening"))
        assert used.message is not None and used.message["content"] == "refused 403 50013"
    finally:
        channel.overwrites = []


async def test_commands_are_for_those_who_may_use_them(alice: Visitor, bob: Visitor) -> None:
    with pytest.raises(RefusedError, match="no command 'moderators' for bob"):
        await bob.slash("moderators")
    with pytest.raises(RefusedError, match="not for you"):
        command_id = alice.command("moderators")["id"]
        await bob.ask("slash", channel_id=bob.channel_id(None), command_id=command_id, path=["moderators"], options={}, nonce="n")
    await bob.be("mod_mira")
    used = await bob.finished(await bob.slash("moderators"))
    assert used.message is not None and used.message["content"] == f"True {10 * 2**20}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bars": 9}, "'bars' is between 1 and 8"),
        ({"bars": "x"}, "'bars' is a whole number"),
        ({"track": "text"}, "'track' needs a file"),
        ({"track": {"upload_id": "gone"}}, "choose it again"),
        ({}, "make needs 'track'"),
        ({"tempo": 1}, "no option 'tempo'"),
    ],
)
async def test_options_are_checked_before_they_are_sent(alice: Visitor, options: dict[str, Any], words: str) -> None:
    if "track" not in options and options:
        options = {**options, "track": File("a.mp3", b"1")}
    with pytest.raises(RefusedError, match=words):
        await alice.slash("make", **options)


async def test_history_and_reaction_users_as_the_bot_reads_them(alice: Visitor, bob: Visitor) -> None:
    await bob.react(await make_clip(alice), "1️⃣")
    used = await alice.finished(await alice.slash("crate shelf"))
    assert used.message is not None and used.message["content"] == "['bob', 'techno-composer'] True"
    assert used.message["interaction_metadata"]["name"] == "crate shelf"


async def test_rate_limits_are_waited_for(alice: Visitor, bot_stage: Stage) -> None:
    fault = bot_stage.rest.fail("PUT", "/reactions/", times=2, retry_after_s=0.05)
    await make_clip(alice)
    assert fault.times == 0


async def test_a_resume_replays_what_was_missed(alice: Visitor, bot_stage: Stage, tiny_bot: Any) -> None:
    clip = await make_clip(alice)
    resumes = bot_stage.gateway.resumes
    await bot_stage.gateway.drop()
    await alice.until(lambda: not alice.bot_online, "the bot to be away")
    await alice.react(clip, "🔥")
    await tiny_bot.hears("reaction + 🔥")
    assert bot_stage.gateway.resumes == resumes + 1
    await alice.until(lambda: alice.bot_online, "the bot")


async def test_reconnect_on_request(bot_stage: Stage, tiny_bot: Any) -> None:
    resumed = len([line for line in tiny_bot.heard if line == "resumed"])
    bot_stage.gateway.ask_to_reconnect()
    await tiny_bot.hears("resumed", times=resumed + 1)


async def test_a_lost_session_identifies_anew_and_loses_the_gap(alice: Visitor, bot_stage: Stage, tiny_bot: Any) -> None:
    clip = await make_clip(alice)
    ready = len([line for line in tiny_bot.heard if line.startswith("ready")])
    await bot_stage.gateway.forget_sessions()
    await alice.react(clip, "🎧")
    await tiny_bot.hears("ready", times=ready + 1)
    await alice.react(clip, "🎹")
    await tiny_bot.hears("reaction + 🎹")
    assert not any("🎧" in line for line in tiny_bot.heard)
