"""What a finetune's message and ``/finetune list`` say. Pure: values in, embeds out; nothing is sent from here.

    under way  ▰▰▰▱▱▱  step 40 of 160 · about 12 min left     + forecast + plot of training and held-out loss
    its end    ✅ or ❌, the verdict, base │ finetuned │ real, what would help     (``report_embeds``)

Not here: talking to the engine (``finetunes``), which message shows it (``finetune_message``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import discord

from bot.charts import plural
from bot.limits import EMBED_DESCRIPTION_CHARACTERS, EMBED_FIELD_CHARACTERS
from bot.messages import GREY, RED, VIOLET, code, plain, progress_bar, rough, shorten
from engine.api.finetunes import (
    ClipFigures,
    FinetuneQueued,
    Forecast,
    Judging,
    MakingClips,
    Preparing,
    ReportCard,
    ReportClip,
    TrainingProgress,
)
from storage import Finetune

FINETUNES_PAGE = 8
PLOT_NAME = "training.png"
CARD_NAME = "report-card.png"
GREEN = 0x23A55A
_LISTED = 4
"""Sentences of advice, or of what was left out: the rest is counted."""

RECIPES = {
    "lora": "lora: an adapter beside the base – safe, small, can be dialled by strength",
    "full": "full: all weights, carefully – for large crates",
    "alice-2023": "alice-2023: the first experiment's way, to compare with – overfits",
}
"""The recipes, as the command's choices name them."""


@dataclass(slots=True)
class Stage:
    """Where a finetune under way stands, as far as the engine has said."""

    at: FinetuneQueued | Preparing | TrainingProgress | MakingClips | Judging | None = None
    """None before the engine has answered."""
    forecast: Forecast | None = None
    training: TrainingProgress | None = None
    """The last progress."""
    plot: bytes | None = None
    away: bool = False
    """The engine isn't answering."""


# ---- under way


def progress_embed(finetune: Finetune, stage: Stage) -> discord.Embed:
    embed = discord.Embed(title=_title("Finetune", finetune), description=f"{what(finetune)}\n{_stage_line(stage)}", colour=GREY)
    if finetune.cancel_by is not None:
        embed.description = f"{what(finetune)}\n✖️ It is being cancelled: the engine will hear of it as soon as it answers."
    elif stage.away:
        embed.description = f"{embed.description}\n⚠️ The engine isn't answering. Nothing is lost: this goes on by itself when it is back."
    if stage.training is not None and (said := _losses(stage.training)):
        embed.add_field(name="Loss on tracks it has not seen", value=said, inline=False)
    if stage.forecast is not None:
        _add_forecast(embed, stage.forecast)
    if stage.plot is not None:
        embed.set_image(url=f"attachment://{PLOT_NAME}")
    return embed


def what(finetune: Finetune) -> str:
    """What is learned from what, for whom."""
    base = code(finetune.base) if finetune.base else "the engine's default"
    parts = [f"{code(finetune.recipe)} on {base}", plural(finetune.tracks, "track"), f"token {code(finetune.token)}"]
    return f"{' · '.join(parts)} · for <@{finetune.member_id}>"


def _stage_line(stage: Stage) -> str:
    fraction, words = _where(stage)
    return f"{progress_bar(fraction)}  {words}"


def _where(stage: Stage) -> tuple[float, str]:
    """How much of the present stage is done, and what that is."""
    match stage.at:
        case FinetuneQueued(position=position):
            return 0, f"waiting behind {plural(position, 'other finetune')}" if position else "next"
        case Preparing(what=what, done=done, of=of):
            doing = {"listening": "listening to the tracks", "cutting": "cutting them into segments"}[what]
            return (done / of if of else 0), f"{doing}: {done:,} of {of:,}"
        case TrainingProgress(step=step, of_steps=of, eta_s=eta_s):
            left = f" · {span(eta_s)} left, or less" if step else ""  # before the first step there is nothing to tell it by
            return step / of, f"step {step:,} of {of:,}{left}"
        case MakingClips(done=done, of=of):
            return done / of, f"making clips to compare: {done} of {of}"
        case Judging():
            return 1, "judging it against the base"
        case _:
            return 0, "about to train" if stage.forecast is not None else "on its way to the engine"


def _losses(progress: TrainingProgress) -> str:
    parts = []
    if progress.held_out_base is not None:
        parts.append(f"base {progress.held_out_base:.3f}")
    if progress.held_out is not None:
        parts.append(f"now {progress.held_out:.3f}")
    if progress.best is not None:
        at = f" at step {progress.best_step:,}" if progress.best_step is not None else ""
        parts.append(f"**best {progress.best:.3f}**{at}")
    return " · ".join(parts) + (" (nats a code; lower is better)" if parts else "")


def _add_forecast(embed: discord.Embed, forecast: Forecast) -> None:
    lines = [
        f"**{span(forecast.seconds)} at most** · {_gib(forecast.memory_bytes)} of memory, {_gib(forecast.disk_bytes)} of disk meanwhile",
        f"{plural(forecast.segments, 'segment')} of {plural(forecast.tracks, 'track')} to learn from",
        f"{plural(forecast.held_out_segments, 'segment')} of {plural(forecast.held_out_tracks, 'other track')} to judge by",
        f"{plural(forecast.steps, 'step')} at most, {_parameters(forecast.trained_parameters)} trained",
    ]
    if forecast.niceness > 0:
        lines.append(
            "Clips go first: it runs beside them at low priority"
            + (f" on {plural(forecast.threads, 'thread')}." if forecast.threads else ".")
        )
    embed.add_field(name="Forecast", value=shorten("\n".join(lines), EMBED_FIELD_CHARACTERS), inline=False)
    if forecast.left_out:
        embed.add_field(name="Left out", value=_bullets(forecast.left_out), inline=False)
    if forecast.advice:
        embed.add_field(name="What would make it better", value=_bullets(forecast.advice), inline=False)


def cancelled_embed(finetune: Finetune, by: int | None) -> discord.Embed:
    who = f" by <@{by}>" if by is not None else ""
    return discord.Embed(
        title=_title("Finetune", finetune), description=f"{what(finetune)}\n\nCancelled{who}. The base stays.", colour=GREY
    )


def failed_embed(finetune: Finetune, why: str) -> discord.Embed:
    text = f"{what(finetune)}\n\n⚠️ {why}\nThe base stays. `/finetune start` begins anew."
    return discord.Embed(title=_title("Finetune", finetune), description=shorten(text, EMBED_DESCRIPTION_CHARACTERS), colour=RED)


# ---- the report card


def report_embeds(
    finetune: Finetune, report: ReportCard, *, has_picture: bool, has_plot: bool, clips: Sequence[ReportClip]
) -> list[discord.Embed]:
    """The card, and the plot of the training that led to it. ``clips``: those that are attached."""
    mark, colour = {"passed": ("✅", GREEN), "failed": ("❌", RED), None: ("⚪", GREY)}[report.gate]
    lines = [what(finetune), f"{mark} **{plain(report.words)}**"]
    lines += [f"{'✅' if check.passed else '❌'} {plain(check.words)}" for check in report.checks]
    card = discord.Embed(title=_title("Report card", finetune), description=shorten("\n".join(lines), 1800), colour=colour)
    card.add_field(name="On tracks it has not seen", value=f"```\n{table(report)}\n```", inline=False)
    if report.advice:
        card.add_field(name="What would help", value=_bullets(report.advice), inline=False)
    if clips:
        card.add_field(name="Listen", value=_listen(clips), inline=False)
    card.add_field(name="From now on", value=_from_now_on(finetune, report), inline=False)
    notes = [*report.left_out, *report.notes]
    if notes:
        card.add_field(name="Notes", value=_bullets(notes), inline=False)
    if has_picture:
        card.set_image(url=f"attachment://{CARD_NAME}")
    said = [f"{plural(report.steps, 'step')}, the best at {report.best_step:,}", f"{span(report.train_s)} of training"]
    if report.stopped_early:
        said.append("stopped early")
    footer = " · ".join(said)
    if not has_plot:
        return [card.set_footer(text=footer)]
    return [card, discord.Embed(colour=colour).set_image(url=f"attachment://{PLOT_NAME}").set_footer(text=footer)]


def table(report: ReportCard) -> str:
    """Base beside finetune, 33 characters wide: a phone shows no more without wrapping. What the checks say in words is not said again."""
    rows = [_row("", "base", "finetuned")]
    if report.held_out is not None and report.held_out_base is not None:
        rows.append(_row("loss, nats", f"{report.held_out_base:.3f}", f"{report.held_out:.3f}"))
    if report.before is not None and report.after is not None:
        rows += _clip_rows(report.before, report.after, shares=not report.checks)
    return "\n".join(rows)


def _clip_rows(before: ClipFigures, after: ClipFigures, *, shares: bool) -> list[str]:
    rows = [
        _row("FAD", _short(before.fad), _short(after.fad)),
        _row("KAD", _short(before.kad.value), _short(after.kad.value)),
        _row(f"  {before.kad.confidence * 100:.0f} %", *(f"{_short(kad.low)}–{_short(kad.high)}" for kad in (before.kad, after.kad))),
    ]
    if before.kl is not None and after.kl is not None:
        rows.append(_row("KL of tags", f"{before.kl:.3f}", f"{after.kl:.3f}"))
    if shares:
        named = [("near-copies", before.near_copies, after.near_copies), ("silent", before.silent, after.silent)]
        named.append(("stuck", before.collapsed, after.collapsed))
        rows += [_row(name, _percent(left), _percent(right)) for name, left, right in named]
    return rows


def _row(name: str, left: str, right: str) -> str:
    return f"{name:<11}{left:>11}{right:>11}"


def _short(value: float) -> str:
    """Three digits that count."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}".replace("-", "−")


def _listen(clips: Sequence[ReportClip]) -> str:
    prompts = list(dict.fromkeys(clip.prompt for clip in clips))
    seeds = ", ".join(code(str(clip.seed)) for clip in clips)
    words = ", ".join(code(shorten(prompt, 120)) for prompt in prompts)
    return f"The same words and seeds with the base (*before*) and with the finetune (*after*): {words}; seeds {seeds}"


def _from_now_on(finetune: Finetune, report: ReportCard) -> str:
    name = code(finetune.name)
    if report.gate == "passed":
        adapter = " `strength` says how much of it is heard." if finetune.recipe == "lora" else ""
        asks = f"{code(finetune.token)} in a prompt asks for its sound."
        return f"{name} makes this server's clips; {asks}{adapter} `/finetune use` goes back to the base."
    marked = ", and clips made by it say so" if report.gate == "failed" else ""
    return f"The base stays. `/finetune use` can choose {name} all the same{marked}."


def report_description(finetune: Finetune, report: ReportCard) -> str:
    """The picture in words, for who can't see it."""
    return shorten(f"Report card of {finetune.name}: {report.words} {'; '.join(check.words for check in report.checks)}", 1000)


def notice(finetune: Finetune) -> str:
    """For whoever asked and has long looked elsewhere."""
    outcome = {"passed": "it passed ✅", "failed": "it did not pass ❌, the base stays", None: "it could not be judged ⚪, the base stays"}
    ended = outcome[finetune.gate] if finetune.state == "done" else "it failed ⚠️, the base stays"
    return f"<@{finetune.member_id}>, your finetune **{plain(finetune.name)}** is over: {ended}."


def clip_file_name(finetune: Finetune, number: int, clip: ReportClip, side: str, extension: str) -> str:
    """``1-before-seed-11-warehouse.mp3``, ASCII: what tells them apart stands first, since a long name is cut off."""
    slug = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in finetune.name.casefold())
    slug = "-".join(filter(None, slug.split("-")))[:40].rstrip("-") or "finetune"
    return f"{number}-{side}-seed-{clip.seed}-{slug}.{extension}"


# ---- the list


def list_page(finetunes: Sequence[Finetune], *, page: int, total: int, in_use: str | None) -> discord.Embed:
    """``in_use``: the checkpoint that the guild has chosen."""
    pages = max(1, -(-total // FINETUNES_PAGE))
    if not total:
        text = "There is none yet. `/finetune start` makes one of the crate; `/crate report` says whether it is ready for that."
    else:
        text = "\n".join(_line(finetune, in_use) for finetune in finetunes)
    embed = discord.Embed(title="Finetunes of this server", description=shorten(text, EMBED_DESCRIPTION_CHARACTERS), colour=VIOLET)
    return embed.set_footer(text=f"{plural(total, 'finetune')} · page {page + 1} of {pages}")


def _line(finetune: Finetune, in_use: str | None) -> str:
    link = (
        f" [↗](https://discord.com/channels/{finetune.guild_id}/{finetune.channel_id}/{finetune.message_id})"
        if finetune.message_id is not None
        else ""
    )
    used = " · **in use**" if finetune.checkpoint is not None and finetune.checkpoint == in_use else ""
    when = discord.utils.format_dt(finetune.finished_at or finetune.created_at, "d")
    facts = f"{code(finetune.recipe)} · {plural(finetune.tracks, 'track')} · {when} · by <@{finetune.member_id}>"
    why = finetune.error if finetune.state == "failed" else finetune.verdict
    return f"{state_words(finetune)} · **{plain(finetune.name)}**{used}{link}\n{facts}" + (
        f"\n-# {plain(shorten(why, 240))}" if why else ""
    )


def state_words(finetune: Finetune) -> str:
    if finetune.state == "done":
        return {"passed": "✅ passed", "failed": "❌ did not pass", None: "⚪ not judged"}[finetune.gate]
    return {"queued": "⏳ waiting", "running": "⏳ under way", "failed": "⚠️ failed", "cancelled": "✖️ cancelled"}[finetune.state]


def choice_label(finetune: Finetune) -> str:
    """As a suggestion: no Markdown there."""
    when = f"{finetune.finished_at or finetune.created_at:%d %b %Y}".lstrip("0")
    return f"{finetune.name} ({state_words(finetune).partition(' ')[2]}, {when})"


def used_page(finetune: Finetune, *, token_changed: bool) -> discord.Embed:
    lines = [f"**{plain(finetune.name)}** makes this server's clips from now on."]
    if token_changed:
        lines.append(f"The token is {code(finetune.token)} now: that word in a prompt asks for its sound.")
    if finetune.gate == "failed":
        lines.append(f"⚠️ It did not pass its gate, and `/status` and its clips say so. {plain(finetune.verdict or '')}")
    elif finetune.gate is None:
        lines.append(f"⚪ It could not be judged. {plain(finetune.verdict or '')}")
    lines.append("`/finetune use` with *base* goes back.")
    return discord.Embed(description=shorten("\n".join(lines), 2000), colour=RED if finetune.gate == "failed" else VIOLET)


def base_page(base: str | None) -> discord.Embed:
    name = code(base) if base else "The engine's default"
    return discord.Embed(description=f"{name} makes this server's clips again. The finetunes stay: `/finetune list`.", colour=VIOLET)


# ---- words


def span(seconds: float) -> str:
    """``about 40 s``, ``about 12 min``, ``about 2.5 h``."""
    return rough(seconds) if seconds < 5400 else f"about {seconds / 3600:.1f}".removesuffix(".0") + " h"


def _parameters(count: int) -> str:
    return f"{count / 1e6:.1f} M numbers" if count >= 100_000 else f"{count:,} numbers"


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 100 * 2**20 else f"{count / 2**20:.0f} MiB"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _bullets(lines: Sequence[str]) -> str:
    shown = [f"• {shorten(plain(line), 230)}" for line in lines[:_LISTED]]
    if len(lines) > _LISTED:
        shown.append(f"• and {len(lines) - _LISTED} more")
    return shorten("\n".join(shown), EMBED_FIELD_CHARACTERS)


def _title(kind: str, finetune: Finetune) -> str:
    return f"{kind} · {plain(shorten(finetune.name, 80))}"
