"""Who may do what, and what the bot itself may do here. Pure: permissions in, a Refusal or a yes out."""

from __future__ import annotations

from typing import Any

import discord

from bot.refusal import Refusal
from storage import GuildSettings

Interaction = discord.Interaction[Any]

_NAMES = {
    "view_channel": "View Channel",
    "send_messages": "Send Messages",
    "send_messages_in_threads": "Send Messages in Threads",
    "embed_links": "Embed Links",
    "attach_files": "Attach Files",
}


def missing_to_post(permissions: discord.Permissions, *, thread: bool = False) -> list[str]:
    """What the bot lacks to show a clip, by the names that Discord's own settings use."""
    send = "send_messages_in_threads" if thread else "send_messages"
    return [_NAMES[name] for name in ("view_channel", send, "embed_links", "attach_files") if not getattr(permissions, name)]


def check_can_post(interaction: Interaction) -> None:
    """Raises Refusal that names what is missing, before anything is made that could not be shown."""
    missing = missing_to_post(interaction.app_permissions, thread=isinstance(interaction.channel, discord.Thread))
    if missing:
        names = ", ".join(f"*{name}*" for name in missing)
        raise Refusal(
            f"I can't post clips in this channel: I lack {names}. "
            "Someone who manages the channel can grant that to me (Edit Channel → Permissions), or use another channel."
        )


def can_rate(permissions: discord.Permissions) -> bool:
    """Whether the bot can put the rating reactions on a clip."""
    return permissions.add_reactions and permissions.read_message_history


def is_moderator(interaction: Interaction) -> bool:
    """A moderator is whoever may manage other members' messages in this channel."""
    return interaction.permissions.manage_messages or interaction.permissions.administrator


def check_moderator(interaction: Interaction) -> None:
    """Raises Refusal."""
    if not is_moderator(interaction):
        raise Refusal("That is for moderators: it needs the *Manage Messages* permission.")


def check_finetuner(interaction: Interaction, settings: GuildSettings) -> None:
    """Whether this member may finetune, and choose among finetunes. Moderators always may. Raises Refusal."""
    if is_moderator(interaction) or settings.finetune_by == "everyone":
        return
    if settings.finetune_by == "moderators":
        raise Refusal("Finetuning is for moderators here. They can open it to a role or to everyone: `/settings finetuning`.")
    roles = interaction.user.roles if isinstance(interaction.user, discord.Member) else []
    if all(role.id != settings.finetune_role_id for role in roles):
        raise Refusal(f"Finetuning is for <@&{settings.finetune_role_id}> here. Moderators can change that: `/settings finetuning`.")


def check_own(interaction: Interaction, member_id: int, what: str, who: str = "Only whoever asked for a take, or a moderator, can") -> None:
    """Raises Refusal for anybody but the member in question and moderators."""
    if interaction.user.id != member_id and not is_moderator(interaction):
        raise Refusal(f"{who} {what} it.")
