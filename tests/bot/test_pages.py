"""``/results``, ``/export``, ``/help``, ``/status`` and ``/settings``: what they show, and to whom."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from simcord.backend.errors import SetupError


async def test_results_are_a_chart_and_a_table_of_this_server_only(world: Any) -> None:
    for kind, prompt in (("finetuned", "Alice_hash acid"), ("base", "Alice_hash acid"), ("base", "techno")):
        message = await world.posted(prompt=prompt, checkpoint_kind=kind)
        await world.alice.react(message, "4️⃣")
    await world.bob.react(message, "1️⃣")

    result = await world.bob.slash(world.lab, "results")
    assert not result.ephemeral
    lines = world.said(result).splitlines()
    assert "A         1       1  4.00" in lines
    assert "D         1       2  2.50" in lines
    assert "C         0       0     –" in lines
    assert "An interval needs at least two clips and two listeners in a category." in lines
    (chart,) = result.response.attachments
    assert chart.filename == "results.png" and (await chart.read()).startswith(b"\x89PNG")

    elsewhere = world.env.create_guild("Elsewhere")
    stranger = elsewhere.add_member(world.env.create_user("stranger"))
    theirs = await stranger.slash(elsewhere.create_text_channel("general"), "results")
    assert "Nobody has rated a clip yet" in world.said(theirs)


async def test_export_is_a_csv_for_the_one_who_asked(world: Any) -> None:
    message = await world.posted(prompt="=cmd()")
    await world.bob.react(message, "2️⃣")
    result = await world.alice.slash(world.lab, "export")
    assert result.ephemeral and "1 rating of clips" in world.said(result)
    (file,) = result.response.attachments
    (row,) = csv.DictReader(io.StringIO((await file.read()).decode("utf-8-sig")))
    assert (row["score"], row["category"], row["prompt"]) == ("2", "other", "'=cmd()")
    assert str(world.bob.id) not in row.values()


async def test_export_of_nothing_says_how_to_rate(world: Any) -> None:
    result = await world.alice.slash(world.lab, "export")
    assert "React to a clip with 1️⃣ to 5️⃣" in world.said(result)


async def test_help_explains_the_whole_thing_on_one_screen(world: Any) -> None:
    result = await world.bob.slash(world.lab, "help")
    text = world.said(result)
    for word in (
        "/generate",
        "/continue",
        "/surprise",
        "/crate add",
        "/crate report",
        "/similar",
        "/queue",
        "/results",
        "/export",
        "1️⃣",
        "Alice_hash",
        "Continue this track",
    ):
        assert word in text
    assert result.ephemeral and len(text) < 2000


async def test_status_is_for_moderators_and_shows_engine_jobs_and_versions(world: Any, engine_url: str) -> None:
    with pytest.raises(SetupError):  # Discord doesn't even list it for others
        await world.bob.slash(world.lab, "status")
    text = world.said(await world.mira.slash(world.lab, "status"))
    assert "ready · native on cpu · 0 running, 0 waiting" in text
    assert "(`checkpoint`), base, " in text
    for job in ("compare ratings with reactions", "remove audio that no row names", "back up the database"):
        assert f"{job}: <t:" in text
    assert "never" not in text  # each was run at the first start
    assert "discord.py 2.7.1" in text


async def test_status_with_the_engine_down_says_so(world: Any) -> None:
    text = world.said(await world.mira.slash(world.lab, "status"))
    assert "⚠️ No engine answers at http://127.0.0.1:9" in text


async def test_the_check_holds_where_a_server_shows_the_command_to_everybody(world: Any) -> None:
    command = next(c for c in await world.bot.tree.fetch_commands() if c.name == "settings")
    world.guild.set_command_permissions(command, {world.bob: True})
    refused = await world.bob.slash(world.lab, "settings token", token="Mallory_hash")
    assert refused.ephemeral and "That is for moderators" in world.said(refused)
    assert (await world.store.guilds.settings(world.guild.id)).token == "Alice_hash"


async def test_the_token_decides_the_category_of_new_clips(world: Any) -> None:
    shown = await world.mira.slash(world.lab, "settings token", token="Bea_hash")
    assert "`Bea_hash`" in world.said(shown)
    assert (await world.take_of(await world.posted(prompt="Bea_hash, acid"))).category == "B"
    assert (await world.take_of(await world.posted(prompt="Alice_hash, acid"))).category == "other"
    refused = await world.mira.slash(world.lab, "settings token", token="two words")
    assert "The token is one word of 1 to 100 characters." in world.said(refused)


async def test_a_server_chooses_its_checkpoint_among_those_there_are(world: Any, scripted: Any, done: Any) -> None:
    choices = await world.mira.autocomplete(world.lab, "settings checkpoint", "checkpoint", "ali")
    assert choices == [{"name": "alice (base)", "value": "alice"}]
    refused = await world.mira.slash(world.lab, "settings checkpoint", checkpoint="nope")
    assert "There is no checkpoint `nope` here." in world.said(refused) and "pick one of: `pocket`, `alice`." in world.said(refused)
    await world.mira.slash(world.lab, "settings checkpoint", checkpoint="alice")
    scripted.events = [done()]
    await world.alice.slash(world.lab, "generate", prompt="techno")
    await world.until(lambda: scripted.requests, "asked")
    assert scripted.requests[0].checkpoint == "alice"
    await world.mira.slash(world.lab, "settings checkpoint")
    assert (await world.store.guilds.settings(world.guild.id)).checkpoint is None


async def test_suggestions_of_an_engine_that_is_down_are_none(world: Any) -> None:
    assert await world.alice.autocomplete(world.lab, "generate", "checkpoint", "p", prompt="techno") == []


async def test_every_command_is_for_servers_only_and_none_needs_a_privileged_intent(world: Any) -> None:
    commands = await world.bot.tree.fetch_commands()
    assert {command.name for command in commands} == {
        "generate", "surprise", "queue", "continue", "Continue this track", "crate", "Add to crate",
        "similar", "Similar tracks", "finetune",
        "results", "export", "help", "status", "settings",
    }  # fmt: skip
    for command in (*world.bot.tree.get_commands(),):
        sent = command.to_dict(world.bot.tree)
        assert (sent["contexts"], sent["integration_types"]) == ([0], [0])  # servers, installed by servers
    intents = world.bot.intents
    assert not (intents.message_content or intents.members or intents.presences)
