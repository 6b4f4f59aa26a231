"""Every command of the bot, one module for each thing that a person does."""

from __future__ import annotations

from typing import Any

from discord import app_commands

from bot.commands import admin, continue_, crate, finetune, generate, help_, results, similar

COMMANDS: list[app_commands.Command[Any, ..., Any] | app_commands.ContextMenu | app_commands.Group] = [
    generate.generate,
    generate.surprise,
    generate.queue,
    continue_.continue_,
    continue_.continue_message,
    crate.Crate(),
    crate.add_message,
    similar.similar,
    similar.similar_message,
    finetune.FinetuneGroup(),
    results.results,
    results.export,
    help_.help_,
    admin.status,
    admin.Settings(),
]
"""What is registered with Discord, in the order in which it is listed."""
