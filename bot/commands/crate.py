"""``/crate add``, ``list``, ``remove``, ``report`` and "Add to crate": the guild's collection of tracks.

Not here: how a track gets in (``adding``), what is said of it (``crate_pages``).
"""

from __future__ import annotations

import io
from typing import Self

import discord
from discord import app_commands, ui

from bot import adding, crate_pages, uploads
from bot.answer import Answer
from bot.crate_pages import CRATE_PAGE
from bot.errors import answering
from bot.kit import Interaction
from bot.limits import AUTOCOMPLETE_CHOICES, CHOICE_CHARACTERS, MODAL_FILES
from bot.messages import plain, shorten
from bot.orders import clock
from bot.page_buttons import Page, buttons, turned_as
from bot.permissions import check_own
from bot.refusal import Refusal
from bot.uploads import track_label
from storage import Store, Track


class Crate(app_commands.Group, name="crate", description="This server's collection of tracks"):
    """The four subcommands."""

    @app_commands.command(name="add", description="Put tracks into the crate: attach some here, or leave all empty to choose up to 10")
    @app_commands.describe(track="An audio file", track2="Another", track3="Another", track4="Another", track5="Another")
    async def add(  # noqa: PLR0917 (options of a slash command)
        self,
        interaction: Interaction,
        track: discord.Attachment | None = None,
        track2: discord.Attachment | None = None,
        track3: discord.Attachment | None = None,
        track4: discord.Attachment | None = None,
        track5: discord.Attachment | None = None,
    ) -> None:
        files = [file for file in (track, track2, track3, track4, track5) if file is not None]
        if files:
            await adding.add_files(interaction, files)
        else:
            await interaction.response.send_modal(AddModal())

    @app_commands.command(name="list", description="What is in the crate")
    async def list_(self, interaction: Interaction) -> None:
        assert interaction.guild_id is not None
        embed, view = await _page(interaction.client.store, interaction.guild_id, 0)
        await interaction.response.send_message(embed=embed, view=view, ephemeral=True)

    @app_commands.command(name="remove", description="Take a track out of the crate, and forget its audio")
    @app_commands.describe(track="Type a part of its name")
    async def remove(self, interaction: Interaction, track: str) -> None:
        assert interaction.guild_id is not None
        store = interaction.client.store
        found = await find_track(store, interaction.guild_id, track)
        check_own(interaction, found.member_id, "remove", "Only whoever added a track, or a moderator, can")
        await store.tracks.remove(interaction.guild_id, found.id)
        name = plain(shorten(track_label(found), 120))
        text = f"**{name}** is out of the crate, and will be forgotten."
        if learning := await store.finetunes.learning(interaction.guild_id, found.sha256):
            text += f" **{plain(learning.name)}** still learns from it: `/finetune cancel` ends that."
        await interaction.response.send_message(text)
        interaction.client.listening.catch_up()  # the engine forgets it too

    @remove.autocomplete("track")
    async def _suggest(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggest_tracks(interaction, typed)

    @app_commands.command(name="report", description="What the crate is as a dataset: tempo, keys, lengths, and what would make it better")
    async def report(self, interaction: Interaction) -> None:
        assert interaction.guild_id is not None
        if not await interaction.client.store.tracks.count(interaction.guild_id):
            raise Refusal("The crate is empty: `/crate add` puts tracks in.")
        answer = await Answer.defer(interaction)
        report = await interaction.client.listening.report(
            interaction.guild_id, lambda working: answer.show(crate_pages.searching_line(working))
        )
        picture = report.picture.bytes()
        words = crate_pages.report_description(report)
        await answer.end(
            None, [crate_pages.report_page(report)], lambda: [discord.File(io.BytesIO(picture), crate_pages.REPORT_NAME, description=words)]
        )
        interaction.client.listening.catch_up()  # what was heard for it is written down


class AddModal(ui.Modal, title="Add to the crate"):
    """A file picker, for more tracks than a command has options."""

    def __init__(self) -> None:
        super().__init__(custom_id="crate:add")
        self.files: ui.FileUpload[Self] = ui.FileUpload(custom_id="files", min_values=1, max_values=MODAL_FILES)
        self.add_item(ui.Label(text="Tracks", description=f"Up to {MODAL_FILES} files: {uploads.KINDS}", component=self.files))

    async def on_submit(self, interaction: Interaction) -> None:  # type: ignore[override]  # Interaction is one whose client is ours
        async with answering(interaction):
            await adding.add_files(interaction, self.files.values)


@app_commands.context_menu(name="Add to crate")
async def add_message(interaction: Interaction, message: discord.Message) -> None:
    assert interaction.guild_id is not None
    take = await interaction.client.store.takes.by_message(interaction.guild_id, message.id)
    if take is not None and take.clip is not None:
        await adding.add_clip(interaction, take)
    else:
        await adding.add_files(interaction, uploads.audio_in(message)[:MODAL_FILES])


async def find_track(store: Store, guild_id: int, wanted: str) -> Track:
    """The track that a suggestion named by its id, or that what was typed names alone. Raises Refusal."""
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 18:
        track = await store.tracks.get(guild_id, int(wanted))
        if track is not None:
            return track
    found = await store.tracks.search(guild_id, wanted, limit=2)
    if len(found) == 1:
        return found[0]
    if found:
        raise Refusal(f"Several tracks of the crate are called something like “{plain(shorten(wanted, 80))}”: pick one of the suggestions.")
    raise Refusal(f"No track of the crate is called anything like “{plain(shorten(wanted, 80))}”. `/crate list` shows them all.")


async def suggest_tracks(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    """Tracks of this guild that fit what is typed so far."""
    if interaction.guild_id is None:
        return []
    tracks = await interaction.client.store.tracks.search(interaction.guild_id, typed, limit=AUTOCOMPLETE_CHOICES)
    return [app_commands.Choice(name=_choice(track), value=str(track.id)) for track in tracks]


def _choice(track: Track) -> str:
    length = f" ({clock(track.duration_s)})"
    return shorten(track_label(track), CHOICE_CHARACTERS - len(length)) + length


@turned_as("crate")
async def _page(store: Store, guild_id: int, page: int) -> Page:
    """One page of the crate and the buttons to turn it."""
    total = await store.tracks.count(guild_id)
    page = min(page, max(0, (total - 1) // CRATE_PAGE))
    tracks = await store.tracks.list(guild_id, limit=CRATE_PAGE, offset=page * CRATE_PAGE)
    return crate_pages.crate_page(tracks, page=page, total=total), buttons("crate", page, total=total, on_a_page=CRATE_PAGE)
