"""``python -m bot.rehearsal.demo``: the whole product on this machine, in a chat page. No token, no network, no GPU.

    launcher ─┬─ stage   a Discord on loopback and the page      var/demo/stage/
              ├─ engine  the embedded model                      var/demo/engine/
              └─ bot     the production process                  var/demo/bot/        logs: var/demo/logs/

When one of them dies the others are ended too, with what it last said: a demo that goes on by half explains nothing. Ctrl-C and
SIGTERM end all in good order, the bot first, so that it can say goodbye; should the launcher be killed, they end by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bot.rehearsal.children import Child, ChildError, Program, bot_program, engine_program, free_port, healthy, stage_program
from bot.rehearsal.persistence import StateError, locked

MARKER = ".techno-composer-demo"
"""Stands in a demo's folder. ``--fresh`` deletes no folder without it."""
ENGINE_READY_WITHIN_S = 600.0
STAGE_READY_WITHIN_S = 60.0
BOT_READY_WITHIN_S = 120.0

WHAT_TO_TRY = """
You are alice, a DJ, in a chat that behaves like Discord; it is a rehearsal of it. Switch to bob or mod_mira on the page. Try:
  /generate   prompt: dark warehouse techno, rolling bass
  /continue   track: an MP3, WAV or FLAC of yours
  /surprise
  /crate add, then /finetune start as mod_mira: it learns from your tracks, and shows whether that helped
  1️⃣ … 5️⃣     on a clip, as more than one member, then /results
  /help       explains the rest
"""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    data: Path
    port: int = 8070
    """Where the page is; 0 takes any free port."""
    checkpoint: str = "pocket"


class Demo:
    """``async with Demo(options, say) as demo:`` runs the three processes. Raises ChildError, StateError."""

    def __init__(self, options: DemoOptions, say: Callable[[str], None]) -> None:
        self.options = options
        self.say = say
        data = options.data
        data.mkdir(parents=True, exist_ok=True)
        (data / MARKER).touch()
        self._logs = data / "logs"
        self._logs.mkdir(exist_ok=True)
        for log in self._logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        token, engine_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        port, engine_port = free_port(options.port), free_port()
        if options.port and port != options.port:
            say(f"port {options.port} is taken: the page is on {port} this time")
        self.url = f"http://127.0.0.1:{port}"
        self.engine_url = f"http://127.0.0.1:{engine_port}"
        self.stage = self._child(stage_program(port=port, data=data / "stage", token=token))
        self.engine = self._child(engine_program(port=engine_port, data=data / "engine", token=engine_token, checkpoint=options.checkpoint))
        self.bot = self._child(
            bot_program(stage_url=self.url, token=token, engine_url=self.engine_url, engine_token=engine_token, data=data / "bot")
        )

    def _child(self, program: Program) -> Child:
        return Child(program, self._logs)

    async def __aenter__(self) -> Demo:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(locked(self.options.data))
            self._http = await stack.enter_async_context(aiohttp.ClientSession())
            # The bot is pushed last and ended first, so that it can say goodbye.
            stack.push_async_callback(self._stop_engine_and_stage)
            await self.stage.start()
            await self.engine.start()
            await self.stage_ready()
            self.say("the engine loads its model")
            await self.engine_ready()
            await self.bot.start()
            stack.push_async_callback(self.bot.stop)
            await self.bot_ready()
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    async def _stop_engine_and_stage(self) -> None:
        await asyncio.gather(*(child.stop() for child in (self.engine, self.stage) if child.started))

    async def stage_ready(self) -> None:
        await self.stage.ready(healthy(self._http, self.url, "ready"), within_s=STAGE_READY_WITHIN_S)

    async def engine_ready(self) -> None:
        await self.engine.ready(healthy(self._http, self.engine_url, "ready"), within_s=ENGINE_READY_WITHIN_S)

    async def bot_ready(self) -> None:
        await self.bot.ready(healthy(self._http, self.url, "bot_online"), within_s=BOT_READY_WITHIN_S)

    async def somebody_died(self) -> Child:
        """The first of the three to end."""
        watched = {asyncio.create_task(child.ended()): child for child in (self.stage, self.engine, self.bot)}
        try:
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in watched:
                task.cancel()
        return watched[done.pop()]


def remove(folder: Path) -> None:
    """Delete an earlier demo. Raises StateError where the folder is something else."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / MARKER).exists():
        raise StateError(f"{folder} holds something that is no demo (there is no {MARKER} in it); it is left alone: choose another --data")
    with locked(folder):
        shutil.rmtree(folder)


async def run(options: DemoOptions, *, browser: bool) -> int:
    """Until a signal (0) or the end of one of the processes (1)."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    starting = asyncio.create_task(_play(options, browser=browser))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel("told to stop")
    stopping.cancel()
    try:
        return await starting
    except asyncio.CancelledError:
        return 0


async def _play(options: DemoOptions, *, browser: bool) -> int:
    async with Demo(options, _say) as demo:
        _say(WHAT_TO_TRY)
        _say(f"All of it is kept in {options.data} and there again next time (anew: --fresh). Logs: {options.data / 'logs'}")
        _say("Ctrl-C ends it. The page:")
        print(f"{demo.url}/", flush=True)
        if browser and _has_screen():
            await asyncio.to_thread(webbrowser.open, f"{demo.url}/")
        try:
            dead = await demo.somebody_died()
        except asyncio.CancelledError:
            _say("\nending the bot, the engine and the page")
            raise
        await dead.ended()
        _say(f"\n{dead.epitaph()}\nEnding the others.")
        return 1


def _has_screen() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _say(words: str) -> None:
    print(words, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bot.rehearsal.demo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--fresh", action="store_true", help="forget earlier messages, tracks, clips and ratings of the demo")
    parser.add_argument("--data", type=Path, default=Path("var/demo"), help="where all of it is kept (var/demo)")
    parser.add_argument("--port", type=int, default=8070, help="the page's port (8070, or any other free one)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in a browser")
    given = parser.parse_args()
    options = DemoOptions(given.data.absolute(), given.port, os.environ.get("ENGINE_CHECKPOINT") or "pocket")
    try:
        if given.fresh:
            remove(options.data)
        return asyncio.run(run(options, browser=not given.no_browser))
    except (ChildError, StateError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
