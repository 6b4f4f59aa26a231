"""``/results`` and ``/export``: what the ratings say."""

from __future__ import annotations

import asyncio
import io

import discord
from discord import app_commands

from bot import charts, pages
from bot.kit import Interaction
from storage.export import to_csv


@app_commands.command(name="results", description="What the ratings say, by category")
async def results(interaction: Interaction) -> None:
    assert interaction.guild_id is not None
    await interaction.response.defer(thinking=True)
    await interaction.client.ratings.caught_up()
    store = interaction.client.store
    found = await store.ratings.results(interaction.guild_id)
    settings = await store.guilds.settings(interaction.guild_id)
    png = await asyncio.to_thread(charts.results_chart, found)
    chart = discord.File(io.BytesIO(png), pages.CHART_NAME, description=pages.chart_description(found))
    await interaction.edit_original_response(embed=pages.results_page(found, settings), attachments=[chart])


@app_commands.command(name="export", description="All ratings as a CSV file, for a spreadsheet")
async def export(interaction: Interaction) -> None:
    assert interaction.guild_id is not None
    await interaction.response.defer(ephemeral=True, thinking=True)
    await interaction.client.ratings.caught_up()
    rows = await interaction.client.store.ratings.export_rows(interaction.guild_id)
    file = discord.File(io.BytesIO(to_csv(rows)), "ratings.csv")
    text = (
        f"{charts.plural(len(rows), 'rating')} of clips that are still posted. Members appear as pseudonyms."
        if rows
        else "Nobody has rated a clip yet, so the file has only its heading. React to a clip with 1️⃣ to 5️⃣."
    )
    await interaction.edit_original_response(content=text, attachments=[file])
