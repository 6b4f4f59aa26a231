"""What a take's message says, at each moment of its life. Pure: values in, text and embeds out; nothing is sent from here.

    waiting ─▶ running ▰▰▰▱▱▱ ─▶ clip: 🔊 audio + picture + prompt, seed, checkpoint, seconds
                              └▶ failed / cancelled: why, and what to do

Not here: the buttons under it (``buttons``), lists and pages (``pages``).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import discord

from bot.orders import clock
from engine.keys import parse_key
from engine.musical import Aim, LoopFacts, described, outcome, spoken
from storage import Finetune, Take

VIOLET = 0xA855F7
GREY = 0x4E5058
RED = 0xDA373C

BAR_CELLS = 16
PICTURE_NAME = "picture.png"

NO_RATINGS = (
    "Ratings can't be collected here: I may not add reactions. Grant me *Add Reactions* and *Read Message History* in this channel, "
    "and I'll add 1️⃣ to 5️⃣ tonight."
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a take that is not finished stands."""

    position: int | None = None
    """Takes ahead of it in the engine's queue; None before the engine has answered."""
    eta_s: float | None = None
    fraction: float | None = None
    """How much is made, 0 to 1; None while it waits."""


def plain(text: str) -> str:
    """A member's words, shown as they were typed: no Markdown, no mention takes effect."""
    return discord.utils.escape_mentions(discord.utils.escape_markdown(" ".join(text.split())))


def code(text: str) -> str:
    """A word in a code span, where escapes would show as they are."""
    return f"`{text.replace('`', 'ˋ')}`"


def shorten(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def headline(take: Take) -> str:
    """What was asked for, in one or two lines of Markdown."""
    prompt = f"**{plain(shorten(take.prompt, 600))}**" if take.prompt else ""
    words = " · ".join(part for part in (prompt, described(Aim(take.bpm, parse_key(take.key))), _form(take)) if part)
    if take.kind == "text":
        return words
    if take.kind == "unconditional":
        return "**Surprise** (no prompt)"
    name = f"**{plain(shorten(take.track_name, 120))}**" if take.track_name else "A track"
    where = "its end" if take.from_s is None else clock(take.from_s)
    return f"{name}, continued from {where}" + (f"\n{words}" if words else "")


def _form(take: Take) -> str:
    bars = f"{take.bars} {'bar' if take.bars == 1 else 'bars'}" if take.bars is not None else ""
    return " ".join(part for part in (bars, "loop" if take.loop else "") if part)


def music_line(take: Take) -> str | None:
    """What tempo and key were wanted and what came out; None where there is nothing to say."""
    clip = take.clip
    assert clip is not None
    said = spoken(take.prompt)
    return outcome(
        Aim(take.bpm if take.bpm is not None else said.bpm, parse_key(take.key) or said.key),
        Aim(clip.track_bpm, parse_key(clip.track_key)),
        Aim(clip.heard_bpm, parse_key(clip.heard_key)),
        LoopFacts(clip.loop_bars, clip.loop_bpm, clip.loop_own_bpm) if take.loop else None,
    )


def progress_bar(fraction: float) -> str:
    """``▰▰▰▱▱▱▱▱▱▱``; full only when all is made."""
    filled = min(BAR_CELLS, int(max(0.0, fraction) * BAR_CELLS))
    return "▰" * filled + "▱" * (BAR_CELLS - filled)


def progress_line(moment: Moment) -> str:
    """``▰▰▰▱▱▱  40 %, about 6 s left``."""
    left = "" if moment.eta_s is None else rough(moment.eta_s)
    if moment.fraction is not None:
        return f"{progress_bar(moment.fraction)}  {moment.fraction * 100:.0f} %" + (f" · {left} left" if left else "")
    bar = progress_bar(0)
    if moment.position is None:
        return f"{bar}  on its way to the engine"
    ahead = "next" if moment.position == 0 else f"waiting behind {moment.position} other {'take' if moment.position == 1 else 'takes'}"
    return f"{bar}  {ahead}" + (f" · ready in {left}" if left else "")


def rough(seconds: float) -> str:
    """``about 40 s``: an expectation, so no more digits than it is worth."""
    if seconds < 10:
        return f"about {max(1, round(seconds))} s"
    if seconds < 90:
        return f"about {round(seconds / 5) * 5} s"
    return f"about {round(seconds / 60)} min"


def progress_embed(take: Take, moment: Moment) -> discord.Embed:
    return discord.Embed(description=f"{headline(take)}\n{progress_line(moment)}", colour=GREY)


def clip_embed(take: Take, *, requester: str | None = None, can_rate: bool = True, finetune: Finetune | None = None) -> discord.Embed:
    """The text of a finished clip. The checkpoint stands under a spoiler: listeners rate blind, and may look afterwards.

    ``finetune``: the guild's own that made the checkpoint, where it is one of those.
    """
    assert take.clip is not None
    facts = [clock(take.clip.duration_s)]
    if take.clip.seam_s is not None:
        facts.append(f"new from {clock(take.clip.seam_s)}")
    facts.append(f"seed `{take.seed}`")
    if take.guidance_scale is not None and take.kind != "unconditional":
        facts.append(f"guidance {take.guidance_scale:g}")
    if take.temperature is not None:
        facts.append(f"temperature {take.temperature:g}")
    if take.checkpoint:
        facts.append(f"checkpoint ||{_made_by(take, finetune)}||")
    text = f"{headline(take)}\n{' · '.join(facts)}"
    if line := music_line(take):
        text += f"\n🎚️ {line}"
    if not can_rate:
        text += f"\n\n⚠️ {NO_RATINGS}"
    embed = discord.Embed(description=text, colour=VIOLET)
    embed.set_image(url=f"attachment://{PICTURE_NAME}")
    for_whom = f" · for {shorten(requester, 40)}" if requester else ""
    embed.set_footer(text=("Rate it below, 1️⃣ (poor) to 5️⃣ (great) · " if can_rate else "") + f"AI-generated{for_whom}")
    return embed


def _made_by(take: Take, finetune: Finetune | None) -> str:
    said = [plain(take.checkpoint or "") if finetune is None else f"{plain(finetune.name)} (finetune)"]
    if take.strength is not None and take.strength != 1.0:
        said.append(f"strength {take.strength * 100:.0f} %")
    if finetune is not None and finetune.gate == "failed":
        said.append("⚠️ did not pass its gate")
    return ", ".join(said)


def failed_embed(take: Take, why: str) -> discord.Embed:
    return discord.Embed(description=f"{headline(take)}\n\n⚠️ {why}", colour=RED)


def cancelled_embed(take: Take, by: str | None) -> discord.Embed:
    who = f" by {plain(shorten(by, 40))}" if by else ""
    return discord.Embed(description=f"{headline(take)}\n\nCancelled{who}.", colour=GREY)


def file_name(take: Take, extension: str) -> str:
    """``dark-warehouse-techno-1234.mp3``: what the clip is called in a download folder. ASCII, so that every client can save it.

    A loop says its tempo, ``…-8-bars-130-bpm-1234.wav``: samplers read it there.
    """
    words = take.prompt or ("surprise" if take.kind == "unconditional" else "continued")
    if take.track_name:
        words = f"{take.track_name} continued"
    ascii_words = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_words).strip("-")[:48].rstrip("-") or "clip"
    if take.clip is not None and take.clip.loop_bpm is not None:
        bars = f"-{take.clip.loop_bars}-bars" if take.clip.loop_bars is not None else ""
        slug += f"{bars}-{f'{take.clip.loop_bpm:.1f}'.removesuffix('.0').replace('.', '-')}-bpm"
    return f"{slug}-{take.seed}.{extension}"
