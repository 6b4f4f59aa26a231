"""Reactions are ratings: one a member, the latest counts, bots don't, and what was missed is made up for."""

from __future__ import annotations

from typing import Any

import discord
import pytest

from bot.ratings import score_of, settle


async def scores(world: Any, message: Any) -> dict[int, int]:
    take = await world.take_of(message)
    return {rating.member_id: rating.score for rating in await world.store.ratings.for_take(take.id)}


@pytest.mark.parametrize(
    ("shown", "stored", "chosen", "expected"),
    [
        ({4}, None, [], 4),
        ({4}, 2, [2], 4),
        ({2, 4}, 2, [2], 2),  # the stored one is still shown
        ({3, 5}, 4, [3, 5, 4], 5),  # it is gone: the one chosen last before it
        ({3, 5}, 4, [3, 4], 3),
        ({3, 5}, None, [], None),  # nothing is known of their order
        (set(), 4, [4], None),
    ],
)
def test_settling_several_numbers(shown: set[int], stored: int | None, chosen: list[int], expected: int | None) -> None:
    assert settle(shown, stored, chosen) == expected


@pytest.mark.parametrize(
    ("emoji", "expected"),
    [("1️⃣", 1), ("5️⃣", 5), ("3\u20e3", 3), ("6️⃣", None), ("0️⃣", None), ("👍", None), ("3", None)],
)
def test_only_five_keycaps_are_scores(emoji: str, expected: int | None) -> None:
    assert score_of(discord.PartialEmoji(name=emoji)) == expected


def test_a_custom_emoji_named_like_a_keycap_is_no_score() -> None:
    assert score_of(discord.PartialEmoji(name="1️⃣", id=5)) is None


async def test_the_latest_number_counts_and_removing_it_withdraws(world: Any) -> None:
    message = await world.posted()
    await world.alice.react(message, "3️⃣")
    await world.bob.react(message, "5️⃣")
    await world.bob.react(message, "👍")
    assert await scores(world, message) == {world.alice.id: 3, world.bob.id: 5}
    await world.bob.unreact(message, "5️⃣")
    await world.bob.unreact(message, "👍")
    assert await scores(world, message) == {world.alice.id: 3}


async def test_without_manage_messages_the_older_number_stays_and_counts_again_when_the_newer_goes(world: Any) -> None:
    message = await world.posted()
    await world.alice.react(message, "2️⃣")
    await world.alice.react(message, "4️⃣")
    assert await scores(world, message) == {world.alice.id: 4}
    await world.alice.unreact(message, "4️⃣")
    assert await scores(world, message) == {world.alice.id: 2}
    await world.alice.react(message, "5️⃣")
    await world.alice.unreact(message, "2️⃣")
    assert await scores(world, message) == {world.alice.id: 5}


async def test_with_manage_messages_the_older_number_is_taken_away(world: Any) -> None:
    world.allow_bot("manage_messages")
    message = await world.posted()
    await world.alice.react(message, "2️⃣")
    await world.bob.react(message, "2️⃣")
    await world.alice.react(message, "4️⃣")
    assert await scores(world, message) == {world.alice.id: 4, world.bob.id: 2}
    shown = {str(r.emoji): r.count for r in world.last().reactions}
    assert shown == {"2️⃣": 1, "4️⃣": 1}


async def test_bots_and_other_messages_do_not_count(world: Any) -> None:
    message = await world.posted()
    robot = world.guild.add_member(world.env.create_user("robot", bot=True))
    await robot.react(message, "5️⃣")
    await world.alice.react(await world.bob.send(world.lab, "hello"), "5️⃣")
    assert await scores(world, message) == {}


async def test_what_happened_while_the_bot_was_away_is_made_up_for(world: Any) -> None:
    message = await world.posted()
    other = await world.posted()
    await world.alice.react(message, "3️⃣")
    await world.bob.react(message, "1️⃣")
    backend, at = world.env.backend, (world.lab.id, message.id)
    feed = backend.subscribers[:]
    backend.subscribers.clear()  # nothing reaches the bot
    backend.set_reaction(*at, "2️⃣", world.alice.id, True)  # a second number: the stored 3 stays
    backend.remove_reaction(*at, "1️⃣", world.bob.id)
    backend.set_reaction(*at, "4️⃣", world.mira.id, True)
    backend.delete_message(world.lab.id, other.id)
    backend.subscribers.extend(feed)

    await world.restart()
    assert await scores(world, message) == {world.alice.id: 3, world.mira.id: 4}
    results = {result.category: result for result in await world.store.ratings.results(world.guild.id)}
    assert (results["D"].clips, results["D"].ratings) == (1, 2)
    shown = {str(reaction.emoji): reaction.count for reaction in world.last().reactions}
    assert shown == {"1️⃣": 1, "2️⃣": 2, "3️⃣": 2, "4️⃣": 2, "5️⃣": 1}  # the scale was missing under it, and is there now


async def test_a_clip_in_a_channel_that_the_bot_lost_does_not_stop_the_others(world: Any) -> None:
    hidden = world.guild.create_text_channel("hidden")
    await world.posted(channel=hidden)
    message = await world.posted()
    world.env.inject_error("GET", f"/channels/{hidden.id}/messages/*", status=403, code=50001, message="Missing Access", times=None)
    backend = world.env.backend
    feed = backend.subscribers[:]
    backend.subscribers.clear()
    backend.set_reaction(world.lab.id, message.id, "4️⃣", world.bob.id, True)
    backend.subscribers.extend(feed)
    assert await world.bot.compare_ratings() == 1
    assert await scores(world, message) == {world.bob.id: 4}


async def test_deleted_messages_leave_the_results_and_keep_their_history(world: Any) -> None:
    messages = [await world.posted() for _ in range(3)]
    for message in messages:
        await world.bob.react(message, "5️⃣")
    await world.mira.delete(messages[0])
    world.env.backend.bulk_delete_messages(world.lab.id, [messages[1].id, messages[2].id])
    await world.env.settle()
    results = {result.category: result for result in await world.store.ratings.results(world.guild.id)}
    assert results["D"].clips == 0
    exported = await world.store.ratings.export_rows(world.guild.id)
    assert exported == []


async def test_clearing_the_reactions_of_a_message_withdraws_its_ratings(world: Any) -> None:
    message = await world.posted()
    await world.bob.react(message, "5️⃣")
    world.env.backend.clear_reactions(world.lab.id, message.id)
    await world.env.settle()
    assert await scores(world, message) == {}
