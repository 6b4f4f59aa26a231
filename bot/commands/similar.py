"""``/similar`` and "Similar tracks": which of the crate's tracks go with a track, a clip or an upload."""

from __future__ import annotations

import hashlib

import discord
from discord import app_commands

from bot import crate_pages, uploads
from bot.answer import Answer
from bot.commands.continue_ import Source
from bot.commands.crate import find_track, suggest_tracks
from bot.kit import Interaction
from bot.listening import BytesOf
from bot.refusal import Refusal


@app_commands.command(name="similar", description="Which of the crate's tracks go with a track: by tempo, key and sound")
@app_commands.describe(track="A track of the crate: type a part of its name", upload="An audio file of yours, which stays out of the crate")
async def similar(interaction: Interaction, track: str | None = None, upload: discord.Attachment | None = None) -> None:
    assert interaction.guild_id is not None
    if track is not None and upload is not None:
        raise Refusal("Give either `track` or `upload`, not both: I can look for one at a time.")
    if upload is not None:
        await _beside_upload(interaction, upload)
    elif track is not None:
        found = await find_track(interaction.client.store, interaction.guild_id, track)
        await _show(await Answer.defer(interaction), interaction, uploads.track_label(found), found.sha256)
    else:
        raise Refusal("Pick one of the crate's tracks with `track`, or attach one to `upload`.")


@similar.autocomplete("track")
async def _suggest(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    return await suggest_tracks(interaction, typed)


@app_commands.context_menu(name="Similar tracks")
async def similar_message(interaction: Interaction, message: discord.Message) -> None:
    assert interaction.guild_id is not None
    take = await interaction.client.store.takes.by_message(interaction.guild_id, message.id)
    if take is not None and take.clip is not None:
        await _show(await Answer.defer(interaction), interaction, Source.of_clip(take).name, take.clip.sha256)
    else:
        await _beside_upload(interaction, uploads.audio_in(message)[0])


async def _beside_upload(interaction: Interaction, attachment: discord.Attachment) -> None:
    """The bytes go to the engine for the comparison, and into no crate."""
    uploads.check(attachment)
    answer = await Answer.defer(interaction)
    data = await uploads.fetch(attachment)
    own = hashlib.sha256(data).hexdigest()
    store = interaction.client.store

    async def bytes_of(sha256: str) -> bytes:
        return data if sha256 == own else await store.blobs.get(sha256)

    await _show(answer, interaction, uploads.spoken_name(attachment.filename), own, bytes_of)


async def _show(answer: Answer, interaction: Interaction, name: str, sha256: str, bytes_of: BytesOf | None = None) -> None:
    guild_id = interaction.guild_id
    assert guild_id is not None
    store = interaction.client.store
    found = await interaction.client.listening.similar(
        guild_id, sha256, bytes_of, lambda working: answer.show(crate_pages.searching_line(working))
    )
    named = dict.fromkeys([match.sha256 for match in (*found.matches, *found.nearest)] + found.same)
    tracks = {other: await store.tracks.by_hash(guild_id, other) for other in named}
    own = {other: track for other, track in tracks.items() if track is not None}
    await answer.end(None, [crate_pages.similar_page(name, found, own)])
