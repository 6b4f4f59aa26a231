"""REST under ``/api/v10``: SimCord's routes behind HTTP, with the limits that Discord has and SimCord lacks.

    size      10 MiB a file for a bot (what an unboosted server allows), 25 MiB and 10 files a request → 413, code 40005
    nonce     with ``enforce_nonce`` a repeated nonce gives the first message again
    rights    files and embeds in a channel need ATTACH_FILES and EMBED_LINKS; at most 20 kinds of reaction a message
    faults    ``fail(…)`` answers the next matching requests with 429 or any other status, for the tests

Not here: what a request does to the world (SimCord's handlers), how an interaction is told to the page (``interactions``).
"""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import simcord.http.routes  # noqa: F401  (registers the routes)
from aiohttp import BodyPartReader, web
from simcord.backend.errors import BackendError
from simcord.enums import CallbackType
from simcord.http import router

from bot.rehearsal.backend import RehearsalBackend
from bot.rehearsal.command_rules import check_commands, check_suggestions
from bot.rehearsal.wire import hide_used_attachments

log = logging.getLogger(__name__)

BOT_FILE_LIMIT = 10 * 2**20
REQUEST_LIMIT = 25 * 2**20
MAX_FILES = 10
MAX_REACTIONS = 20
NONCE_REMEMBERED_S = 300.0
PREFIX = "/api/v10"


@dataclass(slots=True)
class Fault:
    """Answer the next ``times`` requests that match ``method`` and ``path`` (a regular expression) with an error."""

    method: str
    path: str
    times: int
    status: int
    retry_after_s: float
    body: dict[str, Any]


class UploadedFile:
    """One file of a multipart request, in the shape that SimCord's handlers read."""

    def __init__(self, filename: str, data: bytes, description: str | None) -> None:
        self.fp = io.BytesIO(data)
        self.filename = filename
        self.description = description
        self.size = len(data)


class Rest:
    def __init__(self, backend: RehearsalBackend, *, token: str, file_limit: int = BOT_FILE_LIMIT, message_content: bool = False) -> None:
        self.backend = backend
        self.token = token
        self.file_limit = file_limit
        self.message_content = message_content
        self.gateway_url = ""
        self.faults: list[Fault] = []
        self.calls: deque[tuple[str, str, int]] = deque(maxlen=5_000)
        """What was asked and how it was answered: method, path, status."""
        self.on_callback: list[Any] = []
        self._nonces: dict[tuple[int, str], tuple[float, int]] = {}

    def fail(
        self, method: str, path: str, *, times: int = 1, status: int = 429, retry_after_s: float = 0.1, body: dict[str, Any] | None = None
    ) -> Fault:
        """Make the next matching requests fail; returns the fault, whose ``times`` counts down to 0."""
        fault = Fault(method, path, times, status, retry_after_s, body or {"message": "rehearsed failure", "code": 0})
        self.faults.append(fault)
        return fault

    async def serve(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path.removeprefix(PREFIX)
        try:
            response = await self._answer(request, path)
        except BackendError as error:
            response = _json(error.to_json(), status=error.status)
            if error.status == 501:
                log.error("the rehearsal does not know this: %s; %s", error.message, "; ".join(getattr(error, "__notes__", ())))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("a request that cannot be read: %s %s: %r", request.method, path, error)
            response = _json({"message": f"Invalid Form Body: {error}", "code": 50035}, status=400)
        self.calls.append((request.method, path, response.status))
        return response

    async def _answer(self, request: web.Request, path: str) -> web.Response:
        body, files = await self._read_body(request)
        fault = next((f for f in self.faults if f.times > 0 and f.method == request.method and re.search(f.path, unquote(path))), None)
        if fault is not None:
            fault.times -= 1
            return _rate_limited(fault.retry_after_s) if fault.status == 429 else _json(fault.body, status=fault.status)
        by_token = path.startswith(("/webhooks/", "/interactions/"))
        if not by_token and request.headers.get("Authorization") != f"Bot {self.token}":
            return _json({"message": "401: Unauthorized", "code": 0}, status=401)
        if path in ("/gateway", "/gateway/bot"):
            limits = {"total": 1000, "remaining": 999, "reset_after": 86_400_000, "max_concurrency": 1}
            return _json({"url": self.gateway_url, "shards": 1, "session_start_limit": limits})
        self._check_token(path)
        if request.method == "PUT" and path.endswith("/commands"):
            check_commands(body)
        if (
            path.endswith("/callback")
            and isinstance(body, dict)
            and body.get("type") == CallbackType.APPLICATION_COMMAND_AUTOCOMPLETE_RESULT
        ):
            check_suggestions((body.get("data") or {}).get("choices") or [])
        self._check_rights(path, body, files, request.method)
        repeated = self._repeated(request.method, path, body)
        answer = repeated or router.dispatch(
            self.backend,
            request.method,
            path,
            json=body,
            params=dict(request.query),
            files=files,
            reason=request.headers.get("X-Audit-Log-Reason"),
            message_content_access=self.message_content,
        )
        self._remember_nonce(request.method, path, body, answer)
        callback = re.fullmatch(r"/interactions/(\d+)/[^/]+/callback", path)
        if callback and request.method == "POST":
            for listener in self.on_callback:
                listener(int(callback[1]), body)
        if answer is None:
            return web.Response(status=204)
        return _json(self._finish(request, path, answer))

    async def _read_body(self, request: web.Request) -> tuple[Any, list[UploadedFile]]:
        """The JSON part and the files. Reads to the end also what is too large, so that the client hears the answer."""
        if not request.content_type.startswith("multipart/"):
            raw = await request.read()
            return (json.loads(raw) if raw else None), []
        body: Any = None
        received: dict[str, tuple[str, bytes]] = {}
        total = 0
        too_large = False
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise ValueError("a multipart inside a multipart")
            data = bytearray()
            while chunk := await part.read_chunk(1 << 16):
                total += len(chunk)
                too_large = too_large or total > REQUEST_LIMIT
                if not too_large:
                    data += chunk
            if part.name == "payload_json":
                body = json.loads(data or b"{}")
            elif part.name:
                too_large = too_large or len(data) > self.file_limit
                received[part.name] = (part.filename or "file", bytes(data))
        if too_large:
            raise BackendError(413, 40005, "Request entity too large")
        if len(received) > MAX_FILES:
            raise BackendError(400, 50035, f"Invalid Form Body: at most {MAX_FILES} files")
        described = ((body or {}).get("data") or body or {}).get("attachments") or []
        descriptions = {str(item.get("id")): item.get("description") for item in described if isinstance(item, dict)}
        names = sorted(received, key=_file_index)
        return body, [UploadedFile(*received[name], descriptions.get(str(_file_index(name)))) for name in names]

    def _check_token(self, path: str) -> None:
        """An expired interaction token is no webhook's token any more; Discord says so with 401, not with 'unknown webhook'."""
        match = re.match(r"/webhooks/(\d+)/([^/]+)", path)
        if match and int(match[1]) == self.backend.application_id and match[2] not in self.backend.interaction_tokens:
            raise BackendError(401, 50027, "Invalid Webhook Token")

    def _check_rights(self, path: str, body: Any, files: list[UploadedFile], method: str) -> None:
        """What Discord refuses and SimCord lets through. An answer to an interaction may carry files and embeds (discord-api-docs#5316)."""
        reaction = re.fullmatch(r"/channels/(\d+)/messages/(\d+)/reactions/([^/]+)/@me", path)
        if reaction and method == "PUT":
            message = self.backend.get_message(int(reaction[1]), int(reaction[2]))
            if len(message.reactions) >= MAX_REACTIONS and message.reaction_for(unquote(reaction[3])) is None:
                raise BackendError(400, 30010, f"Maximum number of reactions reached ({MAX_REACTIONS})")
        written = re.match(r"/channels/(\d+)/messages", path)
        if written is None or not isinstance(body, dict):
            return
        channel = self.backend.get_channel(int(written[1]))
        needed = [name for name, needs in (("attach_files", files), ("embed_links", body.get("embeds"))) if needs]
        if needed:
            self.backend.require_permissions(channel.guild_id, self.backend.bot_user.id, channel.id, *needed)

    def _repeated(self, method: str, path: str, body: Any) -> dict[str, Any] | None:
        """The message that an earlier request with the same enforced nonce made."""
        key = _nonce_key(method, path, body)
        remembered = self._nonces.get(key) if key else None
        if remembered is None or key is None or time.monotonic() - remembered[0] > NONCE_REMEMBERED_S:
            return None
        message_path = f"/channels/{key[0]}/messages/{remembered[1]}"
        answer: dict[str, Any] = router.dispatch(self.backend, "GET", message_path, message_content_access=self.message_content)
        return answer

    def _remember_nonce(self, method: str, path: str, body: Any, answer: Any) -> None:
        key = _nonce_key(method, path, body)
        if key and isinstance(answer, dict):
            answer["nonce"] = body["nonce"]
            self._nonces.setdefault(key, (time.monotonic(), int(answer["id"])))
            while len(self._nonces) > 1_000:
                del self._nonces[next(iter(self._nonces))]

    def _finish(self, request: web.Request, path: str, answer: Any) -> Any:
        """Mend two things in SimCord's answers: whose reaction it is, and the pages of a list of who reacted."""
        if request.method == "GET" and re.search(r"/reactions/[^/]+$", path) and isinstance(answer, list):
            after, limit = int(request.query.get("after", 0)), int(request.query.get("limit", 25))
            return sorted((u for u in answer if int(u["id"]) > after), key=lambda u: int(u["id"]))[:limit]
        for message in answer if isinstance(answer, list) else [answer]:
            if isinstance(message, dict) and message.get("reactions") and "channel_id" in message:
                self._mark_own_reactions(message)
        return hide_used_attachments(answer)

    def _mark_own_reactions(self, payload: dict[str, Any]) -> None:
        message = self.backend.messages.get(int(payload["channel_id"]), {}).get(int(payload["id"]))
        if message is None:
            return
        for reaction in payload["reactions"]:
            mine = message.reaction_for(reaction["emoji"]["name"])
            reaction["me"] = mine is not None and self.backend.bot_user.id in mine.user_ids


def _check_commands(method: str, path: str, body: Any) -> None:
    if method == "PUT" and path.endswith("/commands"):
        check_commands(body)
    suggests = CallbackType.APPLICATION_COMMAND_AUTOCOMPLETE_RESULT
    if path.endswith("/callback") and isinstance(body, dict) and body.get("type") == suggests:
        check_suggestions((body.get("data") or {}).get("choices") or [])


def _nonce_key(method: str, path: str, body: Any) -> tuple[int, str] | None:
    match = re.fullmatch(r"/channels/(\d+)/messages", path)
    if method != "POST" or match is None or not isinstance(body, dict) or not body.get("enforce_nonce") or body.get("nonce") is None:
        return None
    return int(match[1]), str(body["nonce"])


def _file_index(name: str) -> int:
    match = re.search(r"\d+", name)
    return int(match[0]) if match else 0


def _json(payload: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """discord.py compares the type with 'application/json' exactly: no charset."""
    body = json.dumps(payload, default=str).encode()
    return web.Response(body=body, status=status, content_type="application/json", headers={"Via": "1.1 rehearsal", **(headers or {})})


def _rate_limited(retry_after_s: float) -> web.Response:
    """discord.py takes a 429 without a ``Via`` header for a ban by Cloudflare and raises at once."""
    headers = {
        "Retry-After": str(retry_after_s),
        "X-RateLimit-Limit": "1",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset-After": str(retry_after_s),
        "X-RateLimit-Bucket": "rehearsal",
        "X-RateLimit-Scope": "user",
    }
    return _json({"message": "You are being rate limited.", "retry_after": retry_after_s, "global": False}, status=429, headers=headers)
