"""``/finetune start``, ``cancel``, ``list`` and ``use``: a checkpoint of the guild's own, made of its crate.

Not here: following a job to its end (``finetunes``), what is said of it (``finetune_pages``), who may (``permissions``).
"""

from __future__ import annotations

from typing import Any

from discord import app_commands
from pydantic import ValidationError

from bot import checkpoints, finetune_buttons, finetune_pages
from bot.charts import plural
from bot.finetune_pages import FINETUNES_PAGE
from bot.kit import Interaction
from bot.limits import AUTOCOMPLETE_CHOICES, CHOICE_CHARACTERS
from bot.messages import code, plain, shorten
from bot.orders import draw_seed
from bot.page_buttons import Page, buttons, turned_as
from bot.permissions import check_can_post, check_finetuner
from bot.refusal import Refusal, sentence
from bot.uploads import wire_track
from engine.api import CheckpointInfo
from engine.api.finetunes import MAX_FINETUNE_TRACKS, FinetuneRequest
from engine.words import explain
from storage import Finetune, FinetuneUnderWay, GuildSettings, NameTaken, Store, Track
from storage.finetunes import new_id

BASE = "base"
"""What ``use`` calls going without a finetune; no finetune can have that name."""
MAX_NAME_CHARACTERS = 60

_RECIPES = [app_commands.Choice(name=label, value=recipe) for recipe, label in finetune_pages.RECIPES.items()]


class FinetuneGroup(app_commands.Group, name="finetune", description="Teach the model your crate, and see whether it helped"):
    """The four subcommands."""

    @app_commands.command(name="start", description="Finetune on the crate: a forecast first, a report card at the end")
    @app_commands.describe(
        crate="Only tracks with these words in artist, title or file name; all of the crate if left out",
        recipe="How it learns; lora if left out",
        name="What to call it, such as: Warehouse",
    )
    @app_commands.choices(recipe=_RECIPES)
    async def start(
        self, interaction: Interaction, crate: str | None = None, recipe: app_commands.Choice[str] | None = None, name: str | None = None
    ) -> None:
        assert interaction.guild_id is not None
        client, store = interaction.client, interaction.client.store
        settings = await store.guilds.settings(interaction.guild_id)
        check_finetuner(interaction, settings)
        check_can_post(interaction)
        chosen = check_name(name) if name is not None else await _new_name(store, interaction.guild_id)
        if under_way := await store.finetunes.under_way(interaction.guild_id):
            raise Refusal(
                f"**{plain(under_way.name)}** is under way already, and one at a time is enough for the machine: "
                "wait for its end, or `/finetune cancel` it."
            )
        tracks = await _tracks(store, interaction.guild_id, crate)
        await interaction.response.defer(thinking=True)
        points = await checkpoints.of_guild(client.engine, store, interaction.guild_id)
        request = _request(
            name=chosen,
            recipe=recipe.value if recipe is not None else "lora",
            base=_base_of(points, settings),
            token=settings.token,
            owner=await store.guilds.owner(interaction.guild_id),
            tracks=[wire_track(track) for track in tracks],
            seed=draw_seed(),
        )
        try:
            await client.finetunes.begin(interaction, request)
        except (FinetuneUnderWay, NameTaken) as error:
            raise Refusal(str(error)) from None

    @start.autocomplete("crate")
    async def _suggest_tracks(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await _suggest_parts(interaction, typed)

    @app_commands.command(name="cancel", description="End the finetune that is under way")
    async def cancel(self, interaction: Interaction) -> None:
        under_way = await interaction.client.store.finetunes.under_way(interaction.guild_id or 0)
        if under_way is None:
            raise Refusal("No finetune is under way. `/finetune list` shows those that were.")
        await finetune_buttons.cancel(interaction, under_way)
        await interaction.response.send_message(f"**{plain(under_way.name)}** is being cancelled.", ephemeral=True)

    @app_commands.command(name="list", description="This server's finetunes, and what came of each")
    async def list_(self, interaction: Interaction) -> None:
        assert interaction.guild_id is not None
        embed, view = await _page(interaction.client.store, interaction.guild_id, 0)
        await interaction.response.send_message(embed=embed, view=view, ephemeral=True)

    @app_commands.command(name="use", description="Choose which finetune makes this server's clips, or the base")
    @app_commands.describe(name="A finetune of this server, or: base")
    async def use(self, interaction: Interaction, name: str) -> None:
        assert interaction.guild_id is not None
        store = interaction.client.store
        settings = await store.guilds.settings(interaction.guild_id)
        check_finetuner(interaction, settings)
        made = await store.finetunes.made(interaction.guild_id)
        if name.strip().casefold() == BASE:
            before = next((finetune for finetune in made if finetune.checkpoint == settings.checkpoint), None)
            base = before.base if before is not None else None
            await store.guilds.update(interaction.guild_id, checkpoint=base)
            await interaction.response.send_message(embed=finetune_pages.base_page(base))
            return
        chosen = _find(made, name)
        await interaction.response.defer(thinking=True)
        points = await checkpoints.of_guild(interaction.client.engine, store, interaction.guild_id)
        if all(point.id != chosen.checkpoint for point in points):
            raise Refusal(f"The engine doesn't have the checkpoint of **{plain(chosen.name)}** any more. What was chosen before stays.")
        changed = await store.guilds.update(interaction.guild_id, checkpoint=chosen.checkpoint, token=chosen.token)
        page = finetune_pages.used_page(chosen, token_changed=changed.token != settings.token)
        await interaction.edit_original_response(embed=page)

    @use.autocomplete("name")
    async def _suggest_finetunes(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        if interaction.guild_id is None:
            return []
        wanted = typed.strip().casefold()
        made = [
            finetune
            for finetune in await interaction.client.store.finetunes.made(interaction.guild_id)
            if wanted in finetune.name.casefold()
        ]
        choices = [
            app_commands.Choice(name=shorten(finetune_pages.choice_label(finetune), CHOICE_CHARACTERS), value=finetune.id)
            for finetune in made
        ]
        base = [app_commands.Choice(name="base: without a finetune", value=BASE)] if wanted in "base: without a finetune" else []
        return [*base, *choices][:AUTOCOMPLETE_CHOICES]


def check_name(name: str) -> str:
    """Raises Refusal."""
    name = " ".join(name.split())
    if not any(letter.isalnum() for letter in name) or len(name) > MAX_NAME_CHARACTERS:
        raise Refusal(f"`name` must have 1 to {MAX_NAME_CHARACTERS} characters, with a letter or a number among them.")
    if name.casefold() == BASE:
        raise Refusal("`base` is what every finetune starts from: give this one another `name`.")
    return name


async def _new_name(store: Store, guild_id: int) -> str:
    taken = {finetune.name.casefold() for finetune in await store.finetunes.made(guild_id)}
    number = await store.finetunes.count(guild_id) + 1
    while f"finetune {number}" in taken:
        number += 1
    return f"Finetune {number}"


async def _tracks(store: Store, guild_id: int, words: str | None) -> list[Track]:
    """What to learn from. Raises Refusal. Whether it is enough, the engine says."""
    total = await store.tracks.count(guild_id)
    if not total:
        raise Refusal("The crate is empty: `/crate add` puts tracks in, and 15 or more make a start.")
    tracks = await store.tracks.search(guild_id, words or "", limit=MAX_FINETUNE_TRACKS + 1)
    if not tracks:
        raise Refusal(
            f"No track of the crate has “{plain(shorten(words or '', 80))}” in its name. "
            f"Leave `crate` out to learn from {'all ' if total > 1 else ''}{plural(total, 'track')}."
        )
    if len(tracks) > MAX_FINETUNE_TRACKS:
        raise Refusal(f"A finetune learns from {MAX_FINETUNE_TRACKS:,} tracks at most: name a part of them with `crate`.")
    return tracks


def _base_of(points: list[CheckpointInfo], settings: GuildSettings) -> str | None:
    """The guild's own base, where it has chosen one; a finetune is made on what the last one was made on. None: the engine's default."""
    chosen = next((point for point in points if point.id == settings.checkpoint), None)
    if chosen is None or chosen.kind == "base":
        return chosen.id if chosen is not None else None
    return next((point.id for point in points if point.id == chosen.parent and point.kind == "base"), None)


def _request(**fields: Any) -> FinetuneRequest:
    """Raises Refusal."""
    try:
        return FinetuneRequest.model_validate({"id": new_id(), **fields})
    except ValidationError as error:
        if error.errors()[0]["loc"][:1] == ("token",):
            raise Refusal(
                f"The token {code(fields['token'])} can't be learned: it must be one word of at most 60 characters without a comma. "
                "A moderator can change it: `/settings token`."
            ) from None
        raise Refusal(sentence(explain(error, FinetuneRequest))) from None


def _find(made: list[Finetune], wanted: str) -> Finetune:
    """By id, as a suggestion sends it, or by name. Raises Refusal."""
    for finetune in made:
        if wanted == finetune.id or wanted.strip().casefold() == finetune.name.casefold():
            return finetune
    raise Refusal(
        f"No finetune of this server is called “{plain(shorten(wanted, 80))}”. `/finetune list` shows them, `base` is none of them."
    )


async def _suggest_parts(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
    """What is typed, with how many tracks it finds; and the artists of several tracks."""
    if interaction.guild_id is None:
        return []
    tracks = await interaction.client.store.tracks.search(interaction.guild_id, typed, limit=MAX_FINETUNE_TRACKS)
    if not tracks:
        return []
    artists: dict[str, int] = {}
    for track in tracks:
        if track.artist and len(track.artist) <= CHOICE_CHARACTERS:
            artists[track.artist] = artists.get(track.artist, 0) + 1
    found = [(typed.strip(), len(tracks))] if typed.strip() else []
    found += sorted(((artist, count) for artist, count in artists.items() if count > 1), key=lambda part: -part[1])
    return [
        app_commands.Choice(name=f"{shorten(words, CHOICE_CHARACTERS - 20)} · {plural(count, 'track')}", value=words)
        for words, count in dict(found).items()
        if len(words) <= CHOICE_CHARACTERS
    ][:AUTOCOMPLETE_CHOICES]


@turned_as("finetunes")
async def _page(store: Store, guild_id: int, page: int) -> Page:
    """One page of the list and the buttons to turn it."""
    total = await store.finetunes.count(guild_id)
    page = min(page, max(0, (total - 1) // FINETUNES_PAGE))
    shown = await store.finetunes.list(guild_id, limit=FINETUNES_PAGE, offset=page * FINETUNES_PAGE)
    in_use = (await store.guilds.settings(guild_id)).checkpoint
    view = buttons("finetunes", page, total=total, on_a_page=FINETUNES_PAGE)
    return finetune_pages.list_page(shown, page=page, total=total, in_use=in_use), view
