"""A finished clip: from the engine's answer into the store, and from the store into a Discord message.

The store is in between on purpose: a clip that can't be posted now can be posted after a restart. Not here: which message it goes into
(``take_message``), what that says (``messages``).
"""

from __future__ import annotations

import asyncio
import io

import discord

from bot.messages import PICTURE_NAME, file_name
from engine.api import Done
from storage import Clip, Store, Take

SCORES = {1: "1️⃣", 2: "2️⃣", 3: "3️⃣", 4: "4️⃣", 5: "5️⃣"}
"""The rating scale: a digit, U+FE0F and U+20E3, as Discord sends and shows it."""


async def keep(store: Store, take_id: str, done: Done) -> Take:
    """Stores what the engine made and writes it down. Raises ValueError when the bytes are not what their hashes say."""
    clip, delivery, picture = await asyncio.to_thread(lambda: (done.clip.bytes(), done.delivery.bytes(), done.picture.bytes()))
    kept = Clip(
        sha256=await store.blobs.put(clip),
        extension=done.clip.extension,
        delivery_sha256=await store.blobs.put(delivery),
        delivery_extension=done.delivery.extension,
        picture_sha256=await store.blobs.put(picture),
        duration_s=done.duration_s,
        seam_s=done.seam_s,
        sample_rate=done.sample_rate,
        channels=done.channels,
        loudness_lufs=done.loudness_lufs,
        peak_dbfs=done.peak_dbfs,
        generate_s=done.generate_s,
        track_bpm=done.track.bpm,
        track_key=done.track.key,
        heard_bpm=done.heard.bpm,
        heard_key=done.heard.key,
        loop_bars=done.loop.bars if done.loop else None,
        loop_bpm=done.loop.bpm if done.loop else None,
        loop_own_bpm=done.loop.own_bpm if done.loop else None,
    )
    return await store.takes.keep_clip(
        take_id, kept, seed=done.seed, checkpoint=done.checkpoint, checkpoint_kind=done.checkpoint_kind, strength=done.strength
    )


async def files(store: Store, take: Take) -> list[discord.File]:
    """The audio and the picture, ready to be sent once: Discord's client reads a file to its end. Raises BlobMissing."""
    assert take.clip is not None
    audio = await store.blobs.get(take.clip.delivery_sha256)
    picture = await store.blobs.get(take.clip.picture_sha256)
    return [
        discord.File(io.BytesIO(audio), file_name(take, take.clip.delivery_extension)),
        discord.File(io.BytesIO(picture), PICTURE_NAME, description="Waveform over spectrogram"),
    ]


async def add_scale(message: discord.PartialMessage) -> bool:
    """Puts 1️⃣ to 5️⃣ under a clip, in order. False where the bot may not; a message that is gone needs none."""
    for emoji in SCORES.values():
        try:
            await message.add_reaction(emoji)
        except discord.Forbidden:
            return False
        except discord.NotFound:
            return True
    return True
