"""The experiment in small: tracks, datasets, a finetune, clips in four categories, figures; and what is there is not made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli import main

SMALL = [
    *("--seeds", "0", "--recipes", "lora", "--tracks", "4", "--unseen", "6", "--bars", "4", "--clips", "3", "--clip-seconds", "3"),
    *("--min-steps", "2", "--epochs", "0.5", "--batch", "2", "--prior-share", "0", "--processes", "1"),
]


def test_it_runs_whole_and_goes_on_where_it_ended(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("engine.evaluation.musicnn")
    out = tmp_path / "experiment"
    words = ["experiment", "--out", str(out), "--checkpoint", str(tiny_checkpoint), *SMALL]
    assert main([*words, "--json"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("About ")
    found = json.loads(told.out)
    assert [(cell["model"], cell["category"]) for cell in found["cells"]] == [("base", "B"), ("base", "D"), ("lora", "A"), ("lora", "C")]
    assert all(cell["pooled"]["clips"] == 3 for cell in found["cells"])
    assert (out / "experiment.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name.split("-")[3] for path in (out / "clips").iterdir()} == {"A", "B", "C", "D"}
    table = (out / "experiment.md").read_text()
    assert "D won, then C, A, B" in table

    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    gone = out / "seed-0" / "lora" / "C" / "00.npz"
    gone.unlink()  # as if it had been killed there
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.out.strip() == table.strip()  # the same clips, to the last figure
    assert [path for path in made if path.stat().st_mtime_ns != made[path]] == [gone]

    assert main([*words[:-2], "--clips", "4"]) == 2
    assert "another clips" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--seeds", "one"], "whole numbers"),
        (["--recipes", "dreambooth"], "no recipe 'dreambooth'"),
        (["--clip-seconds", "1"], "at least 3 s"),
    ],
)
def test_what_can_not_be_is_told_in_one_line(wrong: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "--out", str(tmp_path / "x"), *wrong]) == 2
    assert message in capsys.readouterr().err
