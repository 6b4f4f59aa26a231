"""What a finished finetune leaves: an adapter or a checkpoint with its card, a report card that says why, and its picture."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.api import CrateTrack
from engine.api.finetunes import FinetuneRequest, ReportCard
from engine.cli import main
from engine.errors import EngineError
from engine.finetunes import picture, work
from engine.musicgen import checkpoint


def test_a_card_says_what_was_compared(unbroken: Any) -> None:
    card: ReportCard = unbroken.card
    assert (card.tracks, card.held_out_tracks, card.clips_compared, len(card.clips)) == (4, 2, 4, 4)
    assert card.held_out is not None
    assert card.held_out_base is not None
    assert card.held_out < card.held_out_base
    assert [check.name for check in card.checks] == ["held-out loss", "distance", "near-copies", "silence", "collapse"]
    assert (card.gate == "passed") == all(check.passed for check in card.checks)
    assert card.after is not None
    assert card.after.kad.low <= card.after.kad.value <= card.after.kad.high
    assert len(card.left_out) == 1
    assert card.left_out[0].startswith("“Eve – Scratched/torn” can't be played")
    forecast = next(event for event in unbroken.told if event["event"] == "forecast")
    assert forecast["left_out"] == card.left_out
    assert forecast["memory_bytes"] > 10**8
    folder = unbroken.data / "checkpoints" / "alice"
    facts = json.loads((folder / "card.json").read_text())
    assert (facts["owner"], facts["gate"], facts["parent"], facts["token"]) == ("guild-1", card.gate, "tiny", "Alice_hash")
    assert ReportCard.model_validate(facts["report"]) == card
    assert sorted(path.name for path in folder.iterdir()) == ["adapter", "card.json", "report"]


def test_the_old_recipe_gives_a_whole_checkpoint_and_the_base_stays(
    unbroken: Any, run_here: Callable[..., Any], asked: Callable[..., FinetuneRequest]
) -> None:
    overrides = {"steps": 1, "rate": 1e-12}  # far too slow
    ran = run_here(asked("old", recipe="alice-2023", overrides=overrides), unbroken.data)
    card: ReportCard = ran.card
    assert card.gate == "failed"
    assert card.words.startswith("The base stays: held-out loss")
    assert "which is no better" in card.words
    assert any(said.startswith("Add tracks: 4 are few") for said in card.advice)
    folder = ran.data / "checkpoints" / "old"
    assert checkpoint.load(folder).window_frames == 200
    assert json.loads((folder / "card.json").read_text())["gate"] == "failed"


def test_the_command_ends_with_the_same_card(
    unbroken: Any, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_DATA", str(tmp_path / "data"))
    words = ["finetune", str(unbroken.data / "finetunes" / "alice" / "work" / "bars"), "--base", str(base), "--out", str(tmp_path / "run")]
    words += ["--batch", "2", "--rank", "2", "--threads", "1", "--nice", "0", "--clips", "4", "--clip-seconds", "4", "--name", "alice"]
    assert main(words) == 0
    said = capsys.readouterr().out
    card = ReportCard.model_validate_json((tmp_path / "run" / "report" / "report.json").read_bytes())
    assert all(check.words in said for check in card.checks)
    assert card.before is not None
    assert unbroken.card.before is not None
    assert card.before.fad == unbroken.card.before.fad  # the base's clips are of the same prompt and seeds
    served = tmp_path / "data" / "checkpoints" / "alice"
    assert json.loads((served / "card.json").read_text())["gate"] == card.gate
    assert (served / "adapter").is_dir()
    assert (served / "report" / "card.png").is_file()


def test_too_few_tracks_and_too_full_a_disk_are_told_before_hours_are_spent(
    unbroken: Any, run_here: Callable[..., Any], asked: Callable[..., FinetuneRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = CrateTrack(sha256="1" * 64, title="Scratched")
    with pytest.raises(EngineError, match=r"Only 2 of 3 tracks can be used, and 3 are the least\. “Scratched” can't be played"):
        run_here(asked("few", tracks=[*asked().tracks[:2], broken]), unbroken.data)
    monkeypatch.setattr(work, "SPARE_BYTES", 2**60)
    with pytest.raises(EngineError, match="disk is too full for this finetune: it needs 1073741824"):
        run_here(asked("large"), unbroken.data)
    assert not (unbroken.data / "checkpoints" / "few").exists()


def test_a_picture_for_every_verdict(unbroken: Any) -> None:
    cards = [unbroken.card, unbroken.card.model_copy(update={"gate": "passed", "advice": []})]
    cards.append(unbroken.card.model_copy(update={"gate": None, "before": None, "after": None, "held_out": None, "checks": []}))
    for card in cards:
        with Image.open(io.BytesIO(picture.draw(card, "Alice 🎛 " * 20))) as image:
            assert (image.width, image.format) == (picture.WIDTH_PX, "PNG")


def test_events_are_cut_back_to_whole_lines(tmp_path: Path) -> None:
    from engine.finetunes.jobs import Events

    events = Events(tmp_path / "events.jsonl")
    events.tell({"event": "queued", "position": 0})
    events.tell({"event": "judging"})
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"event":"cancelled","number":3')  # killed in the middle
    again = Events(tmp_path / "events.jsonl")
    assert [event.event for event in again.read_back()] == ["queued", "judging"]
    assert again.tell({"event": "cancelled"}).number == 3
    assert again.over
    ended = Events(tmp_path / "events.jsonl")
    assert [event.event for event in ended.read_back()] == ["cancelled"]
    assert ended.count == 3
    assert [json.loads(line)["number"] for line in (tmp_path / "events.jsonl").read_bytes().splitlines()] == [1, 2, 3]


def test_beginning_again_is_no_progress(tmp_path: Path, asked: Callable[..., FinetuneRequest]) -> None:
    """A process that dies over and over is told by this: each time it prepares anew."""
    from engine.finetunes.jobs import Job, JobFacts, JobFolder

    job = Job(JobFolder.take_on(tmp_path, JobFacts(request=asked(), base="tiny", base_is_default=True, licence="hers", created_at=0)))
    places = []
    for what, done in (("listening", 6), ("cutting", 2), ("listening", 1), ("cutting", 2), ("cutting", 3)):
        job.tell({"event": "preparing", "what": what, "done": done, "of": 6})
        places.append(job.furthest)
    assert places == [(1, 6), (2, 2), (2, 2), (2, 2), (2, 3)]
