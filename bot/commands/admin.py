"""``/status`` and ``/settings``: the moderators' view.

Discord shows both only to members with *Manage Messages* unless a server's owner decides otherwise; the check here holds in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
from importlib import metadata
from typing import Literal

import discord
from discord import app_commands

from bot import checkpoints, pages
from bot.commands.generate import suggest_checkpoints
from bot.kit import Interaction
from bot.limits import AUTOCOMPLETE_ANSWER_S
from bot.permissions import check_moderator, is_moderator
from bot.refusal import Refusal, sentence
from engine.api import CheckpointInfo, Health
from engine.client import EngineClient, EngineError
from storage import GuildSettings, Store


@app_commands.command(name="status", description="For moderators: engine, queue, checkpoint, next scheduled runs, versions")
@app_commands.default_permissions(manage_messages=True)
async def status(interaction: Interaction) -> None:
    check_moderator(interaction)
    assert interaction.guild_id is not None
    await interaction.response.defer(ephemeral=True, thinking=True)
    client = interaction.client
    settings = await client.store.guilds.settings(interaction.guild_id)
    health, checkpoint, trouble = await _ask_engine(client.engine, client.store, interaction.guild_id, settings.checkpoint)
    versions = {
        "techno-composer": _version("techno-composer"),
        "discord.py": discord.__version__,
        "Python": platform.python_version(),
    }
    shown = pages.Status(
        health=health,
        engine_trouble=trouble,
        checkpoint=checkpoint,
        settings=settings,
        queue=len(await client.store.takes.queue(interaction.guild_id)),
        jobs=await client.schedule.lines(),
        versions=versions,
        latency_ms=client.latency * 1000 if 0 <= client.latency < 30 else None,
    )
    await interaction.edit_original_response(embed=pages.status_page(shown))


class Settings(app_commands.Group, name="settings", description="For moderators: this server's settings"):
    """What a guild chooses for itself."""

    def __init__(self) -> None:
        super().__init__(default_permissions=discord.Permissions(manage_messages=True))

    async def interaction_check(self, interaction: Interaction) -> bool:  # type: ignore[override]  # Interaction is one whose client is ours
        if not is_moderator(interaction):
            raise app_commands.MissingPermissions(["manage_messages"])  # of discord.py's own kind: a check's others are not handled
        return True

    @app_commands.command(name="show", description="What is set for this server")
    async def show(self, interaction: Interaction) -> None:
        settings = await interaction.client.store.guilds.settings(interaction.guild_id or 0)
        await interaction.response.send_message(embed=await _settings_page(interaction, settings), ephemeral=True)

    @app_commands.command(
        name="token", description="The rare word that the finetune was trained with; it decides the categories of new clips"
    )
    @app_commands.describe(token="One word, such as Alice_hash")  # noqa: S106 (a word in prompts, no secret)
    async def token(self, interaction: Interaction, token: str) -> None:
        assert interaction.guild_id is not None
        try:
            settings = await interaction.client.store.guilds.update(interaction.guild_id, token=token.strip())
        except ValueError as error:
            raise Refusal(sentence(str(error))) from None
        await interaction.response.send_message(embed=await _settings_page(interaction, settings), ephemeral=True)

    @app_commands.command(name="checkpoint", description="Which model makes this server's clips")
    @app_commands.describe(checkpoint="One of those suggested; leave it out for the engine's default")
    async def checkpoint(self, interaction: Interaction, checkpoint: str | None = None) -> None:
        assert interaction.guild_id is not None
        await interaction.response.defer(ephemeral=True, thinking=True)
        client, guild_id = interaction.client, interaction.guild_id
        token = None
        if checkpoint is not None:
            token = checkpoints.find(await checkpoints.of_guild(client.engine, client.store, guild_id), checkpoint).token
        settings = await client.store.guilds.update(guild_id, checkpoint=checkpoint)
        if token is not None:  # the word that this one was trained with
            with contextlib.suppress(ValueError):
                settings = await client.store.guilds.update(guild_id, token=token)
        await interaction.edit_original_response(embed=await _settings_page(interaction, settings))

    @app_commands.command(name="finetuning", description="Who may finetune, and choose which finetune makes the clips")
    @app_commands.describe(who="Moderators always may", role="Whose members may, if it is for a role")
    async def finetuning(
        self, interaction: Interaction, who: Literal["moderators", "role", "everyone"], role: discord.Role | None = None
    ) -> None:
        assert interaction.guild_id is not None
        if (who == "role") != (role is not None):
            raise Refusal("Name the `role` as well." if who == "role" else "Leave `role` out, or choose `who: role`.")
        role_id = role.id if role is not None else None
        settings = await interaction.client.store.guilds.update(interaction.guild_id, finetune_by=who, finetune_role_id=role_id)
        await interaction.response.send_message(embed=await _settings_page(interaction, settings), ephemeral=True)

    @checkpoint.autocomplete("checkpoint")
    async def _suggest(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggest_checkpoints(interaction, typed)


async def _settings_page(interaction: Interaction, settings: GuildSettings) -> discord.Embed:
    finetunes, chosen = interaction.client.store.finetunes, settings.checkpoint
    return pages.settings_page(settings, await finetunes.by_checkpoint(interaction.guild_id or 0, chosen) if chosen else None)


async def _ask_engine(
    engine: EngineClient, store: Store, guild_id: int, wanted: str | None
) -> tuple[Health | None, CheckpointInfo | None, str | None]:
    try:
        async with asyncio.timeout(2 * AUTOCOMPLETE_ANSWER_S):
            health = await engine.health()
            points = await checkpoints.of_guild(engine, store, guild_id) if health.ready else []
    except EngineError as error:
        return None, None, sentence(error.message)
    except TimeoutError:
        return None, None, "It doesn't answer in time."
    chosen = next((point for point in points if point.id == wanted), None) if wanted else None
    return health, chosen or next((point for point in points if point.default), points[0] if points else None), None


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "from source"
