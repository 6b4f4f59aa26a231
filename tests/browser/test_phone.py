"""The page on a phone, 390 px wide: drawers, sheets, nothing that sticks out; and what everybody needs of it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from bot.rehearsal.visitor import Visitor

OVERFLOWING = """() => [...document.querySelectorAll('body *')].filter((it) => {
    const box = it.getBoundingClientRect()
    const clipped = it.closest('pre, .csv, .visually-hidden, [hidden], .sidebar, .members, .skip, .listbox')
    return !clipped && box.width > 0 && box.right > window.innerWidth + 1
}).map((it) => it.outerHTML.slice(0, 120))"""

NAMELESS = """() => [...document.querySelectorAll('button, a[href], input:not([type=file]), textarea, [role]')].filter((it) => {
    if (it.closest('[hidden]') || ['presentation', 'log', 'status', 'group'].includes(it.getAttribute('role'))) return false
    const ids = (it.getAttribute('aria-labelledby') ?? '').split(' ')
    const labelled = ids.map((id) => document.getElementById(id)?.textContent ?? '').join('')
    const name = it.getAttribute('aria-label') || labelled || it.labels?.[0]?.textContent || it.textContent || it.title
    return !name.trim()
}).map((it) => it.outerHTML.slice(0, 120))"""


async def show(alice: Visitor, what: str) -> None:
    await alice.finished(await alice.slash("show", what=what))


@pytest.mark.parametrize("what", ["markdown", "files", "layout", "buttons"])
async def test_nothing_sticks_out(phone: Any, alice: Visitor, what: str) -> None:
    await show(alice, what)
    await expect(phone.messages).to_have_count(1)
    assert await phone.page.evaluate("document.documentElement.scrollWidth") == 390
    assert await phone.page.evaluate("document.querySelector('#scroller').scrollWidth") == 390
    assert await phone.page.evaluate(OVERFLOWING) == []
    phone.complaints.clear()  # Chromium notes the broken file of 'files' itself


async def test_a_clip_on_a_phone(phone: Any) -> None:
    await phone.composer.fill("/generate prompt:a rather long prompt about deep, dark, rolling warehouse techno ")
    assert await phone.page.evaluate(OVERFLOWING) == []
    await phone.page.get_by_role("button", name="Send").tap()
    clip = phone.messages.first
    await clip.get_by_role("button", name="5 of 5").tap()
    await expect(clip.get_by_role("button", name="5 of 5")).to_have_text("5️⃣2")
    assert await phone.page.evaluate(OVERFLOWING) == []
    await clip.get_by_role("button", name="Play deep-techno-7.wav").tap()
    await expect(clip.get_by_role("button", name="Pause deep-techno-7.wav")).to_be_visible()


async def test_the_channel_list_is_a_drawer(phone: Any) -> None:
    drawer = phone.page.get_by_role("navigation")
    await expect(drawer).to_be_hidden()
    await phone.page.get_by_role("button", name="Open the channel list").tap()
    await expect(drawer.get_by_role("button", name="lab")).to_be_focused()
    assert await phone.page.evaluate("document.querySelector('#main').inert")
    await drawer.get_by_role("button", name="listening").tap()
    await expect(drawer).to_be_hidden()
    await expect(phone.page.get_by_role("heading", name="listening", exact=True)).to_be_visible()
    await phone.page.get_by_role("button", name="Member list").tap()
    await expect(phone.page.get_by_role("complementary")).to_be_visible()
    await phone.page.keyboard.press("Escape")
    await expect(phone.page.get_by_role("complementary")).to_be_hidden()
    await expect(phone.page.get_by_role("button", name="Member list")).to_be_focused()


async def test_holding_a_message_opens_its_menu_as_a_sheet(phone: Any, alice: Visitor) -> None:
    await alice.send("hold me")
    box = await phone.last.locator(".prose").bounding_box()
    session = await phone.page.context.new_cdp_session(phone.page)
    point = {"x": box["x"] + 20, "y": box["y"] + 8}
    await session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    sheet = phone.page.get_by_role("menu", name="Message")
    await expect(sheet.get_by_role("menuitem", name="Continue this track")).to_be_in_viewport()
    await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    await expect(sheet).to_have_css("bottom", "0px")
    await sheet.get_by_role("menuitem", name="Delete message").tap()
    await expect(phone.messages).to_have_count(0)


async def test_enter_begins_a_new_line_on_a_phone(phone: Any) -> None:
    await phone.composer.fill("one")
    await phone.page.keyboard.press("Enter")
    await phone.page.keyboard.type("two")
    await expect(phone.composer).to_have_value("one\ntwo")
    await phone.page.get_by_role("button", name="Send").tap()
    await expect(phone.last.locator("p")).to_have_text("one\ntwo")


async def test_everything_that_can_be_pressed_has_a_name(chat: Any, alice: Visitor) -> None:
    for what in ("files", "layout", "buttons"):
        await show(alice, what)
    await expect(chat.messages).to_have_count(3)
    await chat.composer.fill("/generate ")
    assert await chat.page.evaluate(NAMELESS) == []
    chat.complaints.clear()  # Chromium notes the broken file of 'files' itself


async def test_text_stands_out_from_its_ground(modules: Any) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 : 1 for text, on the lightest ground that it stands on."""
    await modules.goto(modules.url.replace("icon.svg", ""))
    script = """(pairs) => {
        const style = getComputedStyle(document.documentElement)
        const parse = (name) => style.getPropertyValue(name).trim().slice(1, 7).match(/../g).map((part) => parseInt(part, 16) / 255)
        const light = (name) => {
            const [r, g, b] = parse(name).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            return 0.2126 * r + 0.7152 * g + 0.0722 * b
        }
        return pairs.map(([a, b]) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05))
    }"""
    grounds = ["--side", "--floor", "--raised", "--raised-2"]
    pairs = [[text, ground] for text in ("--text", "--text-soft", "--text-faint", "--link", "--bad-soft") for ground in grounds]
    pairs += [["--on-accent", "--accent"], ["--on-good", "--good"], ["--on-bad", "--bad"]]
    ratios = await modules.evaluate(script, pairs)
    assert [(*pair, round(ratio, 1)) for pair, ratio in zip(pairs, ratios, strict=True) if ratio < 4.5] == []


async def test_motion_can_be_switched_off(chat: Any) -> None:
    await chat.page.emulate_media(reduced_motion="reduce")
    await chat.use("/silent")
    dot = chat.page.locator(".pending .dots i").first
    await expect(dot).to_have_css("animation-duration", "1e-05s")
