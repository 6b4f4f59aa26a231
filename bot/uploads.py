"""Audio that members bring: from an attachment to checked bytes, and into the crate.

What the bytes really are, the engine says (it decodes them in a cage); here only size and kind are looked at, before anything is fetched.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

import aiohttp
import discord

from bot.messages import file_name, plain, shorten
from bot.orders import clock
from bot.refusal import Refusal
from engine.api import MAX_TRACK_BYTES, CrateTrack
from storage import Take, Track

if TYPE_CHECKING:
    from bot.kit import Interaction

AUDIO_EXTENSIONS = frozenset(
    ["aac", "ac3", "aif", "aiff", "alac", "ape", "caf", "flac", "m4a", "mka", "mp2", "mp3", "mp4", "oga", "ogg", "opus", "wav", "wma", "wv"]
)
KINDS = "MP3, WAV, FLAC, Ogg, Opus, M4A or AIFF"


def is_audio(attachment: discord.Attachment) -> bool:
    """By name and declared type; either may be wrong, so both count."""
    declared = attachment.content_type or ""
    return declared.startswith(("audio/", "video/")) or _extension(attachment.filename) in AUDIO_EXTENSIONS


def check(attachment: discord.Attachment) -> None:
    """Raises Refusal for what can't be a track, before a byte of it is fetched."""
    name = plain(shorten(attachment.filename, 80))
    if not is_audio(attachment):
        raise Refusal(f"**{name}** is no audio file. Attach {KINDS}.")
    if attachment.size == 0:
        raise Refusal(f"**{name}** is empty. Export it again and attach the new file.")
    if attachment.size > MAX_TRACK_BYTES:
        raise Refusal(
            f"**{name}** has {attachment.size / 2**20:.0f} MiB, and {MAX_TRACK_BYTES // 2**20} MiB is the most. "
            "Send it as MP3, or send the part that matters."
        )


async def fetch(attachment: discord.Attachment) -> bytes:
    """The attachment's bytes. Raises Refusal."""
    check(attachment)
    try:
        data = await attachment.read()
    except (discord.HTTPException, aiohttp.ClientError, OSError, TimeoutError):
        raise Refusal(f"Discord didn't hand over **{plain(shorten(attachment.filename, 80))}**. Upload it again.") from None
    if len(data) > MAX_TRACK_BYTES:
        raise Refusal(f"**{plain(shorten(attachment.filename, 80))}** is larger than {MAX_TRACK_BYTES // 2**20} MiB. Send it as MP3.")
    return data


def audio_in(message: discord.Message) -> list[discord.Attachment]:
    """The message's audio. Raises Refusal when there is none."""
    found = [attachment for attachment in message.attachments if is_audio(attachment)]
    if not found:
        raise Refusal(f"There is no audio in that message. Choose one with {KINDS} attached.")
    return found


def spoken_name(filename: str) -> str:
    """``Alice_-_Nacht.mp3`` → ``Alice - Nacht``: Discord puts underscores for the spaces of a file's name."""
    return PurePath(filename).stem.replace("_", " ").strip() or filename


def track_label(track: Track) -> str:
    """``Artist – Title``, or the file's name."""
    title = track.title or spoken_name(track.filename)
    return f"{track.artist} – {title}" if track.artist else title


def wire_track(track: Track) -> CrateTrack:
    """A track as the engine is told of it."""
    title = track.title or spoken_name(track.filename)
    return CrateTrack(sha256=track.sha256, title=title[:300], artist=(track.artist or "")[:300] or None)


async def keep_clip(interaction: Interaction, take: Take) -> Track:
    """Puts a take's clip, lossless, into the guild's crate. Raises Refusal, BlobMissing."""
    clip = take.clip
    if clip is None:
        raise Refusal("There is no clip here to keep.")
    client = interaction.client
    data = await client.store.blobs.get(clip.sha256)
    await _check_room(interaction, clip.sha256)
    assert interaction.guild_id is not None
    return await client.store.tracks.add(
        interaction.guild_id,
        interaction.user.id,
        sha256=clip.sha256,
        filename=file_name(take, clip.extension),
        title=shorten(take.prompt, 120) or None,
        artist=None,
        duration_s=clip.duration_s,
        sample_rate=clip.sample_rate,
        channels=clip.channels,
        codec=clip.extension,
        size_bytes=len(data),
    )


async def add(interaction: Interaction, attachment: discord.Attachment) -> Track:
    """Puts an attachment into the guild's crate. Raises Refusal, EngineError."""
    client = interaction.client
    data = await fetch(attachment)
    info = await client.engine.put_track(data)
    await _check_room(interaction, info.sha256)
    sha256 = await client.store.blobs.put(data)
    assert interaction.guild_id is not None
    return await client.store.tracks.add(
        interaction.guild_id,
        interaction.user.id,
        sha256=sha256,
        filename=shorten(attachment.filename, 200),
        title=info.title,
        artist=info.artist,
        duration_s=info.duration_s,
        sample_rate=info.sample_rate,
        channels=info.channels,
        codec=info.codec,
        size_bytes=len(data),
    )


async def _check_room(interaction: Interaction, sha256: str) -> None:
    assert interaction.guild_id is not None
    tracks = interaction.client.store.tracks
    limit = interaction.client.settings.bot_crate_tracks
    if await tracks.count(interaction.guild_id) >= limit:
        known = await tracks.list(interaction.guild_id, limit=limit)
        if all(track.sha256 != sha256 for track in known):
            raise Refusal(f"The crate is full: {limit:,} tracks is the most here. Take one out with `/crate remove` first.")


def added_line(track: Track) -> str:
    """What came of adding it."""
    label = plain(shorten(track_label(track), 120))
    if not track.created:
        return f"**{label}** is in the crate already."
    facts = (clock(track.duration_s), f"{track.sample_rate / 1000:g} kHz", _channels(track.channels), track.codec)
    return f"📦 **{label}** is in the crate: {', '.join(facts)}."


def _channels(channels: int) -> str:
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")


def _extension(filename: str) -> str:
    return PurePath(filename).suffix.lower().removeprefix(".")
