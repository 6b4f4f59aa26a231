"""A member uses a command, a button, a menu or a modal: the interaction on its way to the bot, and what became of it.

    sent ─▶ thinking ─▶ answered          (deferred, then edited or followed up)
    sent ─▶ answered                      (answered at once, or a modal was opened)
    sent ─▶ failed                        (no answer within 3 s: 'The application did not respond')
    thinking ─▶ failed                    (the token expired after 15 minutes)

Not here: the page's socket (``page_api``), Discord's form of options (``options``), the bot's answer (SimCord's routes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simcord import interactions as simcord_interactions
from simcord.backend import serializers
from simcord.backend.access import message_accessible
from simcord.backend.models import Interaction, Message, ResponseKind
from simcord.components import walk_components
from simcord.enums import SELECT_TYPES, AppCommandType, ComponentType, InteractionType

from bot.rehearsal.backend import RehearsalBackend
from bot.rehearsal.options import Attach, FieldError, Form, check_choices, find_leaf, nest, selectable
from bot.rehearsal.wire import hide_used_attachments
from bot.rehearsal.world import commands_json, the_guild

Push = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Use:
    """Who uses something, where, and how their page hears of it."""

    user_id: int
    channel_id: int
    nonce: str
    push: Push
    attach: Attach


@dataclass(slots=True)
class Pending:
    """An interaction whose end the page waits for."""

    record: Interaction
    use: Use
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class Interactions:
    """Sends interactions and follows each to its end."""

    def __init__(self, backend: RehearsalBackend, *, file_limit: int) -> None:
        self.backend = backend
        self.file_limit = file_limit
        self._pending: dict[int, Pending] = {}
        backend.on_deferred_done.append(self._deferred_done)

    # ------------------------------------------------------------- to the bot

    def slash(self, use: Use, command_id: str, path: list[str], values: dict[str, Any]) -> None:
        command = self._command(use, command_id)
        path = path or [command["name"]]
        form = Form(self.backend, use.attach)
        options = nest(command, path, form.options(find_leaf(command, path), values))
        data = {**_named(command), "options": options, "resolved": form.resolved}
        self._send(InteractionType.APPLICATION_COMMAND, use, data).command_name = " ".join(path)

    def context(self, use: Use, command_id: str, target_id: int) -> None:
        command = self._command(use, command_id)
        form = Form(self.backend, use.attach)
        if command["type"] == AppCommandType.USER:
            form.user(target_id)
        else:
            message = self._message(use, target_id)
            form.resolved["messages"] = {str(target_id): dict(serializers.message_payload(self.backend, message))}
        self._send(InteractionType.APPLICATION_COMMAND, use, {**_named(command), "target_id": str(target_id), "resolved": form.resolved})

    async def autocomplete(self, use: Use, command_id: str, path: list[str], values: dict[str, Any], focused: str) -> list[dict[str, Any]]:
        """The bot's choices for the option being typed; empty where it does not answer in time."""
        command = self._command(use, command_id)
        path = path or [command["name"]]
        leaf = find_leaf(command, path)
        declared = {option["name"]: option for option in leaf.get("options") or []}
        if not declared.get(focused, {}).get("autocomplete"):
            raise FieldError(f"'{focused}' offers no choices while one types")
        others = {name: value for name, value in values.items() if name != focused and name in declared}
        options = Form(self.backend, use.attach).options(leaf, others, partial=True)
        options.append({"name": focused, "type": declared[focused]["type"], "value": str(values.get(focused) or ""), "focused": True})
        record = self._send(
            InteractionType.APPLICATION_COMMAND_AUTOCOMPLETE, use, {**_named(command), "options": nest(command, path, options)}
        )
        await self._pending[record.id].answered.wait()
        return list(record.autocomplete_choices or [])

    def click(self, use: Use, message_id: int, custom_id: str) -> None:
        message = self._message(use, message_id)
        button = _find_component(message, custom_id, (ComponentType.BUTTON,))
        data = {"custom_id": custom_id, "component_type": button["type"], "id": button.get("id", 0)}
        self._send(InteractionType.MESSAGE_COMPONENT, use, data, message)

    def select(self, use: Use, message_id: int, custom_id: str, values: list[str]) -> None:
        message = self._message(use, message_id)
        menu = _find_component(message, custom_id, SELECT_TYPES)
        low, high = selectable(menu)
        if not low <= len(values) <= high:
            raise FieldError(f"choose {low} to {high}")
        check_choices(menu, values)
        form = Form(self.backend, use.attach)
        if menu["type"] == ComponentType.USER_SELECT:
            values = [form.user(value) for value in values]
        data = {"custom_id": custom_id, "component_type": menu["type"], "id": menu.get("id", 0), "values": values}
        if form.resolved:  # discord.py takes an empty 'resolved' for an empty choice
            data["resolved"] = form.resolved
        self._send(InteractionType.MESSAGE_COMPONENT, use, data, message)

    def modal_submit(self, use: Use, interaction_id: int, fields: dict[str, Any]) -> None:
        opened = self.backend.interactions.get(interaction_id)
        if opened is None or opened.modal is None or opened.user_id != use.user_id or opened.modal_consumed:
            raise FieldError("this form is no longer open: start again")
        form = Form(self.backend, use.attach)
        components = form.modal(opened.modal["components"], fields)
        message = None if opened.source_message_id is None else self._message(use, opened.source_message_id)
        data = {"custom_id": opened.modal["custom_id"], "components": components, "resolved": form.resolved}
        self._send(InteractionType.MODAL_SUBMIT, use, data, message)
        opened.modal_consumed = True

    def _send(self, kind: int, use: Use, data: dict[str, Any], message: Message | None = None) -> Interaction:
        backend = self.backend
        where = {"channel_id": use.channel_id, "guild_id": the_guild(backend).id, "user_id": use.user_id}
        backend.require_permissions(where["guild_id"], use.user_id, use.channel_id)
        record, payload = simcord_interactions.base_payload(backend, type=int(kind), data=data, **where)
        payload["attachment_size_limit"] = self.file_limit
        if message is not None:
            record.source_message_id = message.id
            payload["message"] = dict(serializers.message_payload(backend, message))
        pending = Pending(record, use)
        self._pending[record.id] = pending
        loop = asyncio.get_running_loop()
        pending.timers = [
            loop.call_later(backend.ack_within_s, self._unanswered, pending),
            loop.call_later(backend.token_lifetime_s, self._expired, pending),
        ]
        self._tell(pending, "sent")
        backend.emit("INTERACTION_CREATE", hide_used_attachments(payload))
        return record

    # ------------------------------------------------------------ from the bot

    def on_callback(self, interaction_id: int, body: dict[str, Any]) -> None:
        """The bot has answered an interaction."""
        pending = self._pending.get(interaction_id)
        if pending is None:
            return
        pending.timers[0].cancel()
        record = pending.record
        if record.response_kind is ResponseKind.DEFERRED:
            self._tell(pending, "thinking")
            return
        if record.response_kind is ResponseKind.MODAL and record.modal is not None:
            modal = {key: record.modal[key] for key in ("custom_id", "title", "components")}
            pending.use.push("MODAL", {"nonce": pending.use.nonce, "interaction_id": str(record.id), **modal})
        self._tell(pending, "answered")
        pending.answered.set()

    def _deferred_done(self, message: Message) -> None:
        pending = self._pending.get(int((message.interaction_metadata or {}).get("id", 0)))
        if pending is not None:
            self._tell(pending, "answered")
            pending.answered.set()

    def _unanswered(self, pending: Pending) -> None:
        if not pending.record.responded:
            self._tell(pending, "failed")
            pending.answered.set()

    def _expired(self, pending: Pending) -> None:
        """The token's time is over: 'thinking…' becomes 'The application did not respond'."""
        if pending.record.loading:
            self._tell(pending, "failed")
        self._pending.pop(pending.record.id, None)
        self.backend.forget_interaction(pending.record)

    def _tell(self, pending: Pending, state: str) -> None:
        record = pending.record
        message_id = str(record.message_id) if record.message_id else None
        told = {
            "nonce": pending.use.nonce,
            "state": state,
            "ephemeral": record.ephemeral,
            "interaction_id": str(record.id),
            "message_id": message_id,
        }
        pending.use.push("INTERACTION", told)

    def close(self) -> None:
        for pending in self._pending.values():
            for timer in pending.timers:
                timer.cancel()

    # ---------------------------------------------------------------- look-ups

    def _command(self, use: Use, command_id: str) -> dict[str, Any]:
        for command in commands_json(self.backend, use.user_id):
            if command["id"] == str(command_id):
                return command
        raise FieldError("this command is not there (any more), or not for you")

    def _message(self, use: Use, message_id: int) -> Message:
        message = self.backend.get_message(use.channel_id, message_id)
        if not message_accessible(self.backend, use.channel_id, message, use.user_id):
            raise FieldError("you cannot see this message")
        return message


def _named(command: dict[str, Any]) -> dict[str, Any]:
    return {"id": command["id"], "name": command["name"], "type": command["type"]}


def _find_component(message: Message, custom_id: str, kinds: tuple[int, ...]) -> dict[str, Any]:
    for component in walk_components(message.components):
        if component.get("custom_id") == custom_id and component.get("type") in kinds:
            if component.get("disabled"):
                raise FieldError("this button is switched off")
            found: dict[str, Any] = component
            return found
    raise FieldError("this message has no such button (any more)")
