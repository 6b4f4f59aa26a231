"""The answer to a command that takes a while: progress in passing, then the whole, also when that comes after the interaction's end.

::

    deferred ─▶ show(text) … at most every PROGRESS_EVERY_S ─▶ end(text, embeds, files)
                  by the interaction for 15 minutes, then by the message's own id and the bot's permissions

What a killed bot left in the middle says so after the next start (``end_what_was_left``).
Not here: a take's message, which lives longer and may be posted anew (``take_message``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import aiohttp
import discord

from bot.limits import PROGRESS_EVERY_S
from bot.take_message import MESSAGE_GONE, TOKEN_GONE
from storage import OpenAnswer, Store

log = logging.getLogger(__name__)

RESTARTED = "The bot was restarted in the middle of this. What it had stored by then is kept; ask again for the rest."


class Answer:
    """One deferred interaction's message. Made by ``Answer.defer``."""

    def __init__(self, interaction: discord.Interaction[Any], message_id: int | None) -> None:
        self._interaction = interaction
        self._message_id = message_id
        self._shown_at = time.monotonic() - PROGRESS_EVERY_S + 1  # what takes less than a second is not worth an edit
        self._edit: asyncio.Task[None] | None = None

    @classmethod
    async def defer(cls, interaction: discord.Interaction[Any]) -> Self:
        """Tells Discord that the answer comes later, for all to see."""
        deferred = await interaction.response.defer(thinking=True)
        message_id = deferred.message_id if deferred is not None else None
        if message_id is not None and interaction.channel_id is not None:
            await interaction.client.store.answers.began(OpenAnswer(interaction.id, interaction.channel_id, message_id))
        return cls(interaction, message_id)

    def show(self, text: str) -> None:
        """Progress: shown when the last edit is long enough ago and done, dropped otherwise."""
        if time.monotonic() - self._shown_at < PROGRESS_EVERY_S or (self._edit is not None and not self._edit.done()):
            return
        self._shown_at = time.monotonic()
        self._edit = asyncio.create_task(self._show_now(text))

    async def end(self, text: str | None, embeds: Sequence[discord.Embed] = (), files: Callable[[], list[discord.File]] = list) -> None:
        """The answer itself. ``files`` is asked again for a second try: a file can be sent once. Raises discord.HTTPException."""
        if self._edit is not None:
            await self._edit  # so that it can't land on top of this
        await self._put(content=text, embeds=list(embeds), files=files)
        await self._interaction.client.store.answers.ended(self._interaction.id)

    async def _show_now(self, text: str) -> None:
        try:
            await self._put(content=text)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.info("could not show progress: %s", error)

    async def _put(self, *, files: Callable[[], list[discord.File]] | None = None, **content: Any) -> None:
        def whole() -> dict[str, Any]:
            return content if files is None else {**content, "attachments": files()}

        if not self._interaction.is_expired():
            try:
                self._message_id = (await self._interaction.edit_original_response(**whole())).id
                return
            except discord.HTTPException as error:
                if error.code not in TOKEN_GONE and error.status != 401:
                    raise
        if self._message_id is None or self._interaction.channel_id is None:
            log.warning("an answer came too late to be shown")
            return
        channel = self._interaction.client.get_partial_messageable(self._interaction.channel_id, guild_id=self._interaction.guild_id)
        await channel.get_partial_message(self._message_id).edit(**whole())


async def end_what_was_left(client: discord.Client, store: Store, answers: Sequence[OpenAnswer]) -> None:
    """Says in each that the bot was restarted. One that can't be edited any more is let go of; nothing is raised for it."""
    for answer in answers:
        message = client.get_partial_messageable(answer.channel_id).get_partial_message(answer.message_id)
        try:
            await message.edit(content=RESTARTED, embeds=[], attachments=[])
        except discord.HTTPException as error:
            if error.code != MESSAGE_GONE:
                log.info("could not say in an answer that the bot was restarted: %s", error)
        await store.answers.ended(answer.interaction_id)
