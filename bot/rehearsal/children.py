"""The processes of a rehearsal: engine, stage and bot, each the unmodified program, told by settings where the others are.

    Child(…).start() ─▶ ready(probe) ─▶ … ─▶ stop()      SIGTERM, and after a while SIGKILL to its whole group

For the demo, its check and the end-to-end tests. Not here: in which order they start, what a person is told (``demo``).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

REPOSITORY = Path(__file__).resolve().parents[2]
POLL_S = 0.1
STOP_WITHIN_S = 15.0


class ChildError(Exception):
    """A process that ended or never became ready; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: ``python`` arguments, settings on top of the environment, and what to say when it fails."""

    name: str
    arguments: tuple[str, ...]
    settings: dict[str, str]
    advice: str


def engine_program(*, port: int, data: Path, token: str, checkpoint: str, **settings: str) -> Program:
    """The engine, on loopback. What is set here wins over a ``.env`` file that is meant for a real server."""
    fixed = {
        "ENGINE_HOST": "127.0.0.1",
        "ENGINE_PORT": str(port),
        "ENGINE_TOKEN": token,
        "ENGINE_DATA": str(data),
        "ENGINE_CHECKPOINT": checkpoint,
        "ENGINE_BACKEND": os.environ.get("ENGINE_BACKEND") or "native",
    }
    advice = "If the model cannot be loaded, unset ENGINE_CHECKPOINT: the embedded one needs no download."
    return Program("engine", ("-m", "engine", "serve"), {**fixed, **settings}, advice)


def bot_program(*, stage_url: str, token: str, engine_url: str, engine_token: str, data: Path, **settings: str) -> Program:
    """The production bot; only its addresses, token and folder are the rehearsal's."""
    fixed = {
        "DISCORD_TOKEN": token,
        "DISCORD_API_URL": f"{stage_url}/api/v10",
        "DISCORD_GATEWAY_URL": f"{stage_url.replace('http', 'ws', 1)}/gateway",
        "ENGINE_URL": engine_url,
        "ENGINE_TOKEN": engine_token,
        "BOT_DATA": str(data),
    }
    return Program("bot", ("-m", "bot"), {**fixed, **settings}, "If its database is the trouble, start anew with --fresh.")


def stage_program(*, port: int, data: Path, token: str) -> Program:
    arguments = ("-m", "bot.rehearsal", "--port", str(port), "--data", str(data))
    return Program("stage", arguments, {"REHEARSAL_TOKEN": token}, "If the port is the trouble, choose another with --port.")


class Child:
    """One running program. Its output goes to a file; its group dies with it."""

    def __init__(self, program: Program, log_folder: Path) -> None:
        self.program = program
        self.log = log_folder / f"{program.name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def started(self) -> bool:
        return self._process is not None

    @property
    def returncode(self) -> int | None:
        return self._process.returncode if self._process is not None else None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Begin; ``ready`` says when it can be used. Called again after ``stop``, it is a restart."""
        tied = ("-m", "bot.rehearsal.tied", str(os.getpid()))
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self.program.settings}
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *tied,
                *self.program.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env=environment,
                cwd=REPOSITORY,
                start_new_session=True,
            )

    async def ready(self, probe: Callable[[], Awaitable[bool]], *, within_s: float) -> float:
        """Ask ``probe`` until it says yes; returns how long it took, in seconds. Raises ChildError."""
        began = time.monotonic()
        while not await probe():
            if self.returncode is not None:
                raise ChildError(self.epitaph())
            if time.monotonic() - began > within_s:
                raise ChildError(f"the {self.program.name} is not ready after {within_s:.0f} s. {self._where_to_look()}")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began

    async def ended(self) -> None:
        assert self._process is not None
        await self._process.wait()

    async def stop(self) -> int:
        """End it in good order, or after a while in any; returns its exit code."""
        assert self._process is not None
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), STOP_WITHIN_S)
        return await self.kill()

    async def kill(self) -> int:
        """SIGKILL for the process and whatever it started."""
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def last_line(self) -> str:
        """The last thing it wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else ""

    def epitaph(self) -> str:
        return f"the {self.program.name} ended with code {self.returncode}: {self.last_line()}\n{self._where_to_look()}"

    def _where_to_look(self) -> str:
        return f"{self.program.advice} Everything it said is in {self.log}"


def free_port(preferred: int = 0) -> int:
    """``preferred`` where it is free on loopback, else any free port."""
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            if os.name != "nt":
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                candidate.bind(("127.0.0.1", port))
                return int(candidate.getsockname()[1])
    raise ChildError("there is no free port on this machine")


def healthy(http: aiohttp.ClientSession, url: str, key: str) -> Callable[[], Awaitable[bool]]:
    """A probe: ``GET url/healthz`` answers with ``key`` true."""

    async def probe() -> bool:
        with suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with http.get(f"{url}/healthz", timeout=aiohttp.ClientTimeout(total=5.0)) as response:
                return bool((await response.json()).get(key))
        return False

    return probe
