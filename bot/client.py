"""The Discord client: which events it listens to, and which part of the bot each goes to.

Built in ``__main__`` with the store and the engine that it uses. No privileged intent: slash commands bring their attachments along, and
reactions come as raw events, so that clips from before a restart count too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import discord
from discord import app_commands

from bot import errors
from bot.answer import end_what_was_left
from bot.buttons import TakeButton
from bot.commands import COMMANDS
from bot.finetune_buttons import CancelFinetune
from bot.finetunes import Finetunes
from bot.kit import Interaction
from bot.listening import Listening
from bot.page_buttons import PageButton
from bot.ratings import Ratings
from bot.refusal import sentence
from bot.schedule import Schedule, nightly_jobs
from bot.settings import BotSettings
from bot.takes import Takes
from engine.client import EngineClient, EngineError
from storage import Finetune, OpenAnswer, Store, Take

log = logging.getLogger(__name__)


class Tree(app_commands.CommandTree["Composer"]):
    """The commands; what goes wrong in any of them is answered in one place."""

    async def on_error(self, interaction: Interaction, error: app_commands.AppCommandError, /) -> None:
        await errors.handle(interaction, error)


# Voice is not used: its missing libraries are no news.
discord.VoiceClient.warn_nacl = False
discord.VoiceClient.warn_dave = False


class Composer(discord.Client):
    """One bot. ``store`` and ``engine`` are open, and stay so until it is closed."""

    def __init__(self, *, settings: BotSettings, store: Store, engine: EngineClient) -> None:
        super().__init__(
            intents=discord.Intents(guilds=True, guild_messages=True, guild_reactions=True),
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            activity=discord.Activity(type=discord.ActivityType.listening, name="/help"),
        )
        self.settings = settings
        self.store = store
        self.engine = engine
        self.tree = Tree(
            self,
            allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=False, private_channel=False),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
        )
        self.takes = Takes(self, store, engine, per_member=settings.bot_takes_per_member)
        self.finetunes = Finetunes(self, store, engine)
        self.ratings = Ratings(self, store)
        self.listening = Listening(store, engine)
        self.schedule = Schedule(store, settings, nightly_jobs(store, settings, self.compare_ratings))
        self._left: Sequence[Take] = ()
        self._left_answers: Sequence[OpenAnswer] = ()
        self._left_finetunes: Sequence[Finetune] = ()
        self._getting_ready = asyncio.Lock()
        self._at_ready: set[asyncio.Task[object]] = set()
        for command in COMMANDS:
            self.tree.add_command(command)

    async def setup_hook(self) -> None:
        """Between login and the gateway: what the last run left, the buttons, the commands.

        All commands are put in one request, always: Discord compares them itself, and a list that was changed elsewhere comes right.
        """
        self._left = await self.store.takes.unfinished()
        self._left_answers = await self.store.answers.left()
        self._left_finetunes = await self.store.finetunes.unfinished()
        self.add_dynamic_items(TakeButton, CancelFinetune, PageButton)
        await self.tree.sync()

    async def on_ready(self) -> None:
        """Also after a session that could not be resumed: reactions may have been missed meanwhile."""
        print(f"ready as {self.user} in {len(self.guilds)} guilds", flush=True)
        work = asyncio.current_task()
        assert work is not None
        self._at_ready.add(work)
        work.add_done_callback(self._at_ready.discard)
        async with self._getting_ready:
            left, self._left = self._left, ()
            if left:
                await self.takes.recover(left)
            left_answers, self._left_answers = self._left_answers, ()
            await end_what_was_left(self, self.store, left_answers)
            left_finetunes, self._left_finetunes = self._left_finetunes, ()
            await self.finetunes.recover(left_finetunes)
            await self._say_if_engine_is_down()
            self.listening.catch_up()
            await self.schedule.start()
            changed = await self.compare_ratings()
            if changed:
                log.info("%d ratings brought up to date", changed)

    async def compare_ratings(self) -> int:
        return await self.ratings.reconcile_recent(days=self.settings.bot_reconcile_days, limit=self.settings.bot_reconcile_messages)

    async def close(self) -> None:
        """Ends what is under way while Discord can still be told."""
        self.schedule.stop()
        for work in self._at_ready:  # comparing hundreds of clips may still go on; the next start does it again
            work.cancel()
        await asyncio.gather(*self._at_ready, return_exceptions=True)
        await self.takes.close()
        await self.finetunes.close()
        await self.listening.close()
        await super().close()

    # ---- reactions

    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        await self.ratings.added(event)

    async def on_raw_reaction_remove(self, event: discord.RawReactionActionEvent) -> None:
        await self.ratings.removed(event)

    async def on_raw_reaction_clear(self, event: discord.RawReactionClearEvent) -> None:
        await self.ratings.cleared(event.guild_id, event.message_id)

    async def on_raw_reaction_clear_emoji(self, event: discord.RawReactionClearEmojiEvent) -> None:
        await self.ratings.cleared(event.guild_id, event.message_id)

    # ---- deletions

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        await self._message_gone(event.message_id)

    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        for message_id in event.message_ids:
            await self._message_gone(message_id)

    async def _message_gone(self, message_id: int) -> None:
        """A clip's message takes it out of the results; a running take's message takes the take with it."""
        take = await self.store.takes.mark_message_deleted(message_id)
        if take is not None and not take.ended and take.message_id == message_id:
            self.takes.cancel(take.id, None)

    async def _say_if_engine_is_down(self) -> None:
        try:
            await self.engine.health()
        except EngineError as error:
            log.warning("%s Until it answers, every take fails with words that say so.", sentence(error.message))
