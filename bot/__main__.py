"""``python -m bot``: reads the settings, opens what the bot needs, runs it until it is told to stop.

Exit codes: 0 stopped by SIGTERM or Ctrl-C, 1 something outside is missing, 2 a setting is wrong. Each says in one line what to do.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import aiohttp
import discord
import yarl
from pydantic import ValidationError

from bot.client import Composer
from bot.settings import BotSettings
from engine.client import EngineClient
from engine.words import explain
from storage import StorageError, open_store

log = logging.getLogger("bot")


class Stop(Exception):
    """The bot can't run; the message is one line for its operator."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def main() -> int:
    try:
        settings = read_settings()
        set_up_logging(settings.bot_log_level)
        asyncio.run(run(settings))
    except Stop as stop:
        print(f"bot: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        pass
    return 0


def read_settings() -> BotSettings:
    """Raises Stop."""
    try:
        settings = BotSettings.read()
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0]).upper()
        raise Stop(f"{name} in the environment or .env is wrong: {explain(error, BotSettings)}", 2) from None
    if not settings.discord_token.get_secret_value().strip():
        raise Stop("DISCORD_TOKEN is empty: put the bot's token (developer portal, page Bot) into .env", 2)
    return settings


def set_up_logging(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in ("discord", "apscheduler"):
        logging.getLogger(name).setLevel(logging.WARNING if level == "INFO" else level)
    logging.getLogger("discord.client").addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    """A lost connection is one line; discord.py reconnects by itself and needs no stack trace for it."""
    if record.exc_info and str(record.msg).startswith("Attempting a reconnect"):
        error = record.exc_info[1]
        record.msg, record.args = f"{record.getMessage()} ({type(error).__name__}: {error})", ()
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def point_at(settings: BotSettings) -> None:
    """Tells discord.py where Discord is: class attributes of its, read whenever a client is made."""
    discord.http.Route.BASE = settings.discord_api_url
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.discord_gateway_url)


async def run(settings: BotSettings) -> None:
    """Everything that the bot needs, opened and closed in order. Raises Stop."""
    point_at(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    try:
        async with (
            open_store(settings.bot_data) as store,
            EngineClient(settings.engine_url, settings.engine_token.get_secret_value()) as engine,
            Composer(settings=settings, store=store, engine=engine) as bot,
        ):
            await _until(stopping, connect(bot, settings))
            log.info("stopping")
    except StorageError as error:
        raise Stop(f"{settings.bot_data}: {error}") from error


async def connect(bot: Composer, settings: BotSettings) -> None:
    """Logs in and stays connected. Raises Stop."""
    api = settings.discord_api_url
    try:
        await bot.login(settings.discord_token.get_secret_value().strip())
        await bot.connect()
    except discord.LoginFailure:
        raise Stop("Discord refused DISCORD_TOKEN: copy it anew from the developer portal (page Bot, Reset Token) into .env", 2) from None
    except discord.ConnectionClosed as error:
        raise Stop(f"Discord's gateway closed the connection with code {error.code}: {_close_words(error.code)}") from None
    except (discord.HTTPException, discord.GatewayNotFound) as error:
        raise Stop(f"Discord at {api} answered with an error ({error}): try again later") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Stop(f"Discord can't be reached at {api} ({error}): check the network and DISCORD_API_URL") from None
    except AttributeError:
        # discord.py 2.7 trips over its own missing socket when the very first connection to the gateway fails.
        if bot.ws is not None:
            raise
        raise Stop(
            f"Discord's gateway can't be reached at {settings.discord_gateway_url}: check the network and DISCORD_GATEWAY_URL"
        ) from None


async def _until(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs ``work`` to its end, or to the signal."""
    task = asyncio.create_task(work)
    signal_came = asyncio.create_task(stopping.wait())
    await asyncio.wait((task, signal_came), return_when=asyncio.FIRST_COMPLETED)
    signal_came.cancel()
    if task.done():
        await task


def _close_words(code: int) -> str:
    return {
        4004: "the token was refused; copy it anew into .env",
        4013: "an intent is not valid for this application",
        4014: "an intent is not allowed for this application",
    }.get(code, "start the bot again later")


if __name__ == "__main__":
    sys.exit(main())
