"""``/generate``, ``/surprise`` and ``/queue``: asking for clips, and seeing what is being made."""

from __future__ import annotations

import asyncio

from discord import app_commands

from bot import buttons, checkpoints, pages
from bot.kit import Interaction
from bot.limits import AUTOCOMPLETE_ANSWER_S, AUTOCOMPLETE_CHOICES, CHOICE_CHARACTERS
from bot.messages import shorten
from bot.orders import several, suggest_keys, surprise_order, text_order
from engine.api import CheckpointInfo
from engine.client import EngineError

SECONDS = "How long, in seconds: 1 to 240; 8 if left out"
BPM = "Tempo: 60 to 200"
KEY = "Key, as you write it: Am, A minor or 8A"
BARS = "How long, in bars at that tempo, instead of seconds"
LOOP = "Cut it to whole bars at exactly that tempo, its end meeting its start"
STRENGTH = "How strongly a finetune is heard, in percent: 0 to 150; 100 if left out"
SEED = "Any number: the same seed with the same words gives the same clip"


@app_commands.command(name="generate", description="Make a new techno clip from words")
@app_commands.describe(
    prompt="What it should sound like, such as: dark warehouse techno, rolling bass, 135 bpm",
    bpm=BPM,
    key=KEY,
    bars=BARS,
    loop=LOOP,
    seconds=SECONDS,
    takes="How many different clips: 1 to 4",
    seed=SEED,
    guidance="How closely it follows the words: 1 to 10; the model's usual if left out",
    temperature="How adventurous it is: 0 to 3; the model's usual if left out",
    checkpoint="Which model makes it; this server's usual one if left out",
    strength=STRENGTH,
)
async def generate(  # noqa: PLR0917 (options of a slash command)
    interaction: Interaction,
    prompt: str,
    bpm: float | None = None,
    key: str | None = None,
    bars: int | None = None,
    loop: bool = False,
    seconds: float | None = None,
    takes: int = 1,
    seed: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
    checkpoint: str | None = None,
    strength: float | None = None,
) -> None:
    order = text_order(
        prompt,
        seconds=seconds,
        bpm=bpm,
        key=key,
        bars=bars,
        loop=loop,
        seed=seed,
        guidance=guidance,
        temperature=temperature,
        checkpoint=checkpoint,
        strength=strength,
    )
    orders = several(order, takes)
    await interaction.client.takes.check(interaction, len(orders))
    await interaction.response.defer(thinking=True)
    await interaction.client.takes.begin(interaction, orders)


@app_commands.command(name="surprise", description="Make a clip without any prompt")
@app_commands.describe(seconds=SECONDS, seed="Any number: the same seed gives the same surprise")
async def surprise(interaction: Interaction, seconds: float | None = None, seed: int | None = None) -> None:
    orders = several(surprise_order(seconds=seconds, seed=seed), 1)
    await interaction.client.takes.check(interaction)
    await interaction.response.defer(thinking=True)
    await interaction.client.takes.begin(interaction, orders)


@app_commands.command(name="queue", description="What is being made right now, and a way to cancel yours")
async def queue(interaction: Interaction) -> None:
    assert interaction.guild_id is not None
    client = interaction.client
    waiting = await client.store.takes.queue(interaction.guild_id)
    own = [take for take in waiting if take.member_id == interaction.user.id][:5]
    others = [take for take in waiting if take not in own]
    listed = [(take, client.takes.under_way(take.id)) for take in (*own, *others)]
    embed = pages.queue_page(listed, own=len(own))
    view = buttons.queue_view(own)
    if view is None:
        await interaction.response.send_message(embed=embed, ephemeral=True)
    else:
        await interaction.response.send_message(embed=embed, view=view, ephemeral=True)


async def suggest_checkpoints(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    """The checkpoints that this guild may use; none when the engine doesn't answer in time: the option may be left out."""
    if interaction.guild_id is None:
        return []
    try:
        async with asyncio.timeout(AUTOCOMPLETE_ANSWER_S):
            points = await checkpoints.of_guild(interaction.client.engine, interaction.client.store, interaction.guild_id)
    except (EngineError, TimeoutError):
        return []
    wanted = typed.casefold()
    return [
        app_commands.Choice(name=shorten(f"{point.name} ({_what_it_is(point)})", CHOICE_CHARACTERS), value=point.id)
        for point in points
        if len(point.id) <= CHOICE_CHARACTERS and (wanted in point.id.casefold() or wanted in point.name.casefold())
    ][:AUTOCOMPLETE_CHOICES]


def _what_it_is(point: CheckpointInfo) -> str:
    return f"{point.kind}, did not pass its gate" if point.gate == "failed" else point.kind


@generate.autocomplete("checkpoint")
async def _suggest(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    return await suggest_checkpoints(interaction, typed)


@generate.autocomplete("key")
async def _suggest_key(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    return key_choices(typed)


def key_choices(typed: str) -> list[app_commands.Choice[str]]:
    """The keys that fit what is typed so far."""
    return [app_commands.Choice(name=shown, value=name) for shown, name in suggest_keys(typed)][:AUTOCOMPLETE_CHOICES]
