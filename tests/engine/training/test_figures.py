"""Figures of runs: TensorBoard reads them, a resumed run's are cut alike, and several runs come into one picture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.cli import main
from engine.training import events
from engine.training.figures import Figures, Log


def logged(folder: Path, *, held_out: bool = True, steps: int = 8) -> Log:
    """A run whose training loss falls, and whose held-out loss falls and rises."""
    folder.mkdir(parents=True, exist_ok=True)
    log = Log(folder / "metrics.jsonl")
    for step in range(1, steps + 1):
        log.write(Figures(step, steps, step / 4, step * 2.0, loss=3 - step / 10, nats=(3.0, 2.5), rate=1e-4))
        if held_out and step % 2 == 0:
            log.write(Figures(step, steps, step / 4, step * 2.0, held_out=2.9 + 0.02 * abs(step - 4), held_out_nats=(3.0, 2.8)))
    return log


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own imports
def test_tensorboard_reads_the_same_figures(tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    log = logged(tmp_path)
    log.cut(6)  # as a run does that goes on from step 6
    found: dict[str, list[tuple[int, float]]] = {}
    times = []
    for event in loader.LegacyEventFileLoader(str(tmp_path / events.NAME)).Load():
        times.append(event.wall_time)
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert found["loss/training"] == [(step, pytest.approx(3 - step / 10)) for step in range(1, 7)]
    assert found["loss/held_out"] == [(step, pytest.approx(2.9 + 0.02 * abs(step - 4))) for step in (2, 4, 6)]
    assert found["training/codebook_1"][0] == (1, 2.5)
    assert times == sorted(times)
    assert times[-1] - times[1] == pytest.approx(10)  # ten seconds of training lie between the first and the last that is left


def test_several_runs_come_into_one_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logged(tmp_path / "alice")
    logged(tmp_path / "old" / "alice", held_out=False)
    out = tmp_path / "pictures" / "both.png"
    assert (
        main(["finetune-plot", str(tmp_path / "alice"), str(tmp_path / "old" / "alice" / "metrics.jsonl"), "--out", str(out), "--json"])
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == {
        "alice": {"steps": 8, "base": 2.94, "held_out": 2.9},
        "old/alice": {"steps": 8, "base": None, "held_out": None},
    }
    assert out.read_bytes().startswith(b"\x89PNG")
    assert main(["finetune-plot", str(tmp_path / "alice")]) == 0
    assert "unseen tracks 2.940 → 2.900" in capsys.readouterr().out
    assert (tmp_path / "alice" / "loss.png").is_file()


@pytest.mark.parametrize(("more", "message"), [([], "holds no figures"), (["--out", "x.jpg"], "ends in .png")])
def test_what_can_not_be_drawn_is_told(more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if more:
        logged(tmp_path)
    assert main(["finetune-plot", str(tmp_path), *more]) == 2
    assert re.search(message, capsys.readouterr().err)
