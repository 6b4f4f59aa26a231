"""Whole pages of text: help, queue, results, status. Pure: values in, embeds out; nothing is sent or read from here.

Not here: the crate's own (``crate_pages``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import discord

from bot.charts import CATEGORY_NAMES, plural
from bot.limits import EMBED_DESCRIPTION_CHARACTERS, EMBED_FIELD_CHARACTERS
from bot.messages import GREY, VIOLET, Moment, code, plain, progress_line, shorten
from bot.orders import clock
from engine.api import CheckpointInfo, Health
from storage import CategoryResult, Finetune, GuildSettings, Take

CHART_NAME = "results.png"


def help_page(settings: GuildSettings, *, takes_per_member: int) -> discord.Embed:
    """The whole thing on one screen."""
    embed = discord.Embed(
        title="Techno composer",
        description="I make techno clips with a MusicGen model, go on where your tracks end, and collect your ratings of what comes out.",
        colour=VIOLET,
    )
    embed.add_field(
        name="Make something",
        value=(
            "`/generate prompt: dark techno` – a new clip from words; `bpm: 130` `key: 8A` `bars: 8` `loop: True` make it fit your set\n"
            "`/continue` – your track goes on, in its tempo and key: attach one, or pick one of the crate's; `from: 1:30` says where\n"
            "`/surprise` – a clip without any prompt\n"
            "`/queue` – what is being made. Each running take has a **Cancel** button."
        ),
        inline=False,
    )
    embed.add_field(
        name="Rate it",
        value=(
            "React to a clip with 1️⃣ (poor) to 5️⃣ (great). One rating each; your latest counts, and taking it away takes it back. "
            "Listen first: the checkpoint is hidden on purpose.\n"
            "`/results` – ratings by category · `/export` – the same as a CSV file"
        ),
        inline=False,
    )
    embed.add_field(
        name="The crate",
        value=(
            "`/crate add` – up to 10 tracks, with a card for each · `/crate list` · `/crate remove`\n"
            "`/crate report` – what it is worth as a dataset · `/similar` – which of its tracks go with one of yours\n"
            "Right-click (or long-press) a message with audio → Apps → **Continue this track**, **Add to crate** or **Similar tracks**"
        ),
        inline=False,
    )
    embed.add_field(
        name="Teach it your sound",
        value=(
            "`/finetune start` – learns from the crate and shows whether that helped, on tracks it has not heard · `/finetune list`\n"
            "`/finetune use` – which of them makes the clips, or the base · `strength: 50` in `/generate` – how much of it is heard"
        ),
        inline=False,
    )
    embed.add_field(
        name="Under each clip",
        value="**Again** with a new seed · **Continue** from its end · **Keep in crate** · **Delete** (yours, or any for moderators)",
        inline=False,
    )
    embed.add_field(name="Categories", value=category_legend(settings), inline=False)
    embed.set_footer(text=f"Up to {takes_per_member} takes at once each. Clips are AI-generated and tagged so.")
    return embed


def category_legend(settings: GuildSettings) -> str:
    token = code(settings.token)
    return (
        f"**A** prompt with {token}, finetuned checkpoint · **B** the same, base checkpoint · "
        "**C** just `techno`, finetuned · **D** just `techno`, base · **other** anything else"
    )


def queue_page(takes: Sequence[tuple[Take, Moment | None]], *, own: int) -> discord.Embed:
    """``own``: how many of the first ones are the asking member's and have a numbered Cancel button."""
    if not takes:
        return discord.Embed(title="Queue", description="Nothing is being made. `/generate` is one way to change that.", colour=GREY)
    lines = []
    for number, (take, moment) in enumerate(takes, 1):
        what = plain(shorten(take.prompt, 80)) or {"continuation": "a continuation", "unconditional": "a surprise"}.get(take.kind, "a take")
        link = (
            f" [↗](https://discord.com/channels/{take.guild_id}/{take.message_channel_id}/{take.message_id})"
            if take.message_id is not None
            else ""
        )
        state = progress_line(moment) if moment else take.state
        mark = f"`{number}` " if number <= own else ""
        lines.append(f"{mark}**{what}** for <@{take.member_id}>{link}\n{state}")
    return discord.Embed(title="Queue", description=shorten("\n".join(lines), EMBED_DESCRIPTION_CHARACTERS), colour=VIOLET)


def results_page(results: Sequence[CategoryResult], settings: GuildSettings) -> discord.Embed:
    """The table under the chart."""
    rows = ["      clips ratings  mean  95 %"]
    for result in results:
        mean = "   –" if result.mean is None else f"{result.mean:4.2f}"
        interval = "" if result.low is None or result.high is None else f"{result.low:.2f}–{result.high:.2f}"
        rows.append(f"{result.category:<5} {result.clips:>5} {result.ratings:>7}  {mean}  {interval}".rstrip())
    text = "```\n" + "\n".join(rows) + "\n```\n" + category_legend(settings)
    if not any(result.ratings for result in results):
        text = "Nobody has rated a clip yet: react to one with 1️⃣ to 5️⃣.\n" + text
    elif all(result.low is None for result in results):
        text += "\nAn interval needs at least two clips and two listeners in a category."
    embed = discord.Embed(title="Results", description=text, colour=VIOLET)
    embed.set_image(url=f"attachment://{CHART_NAME}")
    return embed


def chart_description(results: Sequence[CategoryResult]) -> str:
    """The chart in words, for who can't see it."""
    said = [f"{CATEGORY_NAMES[result.category]}: {result.mean:.2f}" for result in results if result.mean is not None]
    return shorten("Mean rating by category. " + ("; ".join(said) or "No ratings yet."), 1000)


@dataclass(frozen=True, slots=True)
class JobLine:
    name: str
    next_run: datetime | None
    last_run: datetime | None


@dataclass(frozen=True, slots=True)
class Status:
    """What ``/status`` shows."""

    health: Health | None
    engine_trouble: str | None
    checkpoint: CheckpointInfo | None
    settings: GuildSettings
    queue: int
    jobs: Sequence[JobLine]
    versions: Mapping[str, str]
    """The bot's own; the engine's are in ``health``."""
    latency_ms: float | None


def status_page(status: Status) -> discord.Embed:
    embed = discord.Embed(title="Status", colour=VIOLET)
    health = status.health
    if health is None:
        engine = f"⚠️ {status.engine_trouble or 'not answering'}"
    else:
        engine = (
            f"{'ready' if health.ready else '⚠️ loading its model'} · {health.backend} on {health.device} · "
            f"{health.running} running, {health.queue} waiting · up {clock(health.uptime_s)}"
        )
    embed.add_field(name="Engine", value=shorten(engine, EMBED_FIELD_CHARACTERS), inline=False)
    if status.checkpoint is not None:
        point = status.checkpoint
        size = f"{point.parameters / 1e6:.1f} M parameters"
        value = f"{plain(point.name)} ({code(point.id)}), {point.kind}, {size}\nlicence: {plain(point.licence)}"
        if point.gate == "failed":
            value += "\n⚠️ This finetune did not pass its gate, and was chosen all the same. `/finetune use` goes back to the base."
        embed.add_field(name="Checkpoint", value=value, inline=False)
    embed.add_field(
        name="This server", value=f"{plural(status.queue, 'take')} waiting or running · token {code(status.settings.token)}", inline=False
    )
    lines = [f"{job.name}: {_when(job.next_run, 'not planned')} (last {_when(job.last_run, 'never')})" for job in status.jobs] or ["none"]
    embed.add_field(name="Next scheduled runs", value="\n".join(lines), inline=False)
    versions = [("Bot", status.versions), ("Engine", {"techno-composer": health.version, **health.versions} if health else {})]
    said = [f"{whose}: {' · '.join(f'{name} {version}' for name, version in those.items())}" for whose, those in versions if those]
    embed.add_field(name="Versions", value=shorten("\n".join(said), EMBED_FIELD_CHARACTERS), inline=False)
    if status.latency_ms is not None:
        embed.set_footer(text=f"Discord answers in {status.latency_ms:.0f} ms")
    return embed


def settings_page(settings: GuildSettings, finetune: Finetune | None = None) -> discord.Embed:
    """``finetune``: the guild's own that made its checkpoint, where it is one of those."""
    checkpoint = code(settings.checkpoint) if settings.checkpoint else "the engine's default"
    if finetune is not None:
        checkpoint = f"**{plain(finetune.name)}** (finetune, {checkpoint})"
    embed = discord.Embed(title="Settings of this server", colour=VIOLET)
    embed.add_field(name="Token", value=f"{code(settings.token)} – a prompt with this word is in category A or B", inline=False)
    embed.add_field(name="Checkpoint", value=checkpoint, inline=False)
    who = {"moderators": "moderators", "everyone": "everyone", "role": f"<@&{settings.finetune_role_id}> and moderators"}
    embed.add_field(name="Finetuning", value=f"for {who[settings.finetune_by]}", inline=False)
    return embed


def _when(at: datetime | None, otherwise: str) -> str:
    return otherwise if at is None else discord.utils.format_dt(at, "R")
