"""``python -m bot.rehearsal``: serve a Discord on loopback until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path

from bot.rehearsal.app import Stage, StageOptions
from bot.rehearsal.persistence import StateError


def parse(arguments: list[str] | None = None) -> StageOptions:
    parser = argparse.ArgumentParser(
        prog="python -m bot.rehearsal", description="A Discord on loopback for an unmodified bot, with a chat page."
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8070, help="0 takes a free one (8070)")
    parser.add_argument("--data", type=Path, default=Path("var/rehearsal"), help="where messages and files are kept (var/rehearsal)")
    token = os.environ.get("REHEARSAL_TOKEN") or "rehearsal-token"  # the environment is not seen in a list of processes
    parser.add_argument("--token", default=token, help="the bot's token (REHEARSAL_TOKEN, or rehearsal-token)")
    parser.add_argument("--token-seconds", type=float, default=15 * 60.0, help="how long an interaction may be answered (900)")
    parser.add_argument("--ack-seconds", type=float, default=3.0, help="how soon it must be answered first (3)")
    given = parser.parse_args(arguments)
    return StageOptions(
        data=given.data,
        host=given.host,
        port=given.port,
        token=given.token,
        token_lifetime_s=given.token_seconds,
        ack_within_s=given.ack_seconds,
    )


async def serve(options: StageOptions) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Stage(options) as stage:
        print(f"rehearsal ready at {stage.url}", flush=True)
        await stop.wait()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    options = parse()
    try:
        asyncio.run(serve(options))
    except (ValueError, StateError) as error:
        raise SystemExit(str(error)) from error
    except OSError as error:
        raise SystemExit(f"cannot listen on {options.host}:{options.port}: {error.strerror}; choose another with --port") from error
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
