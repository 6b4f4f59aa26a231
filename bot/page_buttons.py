"""The buttons that turn the pages of a list: ``<list>:page:<page>:back|on``. Their ids say all they need, after any restart.

Not here: what stands on a page (``crate_pages``, ``finetune_pages``).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Self

import discord

from bot.errors import answering
from bot.kit import Interaction
from storage import Store

Page = tuple[discord.Embed, discord.ui.View]
PageOf = Callable[[Store, int, int], Awaitable[Page]]
"""(store, guild, page from 0) to the page and its buttons."""
_LISTS: dict[str, PageOf] = {}


def turned_as(name: str) -> Callable[[PageOf], PageOf]:
    """Registers what makes the pages of a list whose buttons ``buttons`` makes under the same name."""

    def register(page_of: PageOf) -> PageOf:
        _LISTS[name] = page_of
        return page_of

    return register


def buttons(name: str, page: int, *, total: int, on_a_page: int) -> discord.ui.View:
    """To turn from ``page``, counted from 0; none for a list of one page."""
    view = discord.ui.View(timeout=None)
    if total > on_a_page:
        view.add_item(PageButton(name, max(0, page - 1), "back", disabled=page == 0))
        view.add_item(PageButton(name, page + 1, "on", disabled=(page + 1) * on_a_page >= total))
    return view


class PageButton(
    discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"(?P<name>crate|finetunes):page:(?P<page>\d{1,6}):(?P<way>back|on)"
):
    """Turns to one page."""

    def __init__(self, name: str, page: int, way: str, *, disabled: bool = False) -> None:
        label, emoji = ("Back", "◀️") if way == "back" else ("More", "▶️")
        super().__init__(discord.ui.Button(label=label, emoji=emoji, custom_id=f"{name}:page:{page}:{way}", disabled=disabled))
        self.name, self.page = name, page

    @classmethod
    async def from_custom_id(cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        return cls(match["name"], int(match["page"]), match["way"])

    async def callback(self, interaction: Interaction) -> None:  # type: ignore[override]  # Interaction is one whose client is ours
        async with answering(interaction):
            embed, view = await _LISTS[self.name](interaction.client.store, interaction.guild_id or 0, self.page)
            await interaction.response.edit_message(embed=embed, view=view)
