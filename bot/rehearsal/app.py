"""The stage: one aiohttp application that is Discord to the bot and a chat page to a person.

    /api/v10/…   REST for the bot          /gateway       the bot's WebSocket
    /cdn/…       attachments, avatars      /page/ws       the page's WebSocket
    /            the page's files          /page/uploads  files on their way into a message

It listens on loopback only. A web page from elsewhere that is open in the same browser can neither read nor do anything here:
the Host header must name this machine (DNS rebinding), whatever carries an Origin must carry this one, the page's WebSocket and
uploads need one, and the page runs under a strict Content-Security-Policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from bot.rehearsal import world
from bot.rehearsal.backend import ACK_WITHIN_S, TOKEN_LIFETIME_S, RehearsalBackend
from bot.rehearsal.cdn import Cdn, TooLargeError, Uploads, avatar_svg
from bot.rehearsal.gateway import HEARTBEAT_INTERVAL_MS, Gateway
from bot.rehearsal.interactions import Interactions
from bot.rehearsal.page_api import PageApi
from bot.rehearsal.persistence import Keeper, locked
from bot.rehearsal.rest import BOT_FILE_LIMIT, Rest

log = logging.getLogger(__name__)

PAGE_FOLDER = Path(__file__).parent / "page"
PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MEMBER_UPLOAD_LIMIT = 50 * 2**20
"""What a member may upload, in bytes: Discord's limit for a member with Nitro Basic, so that files too large for the bot reach it."""
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """How a stage is set up. The defaults are Discord's."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8070
    token: str = "rehearsal-token"  # noqa: S105  (it opens nothing but this rehearsal)
    token_lifetime_s: float = TOKEN_LIFETIME_S
    ack_within_s: float = ACK_WITHIN_S
    heartbeat_interval_ms: int = HEARTBEAT_INTERVAL_MS
    bot_file_limit: int = BOT_FILE_LIMIT
    member_upload_limit: int = MEMBER_UPLOAD_LIMIT


class Stage:
    """``async with Stage(options) as stage:`` listens until the block ends. The parts are there for tests to reach into."""

    def __init__(self, options: StageOptions) -> None:
        if not ipaddress.ip_address(options.host).is_loopback:
            raise ValueError(f"a rehearsal listens on loopback only, not on {options.host}: everyone who reaches it may act as any member")
        self.options = options
        options.data.mkdir(parents=True, exist_ok=True)
        self.cdn = Cdn(options.data)
        self.uploads = Uploads(options.data, options.member_upload_limit)
        self.backend = RehearsalBackend(self.cdn, token_lifetime_s=options.token_lifetime_s, ack_within_s=options.ack_within_s)
        world.seed(self.backend)
        self.gateway = Gateway(self.backend, token=options.token, heartbeat_interval_ms=options.heartbeat_interval_ms)
        self.rest = Rest(self.backend, token=options.token, file_limit=options.bot_file_limit)
        self.interactions = Interactions(self.backend, file_limit=options.bot_file_limit)
        self.rest.on_callback.append(self.interactions.on_callback)
        self.page = PageApi(self.backend, self.interactions, self.uploads, self.gateway)
        self.keeper = Keeper(self.backend, options.data)
        self._running = contextlib.AsyncExitStack()
        self.port = options.port

    @property
    def url(self) -> str:
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{self.port}"

    async def __aenter__(self) -> Stage:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(locked(self.options.data))
            listener = stack.enter_context(_listen(self.options.host, self.options.port))
            self.port = listener.getsockname()[1]
            # The address is known, and nobody is let in yet: a saved world comes back with its files' URLs on this address.
            self.cdn.base_url = self.url
            self.gateway.public_url = self.rest.gateway_url = self.url.replace("http", "ws", 1) + "/gateway"
            self.keeper.load(self.url)
            self.keeper.start()
            stack.push_async_callback(self.keeper.stop)
            stack.callback(self.interactions.close)
            runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, listener).start()
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=4 * 2**20, middlewares=[_guard])
        app.router.add_get("/gateway", self.gateway.serve)
        app.router.add_get("/gateway/", self.gateway.serve)
        app.router.add_route("*", "/api/v10/{tail:.*}", self.rest.serve)
        app.router.add_get(r"/cdn/attachments/{channel_id:\d+}/{attachment_id:\d+}/{filename}", self.cdn.serve)
        app.router.add_get(r"/cdn/avatars/{user_id:\d+}.svg", self._avatar)
        app.router.add_get("/page/ws", self.page.serve)
        app.router.add_post("/page/uploads", self._upload)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/{path:.*}", _page_file)
        app.on_shutdown.append(self._close_sockets)
        return app

    async def _close_sockets(self, _app: web.Application) -> None:
        await asyncio.gather(self.gateway.drop(1001), self.page.close())

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"ready": True, "bot_online": self.gateway.online})

    async def _avatar(self, request: web.Request) -> web.Response:
        user_id = int(request.match_info["user_id"])
        if user_id not in world.the_guild(self.backend).members:
            raise web.HTTPNotFound
        member = world.member_json(self.backend, user_id)
        return web.Response(text=avatar_svg(member["display_name"], member["color"]), content_type="image/svg+xml")

    async def _upload(self, request: web.Request) -> web.Response:
        limit = self.options.member_upload_limit
        try:
            upload = await self.uploads.receive(request.query.get("filename", "file"), request.content.iter_chunked(1 << 16))
        except TooLargeError:
            return web.json_response({"error": f"files have at most {limit // 2**20} MiB here"}, status=413)
        return web.json_response({"upload_id": upload.upload_id, "filename": upload.filename, "size": upload.size})


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError where the port is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # Windows would let two programs share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


@web.middleware
async def _guard(request: web.Request, handler: Any) -> web.StreamResponse:
    """Keep other sites out (see the module's first lines), and set what browsers are to do with the answers."""
    if urlsplit(f"//{request.host}").hostname not in LOOPBACK_NAMES:
        raise web.HTTPMisdirectedRequest(text="this is a rehearsal on loopback; open it as http://127.0.0.1")
    origin = request.headers.get("Origin")
    if (origin is not None or request.path in ("/page/ws", "/page/uploads")) and origin != f"http://{request.host}":
        raise web.HTTPForbidden(text="this may only be asked by the rehearsal's own page")
    response: web.StreamResponse = await handler(request)
    if not response.prepared:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    return response


async def _page_file(request: web.Request) -> web.StreamResponse:
    """A file of the page, never cached: what is on disk is what is seen."""
    wanted = (PAGE_FOLDER / (request.match_info["path"] or "index.html")).resolve()
    if not wanted.is_relative_to(PAGE_FOLDER.resolve()) or not wanted.is_file() or wanted.suffix not in PAGE_TYPES:
        raise web.HTTPNotFound
    return web.FileResponse(wanted, headers={"Content-Type": PAGE_TYPES[wanted.suffix], "Cache-Control": "no-store"})
