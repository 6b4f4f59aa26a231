"""The message field: plain messages, slash commands by keyboard, files, and what is refused before it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from bot.rehearsal.app import Stage
from bot.rehearsal.visitor import Visitor

DROP = """([selector, name, type]) => {
    const data = new DataTransfer()
    data.items.add(new File(['dropped'], name, {type}))
    const target = document.querySelector(selector)
    for (const kind of ['dragenter', 'dragover', 'drop']) {
        target.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: data}))
    }
}"""
PASTE = """(name) => {
    const data = new DataTransfer()
    data.items.add(new File(['pasted'], name, {type: 'audio/wav'}))
    document.activeElement.dispatchEvent(new ClipboardEvent('paste', {bubbles: true, cancelable: true, clipboardData: data}))
}"""


async def test_a_command_by_keyboard_alone(chat: Any) -> None:
    keys = chat.page.keyboard
    await chat.composer.focus()
    await keys.type("/gen")
    options = chat.page.get_by_role("option")
    await expect(options).to_have_count(1)
    await expect(options).to_contain_text("Make a new techno clip from words")
    await keys.press("Enter")
    await expect(chat.page.get_by_role("combobox", name="prompt")).to_be_focused()
    await keys.type("echo")
    await keys.press("Tab")  # past the last option: the optional ones
    await expect(chat.page.get_by_role("combobox", name="Add an option")).to_be_focused()
    await keys.type("sec")
    await keys.press("Enter")
    await expect(chat.page.get_by_role("combobox", name="seconds")).to_be_focused()
    await keys.type("7")
    await keys.press("Tab")
    await keys.type("sty")
    await keys.press("Tab")
    await expect(options).to_have_count(3)
    await keys.press("ArrowDown")
    await keys.press("ArrowDown")
    await keys.press("Enter")  # takes 'Acid' and goes on
    await expect(chat.page.get_by_role("combobox", name="style")).to_have_value("Acid")
    await keys.type("loud")
    await keys.press("Enter")
    await keys.type("tr")
    await keys.press("Enter")
    await keys.type("like")
    await keys.press("Enter")
    await keys.type("bo")
    await keys.press("Tab")
    await keys.press("Enter")  # nothing is being chosen: send
    await expect(chat.last.locator(".prose")).to_have_text("7 3.0 True acid bob ")
    await expect(chat.composer).to_be_focused()
    await expect(chat.composer).to_have_value("")


async def test_autocomplete_asks_the_bot_while_one_types(chat: Any) -> None:
    await chat.composer.fill("/generate prompt:echo checkpoint:")
    await expect(chat.page.get_by_role("combobox", name="checkpoint")).to_be_focused()
    options = chat.page.get_by_role("option")
    await expect(options).to_have_text(["pocket (base)", "pocket-deep (base)", "small (base)"])
    await chat.page.keyboard.type("DEEP")
    await expect(options).to_have_text(["pocket-deep (base)"])
    await chat.page.keyboard.press("ArrowDown")
    await chat.page.keyboard.press("Enter")
    await expect(chat.page.get_by_role("combobox", name="checkpoint")).to_have_value("pocket-deep (base)")
    await chat.page.keyboard.press("Enter")
    await expect(chat.last.locator(".prose")).to_contain_text("pocket-deep")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/generate", "prompt is needed: text from 3 to 200 characters."),
        ("/generate prompt:hi", "prompt must be text from 3 to 200 characters; it has 2."),
        ("/generate prompt:echo seconds:99", "seconds must be a whole number from 1 to 30."),
        ("/generate prompt:echo seconds:soon", "seconds must be a whole number from 1 to 30."),
        ("/generate prompt:echo style:polka", "style must be one of the list."),
        ("/continue", "track is needed: a file: choose it, drop it here, or paste it."),
    ],
)
async def test_what_is_wrong_is_said_before_it_is_sent(chat: Any, line: str, words: str) -> None:
    await chat.composer.fill(f"{line} ")
    await chat.page.get_by_role("button", name="Send").click()
    await expect(chat.page.locator(".suggest-error")).to_have_text(words)
    await expect(chat.page.locator("[aria-invalid=true]")).to_be_focused()
    await expect(chat.messages).to_have_count(0)


async def test_ways_out_of_a_command(chat: Any) -> None:
    keys = chat.page.keyboard
    await chat.composer.fill("/generate prompt:echo seconds:5 ")
    await expect(chat.page.get_by_role("combobox", name="seconds")).to_be_focused()
    for _ in range(2):
        await keys.press("Backspace")  # the 5, then the empty option
    await expect(chat.page.get_by_role("combobox", name="seconds")).to_have_count(0)
    await expect(chat.page.get_by_role("combobox", name="prompt")).to_be_focused()
    for _ in range(5):
        await keys.press("Backspace")
    await expect(chat.composer).to_have_value("/generate")
    await keys.press("Enter")
    await keys.press("Escape")
    await expect(chat.composer).to_have_value("")
    await expect(chat.composer).to_be_focused()


async def test_a_mistyped_command_is_not_said_aloud(chat: Any) -> None:
    await chat.composer.fill("/generat me something")
    await chat.page.keyboard.press("Enter")
    await expect(chat.page.get_by_role("alert")).to_contain_text("The bot has no command /generat")
    await expect(chat.composer).to_have_value("/generat me something")
    await expect(chat.messages).to_have_count(0)


async def test_messages_with_lines_and_files(chat: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "other.bin").write_bytes(bytes(2048))
    await chat.composer.press_sequentially("first")
    await chat.page.keyboard.press("Shift+Enter")
    await chat.composer.press_sequentially("second")
    async with chat.page.expect_file_chooser() as chooser:
        await chat.page.get_by_role("button", name="Attach files").click()
    await (await chooser.value).set_files([tmp_path / "notes.txt", tmp_path / "other.bin"])
    tray = chat.page.get_by_role("list", name="Files to send")
    await expect(tray.get_by_role("listitem")).to_have_count(2)
    await tray.get_by_role("button", name="Leave out notes.txt").click()
    await chat.page.keyboard.press("Enter")
    await expect(chat.last.locator(".prose p")).to_have_text("first\nsecond")
    await expect(chat.last.locator(".file")).to_contain_text("2 KB")
    await expect(tray).to_be_hidden()


async def test_a_dropped_track_goes_to_the_command_that_waits(chat: Any) -> None:
    await chat.composer.fill("/continue ")
    await chat.page.evaluate(DROP, ["#scroller", "set.wav", "audio/wav"])
    await expect(chat.page.locator(".pill-file")).to_contain_text("set.wav")
    await chat.page.evaluate(DROP, ["#scroller", "better.wav", "audio/wav"])  # takes its place
    await expect(chat.page.locator(".pill-file")).to_contain_text("better.wav")
    await chat.page.locator(".pill-file").focus()
    await chat.page.keyboard.press("Enter")
    await expect(chat.last.locator(".prose")).to_have_text("better.wav has 7 bytes, from 0")


async def test_a_file_that_was_attached_first_becomes_the_commands(chat: Any) -> None:
    await chat.composer.focus()
    await chat.page.evaluate(PASTE, "early.wav")
    await expect(chat.page.get_by_role("list", name="Files to send")).to_contain_text("early.wav")
    await chat.composer.fill("/continue ")
    await expect(chat.page.locator(".pill-file")).to_contain_text("early.wav")
    await expect(chat.page.get_by_role("list", name="Files to send")).to_be_hidden()


async def test_a_file_above_the_limit_is_refused_in_words(chat: Any, stage: Stage) -> None:
    await chat.page.evaluate(
        """() => {
            const data = new DataTransfer()
            data.items.add(new File([new Uint8Array(51 * 2 ** 20)], 'set.wav'))
            window.dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true}))
        }"""
    )
    await expect(chat.page.get_by_role("alert")).to_contain_text("set.wav has 51 MB. The limit here is 50 MB a file.")


async def test_what_the_stage_refuses_is_said(chat: Any, alice: Visitor) -> None:
    await chat.composer.fill("x" * 2500)
    await chat.page.keyboard.press("Enter")
    await expect(chat.page.get_by_role("alert")).to_contain_text("at most 2,000 characters")
    await expect(chat.composer).to_have_value("x" * 2500)


async def test_a_draft_waits_in_its_channel(chat: Any) -> None:
    channels = chat.page.get_by_role("navigation")
    await chat.composer.fill("half a thought")
    await channels.get_by_role("button", name="listening").click()
    await expect(chat.composer).to_have_value("")
    await channels.get_by_role("button", name="lab").click()
    await expect(chat.composer).to_have_value("half a thought")
