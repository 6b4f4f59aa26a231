"""What a member can do with a message: reactions, buttons, selects, modals, the Apps menu; and what only they see of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from bot.rehearsal.app import Stage
from bot.rehearsal.visitor import Visitor


async def buttons(alice: Visitor) -> None:
    await alice.finished(await alice.slash("show", what="buttons"))


async def test_reactions_toggle_and_count(chat: Any, alice: Visitor, stage: Stage) -> None:
    async with Visitor(stage.url, "bob") as bob:
        message = await bob.send("rate me")
        await bob.react(message, "4️⃣")
        four = chat.last.get_by_role("button", name="4 of 5")
        await expect(four).to_have_attribute("aria-pressed", "false")
        await four.click()
        await expect(four).to_have_attribute("aria-pressed", "true")
        await expect(four).to_have_text("4️⃣2")
        await expect(four).to_be_focused()  # it was drawn anew, and kept the focus
        await four.press("Enter")
        await expect(four).to_have_text("4️⃣1")
        # The picker has the ratings in front, and can be worked by keys.
        await chat.last.hover()
        await chat.last.locator(".tool-react").click()
        picker = chat.page.get_by_role("dialog", name="Rate it")
        await expect(picker.get_by_role("button", name="1 of 5")).to_be_focused()
        await chat.page.keyboard.press("ArrowRight")
        await chat.page.keyboard.press("Enter")
        await expect(chat.last.get_by_role("button", name="2 of 5")).to_have_text("2️⃣1")
        await bob.until(lambda: bob.messages[message["id"]]["reactions"][1:], "alice's reaction")
        # As bob, the four is one's own, and the two is not.
        await chat.play("bob")
        await expect(chat.last.get_by_role("button", name="4 of 5")).to_have_attribute("aria-pressed", "true")
        await expect(chat.last.get_by_role("button", name="2 of 5")).to_have_attribute("aria-pressed", "false")


async def test_buttons(chat: Any, alice: Visitor) -> None:
    await buttons(alice)
    await expect(chat.last.get_by_role("button", name="Later")).to_be_disabled()
    await expect(chat.last.get_by_role("link", name="Docs")).to_have_attribute("href", "https://example.org/docs")
    await chat.last.get_by_role("button", name="Again").click()
    await expect(chat.last.locator(".prose")).to_contain_text("Again it is. (edited)")


async def test_a_button_that_nobody_answers(chat: Any, alice: Visitor, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await buttons(alice)
    monkeypatch.setattr(stage.backend, "ack_within_s", 0.5)
    await chat.last.get_by_role("button", name="Delete", exact=True).click()
    await expect(chat.last.locator("[aria-busy=true]")).to_have_count(1)
    await expect(chat.last.get_by_text("The bot did not answer that.")).to_be_visible()
    await expect(chat.last.locator("[aria-busy=true]")).to_have_count(0)


async def test_an_ephemeral_answer_is_for_one_member(chat: Any, alice: Visitor) -> None:
    await buttons(alice)
    await chat.last.get_by_role("button", name="Keep").click()
    whisper = chat.messages.filter(has_text="Only you can see this")
    await expect(whisper).to_contain_text("Kept for @Alice.")
    await chat.play("bob")
    await expect(chat.messages).to_have_count(1)
    await expect(whisper).to_have_count(0)
    await chat.play("alice")
    await whisper.get_by_role("button", name="Dismiss").click()
    await expect(whisper).to_have_count(0)
    await chat.page.reload()
    await expect(chat.messages).to_have_count(1)


async def test_selects(chat: Any, alice: Visitor) -> None:
    await buttons(alice)
    await chat.messages.first.locator(".select").first.click()
    listed = chat.page.get_by_role("listbox", name="How long?").get_by_role("option")
    await expect(listed).to_contain_text(["8 seconds400 frames", "16 seconds800 frames", "30 seconds1500 frames"])
    await chat.page.keyboard.press("ArrowDown")
    await chat.page.keyboard.press("Enter")
    await expect(chat.last.locator(".prose")).to_have_text("Length 16.")
    # Several: up to two, taken when the list is closed.
    await chat.messages.first.locator(".select").nth(1).click()
    moods = chat.page.get_by_role("listbox", name="Moods").get_by_role("option")
    await moods.nth(2).click()
    await moods.nth(0).click()
    await expect(moods.nth(1)).to_have_attribute("aria-disabled", "true")
    await chat.page.get_by_role("button", name="Done").click()
    await expect(chat.last.locator(".prose")).to_have_text("Moods hard dark.")


async def test_a_modal_with_text_choice_and_files(chat: Any, tmp_path: Path) -> None:
    tracks = [tmp_path / f"track{n}.wav" for n in range(4)]
    for track in tracks:
        track.write_bytes(b"RIFF")
    await chat.use("/crate add")
    modal = chat.page.get_by_role("dialog", name="Add to the crate")
    await expect(modal.get_by_role("textbox", name="Label")).to_be_focused()
    await modal.get_by_role("textbox", name="Label").fill("ab")
    await modal.get_by_role("button", name="Submit").click()
    await expect(modal.locator(".field-error:not(:empty)")).to_have_text(
        ["At least 3 characters, please: it has 2.", "Choose one, please.", "A file is needed."]
    )
    await expect(modal.get_by_role("textbox", name="Label")).to_be_focused()
    await chat.page.keyboard.type("c <b>x</b>")
    await modal.locator(".select").click()
    await modal.get_by_role("option", name="Own track").click()
    await modal.locator("input[type=file]").set_input_files(tracks)
    await expect(modal.locator(".field-error:not(:empty)")).to_have_text("At most 3 files, please: the rest was left out.")
    await modal.get_by_role("button", name="Leave out track0.wav").click()
    await modal.get_by_role("button", name="Submit").click()
    await expect(modal).to_have_count(0)
    await expect(chat.last.locator(".prose")).to_have_text("abc <b>x</b> / own: track1.wav (4 bytes), track2.wav (4 bytes)")


async def test_a_modal_can_be_left(chat: Any) -> None:
    await chat.use("/crate add")
    modal = chat.page.get_by_role("dialog", name="Add to the crate")
    await expect(modal).to_be_visible()
    await chat.page.keyboard.press("Escape")
    await expect(modal).to_have_count(0)
    await expect(chat.page.locator(".pending-entry")).to_have_count(0)


async def test_right_click_offers_the_apps_commands(chat: Any, alice: Visitor) -> None:
    await alice.send("some words")
    await chat.last.locator(".prose").click(button="right")
    menu = chat.page.get_by_role("menu", name="Message")
    await expect(menu.get_by_role("group", name="Apps").get_by_role("menuitem")).to_have_text("Continue this track")
    await chat.page.keyboard.press("Escape")
    await expect(menu).to_have_count(0)
    # The same behind ⋯, by keys.
    await chat.last.get_by_role("button", name="More").press("Enter")
    await chat.page.keyboard.press("c")  # by its first letter: 'Copy text'
    await chat.page.keyboard.press("c")
    await expect(menu.get_by_role("menuitem", name="Continue this track")).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await expect(chat.last).to_contain_text("Continuing []")
    await expect(chat.last.locator(".lead")).to_contain_text("Alice used Continue this track")


async def test_copy_and_delete(chat: Any, alice: Visitor, stage: Stage) -> None:
    async with Visitor(stage.url, "bob") as bob:
        await bob.send("bob's **words**")
        await chat.last.locator(".prose").click(button="right")
        await chat.page.get_by_role("menuitem", name="Copy text").click()
        assert await chat.page.evaluate("navigator.clipboard.readText()") == "bob's **words**"
        await chat.play("bob")
        await alice.send("alice's words")
        await chat.last.locator(".prose").click(button="right")
        await expect(chat.page.get_by_role("menuitem", name="Delete message")).to_have_count(0)
        await chat.page.keyboard.press("Escape")
        await chat.play("mod_mira")
        for _ in range(2):
            await chat.last.locator(".prose").click(button="right")
            await chat.page.get_by_role("menuitem", name="Delete message").click()
        await expect(chat.messages).to_have_count(0)


async def test_a_members_menu_has_apps_too(chat: Any) -> None:
    await chat.page.get_by_role("complementary").get_by_role("button", name="Bob").click(button="right")
    await chat.page.get_by_role("menuitem", name="Their taste").click()
    await expect(chat.last).to_contain_text("Bob likes it dark.")


async def test_a_command_that_nobody_answers(chat: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.backend, "ack_within_s", 0.5)
    await chat.use("/silent")
    pending = chat.page.get_by_role("list", name="Commands on their way")
    await expect(pending).to_contain_text("Alice used /silent")
    await expect(pending).to_contain_text("Sending the command…")
    await expect(pending).to_contain_text("The bot did not answer in time.")
    await pending.get_by_role("button", name="Dismiss").click()
    await expect(pending.get_by_role("listitem")).to_have_count(0)
