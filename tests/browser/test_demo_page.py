"""The demo as a newcomer meets it: the real bot, the real engine with a tiny random model, the page in a browser.

A picture of it is left in ``test-output/demo-page.png``. With ``DEMO_CHECKPOINT=pocket`` the embedded model plays instead: README's
picture is made so.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import expect

from bot.rehearsal.demo import Demo, DemoOptions

READY_MS = 60_000
OUTPUT = Path(__file__).parents[2] / "test-output"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demo(tmp_path_factory: Any, tiny_checkpoint: Path) -> AsyncIterator[Demo]:
    options = DemoOptions(tmp_path_factory.mktemp("demo"), port=0, checkpoint=os.environ.get("DEMO_CHECKPOINT") or str(tiny_checkpoint))
    async with Demo(options, say=print) as demo:
        yield demo


async def test_ask_listen_rate_and_see(demo: Demo, open_chat: Any) -> None:
    chat = await open_chat(demo)
    page = chat.page
    await page.get_by_role("button", name="Try it: Make a clip").click()
    await page.get_by_role("combobox", name="seconds").fill("4")
    await page.keyboard.press("Enter")

    clip = chat.messages.first
    await expect(clip.locator(".lead")).to_contain_text("Alice used /generate", timeout=READY_MS)
    await expect(clip.locator("button[aria-pressed].reaction")).to_have_count(5, timeout=READY_MS)
    await expect(clip.locator(".player-time")).to_have_text(re.compile(r"0:00 / 0:0[34]"))
    await expect(clip.locator(".embed .picture img")).not_to_have_js_property("naturalWidth", 0)
    for label in ("Again", "Continue", "Keep in crate", "Delete"):
        await expect(clip.get_by_role("button", name=label, exact=True)).to_be_enabled()

    four = clip.get_by_role("button", name="4 of 5")
    await four.click()
    await expect(four).to_have_text("4️⃣2")
    await chat.play("bob")
    await chat.messages.first.get_by_role("button", name="5 of 5").click()
    await chat.play("alice")
    await expect(chat.messages.first.get_by_role("button", name="5 of 5")).to_have_text("5️⃣2")

    player = chat.messages.first.locator(".player")
    await player.get_by_role("button", name=re.compile("^Play")).click()
    await expect(player.get_by_role("slider")).to_have_attribute("aria-valuenow", "2")
    await player.get_by_role("button", name=re.compile("^Pause")).click()
    OUTPUT.mkdir(exist_ok=True)
    await page.mouse.move(0, 0)
    await page.screenshot(path=OUTPUT / "demo-page.png")

    await chat.use("/results")
    results = chat.last
    await expect(results.locator("pre")).to_contain_text(re.compile(r"B +1 +2 +4\.50"), timeout=READY_MS)
    await expect(results.get_by_role("img").or_(results.locator(".picture img"))).not_to_have_js_property("naturalWidth", 0)

    # A continuation of what was just made, by the Apps menu.
    await chat.messages.first.locator(".message-header").click(button="right")
    await page.get_by_role("menuitem", name="Continue this track").click()
    await expect(chat.last.locator("button[aria-pressed].reaction, .field, .failed").first).to_be_visible(timeout=READY_MS)
