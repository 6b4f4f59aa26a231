"""Discord's rules for application commands and suggestions, which SimCord leaves out (API documentation, 'Application Commands').

A bot that breaks one learns it here, not from a real server that refuses all of its commands. Pure functions; they raise
simcord's BackendError with Discord's status and code.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from simcord.backend.errors import BackendError
from simcord.enums import OptionType

MOST_COMMANDS = {1: 100, 2: 15, 3: 15}
"""Slash commands, user and message context menus that one application may have."""
MOST_OPTIONS = 25
MOST_CHOICES = 25
MOST_CHARACTERS = 8000
"""Name, description, option names, choices of one command together."""
SLASH_NAME = re.compile(r"[-_'\w]{1,32}")


def check_commands(commands: list[dict[str, Any]]) -> None:
    """Raises BackendError 400 for the first command that Discord would refuse."""
    kinds = Counter(int(command.get("type", 1)) for command in commands)
    for kind, most in MOST_COMMANDS.items():
        _must(kinds[kind] <= most, f"at most {most} commands of type {kind}")
    names = Counter((command["name"], command.get("type", 1)) for command in commands)
    _must(all(count == 1 for count in names.values()), "two commands have the same name")
    for command in commands:
        if command.get("type", 1) == 1:
            _check_node(command, command["name"])
            _must(_characters(command) <= MOST_CHARACTERS, f"/{command['name']} has more than {MOST_CHARACTERS} characters")
        else:
            _must(1 <= len(command["name"]) <= 32, f"the name {command['name']!r} has 1 to 32 characters")
            _must(not command.get("description"), f"{command['name']!r}: a context menu has no description")


def check_suggestions(choices: list[dict[str, Any]]) -> None:
    """Raises BackendError 400 for suggestions that Discord would refuse."""
    _must(len(choices) <= MOST_CHOICES, f"at most {MOST_CHOICES} suggestions")
    for choice in choices:
        _check_choice(choice, "a suggestion")


def _check_node(node: dict[str, Any], path: str) -> None:
    """A command, a group or an option: they share their rules."""
    name = node["name"]
    _must(SLASH_NAME.fullmatch(name) is not None and name == name.lower(), f"{path}: the name is not allowed")
    _must(1 <= len(node.get("description") or "") <= 100, f"{path}: the description has 1 to 100 characters")
    options = node.get("options") or []
    _must(len(options) <= MOST_OPTIONS, f"{path}: at most {MOST_OPTIONS} options")
    names = [option["name"] for option in options]
    _must(len(set(names)) == len(names), f"{path}: two options have the same name")
    needed = [bool(option.get("required")) for option in options]
    _must(needed == sorted(needed, reverse=True), f"{path}: what is required comes first")
    choices = node.get("choices") or []
    _must(len(choices) <= MOST_CHOICES, f"{path}: at most {MOST_CHOICES} choices")
    _must(not (choices and node.get("autocomplete")), f"{path}: choices or suggestions, not both")
    for choice in choices:
        _check_choice(choice, path)
    for option in options:
        nested = option["type"] in (OptionType.SUBCOMMAND, OptionType.SUBCOMMAND_GROUP)
        _must(not nested or len(path.split()) < 3, f"{path}: groups nest one level deep")
        _check_node(option, f"{path} {option['name']}")


def _check_choice(choice: dict[str, Any], where: str) -> None:
    _must(1 <= len(choice["name"]) <= 100, f"{where}: a choice's name has 1 to 100 characters")
    _must(not isinstance(choice["value"], str) or len(choice["value"]) <= 100, f"{where}: a choice's value has at most 100 characters")


def _characters(node: dict[str, Any]) -> int:
    own = len(node["name"]) + len(node.get("description") or "")
    choices = sum(len(choice["name"]) + len(str(choice["value"])) for choice in node.get("choices") or [])
    return own + choices + sum(_characters(option) for option in node.get("options") or [])


def _must(so: bool, rule: str) -> None:
    if not so:
        raise BackendError(400, 50035, f"Invalid Form Body: {rule}")
