"""What went wrong, in words that say what to do about it. One place turns exceptions into replies.

Code raises: ``Refusal`` where the words are known, anything else where they are not. Callers never format an error themselves.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import discord
from discord import app_commands

from bot.refusal import Refusal, sentence
from engine.client import EngineError
from storage.blobs import BlobMissing

log = logging.getLogger(__name__)

Interaction = discord.Interaction[Any]

ENGINE_DOWN = (
    "The engine isn't answering, so no music can be made right now. Ask whoever runs this bot to start it "
    "(`python -m engine serve`), then try again."
)
ENGINE_WENT_AWAY = "The engine stopped while it was making this. Nothing else is lost: give it a minute, then press **Try again**."
RESTARTED = "The bot was restarted while this was being made. Press **Try again** to make it now."
UNEXPECTED = "Something went wrong that shouldn't have. It has been logged; trying again may help."


def words_for(error: BaseException) -> str | None:
    """A short message for a person, or None where the error is a surprise that belongs in the log."""
    if isinstance(error, app_commands.CommandInvokeError):
        error = error.original
    if isinstance(error, Refusal):
        return error.message
    if isinstance(error, EngineError):
        return _engine_words(error)
    if isinstance(error, discord.HTTPException) and error.status == 413:
        return "Discord finds that file too large for this channel. Ask for fewer seconds."
    return next((words for kind, words in _WORDS.items() if isinstance(error, kind)), None)


_WORDS: dict[type[BaseException], str] = {
    BlobMissing: "The audio of this is no longer stored here. Upload the track again.",
    app_commands.MissingPermissions: "That is for moderators: it needs the *Manage Messages* permission.",
    app_commands.NoPrivateMessage: "That works in a server's channel, not in direct messages.",
    app_commands.CommandNotFound: "That command has changed since your Discord last looked. Restart Discord, then try again.",
    app_commands.CommandSignatureMismatch: "That command has changed since your Discord last looked. Restart Discord, then try again.",
    discord.Forbidden: (
        "Discord doesn't let me do that in this channel. I need *View Channel*, *Send Messages*, *Embed Links* and *Attach Files*; "
        "whoever manages the channel can grant them."
    ),
    discord.DiscordServerError: "Discord didn't take that just now. Try again in a moment.",
    aiohttp.ClientError: "Discord didn't take that just now. Try again in a moment.",
    TimeoutError: "That took too long. Try again in a moment.",
}


def _engine_words(error: EngineError) -> str | None:
    """Also of codes that a later engine may add: its message is for a person already. Only its own mishaps stay between us and the log."""
    if error.code == "internal":
        return None
    words = {
        "unreachable": ENGINE_DOWN,
        "queue_full": f"The engine's queue is full. Try again {_in_about(error.retry_after_s)}.",
        "not_ready": f"The engine is still loading its model. Try again {_in_about(error.retry_after_s)}.",
        "unauthorized": "The engine refused this bot's token. Whoever runs it must set the same `ENGINE_TOKEN` for both.",
        # Its own words list what it has, and some of that is other servers'.
        "unknown_checkpoint": "The engine can't use that checkpoint. Leave `checkpoint` out for the usual one, or pick a suggestion.",
        "unknown_track": "The engine has forgotten this track. Try again and it will be sent anew.",
        "cancelled": "The engine cancelled this, as it does when it is shut down. Try again in a minute.",
    }
    return words.get(error.code) or sentence(error.message)


def _in_about(seconds: float | None) -> str:
    if seconds is None:
        return "in a minute"
    return "in a moment" if seconds < 2 else f"in about {seconds:.0f} seconds" if seconds < 90 else f"in about {seconds / 60:.0f} minutes"


_UNKNOWN_INTERACTION = 10062


async def reply(interaction: Interaction, text: str) -> None:
    """Says something to one member only, wherever the interaction stands. Never raises: there is nobody left to tell."""
    none = discord.AllowedMentions.none()
    try:
        if interaction.type is discord.InteractionType.autocomplete:
            return
        if not interaction.response.is_done():
            await interaction.response.send_message(text, ephemeral=True, allowed_mentions=none)
        elif interaction.response.type is discord.InteractionResponseType.deferred_channel_message:
            await interaction.edit_original_response(content=text, embed=None, attachments=[], view=None, allowed_mentions=none)
        else:
            await interaction.followup.send(text, ephemeral=True, allowed_mentions=none)
    except (discord.HTTPException, aiohttp.ClientError) as error:
        log.warning("could not tell a member what went wrong: %s", type(error).__name__)


async def handle(interaction: Interaction, error: BaseException) -> None:
    """The one error handler of every command, button and modal."""
    words = words_for(error)
    original = error.original if isinstance(error, app_commands.CommandInvokeError) else error
    if isinstance(original, discord.NotFound) and original.code == _UNKNOWN_INTERACTION:
        log.warning("an interaction was answered too late: Discord waits 3 s")
        return
    if words is None:
        what = interaction.command.qualified_name if interaction.command else dict(interaction.data or {}).get("custom_id", "?")
        log.error("unexpected error in %s", what, exc_info=original)
        words = UNEXPECTED
    await reply(interaction, words)
    await interaction.client.store.answers.ended(interaction.id)


@asynccontextmanager
async def answering(interaction: Interaction) -> AsyncIterator[None]:
    """For buttons and modals, whose errors discord.py would only log."""
    try:
        yield
    except Exception as error:
        await handle(interaction, error)
