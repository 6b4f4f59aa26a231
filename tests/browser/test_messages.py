"""How messages look: prose, embeds, components, what hangs on them, and how edits come in."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect

from bot.rehearsal.app import Stage
from bot.rehearsal.visitor import Visitor


async def show(alice: Visitor, what: str) -> None:
    await alice.finished(await alice.slash("show", what=what))


def many(alice: Visitor, stage: Stage) -> None:
    """70 messages of bob's in the lab: more than the page fetches at once."""
    bob_id = next(int(member["id"]) for member in alice.state["members"] if member["username"] == "bob")
    for number in range(70):
        stage.backend.create_message(int(alice.channel_id("lab")), bob_id, f"line {number}")


async def test_an_empty_channel_says_what_to_try(chat: Any) -> None:
    await expect(chat.page.get_by_role("heading", name="This is where #lab begins")).to_be_visible()
    await expect(chat.page.get_by_text("it is not Discord")).to_be_visible()
    await chat.page.get_by_role("button", name="Try it: Make a clip").click()
    await expect(chat.page.get_by_role("combobox", name="prompt")).to_have_value("Alice_hash deep rolling techno")
    await expect(chat.page.get_by_role("combobox", name="seconds")).to_have_value("8")
    await chat.page.get_by_role("button", name="What to try").click()
    dialog = chat.page.get_by_role("dialog", name="What to try")
    await dialog.get_by_role("button", name="Try it: Continue a track").click()
    await expect(dialog).to_have_count(0)
    await expect(chat.page.locator(".slash-name")).to_have_text("/continue")


async def test_markdown_is_drawn_and_markup_is_not(chat: Any, alice: Visitor) -> None:
    await show(alice, "markdown")
    prose = chat.last.locator(".prose")
    for selector, text in {
        "h3": "Heading one", "h4": "Heading two", "h5": "Heading three", "strong": "bold", "em": "italic", "u": "underline", "s": "strike",
        "p code": "code", "blockquote": "quoted text", "ul > li": "first", "ul ul > li": "inner", "ol > li": "one", "pre": 'print("a < b")',
        "small": "small print", "time": "ago",
    }.items():  # fmt: skip
        await expect(prose.locator(selector).first).to_contain_text(text)
    await expect(prose).to_contain_text("snake_case_name stays")
    links = await prose.locator("a").evaluate_all("(all) => all.map((a) => [a.href, a.target, a.rel])")
    assert links == [[f"https://example.org/{end}", "_blank", "noopener noreferrer"] for end in ("a_(b)", "bare")]
    # What looks like markup is text, and stays text.
    await expect(prose).to_contain_text('<img src=x onerror="window.broken = true"> <script>window.broken = true</script>')
    await expect(prose).to_contain_text("[no](javascript:window.broken=true)")
    assert await chat.page.evaluate("[window.broken, document.querySelectorAll('.prose img, .prose script').length]") == [None, 0]
    # A spoiler hides until it is asked for.
    spoiler = prose.locator(".spoiler")
    await expect(spoiler.locator("span")).to_have_css("opacity", "0")
    await spoiler.press("Enter")
    await expect(spoiler.locator("span")).to_have_css("opacity", "1")


async def test_every_word_of_a_member_is_text(chat: Any, alice: Visitor) -> None:
    """File names, embeds, messages of members: wherever words can stand."""
    evil = '<img src=x onerror="window.broken = true">'
    await chat.composer.fill(f"**{evil}** ||{evil}|| `{evil}` [{evil}](https://example.org)\n> {evil}\n- {evil}\n```{evil}```")
    await chat.page.keyboard.press("Enter")
    await expect(chat.last).to_contain_text(evil)
    assert await chat.page.evaluate("[window.broken, document.querySelectorAll('[onerror]').length]") == [None, 0]


async def test_mentions_have_names(chat: Any, alice: Visitor) -> None:
    await show(alice, "mentions")
    await expect(chat.last.locator(".prose")).to_contain_text("@Alice #lab /generate @everyone @role :kick:")
    await expect(chat.last).to_have_class("message message-mentions-me")
    await chat.last.get_by_role("button", name="/generate").click()
    await expect(chat.page.locator(".slash-name")).to_have_text("/generate")


async def test_a_clip_is_one_message_that_is_edited_into_shape(chat: Any) -> None:
    await chat.use("/generate prompt:deep techno seconds:4")
    clip = chat.messages.first
    await expect(clip.locator(".lead")).to_contain_text("Alice used /generate")
    await expect(clip.locator(".name").nth(1)).to_have_text("Techno Composer")
    await expect(clip.get_by_role("group", name="Reactions").locator("button[aria-pressed]")).to_have_count(5)
    assert await chat.messages.count() == 1
    await expect(clip.locator(".embed-footer")).to_contain_text("AI-generated")
    await expect(clip.locator(".embed .picture img")).to_have_js_property("naturalWidth", 720)
    player = clip.get_by_role("group", name="Audio: deep-techno-7.wav")
    await expect(player.locator(".player-time")).to_have_text("0:00 / 0:04")
    await expect(chat.page.locator("#to-present")).to_be_hidden()  # it grew, and the reader stayed at the end


async def test_the_player_plays_one_at_a_time_and_can_be_scrubbed(chat: Any, alice: Visitor) -> None:
    await show(alice, "files")
    first, second = chat.last.get_by_role("group", name="Audio: a.wav"), chat.last.get_by_role("group", name="Audio: b.wav")
    await expect(first.locator(".player-time")).to_have_text("0:00 / 0:03")
    await first.get_by_role("button", name="Play a.wav").click()
    await expect(first.get_by_role("button", name="Pause a.wav")).to_be_visible()
    await second.get_by_role("button", name="Play b.wav").click()
    await expect(second.get_by_role("button", name="Pause b.wav")).to_be_visible()
    await expect(first.get_by_role("button", name="Play a.wav")).to_be_visible()
    await second.get_by_role("button", name="Pause b.wav").click()
    slider = first.get_by_role("slider", name="Position in a.wav")
    await slider.press("Home")
    await slider.press("ArrowRight")
    await slider.press("ArrowRight")
    await expect(slider).to_have_attribute("aria-valuetext", "0:02 of 0:03")
    await slider.click(position={"x": 5, "y": 20})
    await expect(slider).to_have_attribute("aria-valuetext", "0:00 of 0:03")
    drawn = "(c) => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return d.some((v) => v > 0) }"
    assert await first.locator("canvas").evaluate(drawn)
    await expect(first.get_by_role("link", name="Download a.wav")).to_have_attribute("download", "a.wav")
    await expect(chat.last.get_by_role("group", name="Audio: broken.mp3")).to_contain_text("The browser can’t play this file")
    chat.complaints.clear()  # Chromium notes the broken file itself


async def test_files_have_sizes_and_tables_a_preview(chat: Any, alice: Visitor) -> None:
    await show(alice, "files")
    await expect(chat.last.locator(".file", has_text="data.zip")).to_contain_text("2.9 KB")
    await chat.last.get_by_role("button", name="Preview").click()
    await expect(chat.last.locator(".csv thead")).to_have_text("takememberscore")
    await expect(chat.last.locator(".csv tbody tr").first).to_have_text("0alice, the DJ1")
    await expect(chat.last.locator(".csv tbody tr")).to_have_count(8)
    chat.complaints.clear()  # Chromium notes the broken file itself


async def test_pictures_open_large_and_close_again(chat: Any, alice: Visitor) -> None:
    await show(alice, "files")
    await chat.last.get_by_role("button", name="Enlarge the picture: The two of them").click()
    dialog = chat.page.get_by_role("dialog", name="Picture")
    await expect(dialog.get_by_role("img", name="The two of them")).to_be_visible()
    await chat.page.keyboard.press("ArrowRight")
    await expect(dialog.get_by_role("img", name="other.png")).to_be_visible()
    await chat.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    chat.complaints.clear()  # Chromium notes the broken file itself


async def test_components_v2(chat: Any, alice: Visitor) -> None:
    await show(alice, "layout")
    box = chat.last.locator(".container")
    await expect(box).to_have_css("border-left-color", "rgb(168, 85, 247)")
    await expect(box.locator(".section").first.get_by_role("heading", name="A section")).to_be_visible()
    await expect(box.locator(".thumbnail img")).to_have_js_property("complete", True)
    await expect(box.locator("hr")).to_have_count(1)
    await expect(box.get_by_role("button", name="Enlarge the picture: first view")).to_be_visible()
    await expect(box.get_by_role("button", name="Press")).to_be_enabled()
    await expect(box.get_by_role("group", name="Audio: take.wav").locator(".player-time")).to_have_text("0:00 / 0:02")
    await expect(box.locator(".file", has_text="notes.txt")).to_be_visible()
    await expect(chat.last.locator("small")).to_have_text("outside of the box")


async def test_replies_lead_to_what_they_answer(chat: Any, alice: Visitor) -> None:
    await show(alice, "reply")
    answer = chat.messages.filter(has_text="The second word")
    await expect(answer.locator(".lead")).to_contain_text("Techno Composer")
    await answer.get_by_role("button", name="The first word").click()
    await expect(chat.messages.first).to_be_focused()


async def test_messages_of_one_author_stand_together(chat: Any, alice: Visitor) -> None:
    for text in ("one", "two"):
        await alice.send(text)
    await expect(chat.messages.nth(1)).to_have_class("message message-continued")
    await expect(chat.messages.nth(1).get_by_role("button", name="Alice")).to_be_hidden()
    await expect(chat.messages.nth(0).get_by_role("button", name="Alice")).to_be_visible()
    await expect(chat.page.locator(".line")).to_have_text("Today")


async def test_edits_leave_a_reader_where_they_are(chat: Any, alice: Visitor, stage: Stage) -> None:
    many(alice, stage)
    await expect(chat.page.get_by_text("line 69", exact=True)).to_be_visible()
    # Going up loads what came before, and the place stays.
    await chat.page.locator("#scroller").evaluate("(it) => it.scrollTo(0, 500)")
    await expect(chat.page.locator("#to-present")).to_be_visible()
    middle = chat.page.get_by_text("line 40", exact=True)
    before = await middle.evaluate("(it) => it.getBoundingClientRect().top")
    message_id = int(await chat.last.get_attribute("data-id"))
    stage.backend.edit_message(int(alice.channel_id("lab")), message_id, {"content": "edited\n" * 9})
    async with Visitor(stage.url, "bob") as bob:
        await bob.send("one more below")
    await expect(chat.page.locator("#to-present")).to_contain_text("1 new message")
    assert abs(await middle.evaluate("(it) => it.getBoundingClientRect().top") - before) < 2
    await expect(chat.page.get_by_text("(edited)")).to_have_count(1)
    await chat.page.locator("#to-present").click()
    await expect(chat.page.get_by_text("one more below")).to_be_in_viewport()
    await expect(chat.page.locator("#to-present")).to_be_hidden()


async def test_older_messages_are_fetched_on_the_way_up(chat: Any, alice: Visitor, stage: Stage) -> None:
    many(alice, stage)
    await expect(chat.page.get_by_text("line 69", exact=True)).to_be_visible()
    await chat.page.reload()
    await expect(chat.page.get_by_text("line 69", exact=True)).to_be_visible()
    await expect(chat.page.get_by_text("line 10", exact=True)).to_have_count(0)
    await expect(chat.page.locator("#welcome")).to_be_hidden()
    await chat.page.locator("#scroller").evaluate("(it) => it.scrollTo(0, 0)")
    await expect(chat.page.get_by_text("line 10", exact=True)).to_have_count(1)
    await expect(chat.page.locator("#welcome")).to_be_visible()
    top = await chat.page.locator("#scroller").evaluate("(it) => it.scrollTop")
    assert top > 300  # the reader was not thrown to the top


async def test_threads_stand_under_their_channel(chat: Any, alice: Visitor, stage: Stage) -> None:
    started = await alice.send("let us talk")
    owner_id, message_id = int(alice.state["me"]["id"]), int(started["id"])
    stage.backend.create_thread(int(started["channel_id"]), "deep talk", owner_id, message_id=message_id)
    thread = chat.page.get_by_role("navigation").get_by_role("button", name="deep talk")
    await thread.click()
    await expect(chat.page.get_by_role("heading", name="deep talk", exact=True)).to_be_visible()
    await chat.composer.fill("down here")
    await chat.page.keyboard.press("Enter")
    await expect(chat.page.locator(".prose", has_text="down here")).to_be_visible()


async def test_what_comes_while_the_composer_gives_room_back_is_followed(chat: Any, alice: Visitor, stage: Stage) -> None:
    """The browser moves the log down by itself then, and its scroll event is not the reader's."""
    many(alice, stage)
    await expect(chat.page.get_by_text("line 69", exact=True)).to_be_in_viewport()
    at_end = "() => { const s = document.getElementById('scroller'); return s.scrollHeight - s.scrollTop - s.clientHeight < 2; }"
    scroller = chat.page.locator("#scroller")
    await scroller.evaluate("(it) => { it.style.maxHeight = `${it.clientHeight - 60}px`; }")
    await chat.page.wait_for_function(at_end)
    # Frames, so that the log has seen its smaller height before it changes again.
    await chat.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    await scroller.evaluate(
        """(it) => new Promise((done) => requestAnimationFrame(() => {
            it.style.maxHeight = ""; // less is below than before, and the browser moves the log when it draws this frame …
            setTimeout(() => { // … and more comes before the next one, in which the log hears of it
                const filler = document.createElement("div");
                filler.style.height = "400px";
                document.getElementById("scroller-inner").append(filler);
                done();
            });
        }))"""
    )
    await chat.page.wait_for_function(at_end)
    await expect(chat.page.locator("#to-present")).to_be_hidden()
