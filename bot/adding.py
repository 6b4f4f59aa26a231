"""Tracks on their way into a crate: first all are stored, then each is listened to, then the message shows a card for each.

::

    add_files ─▶ rows and bytes (a bad file doesn't stop the rest) ─▶ show_cards ─▶ engine ─▶ facts written down ─▶ lines and cards

What is stored stays so whatever happens afterwards: a track that could not be listened to now is later (``listening.catch_up``).
Not here: what is said (``crate_pages``, ``uploads.added_line``), how the message is edited (``answer``).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import discord

from bot import crate_pages, uploads
from bot.answer import Answer
from bot.errors import UNEXPECTED, log, words_for
from bot.kit import Interaction
from bot.limits import MESSAGE_CHARACTERS
from bot.messages import plain, shorten
from engine.api import Analysis, Working
from engine.client import EngineUnreachable
from storage import Store, Take, Track


@dataclass(slots=True)
class _Entry:
    """One file: what came of it, in a line, and what was heard in it."""

    line: str
    track: Track | None = None
    analysis: Analysis | None = None
    twins: Sequence[Track] = field(default_factory=list)


async def add_files(interaction: Interaction, files: Sequence[discord.Attachment]) -> None:
    """Puts attachments into the guild's crate and shows what they are. Raises Refusal for a single file that can't be a track."""
    if len(files) == 1:
        uploads.check(files[0])  # in private, before anything is deferred
    answer = await Answer.defer(interaction)
    entries: list[_Entry] = []
    for file in files:
        entries.append(await _stored(interaction, file))
        answer.show(_text(entries))
    await _show_cards(interaction.client.store, interaction, answer, entries)


async def add_clip(interaction: Interaction, take: Take) -> None:
    """The same for a clip. Raises Refusal, BlobMissing."""
    answer = await Answer.defer(interaction)
    track = await uploads.keep_clip(interaction, take)
    await _show_cards(interaction.client.store, interaction, answer, [_Entry(uploads.added_line(track), track)])


async def _stored(interaction: Interaction, file: discord.Attachment) -> _Entry:
    try:
        track = await uploads.add(interaction, file)
    except Exception as error:
        words = words_for(error)
        if words is None:
            log.error("could not add a track", exc_info=error)
        name = plain(shorten(file.filename, 80))
        text = words or UNEXPECTED
        return _Entry(f"⚠️ {text}" if name in text else f"⚠️ **{name}**: {text}")
    return _Entry(uploads.added_line(track), track)


async def _show_cards(store: Store, interaction: Interaction, answer: Answer, entries: Sequence[_Entry]) -> None:
    waiting = [entry for entry in entries if entry.track is not None]
    away = False
    for number, entry in enumerate(waiting):
        assert entry.track is not None

        def told(working: Working | None, number: int = number) -> None:
            at = crate_pages.listening_line(working, number=number, of=len(waiting))
            answer.show(f"{_text(entries)}\n{at}")

        told(None)
        if away:
            continue
        try:
            entry.analysis = await interaction.client.listening.hear(entry.track, told)
            entry.twins = await _twins(store, entry.track, entry.analysis)
        except Exception as error:
            away = isinstance(error, EngineUnreachable)
            words = "The engine isn't answering" if away else words_for(error)
            if words is None:
                log.error("could not listen to a track", exc_info=error)
            entry.line += f"\n⚠️ It could not be listened to: {words or UNEXPECTED}"
    if away:
        entries[-1].line += "\nWhat was not listened to yet will be when the engine is back; `/crate list` then shows it."
    shown = [(entry.track, entry.analysis, entry.twins) for entry in entries if entry.track is not None and entry.analysis is not None]
    cards = [
        crate_pages.card_embed(track, analysis, twins, _picture_name(number)) for number, (track, analysis, twins) in enumerate(shown, 1)
    ]

    def files() -> list[discord.File]:
        return [
            discord.File(
                io.BytesIO(analysis.picture.bytes()), _picture_name(number), description=crate_pages.card_description(track, analysis)
            )
            for number, (track, analysis, _) in enumerate(shown, 1)
        ]

    await answer.end(_text(entries), cards, files)


async def _twins(store: Store, track: Track, analysis: Analysis) -> list[Track]:
    """The guild's own tracks that are the same recording; whatever else an engine names is nobody's business here."""
    found = [await store.tracks.by_hash(track.guild_id, same.sha256) for same in analysis.same_as]
    return [twin for twin in found if twin is not None and twin.id != track.id]


def _text(entries: Sequence[_Entry]) -> str:
    return shorten("\n".join(entry.line for entry in entries), MESSAGE_CHARACTERS - 200)  # room for the progress below


def _picture_name(number: int) -> str:
    return f"card-{number}.png"
