"""One take's message in Discord, from 'waiting' to the clip: which route each edit takes, and how often.

::

    the interaction's own message ──edit (its token lives 15 min)──▶ the clip, in place
              └──── token expired, message gone, or bot restarted ──▶ the clip, posted anew in the channel (nonce: never twice)

Not here: what the message says (``messages``), what happens to the take (``takes``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import discord

from bot.limits import NONCE_CHARACTERS, PROGRESS_EVERY_S

log = logging.getLogger(__name__)

TOKEN_GONE = {10015, 50027}
"""Unknown webhook, invalid webhook token: what Discord answers when an interaction has expired."""
MESSAGE_GONE = 10008


class TakeMessage:
    """``channel`` and ``message_id`` say where the take is shown; ``interaction`` is None after a restart."""

    def __init__(
        self, channel: discord.PartialMessageable, message_id: int | None, interaction: discord.Interaction[Any] | None = None
    ) -> None:
        self.channel = channel
        self.message_id = message_id
        self._interaction = interaction
        self._edited_at = time.monotonic() - PROGRESS_EVERY_S + 1  # where it stands in the queue is worth an early edit
        self._shown: discord.Embed | None = None
        self._edit: asyncio.Task[None] | None = None

    @property
    def reference(self) -> discord.PartialMessage:
        """The message by its id, through the bot's own permissions."""
        assert self.message_id is not None
        return self.channel.get_partial_message(self.message_id)

    def show(self, embed: discord.Embed) -> None:
        """Progress, in passing: shown when the last edit is long enough ago and done, dropped otherwise. The next one tells more anyway."""
        due = time.monotonic() - self._edited_at >= PROGRESS_EVERY_S
        if not due or (self._edit is not None and not self._edit.done()) or embed == self._shown:
            return
        self._edited_at = time.monotonic() - PROGRESS_EVERY_S + 1  # where it stands in the queue is worth an early edit
        self._shown = embed
        self._edit = asyncio.create_task(self._show_now(embed))

    async def end(self, embed: discord.Embed, view: discord.ui.View | None) -> None:
        """The last word of a take without a clip. A message that is gone is fine: nobody is waiting for it."""
        await self._finish_edit()
        try:
            if not await self._edit_by_interaction(embed=embed, view=view, attachments=[]) and self.message_id is not None:
                await self.reference.edit(content=None, embed=embed, view=view, attachments=[])
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.warning("could not show how a take ended: %s", error)

    async def post(
        self, embed: discord.Embed, view: discord.ui.View, files: Callable[[], Awaitable[list[discord.File]]], nonce: str
    ) -> int | None:
        """Shows the clip and returns the id of the message that was replaced by a new one, for the caller to ``discard``.

        ``files`` is asked again for each try: a file can be sent once. Raises discord.HTTPException when Discord takes it nowhere.
        """
        await self._finish_edit()
        if await self._edit_by_interaction(embed=embed, view=view, attachments=files):
            return None
        old = self.message_id
        posted = await self.channel.send(embed=embed, view=view, files=await files(), nonce=nonce[:NONCE_CHARACTERS])
        self.message_id = posted.id
        return old if old != posted.id else None

    async def discard(self, message_id: int) -> None:
        """Removes the progress message that a newly posted clip has replaced."""
        try:
            await self.channel.get_partial_message(message_id).delete()
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.info("could not remove a progress message: %s", error)

    async def _show_now(self, embed: discord.Embed) -> None:
        try:
            if not await self._edit_by_interaction(embed=embed) and self.message_id is not None:
                await self.reference.edit(embed=embed)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.info("could not show progress: %s", error)

    async def _finish_edit(self) -> None:
        """Waits for a progress edit that is under way, so that it can't land on top of what comes after it."""
        if self._edit is not None:
            await self._edit
            self._edit = None

    async def _edit_by_interaction(
        self, *, attachments: Callable[[], Awaitable[list[discord.File]]] | list[discord.File] | None = None, **content: Any
    ) -> bool:
        """False when that way is closed, for good."""
        if self._interaction is None or self.message_id is None:
            return False
        if self._interaction.is_expired():
            self._interaction = None
            return False
        if attachments is not None:
            content["attachments"] = await attachments() if callable(attachments) else attachments
        try:
            await self._interaction.followup.edit_message(self.message_id, **content)
        except discord.HTTPException as error:
            if error.code in TOKEN_GONE or error.code == MESSAGE_GONE or error.status == 401:
                self._interaction = None
                return False
            raise
        return True
