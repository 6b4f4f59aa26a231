"""Which checkpoints a guild may see and use: everybody's and its own. Another guild's is unknown here, even to whoever types its id.

An engine serves many guilds and lists all of theirs; whatever the bot shows, suggests or asks for goes through here first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bot.messages import code
from bot.refusal import Refusal
from engine.api import CheckpointInfo

if TYPE_CHECKING:
    from engine.client import EngineClient
    from storage import Store

_NAMED = 10


def visible(points: Sequence[CheckpointInfo], owner: str) -> list[CheckpointInfo]:
    """In the engine's order, its default first."""
    return [point for point in points if point.owner is None or point.owner == owner]


async def of_guild(engine: EngineClient, store: Store, guild_id: int) -> list[CheckpointInfo]:
    """What the guild may choose from. Raises EngineError."""
    return visible(await engine.checkpoints(), await store.guilds.owner(guild_id))


def find(points: Sequence[CheckpointInfo], wanted: str) -> CheckpointInfo:
    """Among visible ones. Raises Refusal, which names no other."""
    for point in points:
        if point.id == wanted:
            return point
    others = ", ".join(code(point.id) for point in points[:_NAMED])
    raise Refusal(f"There is no checkpoint {code(wanted[:100])} here. Leave `checkpoint` out for the usual one, or pick one of: {others}.")
