"""What a member typed into a command or a modal, checked as Discord's client checks it and put into Discord's form.

    page:  {"prompt": "dub", "seconds": "8", "track": {"upload_id": "Xq3…"}}
    wire:  [{"name": "prompt", "type": 3, "value": "dub"}, {"name": "seconds", "type": 4, "value": 8}, …]  + resolved attachments

Raises FieldError, whose message is for the member. Not here: sending an interaction (``interactions``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simcord import interactions as simcord_interactions
from simcord.backend import serializers
from simcord.backend.errors import OptionError
from simcord.enums import SELECT_TYPES, ComponentType, OptionType

from bot.rehearsal.backend import RehearsalBackend
from bot.rehearsal.world import the_guild

Attach = Callable[[str], dict[str, Any]]
"""upload id → Discord's attachment object; raises FieldError where there is no such upload."""

SUBCOMMANDS = (OptionType.SUBCOMMAND, OptionType.SUBCOMMAND_GROUP)


class FieldError(ValueError):
    """A field that cannot be sent as it is; the message says what to do."""


def find_leaf(command: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The (sub)command that ``path``, as ["crate", "add"], names."""
    node = command
    for name in path[1:]:
        children = [o for o in node.get("options") or [] if o["type"] in SUBCOMMANDS and o["name"] == name]
        if not children:
            raise FieldError(f"/{' '.join(path)} is no command")
        node = children[0]
    if any(o["type"] in SUBCOMMANDS for o in node.get("options") or []):
        raise FieldError(f"/{' '.join(path)} is not complete: choose one of its parts")
    return node


def nest(command: dict[str, Any], path: list[str], options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wrap a leaf's options in its groups."""
    nested: list[dict[str, Any]] = simcord_interactions.nest_options(command, path[1:], options)
    return nested


@dataclass
class Form:
    """Fields on their way into one interaction; ``resolved`` gains the users, roles and attachments that they name."""

    backend: RehearsalBackend
    attach: Attach
    resolved: dict[str, Any] = field(default_factory=dict)

    def options(self, leaf: dict[str, Any], values: dict[str, Any], *, partial: bool = False) -> list[dict[str, Any]]:
        """A leaf's options in wire form.

        ``partial`` is for autocomplete, while the member still types: what does not fit yet is left out, files too.
        """
        declared = {option["name"]: option for option in leaf.get("options") or []}
        unknown = set(values) - set(declared)
        if unknown:
            raise FieldError(f"{leaf['name']} has no option '{min(unknown)}'")
        filled = {name: value for name, value in values.items() if value is not None and value != ""}
        missing = [name for name, option in declared.items() if option.get("required") and name not in filled]
        if missing and not partial:
            raise FieldError(f"{leaf['name']} needs '{missing[0]}'")
        built = []
        for name, value in filled.items():
            option = declared[name]
            if partial and option["type"] == OptionType.ATTACHMENT:
                continue
            try:
                built.append({"name": name, "type": option["type"], "value": self._option(leaf["name"], option, value)})
            except FieldError:
                if not partial:
                    raise
        return built

    def _option(self, command: str, option: dict[str, Any], value: Any) -> Any:
        kind = option["type"]
        if kind == OptionType.ATTACHMENT:
            if not isinstance(value, dict) or "upload_id" not in value:
                raise FieldError(f"'{option['name']}' needs a file")
            return self._attached(value["upload_id"])
        if kind in (OptionType.USER, OptionType.MENTIONABLE):
            return self.user(value)
        if kind == OptionType.ROLE:
            return self.role(value)
        try:
            return simcord_interactions.validate_option_value(command, option, _coerce(kind, value))
        except (OptionError, ValueError) as error:
            raise FieldError(_plain(option, error)) from error

    def _attached(self, upload_id: Any) -> str:
        attachment = self.attach(str(upload_id))
        self.resolved.setdefault("attachments", {})[attachment["id"]] = attachment
        return str(attachment["id"])

    def user(self, value: Any) -> str:
        """Resolve a member; returns their id."""
        guild = the_guild(self.backend)
        if not str(value).isdigit() or int(value) not in guild.members:
            raise FieldError("there is no such member")
        user, member = self.backend.users[int(value)], guild.members[int(value)]
        self.resolved.setdefault("users", {})[str(value)] = dict(serializers.user_payload(user))
        described = dict(serializers.member_payload(self.backend, guild, member, with_user=False))
        self.resolved.setdefault("members", {})[str(value)] = described
        return str(value)

    def role(self, value: Any) -> str:
        """Resolve a role; returns its id."""
        roles = the_guild(self.backend).roles
        if not str(value).isdigit() or int(value) not in roles:
            raise FieldError("there is no such role")
        self.resolved.setdefault("roles", {})[str(value)] = dict(serializers.role_payload(roles[int(value)]))
        return str(value)

    def modal(self, components: list[dict[str, Any]], fields: dict[str, Any]) -> list[dict[str, Any]]:
        """A filled modal in wire form: the same tree with values instead of labels."""
        built: list[dict[str, Any]] = []
        for node in components:
            kind = node["type"]
            if kind == ComponentType.ACTION_ROW:
                built.append({"type": kind, "id": node["id"], "components": self.modal(node["components"], fields)})
            elif kind == ComponentType.LABEL:
                built.append({"type": kind, "id": node["id"], "component": self.modal([node["component"]], fields)[0]})
            elif kind == ComponentType.TEXT_DISPLAY:
                built.append({"type": kind, "id": node["id"]})
            else:
                value = self._modal_value(node, fields.get(node["custom_id"]))
                built.append({"type": kind, "id": node["id"], "custom_id": node["custom_id"], **value})
        return built

    def _modal_value(self, node: dict[str, Any], value: Any) -> dict[str, Any]:
        if node["type"] == ComponentType.TEXT_INPUT:
            return {"value": _checked_text(node, value or "")}
        if node["type"] == ComponentType.CHECKBOX:
            return {"value": bool(value)}
        if node["type"] == ComponentType.RADIO_GROUP:
            return {"value": value}
        if node["type"] == ComponentType.FILE_UPLOAD:
            upload_ids = list((value or {}).get("upload_ids") or [])
            _check_count(node, len(upload_ids), "files", required=bool(node.get("required", True)))
            return {"values": [self._attached(upload_id) for upload_id in upload_ids]}
        values = [str(item) for item in value or []]
        _check_count(node, len(values), "choices", required=bool(node.get("required", node["type"] in SELECT_TYPES)))
        check_choices(node, values)
        return {"values": values}


def _coerce(kind: int, value: Any) -> Any:
    """A page may send what stands in an input field: numbers as text."""
    if kind == OptionType.INTEGER and isinstance(value, str):
        return int(value)
    if kind == OptionType.NUMBER and isinstance(value, str):
        return float(value.replace(",", "."))
    if kind == OptionType.INTEGER and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _plain(option: dict[str, Any], error: Exception) -> str:
    """A client's refusal in words for a member."""
    name, low, high = option["name"], option.get("min_value"), option.get("max_value")
    code = getattr(error, "code", "option-type")
    if code == "option-range" and low is not None and high is not None:
        what = f"is between {low} and {high}"
    elif code == "option-range":
        what = f"is at least {low}" if low is not None else f"is at most {high}"
    elif code == "option-length":
        what = f"has {option.get('min_length', 0)} to {option.get('max_length', 6000)} characters"
    elif code == "option-choice":
        what = "is one of the choices that are offered"
    else:
        what = {OptionType.INTEGER: "is a whole number", OptionType.NUMBER: "is a number"}.get(option["type"], "cannot be sent like this")
    return f"'{name}' {what}"


def _checked_text(node: dict[str, Any], value: Any) -> str:
    if not isinstance(value, str):
        raise FieldError("a text field takes text")
    if node.get("required", True) and not value:
        raise FieldError("a field that is needed is empty")
    low, high = node.get("min_length") or 0, node.get("max_length") or 4000
    if value and not low <= len(value) <= high:
        raise FieldError(f"a text has {low} to {high} characters")
    return value


def _check_count(node: dict[str, Any], count: int, what: str, *, required: bool) -> None:
    low, high = selectable(node)
    if count == 0 and (not required or low == 0):
        return
    if not low <= count <= high:
        raise FieldError(f"choose {low} to {high} {what}" if low != high else f"choose {low} of the {what}")


def selectable(node: dict[str, Any]) -> tuple[int, int]:
    """How few and how many things one may choose in a menu or file field; Discord's default is 1, and null is the default."""
    low, high = node.get("min_values"), node.get("max_values")
    return (1 if low is None else low), (1 if high is None else high)


def check_choices(menu: dict[str, Any], values: list[str]) -> None:
    """Raises FieldError where a chosen value is not among a menu's own."""
    if "options" in menu:
        offered = {option["value"] for option in menu["options"]}
        if not set(values) <= offered or len(set(values)) != len(values):
            raise FieldError("choose among the options that are offered")
