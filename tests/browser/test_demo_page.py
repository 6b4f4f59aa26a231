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

import pytest
import pytest_asyncio
from playwright.async_api import expect

from bot.rehearsal.demo import Demo, DemoOptions

READY_MS = 90_000
OUTPUT = Path(__file__).parents[2] / "test-output"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demo(tmp_path_factory: Any, tiny_checkpoint: Path) -> AsyncIterator[Demo]:
    options = DemoOptions(tmp_path_factory.mktemp("demo"), port=0, checkpoint=os.environ.get("DEMO_CHECKPOINT") or str(tiny_checkpoint))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGINE_THREADS", "1")  # a browser wants a core too
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
    await expect(player.get_by_role("slider", name="Position")).to_have_attribute("aria-valuenow", re.compile("[1-4]"))
    await player.get_by_role("button", name=re.compile("^Pause")).click()
    OUTPUT.mkdir(exist_ok=True)
    await page.mouse.move(0, 0)
    await page.screenshot(path=OUTPUT / "demo-page.png")

    await chat.use("/results")
    results = chat.messages.filter(has_text="Results")
    await expect(results.locator("pre")).to_contain_text(re.compile(r"B +1 +2 +4\.50"), timeout=READY_MS)
    await expect(results.locator(".picture img")).not_to_have_js_property("naturalWidth", 0)

    # What was just made goes on, by way of the Apps menu and a form.
    await chat.messages.first.locator(".message-header").click(button="right")
    await page.get_by_role("menuitem", name="Continue this track").click()
    form = page.get_by_role("dialog", name="Continue this track")
    await form.get_by_role("textbox", name="New music").fill("1")
    await form.get_by_role("button", name="Submit").click()
    await expect(chat.last.locator("button[aria-pressed].reaction")).to_have_count(5, timeout=READY_MS)
    await expect(chat.last.locator(".embed")).to_contain_text("new from")
    assert chat.complaints == []
    await page.close()
