"""The buttons under a take's message. Their ids say all they need, so they work after any restart.

``take:<take id>:<action>`` with the actions again, continue, keep, delete (under a clip) and cancel (while it is made).
Not here: what a take does then (``takes``), the crate's own buttons (``commands/crate``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import discord

from bot import uploads
from bot.errors import answering
from bot.orders import again
from bot.permissions import check_own
from bot.refusal import Refusal
from storage import Take

if TYPE_CHECKING:
    from bot.kit import Interaction

Action = Literal["again", "continue", "keep", "delete", "cancel"]

_LOOKS: dict[Action, tuple[str, str, discord.ButtonStyle]] = {
    "again": ("Again", "🔁", discord.ButtonStyle.primary),
    "continue": ("Continue", "⏩", discord.ButtonStyle.secondary),
    "keep": ("Keep in crate", "📦", discord.ButtonStyle.secondary),
    "delete": ("Delete", "🗑️", discord.ButtonStyle.danger),
    "cancel": ("Cancel", "✖️", discord.ButtonStyle.secondary),
}


class TakeButton(discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"take:(?P<take_id>[0-9A-Za-z._-]{1,64}):(?P<action>[a-z]+)"):
    """One button of one take."""

    def __init__(self, take_id: str, action: Action, *, label: str | None = None, row: int | None = None) -> None:
        usual, emoji, style = _LOOKS[action]
        button: discord.ui.Button[Any] = discord.ui.Button(
            label=label or usual, emoji=emoji, style=style, custom_id=f"take:{take_id}:{action}", row=row
        )
        super().__init__(button)
        self.take_id = take_id
        self.action: Action = action

    @classmethod
    async def from_custom_id(cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        return cls(match["take_id"], cast(Action, match["action"]))

    async def callback(self, interaction: Interaction) -> None:  # type: ignore[override]  # Interaction is one whose client is ours
        async with answering(interaction):
            take = await interaction.client.store.takes.get_for_guild(interaction.guild_id or 0, self.take_id)
            if take is None:
                raise Refusal("That take isn't known here any more. Ask for a new one with `/generate`.")
            await _ACTIONS[self.action](interaction, take)


def clip_view(take: Take) -> discord.ui.View:
    """Under a finished clip."""
    return _view(TakeButton(take.id, "again"), TakeButton(take.id, "continue"), TakeButton(take.id, "keep"), TakeButton(take.id, "delete"))


def running_view(take: Take) -> discord.ui.View:
    """While it waits or runs."""
    return _view(TakeButton(take.id, "cancel"))


def ended_view(take: Take) -> discord.ui.View:
    """Under a take that failed or was cancelled."""
    return _view(TakeButton(take.id, "again", label="Try again"), TakeButton(take.id, "delete"))


def queue_view(takes: list[Take]) -> discord.ui.View | None:
    """A Cancel button for each of these takes, numbered as in ``/queue``."""
    numbered = [TakeButton(take.id, "cancel", label=f"Cancel {number}") for number, take in enumerate(takes, 1)]
    return _view(*numbered) if numbered else None


def _view(*buttons: TakeButton) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for button in buttons:
        view.add_item(button)
    return view


# ---- what each does


async def _again(interaction: Interaction, take: Take) -> None:
    from bot.takes import order_of

    await interaction.client.takes.check(interaction)
    await interaction.response.defer(thinking=True)
    order = again(order_of(take), keep_seed=take.state != "done")
    await interaction.client.takes.begin(interaction, [order], parent=take)


async def _continue(interaction: Interaction, take: Take) -> None:
    from bot.commands.continue_ import ContinueModal, Source

    if take.clip is None:
        raise Refusal("There is no clip here to continue.")
    await interaction.client.takes.check(interaction)
    await interaction.response.send_modal(ContinueModal(Source.of_clip(take)))


async def _keep(interaction: Interaction, take: Take) -> None:
    await interaction.response.defer(ephemeral=True, thinking=True)
    track = await uploads.keep_clip(interaction, take)
    await interaction.edit_original_response(content=uploads.added_line(track))
    interaction.client.listening.catch_up()


async def _delete(interaction: Interaction, take: Take) -> None:
    check_own(interaction, take.member_id, "delete")
    await interaction.response.defer()
    assert interaction.message is not None
    await interaction.message.delete()
    await interaction.client.store.takes.mark_message_deleted(interaction.message.id)


async def _cancel(interaction: Interaction, take: Take) -> None:
    check_own(interaction, take.member_id, "cancel")
    if not interaction.client.takes.cancel(take.id, interaction.user.display_name):
        raise Refusal("It's too late to cancel that: it has ended, or is being posted right now.")
    if interaction.message is not None and interaction.message.id == take.message_id:
        await interaction.response.defer()  # the take's own message says it
    else:
        await interaction.response.send_message("Cancelled.", ephemeral=True)


_ACTIONS = {"again": _again, "continue": _continue, "keep": _keep, "delete": _delete, "cancel": _cancel}
