"""A small discord.py bot, run as its own process by the tests: every feature of Discord that the stage must offer, nothing else.

Usage: tiny_bot.py API_URL GATEWAY_URL TOKEN. It prints a line for each thing it hears.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys

import discord
import discord.gateway
import discord.http
import yarl
from discord import app_commands
from discord.ext import commands


class Form(discord.ui.Modal, title="Add tracks"):
    name = discord.ui.Label(text="Name", component=discord.ui.TextInput(custom_id="name", required=False))
    files = discord.ui.Label(text="Files", component=discord.ui.FileUpload(custom_id="files", max_values=10))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        heard = [f"{a.filename}:{len(await a.read())}" for a in self.files.component.values]
        await interaction.response.send_message(f"{self.name.component.value} {heard}", ephemeral=True)


class Buttons(discord.ui.View):
    def __init__(self) -> None:
        super().__init__(timeout=None)

    @discord.ui.button(label="Again", custom_id="again")
    async def again(self, interaction: discord.Interaction, _button: discord.ui.Button) -> None:
        await interaction.response.edit_message(content="again!", view=self)

    @discord.ui.button(label="Add", custom_id="add")
    async def add(self, interaction: discord.Interaction, _button: discord.ui.Button) -> None:
        await interaction.response.send_modal(Form())

    @discord.ui.select(custom_id="length", options=[discord.SelectOption(label=f"{n} s", value=str(n)) for n in (8, 16)])
    async def length(self, interaction: discord.Interaction, select: discord.ui.Select) -> None:
        await interaction.response.send_message(f"length {select.values[0]}", ephemeral=True)


class TinyBot(commands.Bot):
    def __init__(self) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, guild_reactions=True)
        super().__init__("!", intents=intents)

    async def setup_hook(self) -> None:
        for command in (make, slow, silent, whisper, drop_box, post, twice, moderators, peek):
            self.tree.add_command(command)
        self.tree.add_command(crate)
        self.add_view(Buttons())
        await self.tree.sync()

    async def on_ready(self) -> None:
        print(f"ready as {self.user} in {len(self.guilds)} guilds", flush=True)

    async def on_resumed(self) -> None:
        print("resumed", flush=True)

    async def on_message(self, message: discord.Message) -> None:
        print(f"message {message.author.name} {message.content!r} {len(message.attachments)}", flush=True)

    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        print(
            f"reaction + {event.emoji} {event.member.name if event.member else None} {event.message_author_id == self.user.id}", flush=True
        )

    async def on_raw_reaction_remove(self, event: discord.RawReactionActionEvent) -> None:
        print(f"reaction - {event.emoji} {event.user_id}", flush=True)


async def styles(_interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
    return [app_commands.Choice(name=s.title(), value=s) for s in ("dub", "acid", "hard") if typed in s]


@app_commands.command(description="make a clip")
@app_commands.autocomplete(style=styles)
async def make(
    interaction: discord.Interaction, track: discord.Attachment, style: str = "dub", bars: app_commands.Range[int, 1, 8] = 4
) -> None:
    await interaction.response.defer(thinking=True)
    data = await track.read()
    files = [discord.File(io.BytesIO(data), "clip.mp3"), discord.File(io.BytesIO(b"picture"), "picture.png")]
    embed = discord.Embed(title=f"{style} {bars} {track.content_type}").set_image(url="attachment://picture.png")
    message = await interaction.followup.send("a clip", files=files, embed=embed, view=Buttons(), wait=True)
    for emoji in ("1️⃣", "2️⃣"):
        await message.add_reaction(emoji)
    await message.edit(content="a clip, done")


@app_commands.command(description="answers after a while")
async def slow(interaction: discord.Interaction, seconds: float) -> None:
    await interaction.response.defer(thinking=True)
    await asyncio.sleep(seconds)
    try:
        await interaction.followup.send("in time")
    except discord.HTTPException as error:
        print(f"token expired {error.code}", flush=True)
        await interaction.channel.send("too late, so here")


@app_commands.command(description="never answers")
async def silent(interaction: discord.Interaction) -> None:
    print("silent", flush=True)


@app_commands.command(description="only for you")
async def whisper(interaction: discord.Interaction) -> None:
    await interaction.response.send_message("psst", ephemeral=True)
    await interaction.edit_original_response(content="psst!")


@app_commands.command(description="opens a form")
async def drop_box(interaction: discord.Interaction) -> None:
    await interaction.response.send_modal(Form())


@app_commands.command(description="posts a file of some size in the channel")
async def post(interaction: discord.Interaction, size: int) -> None:
    await interaction.response.defer(ephemeral=True)
    try:
        message = await interaction.channel.send(file=discord.File(io.BytesIO(bytes(size)), "zeros.bin"))
        answer = f"posted {message.attachments[0].size}"
    except discord.HTTPException as error:
        answer = f"refused {error.status} {error.code}"
    await interaction.followup.send(answer)


@app_commands.command(description="the same nonce two times")
async def twice(interaction: discord.Interaction) -> None:
    await interaction.response.defer(ephemeral=True)
    first = await interaction.channel.send("once", nonce="n1")
    second = await interaction.channel.send("once", nonce="n1")
    await interaction.followup.send(f"same {first.id == second.id}")


@app_commands.command(description="for moderators")
@app_commands.default_permissions(manage_messages=True)
async def moderators(interaction: discord.Interaction) -> None:
    await interaction.response.send_message(f"{interaction.permissions.manage_messages} {interaction.filesize_limit}", ephemeral=True)


@app_commands.context_menu(name="Peek")
async def peek(interaction: discord.Interaction, message: discord.Message) -> None:
    await interaction.response.send_message(f"{message.content} {[a.filename for a in message.attachments]}", ephemeral=True)


crate = app_commands.Group(name="crate", description="tracks")


@crate.command(description="list")
async def shelf(interaction: discord.Interaction) -> None:
    users = [user.name async for message in interaction.channel.history(limit=5) for r in message.reactions async for user in r.users()]
    mine = [r.me async for message in interaction.channel.history(limit=5) for r in message.reactions]
    await interaction.response.send_message(f"{sorted(set(users))} {any(mine)}")


if __name__ == "__main__":
    api, gateway, token = sys.argv[1:]
    discord.http.Route.BASE = api
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)
    TinyBot().run(token, log_level=logging.WARNING)
