"""``/help``: the whole thing on one screen."""

from __future__ import annotations

from discord import app_commands

from bot import pages
from bot.kit import Interaction


@app_commands.command(name="help", description="What this bot does, on one screen")
async def help_(interaction: Interaction) -> None:
    client = interaction.client
    settings = await client.store.guilds.settings(interaction.guild_id or 0)
    embed = pages.help_page(settings, takes_per_member=client.settings.bot_takes_per_member)
    await interaction.response.send_message(embed=embed, ephemeral=True)
