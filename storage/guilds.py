"""Guilds and what each has chosen for itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypedDict, Unpack

from storage.categories import DEFAULT_TOKEN
from storage.database import Database, Reader, Transaction
from storage.times import now, to_text


@dataclass(frozen=True, slots=True)
class GuildSettings:
    token: str = DEFAULT_TOKEN
    """The rare word that the crate's finetune was trained with."""
    checkpoint: str | None = None
    """Which one makes the guild's takes; None is the engine's default."""


class SettingsChanges(TypedDict, total=False):
    token: str
    checkpoint: str | None


class Guilds:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def settings(self, guild_id: int) -> GuildSettings:
        """A guild that never changed any has the defaults."""
        return await read_settings(self._database, guild_id)

    async def update(self, guild_id: int, **changes: Unpack[SettingsChanges]) -> GuildSettings:
        """Changes what is named and returns the whole. Raises ValueError for a token that is no single word of 1 to 100 characters."""
        if not re.fullmatch(r"\S{1,100}", changes.get("token", DEFAULT_TOKEN)):
            raise ValueError("the token is one word of 1 to 100 characters")
        async with self._database.transaction() as transaction:
            await ensure_guild(transaction, guild_id)
            before = await read_settings(transaction, guild_id)
            after = GuildSettings(
                token=changes.get("token", before.token),
                checkpoint=changes.get("checkpoint", before.checkpoint),
            )
            await transaction.execute(
                "INSERT INTO guild_settings (guild_id, token, checkpoint, updated_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (guild_id) DO UPDATE "
                "SET token = excluded.token, checkpoint = excluded.checkpoint, updated_at = excluded.updated_at",
                guild_id,
                after.token,
                after.checkpoint,
                to_text(now()),
            )
        return after


async def read_settings(reader: Reader, guild_id: int) -> GuildSettings:
    row = await reader.one("SELECT token, checkpoint FROM guild_settings WHERE guild_id = ?", guild_id)
    return GuildSettings(token=row["token"], checkpoint=row["checkpoint"]) if row else GuildSettings()


async def ensure_guild(transaction: Transaction, guild_id: int) -> None:
    """The row that a guild's other rows hang on."""
    await transaction.execute("INSERT INTO guilds (guild_id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING", guild_id, to_text(now()))
