"""The button under a finetune's message while it is under way: ``finetune:<id>:cancel``. Its id says all it needs, after any restart.

Not here: what cancelling does (``finetunes``), the buttons of ``/finetune list`` (``page_buttons``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

import discord

from bot.errors import answering
from bot.permissions import check_own
from bot.refusal import Refusal
from storage import Finetune

if TYPE_CHECKING:
    from bot.kit import Interaction


class CancelFinetune(discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"finetune:(?P<finetune_id>[0-9A-Za-z._-]{1,64}):cancel"):
    """Ends one finetune."""

    def __init__(self, finetune_id: str) -> None:
        super().__init__(discord.ui.Button(label="Cancel", emoji="✖️", custom_id=f"finetune:{finetune_id}:cancel"))
        self.finetune_id = finetune_id

    @classmethod
    async def from_custom_id(cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        return cls(match["finetune_id"])

    async def callback(self, interaction: Interaction) -> None:  # type: ignore[override]  # Interaction is one whose client is ours
        async with answering(interaction):
            finetune = await interaction.client.store.finetunes.get_for_guild(interaction.guild_id or 0, self.finetune_id)
            if finetune is None:
                raise Refusal("That finetune isn't known here any more.")
            await cancel(interaction, finetune)
            await interaction.response.defer()  # its own message says it


def running_view(finetune: Finetune) -> discord.ui.View | None:
    """While it is under way, and nobody has cancelled it yet."""
    if finetune.cancel_by is not None:
        return None
    view = discord.ui.View(timeout=None)
    view.add_item(CancelFinetune(finetune.id))
    return view


async def cancel(interaction: Interaction, finetune: Finetune) -> None:
    """Raises Refusal."""
    check_own(interaction, finetune.member_id, "cancel", "Only whoever started a finetune, or a moderator, can")
    client = interaction.client
    if finetune.ended or client.finetunes.too_late(finetune.id):
        raise Refusal("It's too late to cancel that: it is over, or its report card is being posted right now.")
    client.finetunes.cancel(await client.store.finetunes.ask_cancel(finetune.id, interaction.user.id))
