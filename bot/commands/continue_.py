"""``/continue`` and "Continue this track": a track goes on where it is told to.

A source is what is continued: an attachment, a track of the crate, or a clip. Its bytes are in the store before the take begins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

import discord
from discord import app_commands, ui

from bot import uploads
from bot.commands.crate import find_track, suggest_tracks
from bot.commands.generate import BARS, LOOP, STRENGTH, key_choices
from bot.errors import answering
from bot.kit import Interaction
from bot.messages import shorten
from bot.orders import (
    DEFAULT_PROMPT_SECONDS,
    check_reaches,
    continuation_order,
    parse_length,
    parse_number,
    parse_time,
    several,
)
from bot.refusal import Refusal
from bot.uploads import track_label
from engine.api import GenerateRequest
from engine.api.takes import DEFAULT_SECONDS
from storage import Store, Take, Track

_UNKNOWN = "0" * 64
"""Stands for the hash of an attachment that is not fetched yet, while the rest of the order is checked."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something to continue."""

    name: str
    duration_s: float | None
    """None before the engine has looked at it."""
    sha256: str | None
    store: Callable[[Store], Awaitable[str]] | None = None
    """Fetches and stores bytes that are not in the store yet; returns their SHA-256."""
    parent: Take | None = None

    @classmethod
    def of_track(cls, track: Track) -> Self:
        return cls(track_label(track), track.duration_s, track.sha256)

    @classmethod
    def of_clip(cls, take: Take) -> Self:
        assert take.clip is not None
        name = {"text": take.prompt, "unconditional": "Surprise", "continuation": take.prompt or "A continuation"}[take.kind]
        return cls(name, take.clip.duration_s, take.clip.sha256, parent=take)

    @classmethod
    def of_attachment(cls, attachment: discord.Attachment) -> Self:
        """Raises Refusal for what can't be a track."""
        uploads.check(attachment)

        async def store(into: Store) -> str:
            return await into.blobs.put(await uploads.fetch(attachment))

        return cls(uploads.spoken_name(attachment.filename), None, None, store)


@app_commands.command(name="continue", description="Let a track go on: attach one, or pick one of the crate's")
@app_commands.rename(from_="from")
@app_commands.describe(
    track="An audio file of yours",
    crate="A track of the crate: type a part of its name",
    from_="Where the new music begins, such as 1:30 or 90; the track's end if left out",
    prompt_seconds="How much of the track before that is listened to, in seconds: 0.5 to 20; 4 if left out",
    seconds="How much new music, in seconds: 1 to 240; 8 if left out",
    bpm="Tempo, if it is not to keep the track's: 60 to 200",
    key="Key, if it is not to keep the track's: Am, A minor or 8A",
    bars=BARS,
    loop=LOOP,
    strength=STRENGTH,
    prompt="Words that steer it, if you like",
)
async def continue_(  # noqa: PLR0917 (options of a slash command)
    interaction: Interaction,
    track: discord.Attachment | None = None,
    crate: str | None = None,
    from_: str | None = None,
    prompt_seconds: float | None = None,
    seconds: float | None = None,
    bpm: float | None = None,
    key: str | None = None,
    bars: int | None = None,
    loop: bool = False,
    strength: float | None = None,
    prompt: str = "",
) -> None:
    assert interaction.guild_id is not None
    if track is not None and crate is not None:
        raise Refusal("Give either `track` or `crate`, not both: I can continue one at a time.")
    if track is not None:
        source = Source.of_attachment(track)
    elif crate is not None:
        source = Source.of_track(await find_track(interaction.client.store, interaction.guild_id, crate))
    else:
        raise Refusal("Attach a track to `track`, or pick one of the crate's with `crate`.")
    order = continuation_order(
        source.sha256 or _UNKNOWN,
        from_s=parse_time(from_ or ""),
        prompt_seconds=prompt_seconds,
        seconds=seconds,
        bpm=bpm,
        key=key,
        bars=bars,
        loop=loop,
        strength=strength,
        prompt=prompt,
    )
    await begin(interaction, source, order)


@continue_.autocomplete("crate")
async def _suggest(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    return await suggest_tracks(interaction, typed)


@continue_.autocomplete("key")
async def _suggest_key(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    return key_choices(typed)


@app_commands.context_menu(name="Continue this track")
async def continue_message(interaction: Interaction, message: discord.Message) -> None:
    assert interaction.guild_id is not None
    take = await interaction.client.store.takes.by_message(interaction.guild_id, message.id)
    source = Source.of_clip(take) if take is not None and take.clip is not None else Source.of_attachment(uploads.audio_in(message)[0])
    await interaction.client.takes.check(interaction)
    await interaction.response.send_modal(ContinueModal(source))


class ContinueModal(ui.Modal, title="Continue this track"):
    """The options of ``/continue`` for what was pointed at; sent as it is, it goes on from the end."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        end = "" if source.duration_s is None else f" Its end is at {source.duration_s:.1f} s."
        self.seconds: ui.TextInput[Self] = ui.TextInput(default=f"{DEFAULT_SECONDS:g}", max_length=10, required=False, custom_id="seconds")
        self.from_: ui.TextInput[Self] = ui.TextInput(placeholder="the end", max_length=12, required=False, custom_id="from")
        self.prompt_seconds: ui.TextInput[Self] = ui.TextInput(
            default=f"{DEFAULT_PROMPT_SECONDS:g}", max_length=10, required=False, custom_id="prompt_seconds"
        )
        self.prompt: ui.TextInput[Self] = ui.TextInput(
            style=discord.TextStyle.paragraph,
            placeholder="dark warehouse techno; it keeps the track's tempo and key unless you name others: 135 bpm, Am",
            max_length=1000,
            required=False,
            custom_id="prompt",
        )
        self.add_item(ui.Label(text="New music", description="In seconds, or bars: 8 bars, or 8 bars loop", component=self.seconds))
        self.add_item(ui.Label(text="From", description=shorten(f"Such as 1:30 or 90.{end}", 100), component=self.from_))
        self.add_item(ui.Label(text="Listen to, in seconds", description="How much of it before that point", component=self.prompt_seconds))
        self.add_item(ui.Label(text="Words that steer it", description="May be left empty", component=self.prompt))

    async def on_submit(self, interaction: Interaction) -> None:  # type: ignore[override]  # Interaction is one whose client is ours
        async with answering(interaction):
            seconds, bars, loop = parse_length(self.seconds.value, "New music")
            order = continuation_order(
                self.source.sha256 or _UNKNOWN,
                from_s=parse_time(self.from_.value),
                prompt_seconds=parse_number(self.prompt_seconds.value, "Listen to"),
                seconds=seconds,
                bars=bars,
                loop=loop,
                prompt=self.prompt.value,
            )
            await begin(interaction, self.source, order)


async def begin(interaction: Interaction, source: Source, order: GenerateRequest) -> None:
    """Checks what is left to check, fetches what has to be fetched, and sets the take going. Raises Refusal."""
    if source.duration_s is not None:
        check_reaches(order.from_s, source.duration_s)
    takes = interaction.client.takes
    await takes.check(interaction)
    await interaction.response.defer(thinking=True)
    if source.store is not None:
        order = order.model_copy(update={"track": await source.store(interaction.client.store)})
    await takes.begin(interaction, several(order, 1), track_name=source.name, parent=source.parent)
