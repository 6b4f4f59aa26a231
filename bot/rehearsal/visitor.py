"""A member with the page open, without a browser: the page's WebSocket as Python calls. For ``check`` and the end-to-end tests.

    async with Visitor(url, "bob") as bob:
        used = await bob.slash("continue", track=File("set.mp3", data), seconds=4)
        clip = await bob.until(lambda: used.message, "a clip")
        await bob.react(clip, "5️⃣")

It keeps what the page would show (messages, reactions, interaction states) up to date from what is pushed, and waits on that,
never on the clock. Every wait is bounded and says what it waited for. Not here: the server's side (``page_api``).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

Json = dict[str, Any]
T = TypeVar("T")
EPHEMERAL = 1 << 6
LOADING = 1 << 7


class RefusedError(Exception):
    """The rehearsal would not do it; the message is what the page would show."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to upload."""

    name: str
    data: bytes = field(repr=False)


@dataclass(slots=True)
class Used:
    """One use of a command, button, menu or modal, and how far it is."""

    nonce: str
    visitor: Visitor
    states: list[str] = field(default_factory=list)
    message_id: str | None = None
    modal: Json | None = None

    @property
    def state(self) -> str:
        return self.states[-1] if self.states else ""

    @property
    def message(self) -> Json | None:
        """The bot's answer, as it looks now."""
        return self.visitor.messages.get(self.message_id) if self.message_id else None


class Visitor:
    """One open page. ``wait_s`` bounds every wait, in seconds."""

    def __init__(self, url: str, member: str = "alice", *, channel: str = "lab", wait_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self.member = member
        self.channel_name = channel
        self.wait_s = wait_s
        self.state: Json = {}
        self.messages: dict[str, Json] = {}
        self.used: dict[str, Used] = {}
        self.pushes: list[Json] = []
        self.bot_online = False
        self._replies: dict[int, asyncio.Future[Json]] = {}
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Visitor:
        self._http = aiohttp.ClientSession(headers={"Origin": self.url})
        try:
            self._socket = await self._http.ws_connect(f"{self.url}/page/ws", max_msg_size=1 << 24)
            self._reader = asyncio.create_task(self._read())
            await self.be(self.member)
        except BaseException:
            await self._http.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()
        await self._http.close()

    async def be(self, member: str) -> None:
        """Act for this member from now on, and read the channels' history."""
        self.state = await self.ask("hello", member=member)
        self.member, self.bot_online = member, self.state["bot_online"]
        self.messages.clear()
        for channel in self.state["channels"]:
            history = await self.ask("history", channel_id=channel["id"], before=None, limit=100)
            self.messages.update({message["id"]: message for message in history["messages"]})

    # ------------------------------------------------------------------ doing

    async def ask(self, op: str, **fields: Any) -> Json:
        """One request. Raises RefusedError with the server's words."""
        number = next(self._numbers)
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._replies[number] = answer
        await self._socket.send_json({"op": op, "id": number, **fields})
        reply = await asyncio.wait_for(answer, self.wait_s)
        if not reply["ok"]:
            raise RefusedError(reply["error"])
        return reply

    async def upload(self, file: File) -> str:
        async with self._http.post(f"{self.url}/page/uploads", params={"filename": file.name}, data=file.data) as response:
            answer: Json = await response.json()
        if response.status != 200:
            raise RefusedError(answer["error"])
        return str(answer["upload_id"])

    async def send(self, content: str, *files: File, channel: str | None = None) -> Json:
        """Post a message; returns it."""
        uploads = [await self.upload(file) for file in files]
        sent = await self.ask("send", channel_id=self.channel_id(channel), content=content, uploads=uploads)
        return await self.until(lambda: self.messages.get(sent["message_id"]), "the message that was sent")

    async def slash(self, command: str, *, channel: str | None = None, **options: Any) -> Used:
        """Use ``crate add`` or any other command; options that are a File are uploaded first."""
        path = command.split()
        found = self.command(path[0])
        values = {name: {"upload_id": await self.upload(v)} if isinstance(v, File) else v for name, v in options.items() if v is not None}
        return await self._use("slash", channel_id=self.channel_id(channel), command_id=found["id"], path=path, options=values)

    async def context(self, command: str, target: Json) -> Used:
        """Right-click on a message → Apps → ``command``."""
        found = self.command(command, kind=3)
        return await self._use("context", channel_id=target["channel_id"], command_id=found["id"], target_id=target["id"])

    async def autocomplete(self, command: str, focused: str, **options: Any) -> list[Json]:
        path = command.split()
        found = self.command(path[0])
        asked = {"channel_id": self.channel_id(None), "command_id": found["id"], "path": path, "options": options, "focused": focused}
        choices: list[Json] = (await self.ask("autocomplete", **asked))["choices"]
        return choices

    async def click(self, message: Json, label: str) -> Used:
        """Press the button whose label or custom_id contains ``label``."""
        button = find_component(message, label)
        return await self._use("click", channel_id=message["channel_id"], message_id=message["id"], custom_id=button["custom_id"])

    async def select(self, message: Json, custom_id: str, *values: str) -> Used:
        menu = find_component(message, custom_id)
        where = {"channel_id": message["channel_id"], "message_id": message["id"], "custom_id": menu["custom_id"]}
        return await self._use("select", **where, values=list(values))

    async def submit(self, used: Used, **fields: Any) -> Used:
        """Fill the modal that ``used`` opened; a list of Files fills a file field."""
        modal = await self.until(lambda: used.modal, "a form")
        filled: Json = {}
        for name, value in fields.items():
            control = find_component(modal, name)
            is_files = isinstance(value, list) and value and isinstance(value[0], File)
            filled[control["custom_id"]] = {"upload_ids": [await self.upload(file) for file in value]} if is_files else value
        where = {"channel_id": self.channel_id(None), "interaction_id": modal["interaction_id"], "custom_id": modal["custom_id"]}
        return await self._use("modal_submit", **where, fields=filled)

    async def react(self, message: Json, emoji: str, on: bool = True) -> None:
        await self.ask("react", channel_id=message["channel_id"], message_id=message["id"], emoji=emoji, on=on)

    async def delete(self, message: Json) -> None:
        await self.ask("delete", channel_id=message["channel_id"], message_id=message["id"])

    async def download(self, attachment_or_url: Json | str) -> bytes:
        path = attachment_or_url if isinstance(attachment_or_url, str) else attachment_or_url["url"]
        async with self._http.get(self.url + path if path.startswith("/") else path) as response:
            response.raise_for_status()
            return await response.read()

    async def _use(self, op: str, **fields: Any) -> Used:
        used = Used(f"{self.member}-{next(self._numbers)}", self)
        self.used[used.nonce] = used
        await self.ask(op, nonce=used.nonce, **fields)
        return used

    # ----------------------------------------------------------------- waiting

    async def until(self, probe: Callable[[], T | None], what: str, *, wait_s: float | None = None) -> T:
        """What ``probe`` gives, as soon as it gives something true. Raises TimeoutError that names ``what`` was awaited."""
        try:
            async with asyncio.timeout(wait_s or self.wait_s):
                while not (found := probe()):
                    if self._reader.done():
                        raise ConnectionError("the rehearsal closed the connection")
                    self._changed.clear()
                    await self._changed.wait()
                return found
        except TimeoutError as error:
            raise TimeoutError(f"{self.member} waited in vain for {what}; last messages:\n{self.transcript(4)}") from error

    async def finished(self, used: Used, *, wait_s: float | None = None) -> Used:
        """Wait until an interaction is answered (deferred ones: completed) or has failed."""
        await self.until(lambda: used.state in ("answered", "failed"), f"an answer ({used.states})", wait_s=wait_s)
        return used

    async def clip(self, used: Used, *, reactions: int = 5, wait_s: float | None = None) -> Json:
        """The finished clip that ``used`` led to: a message with audio and the rating scale. Raises RefusedError with the bot's words."""

        def finished() -> Json | None:
            message = used.message
            if used.state == "failed":
                raise RefusedError("the application did not respond")
            if message is None or message["flags"] & LOADING:
                return None
            if audio_of(message) is None:
                only_words = used.state == "answered" and bool(message["content"]) and not message["embeds"]
                if "⚠️" in text_of(message) or only_words:
                    raise RefusedError(text_of(message))
                return None
            return message if len(message["reactions"]) >= reactions else None

        return await self.until(finished, "a finished clip", wait_s=wait_s)

    async def _read(self) -> None:
        try:
            async for frame in self._socket:
                message = frame.json()
                if "reply" in message:
                    future = self._replies.pop(message["reply"], None)
                    if future is not None and not future.done():
                        future.set_result(message)
                else:
                    self.pushes.append(message)
                    self._on_push(message["push"], message["data"])
                self._changed.set()
        finally:
            self._changed.set()
            for future in self._replies.values():
                future.cancel()

    def _on_push(self, event: str, data: Any) -> None:
        if event in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
            self.messages[data["id"]] = data
        elif event == "MESSAGE_DELETE":
            self.messages.pop(data["id"], None)
        elif event in ("MESSAGE_REACTION_ADD", "MESSAGE_REACTION_REMOVE"):
            self._on_reaction(data)
        elif event == "INTERACTION" and data["nonce"] in self.used:
            used = self.used[data["nonce"]]
            used.states.append(data["state"])
            used.message_id = data["message_id"] or used.message_id
        elif event == "MODAL" and data["nonce"] in self.used:
            self.used[data["nonce"]].modal = data
        elif event == "COMMANDS":
            self.state["commands"] = data
        elif event == "BOT_PRESENCE":
            self.bot_online = data["online"]

    def _on_reaction(self, data: Json) -> None:
        message = self.messages.get(data["message_id"])
        if message is None:
            return
        others = [r for r in message["reactions"] if r["emoji"]["name"] != data["emoji"]["name"]]
        mine = [{"emoji": data["emoji"], "count": data["count"], "me": data["me"]}] if data["count"] else []
        message["reactions"] = others + mine

    # ----------------------------------------------------------------- looking

    def command(self, name: str, *, kind: int = 1) -> Json:
        for command in self.state["commands"]:
            if command["name"] == name and command["type"] == kind:
                found: Json = command
                return found
        raise RefusedError(f"there is no command {name!r} for {self.member}")

    def channel_id(self, name: str | None) -> str:
        wanted = name or self.channel_name
        return str(next(channel["id"] for channel in self.state["channels"] if channel["name"] == wanted))

    def transcript(self, last: int = 20) -> str:
        recent = sorted(self.messages.values(), key=lambda message: int(message["id"]))[-last:]
        return "\n".join(f"  {message['author']['username']}: {text_of(message)}" for message in recent)


def walk(node: Any) -> Iterator[Json]:
    """Every component inside a message or modal, outermost first."""
    for child in node if isinstance(node, list) else [node]:
        if isinstance(child, dict):
            if "type" in child and "author" not in child:
                yield child
            for key in ("components", "component", "accessory", "items"):
                yield from walk(child.get(key) or [])


def find_component(message: Json, wanted: str) -> Json:
    """The button, menu or field whose custom_id or label contains ``wanted``."""
    controls = [component for component in walk(message) if component.get("custom_id") and component is not message]
    for component in controls:
        if wanted.casefold() in f"{component.get('label', '')}\n{component['custom_id']}".casefold():
            return component
    have = [component.get("label") or component["custom_id"] for component in controls]
    raise RefusedError(f"no button or field {wanted!r}; there are {have}")


def text_of(message: Json) -> str:
    """All words of a message, wherever they stand: content, embeds, text components, file names."""
    parts = [message.get("content") or ""]
    for embed in message.get("embeds") or []:
        parts += [embed.get("title") or "", embed.get("description") or ""]
        parts += [f"{item['name']}: {item['value']}" for item in embed.get("fields") or []]
        parts.append((embed.get("footer") or {}).get("text") or "")
    parts += [component["content"] for component in walk(message) if isinstance(component.get("content"), str) and component is not message]
    parts += [f"[{attachment['filename']}]" for attachment in files_of(message)]
    return "\n".join(part for part in parts if part)


def files_of(message: Json) -> list[Json]:
    """The message's files: its attachments, and those that its embeds and components show, as ``{"filename", "url"}``."""
    files = [{"filename": a["filename"], "url": a["url"], "content_type": a.get("content_type")} for a in message.get("attachments") or []]
    shown = [embed["image"]["url"] for embed in message.get("embeds") or [] if embed.get("image")]
    for component in walk(message):
        shown += [
            medium["url"] for medium in (component.get("file"), component.get("media")) if isinstance(medium, dict) and "url" in medium
        ]
    return files + [{"filename": url.rpartition("/")[2], "url": url, "content_type": None} for url in shown]


def audio_of(message: Json) -> Json | None:
    """The clip or track in a message, if there is one."""
    endings = (".mp3", ".ogg", ".wav", ".flac")
    return next((file for file in files_of(message) if file["filename"].endswith(endings)), None)


def picture_of(message: Json) -> Json | None:
    return next((file for file in files_of(message) if file["filename"].endswith(".png")), None)


def reactions_of(message: Json) -> dict[str, int]:
    return {reaction["emoji"]["name"]: reaction["count"] for reaction in message.get("reactions") or []}
