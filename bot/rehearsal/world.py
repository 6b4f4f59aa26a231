"""Who and what is in the rehearsal: one guild, its channels and roles, three members and the bot.

    Alice's techno lab        #lab  #listening  #bot-status
      alice     DJ, owner
      bob       listener
      mod_mira  moderator
      Techno Composer         the bot, with exactly the permissions that its invite link asks for

Not here: how the state changes (``backend``), how it is kept (``persistence``).
"""

from __future__ import annotations

from typing import Any

import discord
from simcord.backend import serializers
from simcord.backend.access import channel_accessible
from simcord.backend.models import Channel, Guild, User

from bot.rehearsal.backend import RehearsalBackend

GUILD_NAME = "Alice's techno lab"
BOT_NAME = "Techno Composer"
CHANNELS = {
    "lab": "Ask for clips here: /generate, /continue, /surprise, /finetune. Rate them with 1️⃣ to 5️⃣.",
    "listening": "Clips worth a second listen",
    "bot-status": "What the bot and its engine are doing",
}
COLORS = {"alice": "#e0559b", "bob": "#3ba7a0", "mod_mira": "#d9902f", "techno-composer": "#7c5cff"}

INVITE_PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    attach_files=True,
    embed_links=True,
    read_message_history=True,
    add_reactions=True,
)
"""What the invite link in README asks for, and all that the bot's role has."""

EVERYONE_PERMISSIONS = INVITE_PERMISSIONS | discord.Permissions(use_application_commands=True, change_nickname=True)
MODERATOR_PERMISSIONS = EVERYONE_PERMISSIONS | discord.Permissions(
    manage_messages=True, manage_guild=True, manage_threads=True, moderate_members=True, kick_members=True
)


def seed(backend: RehearsalBackend) -> None:
    """Fill an empty backend."""
    backend.bot_user.name = "techno-composer"
    backend.bot_user.global_name = BOT_NAME
    alice = backend.make_user("alice", global_name="Alice")
    guild = backend.create_guild(GUILD_NAME, owner_id=alice.id)
    guild.everyone_role.permissions = EVERYONE_PERMISSIONS.value
    bot_role = next(role for role in guild.roles.values() if role.managed)
    bot_role.name = BOT_NAME
    bot_role.permissions = INVITE_PERMISSIONS.value
    bot_role.color = _rgb(COLORS["techno-composer"])
    moderator = backend.create_role(
        guild.id, "Moderator", permissions=MODERATOR_PERMISSIONS.value, color=_rgb(COLORS["mod_mira"]), hoist=True
    )
    dj = backend.create_role(guild.id, "DJ", color=_rgb(COLORS["alice"]), hoist=True)
    guild.members[alice.id].role_ids.append(dj.id)
    backend.add_member(guild.id, backend.make_user("bob", global_name="Bob").id)
    backend.add_member(guild.id, backend.make_user("mod_mira", global_name="Mira").id, roles=[moderator.id])
    for name, topic in CHANNELS.items():
        backend.create_channel(guild.id, name, topic=topic)


def the_guild(backend: RehearsalBackend) -> Guild:
    return next(iter(backend.guilds.values()))


def find_member(backend: RehearsalBackend, name: str) -> User | None:
    """A human member by user name."""
    members = the_guild(backend).members
    return next(
        (backend.users[user_id] for user_id in members if backend.users[user_id].name == name and not backend.users[user_id].bot), None
    )


def find_channel(backend: RehearsalBackend, name: str) -> Channel:
    return next(channel for channel in backend.channels.values() if channel.name == name)


def is_moderator(backend: RehearsalBackend, user_id: int) -> bool:
    permissions = discord.Permissions(backend.compute_permissions(the_guild(backend).id, user_id))
    return permissions.manage_messages


def member_json(backend: RehearsalBackend, user_id: int) -> dict[str, Any]:
    """A member as the page draws them."""
    user, guild = backend.users[user_id], the_guild(backend)
    return {
        "id": str(user.id),
        "username": user.name,
        "display_name": user.global_name or user.name,
        "avatar_url": f"/cdn/avatars/{user.id}.svg",
        "roles": [guild.roles[role_id].name for role_id in guild.members[user_id].role_ids],
        "moderator": is_moderator(backend, user_id),
        "bot": user.bot,
        "color": COLORS.get(user.name, "#8a8f98"),
    }


def members_json(backend: RehearsalBackend) -> list[dict[str, Any]]:
    return [member_json(backend, user_id) for user_id in the_guild(backend).members]


def roles_json(backend: RehearsalBackend) -> list[dict[str, Any]]:
    """The roles that members can be given."""
    guild = the_guild(backend)
    return [{"id": str(role.id), "name": role.name} for role in guild.roles.values() if role.id != guild.id and not role.managed]


def channels_json(backend: RehearsalBackend, user_id: int) -> list[dict[str, Any]]:
    """The channels and threads that a member may see, in Discord's form."""
    guild = the_guild(backend)
    visible = [i for i in (*guild.channel_ids, *guild.thread_ids) if channel_accessible(backend, i, user_id)]
    return [dict(serializers.channel_payload(backend, backend.channels[i])) for i in visible]


def commands_json(backend: RehearsalBackend, user_id: int) -> list[dict[str, Any]]:
    """The application commands that a member may use, slash commands and both kinds of context menu."""
    channel_id = the_guild(backend).channel_ids[0]
    return [c for kind in (1, 2, 3) for c in backend.visible_commands(user_id=user_id, channel_id=channel_id, type=kind)]


def _rgb(color: str) -> int:
    return int(color.removeprefix("#"), 16)
