"""The page in headless Chromium, on a real stage in this process, with the house bot in a process of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, async_playwright, expect

from bot.rehearsal.app import Stage, StageOptions
from bot.rehearsal.visitor import Visitor

WAIT_S = 30.0
WAIT_MS = 15_000
expect.set_options(timeout=WAIT_MS)
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LAUNCH = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for all that is in this folder: the browser and the stage are shared."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install one (apt install chromium), or name it in the variable CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=LAUNCH)
        yield browser
        await browser.close()


async def start_house_bot(stage: Stage) -> asyncio.subprocess.Process:
    addresses = (f"{stage.url}/api/v10", f"{stage.url.replace('http', 'ws')}/gateway", stage.options.token)
    tied = ("-m", "bot.rehearsal.tied", str(os.getpid()))  # it ends with this process, however that ends
    command = (sys.executable, *tied, str(HERE / "house_bot.py"), *addresses)
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        assert (await process.stdout.readline()).strip() == b"ready"
    return process


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One stage with the house bot on it for all tests; each clears the channels it finds. The bot may take its time to answer."""
    async with Stage(StageOptions(data=tmp_path_factory.mktemp("stage"), port=0, ack_within_s=WAIT_S)) as stage:
        bot = await start_house_bot(stage)
        try:
            yield stage
        finally:
            await end(bot)


@pytest_asyncio.fixture(loop_scope="session")
async def alice(stage: Stage) -> AsyncIterator[Visitor]:
    """A member beside the browser: uses commands without the page's help. The channels are empty when a test begins."""
    clear(stage)
    async with Visitor(stage.url, "alice") as visitor:
        yield visitor


def clear(stage: Stage) -> None:
    for channel_id, messages in stage.backend.messages.items():
        for message_id in list(messages):
            stage.backend.delete_message(channel_id, message_id)


@dataclass
class Chat:
    """The page as a person finds it, with what a test often does. ``complaints``: what the console said that was not information."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    @property
    def composer(self) -> Any:
        return self.page.get_by_role("combobox", name="Message")

    @property
    def messages(self) -> Any:
        return self.page.locator(".message")

    @property
    def last(self) -> Any:
        return self.messages.last

    async def play(self, name: str) -> None:
        """Become another member."""
        await self.page.locator(f"#cast input[value={name}]").check(force=True)
        await self.page.locator(f"#cast input[value={name}]:checked").wait_for()

    async def use(self, line: str) -> None:
        """Type a command with its options as one line, and send it."""
        await self.composer.fill(f"{line} ")
        await self.page.locator(".slash").wait_for()
        await self.page.keyboard.press("Enter")


class Address(Protocol):
    """A stage in this process, or a demo in its own."""

    @property
    def url(self) -> str: ...


async def new_chat(context: BrowserContext, stage: Address) -> Chat:
    """A new tab as alice, in the first channel."""
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    chat = Chat(page)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            chat.complaints.append(f"{message.type}: {message.text}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: chat.complaints.append(f"exception: {error}"))
    await page.goto(stage.url)
    await page.locator("#cast input:checked").wait_for(state="attached")
    await page.locator('#log[aria-busy="false"]').wait_for(state="attached")
    return chat


async def close_chat(chat: Chat) -> None:
    """What was remembered is forgotten; whatever the console complained about fails the test."""
    if not chat.page.is_closed():
        await chat.page.evaluate("localStorage.clear()")
        await chat.page.close()
    assert chat.complaints == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def desktop_context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(viewport=DESKTOP)
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    await context.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def phone_context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(viewport=PHONE, device_scale_factor=2, has_touch=True, is_mobile=True)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def chat(desktop_context: BrowserContext, stage: Stage, alice: Visitor) -> AsyncIterator[Chat]:
    """The page on a desktop, as alice."""
    chat = await new_chat(desktop_context, stage)
    yield chat
    await close_chat(chat)


@pytest.fixture
def open_chat(desktop_context: BrowserContext) -> Callable[[Address], Awaitable[Chat]]:
    """Opens the page of any stage, for tests that have their own."""

    async def opened(stage: Address) -> Chat:
        return await new_chat(desktop_context, stage)

    return opened


@pytest_asyncio.fixture(loop_scope="session")
async def phone(phone_context: BrowserContext, stage: Stage, alice: Visitor) -> AsyncIterator[Chat]:
    """The page on a phone, as alice."""
    chat = await new_chat(phone_context, stage)
    yield chat
    await close_chat(chat)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def modules(desktop_context: BrowserContext, stage: Stage) -> AsyncIterator[Page]:
    """A tab on the page's origin, from which its modules can be imported one by one."""
    page = await desktop_context.new_page()
    await page.goto(f"{stage.url}/icon.svg")
    yield page
    await page.close()
