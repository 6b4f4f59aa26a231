"""What a finetune's message says fits Discord, whatever an engine says at whatever length."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import discord
import pytest

from bot.finetune_pages import Stage, clip_file_name, list_page, notice, progress_embed, report_embeds, table
from engine.api.evaluation import Estimate
from engine.api.finetunes import ClipFigures, Forecast, GateCheck, TrainingProgress
from storage import Finetune

LONG = "*a_long* `word` <@1> " * 60


@pytest.fixture
def finetune() -> Finetune:
    return Finetune(
        id="f", guild_id=1, channel_id=2, member_id=3, message_id=4, name="Nacht ÄÖ 🎛️ " * 5, recipe="lora", base="b" * 200, token="t" * 60,
        tracks=40, request=None, forecast=None, state="failed", cancel_by=None, error=LONG, checkpoint=None, gate=None, verdict=None,
        report=None, created_at=datetime(2024, 5, 1, tzinfo=UTC), started_at=None, finished_at=datetime(2024, 5, 2, tzinfo=UTC),
    )  # fmt: skip


def check_limits(embeds: list[discord.Embed]) -> None:
    assert sum(len(embed) for embed in embeds) <= 6000
    for embed in embeds:
        assert len(embed.title or "") <= 256 and len(embed.description or "") <= 4096
        assert all(0 < len(field.value or "") <= 1024 for field in embed.fields)


def test_the_longest_words_fit(finetune: Finetune, report: Any, forecast: Any, training: Any) -> None:
    checks = [GateCheck(name="held-out loss", passed=False, words=LONG)] * 5
    card = report("failed", words=LONG, checks=checks, advice=[LONG] * 9, notes=[LONG] * 9, left_out=[LONG] * 9)
    card = card.model_copy(update={"clips": [clip.model_copy(update={"prompt": LONG + str(clip.seed)}) for clip in card.clips]})
    check_limits(report_embeds(finetune, card, has_picture=True, has_plot=True, clips=card.clips))
    stage = Stage(
        forecast=Forecast(number=1, **forecast | {"advice": [LONG] * 9, "left_out": [LONG] * 9}),
        training=TrainingProgress(number=2, **training(40)),
        plot=b"png",
        away=True,
    )
    stage.at = stage.training
    check_limits([progress_embed(finetune, stage)])
    check_limits([list_page([finetune] * 8, page=0, total=99, in_use=None)])
    assert "• and 5 more" in str(progress_embed(finetune, stage).to_dict())


def test_the_table_keeps_its_columns_for_any_figures(report: Any) -> None:
    figures: dict[str, Any] = {"kl": 0.3, "near_copies": 0.0, "silent": 0.5, "clipped": 0.0, "collapsed": 1.0}
    interval = {"low": -57.51, "high": 1945.4, "confidence": 0.95}
    before = ClipFigures(fad=1337.6, kad=Estimate(value=77.08, **interval), **figures)
    after = ClipFigures(fad=0.04, kad=Estimate(value=-0.01, **interval), **figures)
    rows = table(report(checks=[], before=before, after=after)).splitlines()
    assert {len(row) for row in rows} == {33}
    assert "FAD               1338       0.04" in rows and "  95 %      −57.5–1945 −57.5–1945" in rows
    assert "stuck            100 %      100 %" in rows, "without checks, the table says what they would"


def test_names_of_files_are_plain_and_begin_with_what_tells_them_apart(finetune: Finetune, report: Any) -> None:
    clip = report().clips[0]
    assert clip_file_name(finetune, 1, clip, "after", "mp3") == "1-after-seed-11-nacht-nacht-nacht-nacht-nacht.mp3"
    assert clip_file_name(replace(finetune, name="夜"), 2, clip, "before", "mp3") == "2-before-seed-11-finetune.mp3"


def test_who_asked_is_told_how_it_ended(finetune: Finetune) -> None:
    assert notice(finetune).startswith("<@3>, your finetune **Nacht") and notice(finetune).endswith("it failed ⚠️, the base stays.")
    assert notice(replace(finetune, state="done", gate="passed")).endswith("it passed ✅.")
