"""The benchmark compares decoders that do the same work, and says no ratio where they don't."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import bench
from engine.bench.contenders import Contender, contenders
from engine.bench.growth import measure_growth
from engine.bench.quality import measure_quality
from engine.bench.showing import plot_growth
from engine.musicgen.kernel import build

RATIOS = {
    "int8_vs_audiocraft",
    "int8_vs_transformers",
    "fp32_vs_audiocraft",
    "fp32_vs_transformers",
    "eight_int8_vs_audiocraft",
    "eight_int8_vs_transformers",
    "eight_vs_one",
    "of_bandwidth_limit",
}


def test_one_json_object_and_three_files(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--checkpoint", str(tiny_checkpoint), "--frames", "6", "--rounds", "1", "--threads", "1", "--batch", "1", "8"]
    assert bench.main([*words, "--json", "--out", str(tmp_path / "out")]) == 0

    result = json.loads(capsys.readouterr().out)
    assert (result["threads"], result["frames"], result["batch_sizes"]) == (1, 6, [1, 8])
    assert result["same_codes"] is True
    assert set(result["ratios"]) == RATIOS
    assert result["ratios"]["fp32_vs_transformers"] > 0
    assert result["versions"]["transformers"]
    assert all(set(speeds) == {"1", "8"} and min(speeds.values()) > 0 for speeds in result["frames_per_s"].values())
    assert json.loads((tmp_path / "out" / "bench.json").read_text()) == result
    assert "| ratio | |" in (tmp_path / "out" / "bench.md").read_text()
    assert (tmp_path / "out" / "bench.svg").read_text().startswith("<?xml")


def test_no_ratio_where_the_codes_differ(tiny_checkpoint: Path) -> None:
    def one_is_wrong(folder: Path, **options: Any) -> Iterator[Contender]:
        ours, peer = (contender for contender in contenders(folder, precisions=["fp32"], **options) if contender.kind != "audiocraft")
        yield ours
        yield replace(peer, decode=lambda takes, frames: (peer.decode(takes, frames) + 1) % 64)

    result = bench.measure(tiny_checkpoint, batch_sizes=[1], frames=8, rounds=1, of=one_is_wrong)

    assert result["same_codes"] is False
    assert result["ratios"] is None
    assert "No ratios" in bench.table(result | {"weights": "tiny", "threads": 1, "machine": {"cpu": "any"}})


def test_ratios_are_of_medians_and_of_the_limit() -> None:
    kinds = {"ours int8": {1: 50.0, 8: 200.0}, "ours fp32": {1: 12.0}, "transformers": {1: 10.0, 8: 40.0}}
    found = bench.ratios(kinds, bandwidth=36e9, weight_bytes=360_000_000)
    assert found["int8_vs_transformers"] == 5.0
    assert found["fp32_vs_transformers"] == 1.2
    assert found["eight_int8_vs_transformers"] == 5.0
    assert found["eight_vs_one"] == 4.0
    assert found["of_bandwidth_limit"] == 0.5
    assert found["int8_vs_audiocraft"] is None  # it was not there
    assert set(found) == RATIOS


@pytest.mark.skipif(build.reason() is not None, reason=f"the kernel can't be had here: {build.reason()}")
def test_quality_and_growth(tiny_checkpoint: Path, tmp_path: Path) -> None:
    quality = measure_quality(tiny_checkpoint, takes=2, frames=20)["precisions"]
    assert 0 < quality["bf16"]["kl_nats"] < quality["int8"]["kl_nats"] < 0.5
    assert quality["bf16"]["top1_agreement"] > 0.9

    growth = measure_growth(tiny_checkpoint, takes=(1, 2))
    assert set(growth["ms_by_takes"]) == {"1", "2"}
    assert set(growth["ms_by_position"]["8"]) == {"1", "50", "250", "500", "1000", "1490"}
    assert growth["row_bytes"] == 2 * 2 * 2 * 64 * growth["row_steps"]  # layers × keys and values × bytes × width × steps
    plot_growth(growth, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").stat().st_size > 1000
