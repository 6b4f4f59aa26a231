"""Guilds and what each has chosen for itself."""

from __future__ import annotations

import hashlib
import re
from dataclasses import astuple, dataclass, fields, replace
from typing import Literal, TypedDict, Unpack

from storage.categories import DEFAULT_TOKEN
from storage.database import Database, Reader, Transaction
from storage.times import now, to_text

FinetuneBy = Literal["moderators", "role", "everyone"]


@dataclass(frozen=True, slots=True)
class GuildSettings:
    token: str = DEFAULT_TOKEN
    """The rare word that the crate's finetune was trained with."""
    checkpoint: str | None = None
    """Which one makes the guild's takes; None is the engine's default."""
    finetune_by: FinetuneBy = "moderators"
    """Who may finetune and choose a finetune: those who have the role ``finetune_role_id``, where it is 'role'."""
    finetune_role_id: int | None = None


class SettingsChanges(TypedDict, total=False):
    token: str
    checkpoint: str | None
    finetune_by: FinetuneBy
    finetune_role_id: int | None


_COLUMNS = tuple(field.name for field in fields(GuildSettings))


class Guilds:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def settings(self, guild_id: int) -> GuildSettings:
        """A guild that never changed any has the defaults."""
        return await read_settings(self._database, guild_id)

    async def update(self, guild_id: int, **changes: Unpack[SettingsChanges]) -> GuildSettings:
        """Changes what is named and returns the whole. Raises ValueError for a token that is no single word of 1 to 100 characters."""
        async with self._database.transaction() as transaction:
            return await change_settings(transaction, guild_id, **changes)

    async def owner(self, guild_id: int) -> str:
        """What stands for the guild where its finetunes are kept: always the same, and nothing that Discord knows it by. 32 hex digits."""
        async with self._database.transaction() as transaction:
            await ensure_guild(transaction, guild_id)
            row = await transaction.one("SELECT salt FROM guilds WHERE guild_id = ?", guild_id)
        assert row is not None
        return hashlib.sha256(b"owner of checkpoints" + row["salt"]).hexdigest()[:32]


async def change_settings(transaction: Transaction, guild_id: int, **changes: Unpack[SettingsChanges]) -> GuildSettings:
    """As ``Guilds.update``, as a part of something larger."""
    if not re.fullmatch(r"\S{1,100}", changes.get("token", DEFAULT_TOKEN)):
        raise ValueError("the token is one word of 1 to 100 characters")
    await ensure_guild(transaction, guild_id)
    after = replace(await read_settings(transaction, guild_id), **changes)
    await transaction.execute(
        f"INSERT OR REPLACE INTO guild_settings (guild_id, {', '.join(_COLUMNS)}, updated_at) "  # noqa: S608 (names of ours)
        f"VALUES (?, {', '.join('?' * len(_COLUMNS))}, ?)",
        guild_id,
        *astuple(after),
        to_text(now()),
    )
    return after


async def read_settings(reader: Reader, guild_id: int) -> GuildSettings:
    row = await reader.one(f"SELECT {', '.join(_COLUMNS)} FROM guild_settings WHERE guild_id = ?", guild_id)  # noqa: S608 (names of ours)
    return GuildSettings(**{name: row[name] for name in _COLUMNS}) if row else GuildSettings()


async def ensure_guild(transaction: Transaction, guild_id: int) -> None:
    """The row that a guild's other rows hang on."""
    await transaction.execute("INSERT INTO guilds (guild_id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING", guild_id, to_text(now()))
