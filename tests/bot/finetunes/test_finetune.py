"""Finetuning from Discord: from the forecast to the report card, and what a guild makes of it. The engine is scripted, over real HTTP."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import discord
import pytest

from bot import finetunes
from bot.limits import FINETUNE_EVERY_S
from engine.api.finetunes import FinetuneCancelled, FinetuneDone, FinetuneFailed, FinetuneQueued, Forecast, Preparing, TrainingProgress


async def started(world: Any, jobs: Any, member: Any = None, **options: Any) -> Any:
    result = await (member or world.mira).slash(world.lab, "finetune start", **options)
    await world.until(lambda: jobs.requests and jobs.asked_from, "the engine follows")
    return result


async def shown(world: Any, words: str, at: int = -1) -> discord.Message:
    """The message once it says so; edits wait for their turn in this world's time."""

    async def said() -> bool:
        if words in world.text(world.messages()[at]):
            return True
        await world.env.advance_time(FINETUNE_EVERY_S)
        return False

    await world.until(said, words)
    message: discord.Message = world.messages()[at]
    return message


async def ended(world: Any, state: str) -> Any:
    async def over() -> Any:
        return next((finetune for finetune in await world.store.finetunes.list(world.guild.id) if finetune.state == state), None)

    return await world.until(over, state)


async def test_from_the_forecast_to_a_card_that_passes_and_clips_of_it(
    world: Any, scripted: Any, jobs: Any, crate: Any, forecast: Any, training: Any, plot: Any, report: Any, finetuned: Any, done: Any
) -> None:
    await started(world, jobs, crate="alice", name="Warehouse")
    (request,) = jobs.requests
    assert (len(request.tracks), request.recipe, request.token, request.base) == (16, "lora", "Alice_hash", None)
    assert request.owner == await world.store.guilds.owner(world.guild.id)
    await shown(world, "on its way to the engine")
    assert world.labels(world.last()) == ["Cancel"]

    await jobs.say(FinetuneQueued, position=1)
    await shown(world, "waiting behind 1 other finetune")
    await jobs.say(Preparing, what="cutting", done=8, of=16)
    await shown(world, "cutting them into segments: 8 of 16")
    await jobs.say(Forecast, **forecast)
    text = world.text(await shown(world, "Forecast"))
    for words in (
        "about 25 min at most**",
        "1.5 GiB of memory",
        "640 segments of 13 tracks to learn from",
        "70 segments of 5 other tracks to judge by",
        "160 steps at most",
    ):
        assert words in text
    assert "• 13 tracks are few" in text and "Clips go first" in text
    await jobs.say(TrainingProgress, **training(40, picture=plot(b"one")))
    message = await shown(world, "step 40 of 160 · about 13 min left")
    assert "base 4.345 · now 4.300 · **best 4.210** at step 40" in world.text(message)
    assert [file.filename for file in message.attachments] == ["training.png"]
    await jobs.say(TrainingProgress, **training(80, picture=plot(b"two")))
    message = await shown(world, "step 80 of 160")
    assert [await file.read() for file in message.attachments] == [b"\x89PNGtwo"], "the plot takes the place of the last one"

    scripted.points.append(finetuned(jobs.id, request.owner))
    await jobs.say(FinetuneDone, checkpoint=jobs.id, report=report())
    await ended(world, "done")
    message = world.messages()[0]
    text = world.text(message)
    assert "Report card · Warehouse" in text and "✅ **It passed: better on unseen tracks, and no worse anywhere.**" in text
    for row in ("loss, nats       4.345      4.210", "FAD               12.3       9.80", "  95 %       0.25–0.38  0.25–0.38"):
        assert row in text
    assert "seeds `11`, `12`, `13`, `14`" in text
    assert "120 steps, the best at 80 · about 15 min of training · stopped early" in text
    names = [file.filename for file in message.attachments]
    assert (
        names[:4] == ["report-card.png", "training.png", "1-before-seed-11-warehouse.mp3", "1-after-seed-11-warehouse.mp3"]
        and len(names) == 10
    )
    assert await message.attachments[3].read() == b"after 11"
    assert world.labels(message) == [] and len(world.messages()) == 1

    scripted.events = [
        done(checkpoint=jobs.id if jobs.requests else "", checkpoint_kind="finetuned", strength=0.8, prompt="Alice_hash techno")
    ]
    await world.bob.slash(world.lab, "generate", prompt="Alice_hash techno", strength=80)
    await world.until(lambda: world.last().attachments and len(world.messages()) == 2, "posted")
    assert (scripted.requests[-1].checkpoint, scripted.requests[-1].strength) == (request.id, 0.8)
    assert "checkpoint ||Warehouse (finetune), strength 80 %||" in world.text(world.last())
    assert (await world.take_of(world.last())).category == "other", "a part of a finetune is no arm of the study"
    listed = world.said(await world.bob.slash(world.lab, "finetune list"))
    assert "✅ passed · **Warehouse** · **in use**" in listed and "18 tracks" not in listed and "16 tracks" in listed
    assert jobs.deleted == [request.id], "the engine needs its working files no more"


async def test_one_that_fails_leaves_the_base_and_can_be_used_all_the_same(
    world: Any, scripted: Any, jobs: Any, crate: Any, report: Any, finetuned: Any, done: Any
) -> None:
    await started(world, jobs, name="Warehouse")
    scripted.points.append(finetuned(jobs.id, jobs.requests[0].owner, gate="failed"))
    await jobs.say(FinetuneDone, checkpoint=jobs.id, report=report("failed"))
    finetune = await ended(world, "done")
    text = world.text(world.last())
    assert "❌ **The base stays: held-out loss 4.400" in text and "• Add tracks: 13 are few." in text
    assert "`/finetune use` can choose `Warehouse` all the same, and clips made by it say so." in text
    assert (await world.store.guilds.settings(world.guild.id)).checkpoint is None

    choices = await world.mira.autocomplete(world.lab, "finetune use", "name", "")
    assert [choice["value"] for choice in choices] == ["base", finetune.id]
    assert choices[1]["name"].startswith("Warehouse (did not pass, ")
    refused = await world.bob.slash(world.lab, "finetune use", name="Warehouse")
    assert refused.ephemeral and "Finetuning is for moderators here." in world.said(refused)
    used = await world.mira.slash(world.lab, "finetune use", name="warehouse")
    assert "⚠️ It did not pass its gate" in world.said(used)
    status = world.said(await world.mira.slash(world.lab, "status"))
    assert "⚠️ This finetune did not pass its gate, and was chosen all the same." in status or "not answering" in status
    scripted.events = [done(checkpoint=finetune.id, checkpoint_kind="finetuned", strength=1.0, prompt="Alice_hash")]
    await world.bob.slash(world.lab, "generate", prompt="Alice_hash")
    await world.until(lambda: len(world.messages()) == 3 and world.last().attachments, "posted")
    assert "||Warehouse (finetune), ⚠️ did not pass its gate||" in world.text(world.last())
    assert (await world.take_of(world.last())).category == "A"
    back = await world.mira.slash(world.lab, "finetune use", name="base")
    assert "The engine's default makes this server's clips again." in world.said(back)
    assert (await world.store.guilds.settings(world.guild.id)).checkpoint is None


async def test_cancel_tells_the_engine_and_says_so(world: Any, scripted: Any, jobs: Any, crate: Any, training: Any) -> None:
    await world.mira.slash(world.lab, "settings finetuning", who="everyone")
    await started(world, jobs, world.alice)
    await jobs.say(TrainingProgress, **training(1))
    await shown(world, "step 1 of 160")
    refused = await world.bob.click(world.last(), label="Cancel")
    assert "Only whoever started a finetune, or a moderator, can cancel it." in world.said(refused)
    again = await world.alice.slash(world.lab, "finetune start")
    assert again.ephemeral and "**Finetune 1** is under way already" in world.said(again)
    await world.alice.click(world.messages()[0], label="Cancel")
    await ended(world, "cancelled")
    assert jobs.deleted == [jobs.id]
    assert f"Cancelled by <@{world.alice.id}>. The base stays." in world.text(world.messages()[0])
    assert world.labels(world.messages()[0]) == []
    none = await world.alice.slash(world.lab, "finetune cancel")
    assert "No finetune is under way." in world.said(none)
    await world.alice.slash(world.lab, "finetune start")
    await world.until(lambda: len(jobs.requests) == 2, "the next one")


async def test_a_restart_in_the_middle_goes_on_in_the_same_message_or_in_a_new_one(
    world: Any, scripted: Any, jobs: Any, crate: Any, training: Any, plot: Any, report: Any, finetuned: Any
) -> None:
    await started(world, jobs)
    await jobs.say(TrainingProgress, **training(40, picture=plot(b"one")))
    await shown(world, "step 40 of 160")
    await world.restart()
    await world.until(lambda: len(jobs.asked_from) == 2, "taken up again")
    await jobs.say(TrainingProgress, **training(60))
    message = await shown(world, "step 60 of 160")
    assert len(world.messages()) == 1 and len(message.attachments) == 1
    assert world.labels(message) == ["Cancel"]
    await world.mira.delete(message)
    await jobs.say(TrainingProgress, **training(70))
    await world.env.advance_time(FINETUNE_EVERY_S)
    await world.until(world.messages, "posted anew")
    message = await shown(world, "step 70 of 160")
    assert [await file.read() for file in message.attachments] == [b"\x89PNGone"]
    scripted.points.append(finetuned(jobs.id, jobs.requests[0].owner))
    await jobs.say(FinetuneDone, checkpoint=jobs.id, report=report())
    finetune = await ended(world, "done")
    assert len(jobs.requests) == 1, "the same id is the same job"
    assert finetune.message_id == world.messages()[0].id and "Report card" in world.text(world.messages()[0])


async def test_after_the_interactions_end_the_message_is_edited_and_who_asked_is_told(
    world: Any, scripted: Any, jobs: Any, crate: Any, training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetunes, "NOTICE_AFTER", timedelta(0))  # rows are dated by the real clock, which no test advances
    await started(world, jobs)
    await world.env.advance_time(17 * 60)
    await jobs.say(TrainingProgress, **training(40))
    await shown(world, "step 40 of 160")
    await jobs.say(FinetuneFailed, code="internal", message="the machine has run out of memory: close something, or use fewer tracks")
    await ended(world, "failed")
    text = world.text(world.messages()[0])
    assert "⚠️ The machine has run out of memory" in text and "The base stays." in text
    await world.until(lambda: len(world.messages()) == 2, "told")
    told = world.last()
    assert told.content == f"<@{world.mira.id}>, your finetune **Finetune 1** is over: it failed ⚠️, the base stays."
    assert [member.id for member in told.mentions] == [world.mira.id] and told.reference.message_id == world.messages()[0].id
    listed = world.said(await world.bob.slash(world.lab, "finetune list"))
    assert "⚠️ failed · **Finetune 1**" in listed and "The machine has run out of memory" in listed


async def test_an_engine_that_is_away_is_waited_for(world: Any, scripted: Any, jobs: Any, crate: Any, training: Any) -> None:
    await started(world, jobs)
    await jobs.say(TrainingProgress, **training(40))
    await shown(world, "step 40 of 160")
    await jobs.leave()
    await shown(world, "The engine isn't answering. Nothing is lost")
    jobs.away = False
    await world.env.advance_time(60)
    await world.until(lambda: len(jobs.asked_from) >= 2, "asked again")
    assert jobs.asked_from[-1] == 1, "from where it was heard last"
    await jobs.say(TrainingProgress, **training(50))
    text = world.text(await shown(world, "step 50 of 160"))
    assert "isn't answering" not in text

    await jobs.leave(forget=True)
    await shown(world, "The engine isn't answering")
    await world.mira.slash(world.lab, "finetune cancel")
    await shown(world, "It is being cancelled: the engine will hear of it as soon as it answers.")
    assert (await world.store.finetunes.under_way(world.guild.id)).cancel_by == world.mira.id
    await world.restart()
    jobs.away = False
    await world.env.advance_time(60)
    await ended(world, "cancelled")
    assert "Cancelled by" in world.text(world.messages()[0])


async def test_what_the_engine_refuses_is_said_in_its_words(world: Any, scripted: Any, jobs: Any, crate: Any) -> None:
    jobs.refuses = {"code": "bad_request", "message": "4 tracks are too few: add 11 or more"}
    await world.mira.slash(world.lab, "finetune start")
    await ended(world, "failed")
    assert "⚠️ 4 tracks are too few: add 11 or more." in world.text(world.last())
    jobs.refuses = None
    await started(world, jobs)
    await jobs.say(FinetuneCancelled)
    await ended(world, "cancelled")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "  base "}, "`base` is what every finetune starts from"),
        ({"name": "🎛️"}, "`name` must have 1 to 60 characters"),
        ({"crate": "zzz"}, "No track of the crate has “zzz” in its name. Leave `crate` out to learn from all 18 tracks."),
    ],
)
async def test_what_cannot_begin_says_why_in_private(world: Any, scripted: Any, jobs: Any, crate: Any, options: Any, words: str) -> None:
    refused = await world.mira.slash(world.lab, "finetune start", **options)
    assert refused.ephemeral and words in world.said(refused)
    assert not jobs.requests and not world.messages()


async def test_an_empty_crate_and_an_engine_that_is_down(world: Any) -> None:
    assert "The crate is empty" in world.said(await world.mira.slash(world.lab, "finetune start"))
    assert "There is none yet." in world.said(await world.bob.slash(world.lab, "finetune list"))
    sha256 = await world.store.blobs.put(b"a")
    facts: dict[str, Any] = {"filename": "a.mp3", "title": None, "artist": None, "duration_s": 60.0, "sample_rate": 44100, "channels": 2}
    await world.store.tracks.add(world.guild.id, 1, sha256=sha256, codec="mp3", size_bytes=1, **facts)
    assert "The engine isn't answering" in world.said(await world.mira.slash(world.lab, "finetune start"))
    assert await world.store.finetunes.count(world.guild.id) == 0


async def test_who_may_finetune_is_the_servers_choice(world: Any, scripted: Any, jobs: Any, crate: Any) -> None:
    refused = await world.alice.slash(world.lab, "finetune start")
    assert refused.ephemeral and "Finetuning is for moderators here." in world.said(refused)
    djs = world.guild.create_role("DJs")
    unclear = await world.mira.slash(world.lab, "settings finetuning", who="role")
    assert "Name the `role` as well." in world.said(unclear)
    chosen = await world.mira.slash(world.lab, "settings finetuning", who="role", role=djs)
    assert f"for <@&{djs.id}> and moderators" in world.said(chosen)
    refused = await world.bob.slash(world.lab, "finetune start")
    assert f"Finetuning is for <@&{djs.id}> here." in world.said(refused)
    dj = world.guild.add_member(world.env.create_user("dj"), roles=[djs])
    await started(world, jobs, dj)


async def test_another_servers_checkpoints_are_not_there(world: Any, scripted: Any, crate: Any, finetuned: Any, done: Any) -> None:
    elsewhere = world.env.create_guild("Elsewhere")
    scripted.points.append(finetuned("theirs", await world.store.guilds.owner(elsewhere.id), name="Secret"))
    scripted.points.append(finetuned("ours", await world.store.guilds.owner(world.guild.id), name="Ours", token="Ours_hash"))
    for command in ("generate", "settings checkpoint"):
        choices = await world.mira.autocomplete(world.lab, command, "checkpoint", "", **({"prompt": "x"} if command == "generate" else {}))
        assert [choice["value"] for choice in choices] == ["pocket", "alice", "ours"]
    await world.alice.slash(world.lab, "generate", prompt="techno", checkpoint="theirs")
    text = world.text(world.last())
    assert "There is no checkpoint `theirs` here." in text and "Secret" not in text and "`ours`" in text
    refused = await world.mira.slash(world.lab, "settings checkpoint", checkpoint="theirs")
    assert "There is no checkpoint `theirs` here." in world.said(refused)
    assert "`Ours_hash`" in world.said(await world.mira.slash(world.lab, "settings checkpoint", checkpoint="ours"))
    await world.store.guilds.update(world.guild.id, checkpoint="theirs")  # as if it had been set before
    assert "theirs" not in world.said(await world.mira.slash(world.lab, "status")).replace("`theirs`", "")
    await world.alice.slash(world.lab, "generate", prompt="techno")
    assert "doesn't have this server's checkpoint any more" in world.text(world.last())
    assert not scripted.requests, "the engine was not even asked"
    assert "No finetune of this server is called" in world.said(await world.mira.slash(world.lab, "finetune use", name="theirs"))


async def test_strength_is_a_share_or_a_percentage(world: Any, scripted: Any, done: Any) -> None:
    refused = await world.alice.slash(world.lab, "generate", prompt="techno", strength=151)
    assert refused.ephemeral and "`strength` must be from 0 to 150 %, not 151." in world.said(refused)
    scripted.events = [done(strength=0.5)]
    for asked, sent in ((50, 0.5), (1.5, 1.5), (0, 0.0)):
        await world.alice.slash(world.lab, "generate", prompt="techno", strength=asked)
        await world.until(lambda sent=sent: scripted.requests and scripted.requests[-1].strength == sent, "asked")
    await world.until(lambda: all(message.attachments for message in world.messages()), "posted")
    message = world.messages()[0]
    assert "checkpoint ||pocket, strength 50 %||" in world.text(message)
    await world.alice.click(message, label="Again")
    await world.until(lambda: len(scripted.requests) == 4, "asked again")
    assert scripted.requests[-1].strength == 0.5
    await asyncio.sleep(0)
