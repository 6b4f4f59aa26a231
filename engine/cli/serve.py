"""``serve``: the process around the app. Binds, logs, stops on a signal, and ends with one clear line where it can't go on."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from engine.cli.tools import require_audio_tools
from engine.errors import EngineError
from engine.server import create_app
from engine.settings import EngineSettings

log = logging.getLogger("engine")

GRACE_S = 10
KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections (aiohttp: 15 s), so that none is closed under a request that is being sent."""


def serve(arguments: argparse.Namespace) -> int:
    """Returns when a signal came (0). Raises EngineError, SettingsError where it can't start or the checkpoint does not work."""
    names = ("host", "port", "data", "queue", "batch", "log_level", "checkpoint", "backend", "device", "precision", "threads")
    settings = EngineSettings.read(**{name: getattr(arguments, name) for name in names})
    settings.require_safe_bind()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn", "httpx", "matplotlib"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    require_audio_tools()
    failures: list[EngineError] = []

    def on_failure(error: EngineError) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(settings, on_failure)
    with _listen(settings.host, settings.port) as listener:
        server = EngineServer(app)
        log.info("listening on http://%s:%d, loading %s", settings.host, listener.getsockname()[1], settings.checkpoint)
        asyncio.run(server.serve(sockets=[listener]))
    if failures:
        raise EngineError("internal", failures[0].message)
    log.info("stopped")
    return 0


class EngineServer(uvicorn.Server):
    """uvicorn that tells running takes of the end before it waits for their connections, and ends with 0 after a signal."""

    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("stopping")
        await self._app.state.engine.stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was heeded is not raised again: it would end the process with −15."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread hears signals
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            stack.pop_all()  # bound: the caller closes it
            return listener
    except OSError as error:
        raise EngineError(
            "bad_request", f"Can't listen on {host}:{port}: {error.strerror}. Choose another ENGINE_PORT or ENGINE_HOST."
        ) from error
