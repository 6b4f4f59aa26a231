"""Answers that are still being made, so that a bot which was killed in the middle can say so in each. Rows live for as long as they take.

Not here: takes and finetunes, which have rows of their own and are taken up again.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.database import Database
from storage.times import now, to_text


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    """The message that shows how far a command is."""

    interaction_id: int
    channel_id: int
    message_id: int


class Answers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def began(self, answer: OpenAnswer) -> None:
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO open_answers (interaction_id, channel_id, message_id, began_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                answer.interaction_id,
                answer.channel_id,
                answer.message_id,
                to_text(now()),
            )

    async def ended(self, interaction_id: int) -> None:
        """The member has been told something, good or bad. Nothing happens where there is no such answer."""
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM open_answers WHERE interaction_id = ?", interaction_id)

    async def left(self) -> list[OpenAnswer]:
        """What an earlier run of the bot did not end, the oldest first."""
        rows = await self._database.all("SELECT interaction_id, channel_id, message_id FROM open_answers ORDER BY began_at, interaction_id")
        return [OpenAnswer(row["interaction_id"], row["channel_id"], row["message_id"]) for row in rows]
