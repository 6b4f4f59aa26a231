"""One finetune's message in Discord, for hours: which route each edit takes, how often, and what happens when somebody deletes it.

::

    show(embed, plot) ─▶ the newest waits its turn ─▶ edit: by the interaction (15 min), then by the bot's own permissions
                                                        └─ the message is gone ─▶ posted anew, with the plot

Not here: what it says (``finetune_pages``), what happens to the finetune (``finetunes``).
"""

from __future__ import annotations

import asyncio
import io
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import aiohttp
import discord

from bot.finetune_pages import PLOT_NAME
from bot.limits import FINETUNE_EVERY_S, NONCE_CHARACTERS
from bot.take_message import MESSAGE_GONE, TOKEN_GONE

log = logging.getLogger(__name__)

TROUBLE = (discord.HTTPException, aiohttp.ClientError, OSError)
"""What Discord or the way to it may do to an edit."""

Files = Callable[[], list[discord.File]]
"""Asked again for each try: a file can be sent once."""


class FinetuneMessage:
    """``moved`` is told the id of a message that took the place of a deleted one."""

    def __init__(
        self,
        channel: discord.PartialMessageable,
        message_id: int | None,
        moved: Callable[[int], Awaitable[object]],
        interaction: discord.Interaction[Any] | None = None,
    ) -> None:
        self.channel = channel
        self.message_id = message_id
        self._moved = moved
        self._interaction = interaction
        self._edited_at = -FINETUNE_EVERY_S
        self._wanted: tuple[discord.Embed, discord.ui.View | None, bytes | None] | None = None
        self._shown: discord.Embed | None = None
        self._plot: bytes | None = None
        """The one that the message has."""
        self._showing: asyncio.Task[None] | None = None
        self._editing = False

    def show(self, embed: discord.Embed, view: discord.ui.View | None, plot: bytes | None) -> None:
        """Progress, in passing. The newest is shown as soon as the last edit is long enough ago; what it overtakes is never shown."""
        self._wanted = (embed, view, plot)
        if self._showing is None or self._showing.done():
            self._showing = asyncio.create_task(self._show())

    async def end(self, embeds: Sequence[discord.Embed], view: discord.ui.View | None, files: Files = list) -> None:
        """The last word, with all the files that it has. Raises discord.HTTPException and what else ``TROUBLE`` names."""
        await self.pause()
        await self._put(files, embeds=list(embeds), view=view)

    async def pause(self) -> None:
        """Shows nothing more until asked again; an edit that is under way comes to its end."""
        self._wanted = None
        if self._showing is not None:
            if not self._editing:
                self._showing.cancel()
            await asyncio.gather(self._showing, return_exceptions=True)

    async def tell(self, text: str, member_id: int) -> None:
        """A few words below the message, which that member is notified of."""
        reference = (
            None if self.message_id is None else self.channel.get_partial_message(self.message_id).to_reference(fail_if_not_exists=False)
        )
        only = discord.AllowedMentions(everyone=False, roles=False, replied_user=False, users=[discord.Object(member_id)])
        await self.channel.send(text, reference=reference, allowed_mentions=only)  # type: ignore[arg-type]  # None means none

    async def _show(self) -> None:
        while self._wanted is not None:
            wait = self._edited_at + FINETUNE_EVERY_S - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if self._wanted is None:
                return
            (embed, view, plot), self._wanted = self._wanted, None
            if embed == self._shown and plot == self._plot:
                continue
            self._edited_at = time.monotonic()
            self._editing = True
            try:
                await self._put(None if plot == self._plot else partial(plot_files, plot), plot=plot, embeds=[embed], view=view)
                self._shown, self._plot = embed, plot
            except TROUBLE as error:
                log.info("could not show a finetune's progress: %s", error)
            finally:
                self._editing = False

    async def _put(self, files: Files | None, *, plot: bytes | None = None, **content: Any) -> None:
        """``files`` None leaves those that are there; a message that is posted anew gets the plot in any case."""
        if self.message_id is not None:
            changed = {} if files is None else {"attachments": files}
            if await self._edit_by_interaction(content, changed) or await self._edit_by_id(content, changed):
                return
        whole = {name: value for name, value in content.items() if value is not None}
        posted = await self.channel.send(
            **whole, files=plot_files(plot) if files is None else files(), nonce=secrets.token_hex(16)[:NONCE_CHARACTERS]
        )
        self.message_id = posted.id
        self._interaction = None
        await self._moved(posted.id)

    async def _edit_by_interaction(self, content: dict[str, Any], changed: dict[str, Files]) -> bool:
        """False when that way is closed, for good."""
        assert self.message_id is not None
        if self._interaction is None or self._interaction.is_expired():
            self._interaction = None
            return False
        try:
            await self._interaction.followup.edit_message(self.message_id, **content, **_made(changed))
        except discord.HTTPException as error:
            if error.code in TOKEN_GONE or error.code == MESSAGE_GONE or error.status == 401:
                self._interaction = None
                return False
            raise
        return True

    async def _edit_by_id(self, content: dict[str, Any], changed: dict[str, Files]) -> bool:
        """False when the message is gone."""
        assert self.message_id is not None
        try:
            await self.channel.get_partial_message(self.message_id).edit(**content, **_made(changed))
        except discord.NotFound as error:
            if error.code == MESSAGE_GONE:
                self.message_id = None
                return False
            raise
        return True


def plot_files(plot: bytes | None) -> list[discord.File]:
    return [] if plot is None else [discord.File(io.BytesIO(plot), PLOT_NAME, description="Training and held-out loss so far")]


def _made(changed: dict[str, Files]) -> dict[str, Any]:
    return {name: files() for name, files in changed.items()}
