"""The line to the stage: a bot that goes and comes, a stage that goes and comes, what is unread, who one plays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.async_api import expect

from bot.rehearsal.app import Stage, StageOptions
from bot.rehearsal.visitor import Visitor

NOTICES = "#notices"


async def test_messages_elsewhere_are_counted_until_they_are_read(chat: Any, alice: Visitor, stage: Stage) -> None:
    listening = chat.page.get_by_role("navigation").get_by_role("button", name="listening")
    async with Visitor(stage.url, "bob") as bob:
        for text in ("one", "two"):
            await bob.send(text, channel="listening")
        await expect(listening.locator(".count")).to_have_text("2")
        await expect(chat.page).to_have_title("(2) #lab · Rehearsal")
        await listening.click()
        await expect(listening.locator(".count")).to_have_count(0)
        await expect(chat.page).to_have_title("#listening · Rehearsal")
        await expect(chat.page.locator(".line-new + .message")).to_contain_text("one")
        await bob.send("here")
        await chat.page.get_by_role("navigation").get_by_role("button", name="lab").click()
        await expect(chat.last).to_contain_text("here")
        assert chat.page.url.endswith("#lab")


async def test_the_address_and_the_tab_remember_where_and_who(chat: Any) -> None:
    await chat.page.get_by_role("navigation").get_by_role("button", name="bot-status").click()
    await chat.play("mod_mira")
    await chat.page.reload()
    await expect(chat.page.get_by_role("heading", name="bot-status", exact=True)).to_be_visible()
    await expect(chat.page.locator("#cast input:checked")).to_have_value("mod_mira")


async def test_members_say_who_they_are(chat: Any) -> None:
    members = chat.page.get_by_role("complementary", name="Members")
    await expect(members.get_by_role("button", name="Alice")).to_contain_text("You play · DJ")
    await expect(members.get_by_role("button", name="Mira")).to_contain_text("Moderator")
    await chat.page.get_by_role("radio", name="Alice, DJ").press("ArrowRight")
    await expect(members.get_by_role("button", name="Bob")).to_contain_text("You play")
    await chat.page.get_by_role("button", name="Member list").click()
    await expect(members).to_be_hidden()


async def test_a_bot_that_is_away(chat: Any, stage: Stage) -> None:
    online = stage.gateway.online
    assert online
    for listener in stage.gateway.on_presence:
        listener(False)
    await expect(chat.page.locator(NOTICES)).to_contain_text("Techno Composer is offline")
    await expect(chat.page.get_by_role("complementary").get_by_role("button", name="Techno Composer")).to_contain_text("Offline")
    for listener in stage.gateway.on_presence:
        listener(True)
    await expect(chat.page.locator(NOTICES)).to_be_empty()


async def test_a_stage_that_goes_and_comes_back(open_chat: Any, tmp_path: Path) -> None:
    """What is on the page stays readable meanwhile, and is fetched anew afterwards."""
    options = StageOptions(data=tmp_path, port=0)
    async with Stage(options) as stage:
        chat = await open_chat(stage)
        async with Visitor(stage.url, "bob") as bob:
            await bob.send("before")
        await expect(chat.messages).to_have_count(1)
    await expect(chat.page.locator(NOTICES)).to_contain_text("The connection to the rehearsal is lost")
    await expect(chat.last).to_contain_text("before")
    await chat.composer.fill("into the void")
    await chat.page.keyboard.press("Enter")
    await expect(chat.page.get_by_role("alert")).to_contain_text("There is no connection to the rehearsal")
    await expect(chat.composer).to_have_value("into the void")
    async with Stage(replace(options, port=stage.port)) as again:
        async with Visitor(again.url, "bob") as bob:
            await bob.send("after")
        await expect(chat.page.locator(NOTICES)).not_to_contain_text("lost")
        await expect(chat.messages).to_have_count(2)
        await chat.page.keyboard.press("Enter")
        await chat.composer.press("Enter")
        await expect(chat.last).to_contain_text("into the void")
        chat.complaints.clear()  # the browser notes each attempt that failed
        await chat.page.close()
