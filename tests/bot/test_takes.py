"""A take's life where the engine, Discord or the bot itself does what a healthy one does not. The engine is scripted, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import discord
import pytest

from engine.api import Progress


def halfway(eta_s: float = 12.0) -> Progress:
    return Progress(frames=100, of_frames=200, eta_s=eta_s)


async def test_waiting_and_running_are_shown_then_the_clip_in_the_same_message(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    go = [asyncio.Event(), asyncio.Event()]
    scripted.events = [go[0].wait, halfway(), go[1].wait, done()]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    assert "on its way to the engine" in world.text(world.last())
    assert world.labels(world.last()) == ["Cancel"]
    take_id = (await world.queue())[0].id
    await world.until(lambda: world.bot.takes.under_way(take_id).position == 0, "queued")
    await world.env.advance_time(3)

    go[0].set()
    await world.until(lambda: "50 %" in world.text(world.last()), "progress shown")
    assert "▰▰▰▰▰▰▰▰▱▱▱▱▱▱▱▱  50 % · about 10 s left" in world.text(world.last())
    assert (await world.queue())[0].state == "running"
    listed = await world.bob.slash(world.lab, "queue")
    assert "50 %" in world.said(listed) and not listed.response.components

    go[1].set()
    await world.until(lambda: world.messages()[0].attachments, "posted")
    message = world.messages()[0]
    assert (await world.take_of(message)).state == "done"
    assert "checkpoint ||pocket||" in world.text(message)


async def test_progress_is_edited_no_more_often_than_discord_likes(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    gate = asyncio.Event()
    scripted.events = [*(Progress(frames=n, of_frames=200, eta_s=9) for n in range(1, 150)), gate.wait, done()]
    before = len(world.env.http_requests)
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: scripted.requests, "asked")
    gate.set()
    await world.until(lambda: world.last().attachments, "posted")
    edits = [r for r in world.env.http_requests[before:] if r.method == "PATCH"]
    assert len(edits) <= 3  # first words, at most one progress, the clip: no time has passed in this world


async def test_four_takes_are_four_messages_with_seeds_of_their_own(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    scripted.events = [done()]
    await world.alice.slash(world.lab, "generate", prompt="techno", takes=4, seed=2**32 - 2)
    await world.until(lambda: len(world.messages()) == 4 and all(m.attachments for m in world.messages()), "posted")
    assert sorted(request.seed for request in scripted.requests) == [0, 1, 2**32 - 2, 2**32 - 1]
    assert len({(await world.take_of(message)).id for message in world.messages()}) == 4


async def test_a_member_has_only_so_many_takes_at_once(world: Any, scripted: Any) -> None:
    scripted.events = [asyncio.Event().wait]
    await world.alice.slash(world.lab, "generate", prompt="techno", takes=3)
    refused = await world.alice.slash(world.lab, "generate", prompt="techno", takes=2)
    assert refused.ephemeral
    assert "You have 3 takes waiting or running, and 4 is the most at once: ask for 1 at most" in world.said(refused)
    await world.bob.slash(world.lab, "generate", prompt="techno")
    assert len(await world.queue()) == 4


async def test_cancel_is_for_who_asked_and_for_moderators(world: Any, scripted: Any) -> None:
    scripted.events = [asyncio.Event().wait]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: scripted.requests, "asked")
    message = world.last()
    refused = await world.bob.click(message, label="Cancel")
    assert "Only whoever asked for a take, or a moderator, can cancel it." in world.said(refused)
    await world.mira.click(message, label="Cancel")
    await world.until(lambda: "Cancelled by mod" in world.text(world.messages()[0]), "said so")
    await asyncio.wait_for(scripted.left.wait(), 10)  # the engine was told
    assert (await world.take_of(message)).state == "cancelled"
    assert world.labels(world.messages()[0]) == ["Try again", "Delete"]


async def test_queue_has_a_cancel_button_for_ones_own(world: Any, scripted: Any) -> None:
    scripted.events = [asyncio.Event().wait]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    listed = await world.alice.slash(world.lab, "queue")
    cancelled = await world.alice.click(listed.response, label="Cancel 1")
    assert "Cancelled." in world.said(cancelled)
    await world.until(lambda: "Cancelled by alice" in world.text(world.messages()[0]), "said so")
    empty = await world.alice.slash(world.lab, "queue")
    assert "Nothing is being made" in world.said(empty)


async def test_deleting_the_message_cancels_the_take(world: Any, scripted: Any) -> None:
    scripted.events = [asyncio.Event().wait]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: scripted.requests, "asked")
    await world.mira.delete(world.last())
    await asyncio.wait_for(scripted.left.wait(), 10)
    await world.until(world.queue_is_empty, "ended")
    assert world.messages() == []


async def test_engine_down(world: Any) -> None:
    await world.alice.slash(world.lab, "generate", prompt="techno")
    text = world.text(world.last())
    assert "The engine isn't answering" in text and "python -m engine serve" in text
    assert world.labels(world.last()) == ["Try again", "Delete"]
    take = await world.take_of(world.last())
    assert (take.state, take.error in text) == ("failed", True)


async def test_engine_killed_in_the_middle_then_tried_again_with_the_same_seed(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    scripted.events = [halfway(), "die"]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: "The engine stopped while it was making this" in world.text(world.last()), "said so")
    failed = await world.take_of(world.last())
    assert failed.state == "failed"

    scripted.events = [done()]
    await world.alice.click(world.last(), label="Try again")
    await world.until(lambda: world.last().attachments, "posted")
    assert scripted.requests[1].seed == scripted.requests[0].seed
    assert (await world.take_of(world.last())).parent_take_id == failed.id


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, {"code": "queue_full", "message": "full", "retry_after_s": 40.0}, "queue is full. Try again in about 40 seconds"),
        (503, {"code": "not_ready", "message": "loading", "retry_after_s": 5.0}, "still loading its model. Try again in about 5 seconds"),
        (
            404,
            {"code": "unknown_checkpoint", "message": "there is no checkpoint 'nope': choose one of another server's"},
            "The engine can't use that checkpoint. Leave `checkpoint` out",
        ),
        (401, {"code": "unauthorized", "message": "no"}, "same `ENGINE_TOKEN` for both"),
        (422, {"code": "bad_audio", "message": "that is no audio: send MP3"}, "That is no audio: send MP3."),
        (500, {"code": "internal", "message": "stack trace"}, "Something went wrong that shouldn't have"),
    ],
)
async def test_what_the_engine_refuses_is_said_in_words(world: Any, scripted: Any, status: int, body: dict[str, Any], words: str) -> None:
    scripted.status, scripted.body = status, body
    await world.alice.slash(world.lab, "generate", prompt="techno", checkpoint="alice")
    await world.until(world.queue_is_empty, "ended")
    assert words in world.text(world.last())
    assert "stack trace" not in world.text(world.last())
    assert (await world.take_of(world.last())).state == "failed"


async def test_an_interaction_that_expired_gets_its_clip_in_the_channel(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    gate = asyncio.Event()
    scripted.events = [gate.wait, done()]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: scripted.requests, "asked")
    waiting = world.last()
    await world.env.advance_time(17 * 60)
    gate.set()
    await world.until(lambda: world.last().attachments, "posted")
    await world.until(lambda: len(world.messages()) == 1, "the progress message is gone")
    (message,) = world.messages()
    assert message.id != waiting.id
    take = await world.take_of(message)
    assert (take.state, take.message_id, take.message_deleted_at) == ("done", message.id, None)
    assert len(message.reactions) == 5
    sent = next(r for r in reversed(world.env.http_requests) if r.method == "POST" and r.path.endswith("/messages"))
    assert "nonce" not in (sent.json or {}) or sent.json["nonce"] == take.id


async def test_a_token_that_discord_calls_invalid_early_is_taken_for_expired(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    gate = asyncio.Event()
    scripted.events = [gate.wait, done()]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: scripted.requests, "asked")
    world.env.inject_error("PATCH", "/webhooks/*", status=404, code=10015, message="Unknown Webhook")
    gate.set()
    await world.until(lambda: len(world.messages()) == 1 and world.last().attachments, "posted")
    assert (await world.take_of(world.last())).state == "done"


async def test_after_a_restart_what_was_under_way_says_so_and_can_be_tried_again(
    world: Any, scripted: Any, done: Callable[..., Any]
) -> None:
    await world.left_behind(with_clip=False)
    await world.restart()
    assert "The bot was restarted" in world.text(world.last())
    assert (await world.take_of(world.last())).state == "failed"

    scripted.events = [done()]
    await world.alice.click(world.last(), label="Try again")
    await world.until(lambda: world.last().attachments, "posted")


async def test_a_clip_that_was_made_but_not_posted_is_posted_after_a_restart(world: Any) -> None:
    progress = await world.left_behind(with_clip=True)
    await world.restart()
    (message,) = world.messages()
    assert message.id != progress.id and message.attachments
    assert (await world.take_of(message)).state == "done"
    assert len(message.reactions) == 5


async def test_shutting_down_says_so_while_discord_can_still_be_told(world: Any, scripted: Any) -> None:
    scripted.events = [asyncio.Event().wait]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: scripted.requests, "asked")
    await world.bot.takes.close()
    assert "The bot was restarted while this was being made" in world.text(world.last())
    assert await world.queue() == []


async def test_without_the_permission_to_attach_nothing_is_made(world: Any, scripted: Any) -> None:
    world.deny("attach_files", "embed_links")
    refused = await world.alice.slash(world.lab, "generate", prompt="techno")
    assert refused.ephemeral
    assert "I lack *Embed Links*, *Attach Files*" in world.said(refused)
    assert scripted.requests == [] and await world.queue() == []


async def test_without_the_permission_to_react_the_clip_is_posted_and_says_what_is_missing(
    world: Any, scripted: Any, done: Callable[..., Any]
) -> None:
    world.deny("add_reactions")
    scripted.events = [done()]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: world.last().attachments, "posted")
    assert "I may not add reactions. Grant me *Add Reactions*" in world.text(world.last())
    assert world.last().reactions == []
    assert (await world.take_of(world.last())).state == "done"


async def test_a_permission_lost_while_the_take_ran(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    gate = asyncio.Event()
    scripted.events = [gate.wait, done()]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: scripted.requests, "asked")
    world.env.inject_error("PUT", "/channels/*/messages/*/reactions/*", status=403, code=50013, times=None)
    gate.set()
    await world.until(lambda: "I may not add reactions" in world.text(world.last()), "said so")
    assert (await world.take_of(world.last())).state == "done"


async def test_delete_is_for_who_asked_and_for_moderators_and_leaves_the_results(
    world: Any, scripted: Any, done: Callable[..., Any]
) -> None:
    scripted.events = [done()]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: world.last().reactions[4:], "posted")
    message = world.last()
    take = await world.take_of(message)
    await world.bob.react(message, "5️⃣")
    refused = await world.bob.click(message, label="Delete")
    assert "can delete it" in world.said(refused)
    await world.mira.click(message, label="Delete")
    assert world.messages() == []
    results = {result.category: result for result in await world.store.ratings.results(world.guild.id)}
    assert results["D"].clips == results["D"].ratings == 0
    assert [event.score for event in await world.store.ratings.history(take.id)] == [5]


async def test_buttons_of_another_server_do_nothing(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    scripted.events = [done()]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: world.last().attachments, "posted")
    take = await world.take_of(world.last())
    elsewhere = world.env.create_guild("Elsewhere")
    channel = elsewhere.create_text_channel("general")
    stranger = elsewhere.add_member(world.env.create_user("stranger"))
    components = [row.to_dict() for row in world.last().components]
    forged = world.env.backend.create_message(channel.id, world.env.backend.bot_user.id, "forged", components=components)
    message = next(m for m in channel.history() if m.id == forged.id)
    for label in ("Again", "Continue", "Keep in crate", "Delete"):
        refused = await stranger.click(message, label=label)
        assert "isn't known here" in world.said(refused)
    assert (await world.store.takes.get(take.id)).message_deleted_at is None
    assert await world.store.tracks.count(elsewhere.id) == 0


async def test_words_of_members_neither_format_nor_mention(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    scripted.events = [done()]
    await world.alice.slash(world.lab, "generate", prompt="@everyone ||techno|| [x](http://evil)")
    await world.until(lambda: world.last().attachments, "posted")
    text = world.text(world.last())
    assert "@everyone" not in text and "||techno||" not in text
    assert isinstance(world.bot.allowed_mentions, discord.AllowedMentions)
    assert world.bot.allowed_mentions.everyone is False


async def test_a_message_that_discord_refuses_costs_only_its_own_take(world: Any, scripted: Any, done: Callable[..., Any]) -> None:
    scripted.events = [done()]
    world.env.inject_error("POST", "/webhooks/*", status=500, times=None)
    await world.alice.slash(world.lab, "generate", prompt="techno", takes=3)
    await world.until(world.queue_is_empty, "ended")
    (message,) = world.messages()
    assert message.attachments and "500" not in world.text(message)
    assert len(scripted.requests) == 1


async def test_an_interaction_that_was_answered_too_late_is_one_line_in_the_log(
    world: Any, scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.env.allowed.append(discord.NotFound)
    world.env.inject_error("POST", "/interactions/*/callback", status=404, code=10062, message="Unknown interaction")
    await world.alice.slash(world.lab, "generate", prompt="techno")
    assert [record.message for record in caplog.records if record.name == "bot.errors"] == [
        "an interaction was answered too late: Discord waits 3 s"
    ]
    assert await world.queue() == [] and scripted.requests == []
