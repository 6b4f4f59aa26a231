"""A small discord.py bot in a process of its own: what the page must be able to draw and to ask for, each thing once.

Usage: house_bot.py API_URL GATEWAY_URL TOKEN. It prints ``ready`` when its commands are known. What it says is made up; that
the production bot's own messages look right is ``test_demo_page``'s business.
"""

from __future__ import annotations

import asyncio
import io
import logging
import struct
import sys
import wave
import zlib
from typing import Any

import discord
import discord.gateway
import discord.http
import numpy as np
import yarl
from discord import app_commands, ui
from discord.ext import commands

RATINGS = ("1️⃣", "2️⃣", "3️⃣", "4️⃣", "5️⃣")

MARKDOWN = """# Heading one
## Heading two
### Heading three
**bold** *italic* __underline__ ~~strike~~ ***both*** `code` ||spoiler|| and snake_case_name stays
> quoted **text**
> in two lines
- first
- second
  - inner
1. one
2. two
```py
print("a < b")
```
[a link](https://example.org/a_(b)) and https://example.org/bare. <t:1700000000:R> <t:1700000000:D>
-# small print
<img src=x onerror="window.broken = true"> <script>window.broken = true</script> [no](javascript:window.broken=true)"""


def sound(seconds: float = 4.0, *, rate: int = 16_000) -> bytes:
    """A kick on every beat and a hat between, 128 BPM, as a mono WAV."""
    beat_s = 60 / 128
    t = np.arange(int(seconds * rate)) / rate
    kick_at, hat_at = t % beat_s, (t + beat_s / 2) % beat_s
    kick = np.sin(2 * np.pi * (50 * kick_at + 12 * (1 - np.exp(-kick_at * 28)))) * np.exp(-kick_at * 9)
    hat = np.random.default_rng(1).standard_normal(len(t)) * np.exp(-hat_at * 70) * 0.25
    swell = 0.35 + 0.65 * np.clip(t / seconds * 1.6, 0, 1)
    samples = np.clip((kick * 0.8 + hat) * swell, -1, 1)
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32_000).astype("<i2").tobytes())
    return data.getvalue()


def picture(width: int = 720, height: int = 300, *, phase: float = 0.0) -> bytes:
    """A colourful PNG."""
    y, x = np.mgrid[0:height, 0:width] / height
    glow = np.clip(np.sin(7 * x + phase) * np.exp(-1.6 * y) * 0.5 + 0.5 * (1 - y), 0, 1)
    colors = np.stack([glow**0.7, glow**2.2 * 0.8, 0.25 + 0.4 * np.sin(3 * glow + 0.5)], -1)
    rows = (np.clip(colors, 0, 1) * 255).astype(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 6)) + chunk(b"IEND", b"")


def file(name: str, data: bytes, description: str | None = None) -> discord.File:
    return discord.File(io.BytesIO(data), name, description=description)


class Form(ui.Modal, title="Add to the crate"):
    name = ui.Label(text="Label", description="What to call them", component=ui.TextInput(custom_id="name", min_length=3, max_length=40))
    about = ui.Label(
        text="About", component=ui.TextInput(custom_id="about", style=discord.TextStyle.paragraph, required=False, placeholder="Anything")
    )
    kind = ui.Label(
        text="Kind",
        component=ui.Select(
            custom_id="kind",
            options=[
                discord.SelectOption(label="Own track", value="own", description="Made by you"),
                discord.SelectOption(label="Reference"),
            ],
        ),
    )
    files = ui.Label(text="Tracks", description="mp3, wav or flac", component=ui.FileUpload(custom_id="files", min_values=1, max_values=3))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        sizes = [f"{a.filename} ({len(await a.read())} bytes)" for a in self.files.component.values]
        await interaction.response.send_message(f"{self.name.component.value} / {self.kind.component.values[0]}: {', '.join(sizes)}")


class Buttons(ui.View):
    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.add_item(ui.Button(label="Docs", url="https://example.org/docs"))

    @ui.button(label="Again", emoji="🔁", custom_id="again", style=discord.ButtonStyle.primary)
    async def again(self, interaction: discord.Interaction, _button: ui.Button[Any]) -> None:
        await interaction.response.edit_message(content="Again it is.")

    @ui.button(label="Continue", custom_id="form", style=discord.ButtonStyle.secondary)
    async def form(self, interaction: discord.Interaction, _button: ui.Button[Any]) -> None:
        await interaction.response.send_modal(Form())

    @ui.button(label="Keep", custom_id="keep", style=discord.ButtonStyle.success)
    async def keep(self, interaction: discord.Interaction, _button: ui.Button[Any]) -> None:
        await interaction.response.send_message(f"Kept for {interaction.user.mention}.", ephemeral=True)

    @ui.button(label="Delete", emoji="🗑️", custom_id="delete", style=discord.ButtonStyle.danger)
    async def silent(self, _interaction: discord.Interaction, _button: ui.Button[Any]) -> None:
        """Never answers."""

    @ui.button(label="Later", custom_id="later", disabled=True)
    async def later(self, _interaction: discord.Interaction, _button: ui.Button[Any]) -> None: ...

    @ui.select(
        custom_id="length",
        placeholder="How long?",
        options=[discord.SelectOption(label=f"{n} seconds", value=str(n), description=f"{n * 50} frames", emoji="⏱️") for n in (8, 16, 30)],
    )
    async def length(self, interaction: discord.Interaction, select: ui.Select[Any]) -> None:
        await interaction.response.send_message(f"Length {select.values[0]}.", ephemeral=True)

    @ui.select(
        custom_id="moods",
        placeholder="Moods",
        min_values=1,
        max_values=2,
        options=[discord.SelectOption(label=m) for m in ("dark", "deep", "hard")],
    )
    async def moods(self, interaction: discord.Interaction, select: ui.Select[Any]) -> None:
        await interaction.response.send_message(f"Moods {' '.join(select.values)}.", ephemeral=True)


def layout() -> ui.LayoutView:
    view = ui.LayoutView(timeout=None)
    section = ui.Section(ui.TextDisplay("## A section\nwith **text** and a thumbnail"), accessory=ui.Thumbnail("attachment://cover.png"))
    beside = ui.Section(ui.TextDisplay("A section with a button"), accessory=ui.Button(label="Press", custom_id="keep"))
    gallery = ui.MediaGallery(
        discord.MediaGalleryItem("attachment://one.png", description="first view"), discord.MediaGalleryItem("attachment://two.png")
    )
    view.add_item(
        ui.Container(
            section,
            ui.Separator(),
            beside,
            gallery,
            ui.File("attachment://take.wav"),
            ui.File("attachment://notes.txt"),
            accent_color=0xA855F7,
        )
    )
    view.add_item(ui.TextDisplay("-# outside of the box"))
    return view


async def show_clip(interaction: discord.Interaction, prompt: str, seconds: float) -> None:
    """As the production bot does it: wait, move a bar, then one message with everything."""
    await interaction.response.defer(thinking=True)
    message = await interaction.original_response()
    for done in (4, 9, 14):
        bar = "▰" * done + "▱" * (16 - done)
        await message.edit(embed=discord.Embed(description=f"**{prompt}**\n{bar} {done * 6} %", colour=0x4E5058))
    embed = discord.Embed(description=f"**{prompt}**\n0:{seconds:02.0f} · seed `7` · checkpoint ||pocket||", colour=0xA855F7)
    embed.set_image(url="attachment://picture.png")
    embed.set_footer(text="Rate it below, 1️⃣ (poor) to 5️⃣ (great) · AI-generated")
    await message.edit(embed=embed, view=Buttons(), attachments=[file("deep-techno-7.wav", sound(seconds)), file("picture.png", picture())])
    for emoji in RATINGS:
        await message.add_reaction(emoji)


@app_commands.command(description="Make a new techno clip from words")
@app_commands.describe(
    prompt="What it should sound like", seconds="How long, in seconds", style="Which way", like="Whose taste", checkpoint="Which model"
)
@app_commands.choices(style=[app_commands.Choice(name=n.title(), value=n) for n in ("dub", "acid", "hard")])
async def generate(
    interaction: discord.Interaction,
    prompt: app_commands.Range[str, 3, 200],
    seconds: app_commands.Range[int, 1, 30] = 4,
    guidance: app_commands.Range[float, 1.0, 10.0] = 3.0,
    loud: bool = False,
    style: str = "dub",
    like: discord.Member | None = None,
    checkpoint: str = "",
) -> None:
    if prompt == "echo":
        said = f"{seconds} {guidance} {loud} {style} {like and like.name} {checkpoint}"
        await interaction.response.send_message(said)
    else:
        await show_clip(interaction, prompt, seconds)


@generate.autocomplete("checkpoint")
async def _checkpoints(_interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
    return [app_commands.Choice(name=f"{n} (base)", value=n) for n in ("pocket", "pocket-deep", "small") if typed.lower() in n]


@app_commands.command(name="continue", description="Go on where a track ends")
async def continue_(interaction: discord.Interaction, track: discord.Attachment, start: float = 0.0) -> None:
    await interaction.response.send_message(f"{track.filename} has {len(await track.read())} bytes, from {start:g}")


@app_commands.command(description="Never answers")
async def silent(_interaction: discord.Interaction) -> None: ...


@app_commands.command(description="What this bot does, on one screen")
async def help(interaction: discord.Interaction) -> None:
    embed = discord.Embed(title="Techno composer", description="I make **techno**.", colour=0xA855F7)
    embed.add_field(name="One", value="`/generate`", inline=True).add_field(name="Two", value="`/continue`", inline=True).add_field(
        name="Wide", value="- a list\n- of two", inline=False
    )
    embed.set_author(name="House bot").set_footer(text="Up to 2 takes at once each").set_thumbnail(url="attachment://thumb.png")
    await interaction.response.send_message(embed=embed, file=file("thumb.png", picture(90, 90)), ephemeral=True)


@app_commands.command(description="Shows one thing that a message can be")
async def show(interaction: discord.Interaction, what: str) -> None:
    channel = interaction.channel
    match what:
        case "markdown":
            await interaction.response.send_message(MARKDOWN)
        case "mentions":
            text = f"{interaction.user.mention} {channel.mention} </generate:{interaction.data['id']}> @everyone <@&1> <:kick:123>"
            await interaction.response.send_message(text, allowed_mentions=discord.AllowedMentions.all())
        case "buttons":
            await interaction.response.send_message("Press one.", view=Buttons())
        case "layout":
            files = [file("cover.png", picture(120, 120)), file("one.png", picture(phase=1)), file("two.png", picture(phase=2))]
            await interaction.response.send_message(view=layout(), files=[*files, file("take.wav", sound(2)), file("notes.txt", b"notes")])
        case "files":
            table = b"take,member,score\n" + b"".join(b'%d,"alice, the DJ",%d\n' % (n, n % 5 + 1) for n in range(30))
            files = [
                file("a.wav", sound(3)),
                file("b.wav", sound(2)),
                file("broken.mp3", b"not music"),
                file("ratings.csv", table),
                file("data.zip", bytes(3000)),
            ]
            await interaction.response.send_message(
                files=[*files, file("wide.png", picture(), "The two of them"), file("other.png", picture(phase=2))]
            )
        case "reply":
            first = await channel.send("The first word")
            await first.reply("The **second** word")
            await interaction.response.send_message("done", ephemeral=True)
        case "thread":
            await interaction.response.send_message("A thread begins")
            thread = await (await interaction.original_response()).create_thread(name="deep talk")
            await thread.send("Down here")


@app_commands.context_menu(name="Continue this track")
async def continue_this(interaction: discord.Interaction, message: discord.Message) -> None:
    await interaction.response.send_message(f"Continuing {[a.filename for a in message.attachments]}", ephemeral=True)


@app_commands.context_menu(name="Their taste")
async def taste(interaction: discord.Interaction, member: discord.Member) -> None:
    await interaction.response.send_message(f"{member.display_name} likes it dark.", ephemeral=True)


crate = app_commands.Group(name="crate", description="This server's tracks")


@crate.command(name="add", description="Put tracks into the crate")
async def crate_add(interaction: discord.Interaction) -> None:
    await interaction.response.send_modal(Form())


@crate.command(name="list", description="What is in the crate")
async def crate_list(interaction: discord.Interaction) -> None:
    await interaction.response.send_message("The crate is empty.", ephemeral=True)


class HouseBot(commands.Bot):
    def __init__(self) -> None:
        super().__init__("!", intents=discord.Intents(guilds=True, guild_messages=True, guild_reactions=True))

    async def setup_hook(self) -> None:
        for command in (generate, continue_, silent, help, show, crate, continue_this, taste):
            self.tree.add_command(command)
        self.add_view(Buttons())
        await self.tree.sync()

    async def on_ready(self) -> None:
        print("ready", flush=True)

    async def on_message(self, message: discord.Message) -> None:
        """Says nothing to what people say."""


async def main() -> None:
    api, gateway, token = sys.argv[1:]
    discord.http.Route.BASE = api
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)
    async with HouseBot() as bot:
        await bot.start(token)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main())
