"""The training benchmark in small: both contenders run, their losses agree step by step, and without that there is no ratio."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli import main
from engine.training import bench


def test_both_do_the_same_steps(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    words = ["--checkpoint", str(tiny_checkpoint), "--seconds", "0.5", "--rounds", "2", "--rank", "2", "--threads", "1", "--json"]
    assert main(["finetune-bench", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same_loss"]
    assert len(set(found["losses"]["ours"])) == 3  # it learns
    assert found["ratios"]["speed"] > 0
    assert "nothing is compared" not in bench.table(found)
    assert "nothing is compared" in bench.table(found | {"ratios": None, "same_loss": False})
