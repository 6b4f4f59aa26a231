"""The launcher: what it says, and that nothing it started is left behind however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from bot.rehearsal.children import Child, ChildError, Program, free_port
from bot.rehearsal.demo import MARKER, remove
from bot.rehearsal.persistence import StateError

WAIT_S = 90.0


class Launcher:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def says(self, words: str) -> str:
        """Read on until a line with these words, or the end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            async for line in self.process.stdout:
                self.said.append(line.decode().rstrip())
                if words and words in self.said[-1]:
                    return self.said[-1]
        return ""

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
async def launch(tmp_path: Path, tiny_checkpoint: Path) -> AsyncIterator[object]:
    launchers: list[Launcher] = []

    async def launch(*arguments: str, checkpoint: str = str(tiny_checkpoint)) -> Launcher:
        environment = {**os.environ, "ENGINE_CHECKPOINT": checkpoint, "ENGINE_THREADS": "1"}
        command = (sys.executable, "-m", "bot.rehearsal.demo", "--no-browser", "--data", str(tmp_path / "demo"), *arguments)
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
        launchers.append(Launcher(await asyncio.create_subprocess_exec(*command, env=environment, **pipes)))
        return launchers[-1]

    yield launch
    for launcher in launchers:
        if launcher.process.returncode is None:
            launcher.process.kill()
            await launcher.process.wait()


async def gone(processes: list[psutil.Process]) -> bool:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, WAIT_S)
    return not alive


async def test_the_last_line_is_the_page_and_a_death_ends_all(launch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    launcher = await launch("--port", str(free_port()))
    url = await launcher.says("http://127.0.0.1:")
    said = "\n".join(launcher.said)
    assert launcher.said[-1] == url and url.endswith("/")
    assert "/generate" in said and "rehearsal" in said and "Ctrl-C" in said
    family = launcher.family()
    assert len(family) == 3
    bot = next(process for process in family if process.cmdline()[-2:] == ["-m", "bot"])
    other = await launch()
    assert await other.says("in use by another rehearsal") and await other.process.wait() == 1
    bot.kill()
    await launcher.says("")
    assert await launcher.process.wait() == 1
    assert "the bot ended with code -9" in "\n".join(launcher.said) and "bot.log" in "\n".join(launcher.said)
    assert await gone(family)
    assert (tmp_path / "demo" / "bot" / "composer.sqlite3").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
async def test_no_process_is_left_behind(launch, number: signal.Signals, code: int) -> None:  # type: ignore[no-untyped-def]
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux ends the children of a launcher that was killed")
    launcher = await launch("--port", "0")
    await launcher.says("the engine loads its model")
    family = launcher.family()
    assert len(family) == 2  # engine and stage
    launcher.process.send_signal(number)
    assert await launcher.process.wait() == code
    assert await gone(family)


async def test_an_engine_that_cannot_start_is_explained(launch) -> None:  # type: ignore[no-untyped-def]
    launcher = await launch("--port", "0", checkpoint="/no/such/folder")
    await launcher.says("")
    said = "\n".join(launcher.said)
    assert await launcher.process.wait() == 1
    assert "the engine ended with code" in said and "/no/such/folder" in said and "unset ENGINE_CHECKPOINT" in said


async def test_a_port_that_is_taken_is_said(launch) -> None:  # type: ignore[no-untyped-def]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        launcher = await launch("--port", str(port), checkpoint="/no/such/folder")
        assert await launcher.says(f"port {port} is taken")


def test_fresh_deletes_demos_only(tmp_path: Path) -> None:
    remove(tmp_path / "not there")
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(StateError, match="left alone"):
        remove(tmp_path)
    (tmp_path / MARKER).touch()
    remove(tmp_path)
    assert not tmp_path.exists()


async def test_a_child_that_ignores_sigterm_and_its_own_children_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.rehearsal.children.STOP_WITHIN_S", 0.2)
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']); print('up'); time.sleep(300)"
    )
    child = Child(Program("stubborn", ("-c", stubborn), {}, "Wait."), tmp_path)
    await child.start()

    async def up() -> bool:
        return child.last_line() == "up"

    await child.ready(up, within_s=WAIT_S)
    family = psutil.Process(child.pid).children(recursive=True)
    assert len(family) == 1
    assert await child.stop() == -9
    assert await gone(family)


async def test_a_child_that_dies_or_dawdles_is_explained(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    child = Child(Program("loud", ("-c", "raise SystemExit('no luck today')"), {}, "Try tomorrow."), tmp_path)
    await child.start()
    with pytest.raises(ChildError, match=r"(?s)the loud ended with code 1: no luck today.*Try tomorrow.*loud\.log"):
        await child.ready(never, within_s=WAIT_S)
    child = Child(Program("slow", ("-c", "import time; time.sleep(300)"), {}, "Wait."), tmp_path)
    await child.start()
    with pytest.raises(ChildError, match=r"slow is not ready after 0 s"):
        await child.ready(never, within_s=0.2)
    assert await child.stop() == -15
