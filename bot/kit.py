"""Names that every command module shares. Exists so that they can name the client without importing it in a circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord

if TYPE_CHECKING:
    from bot.client import Composer

    Interaction = discord.Interaction[Composer]
else:
    Interaction = discord.Interaction
