"""The benchmark compares decoders that do the same work, and says no ratio where they don't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import bench


def test_contenders_decode_the_same_codes_and_are_compared(tiny_checkpoint: Path) -> None:
    result = bench.measure(tiny_checkpoint, frames=12, rounds=1)

    names = list(result["frames_per_s"])
    assert names[0] == "this project"
    assert names[1].startswith("transformers ")
    assert all(speed > 0 for speed in result["frames_per_s"].values())
    assert result["same_codes"] is True
    assert set(result["ratios"]) == set(names[1:])


def test_no_ratio_where_the_codes_differ(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contenders = bench._contenders

    def one_is_wrong(folder: Path) -> object:
        ours, *others = contenders(folder)
        yield ours
        yield bench.Contender(others[0].name, lambda frames: (others[0].decode(frames) + 1) % 64)

    monkeypatch.setattr(bench, "_contenders", one_is_wrong)
    result = bench.measure(tiny_checkpoint, frames=8, rounds=1)

    assert result["same_codes"] is False
    assert result["ratios"] is None


def test_prints_one_json_object(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--checkpoint", str(tiny_checkpoint), "--frames", "6", "--rounds", "1", "--threads", "1", "--json"]) == 0

    result = json.loads(capsys.readouterr().out)
    assert result["threads"] == 1
    assert result["frames"] == 6
