"""The benchmark compares decoders that do the same work, and says no ratio where they don't."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import bench
from engine.bench.contenders import Contender, contenders, prompts
from engine.bench.growth import measure_growth
from engine.bench.overhead import measure_overhead
from engine.bench.quality import measure_quality
from engine.bench.showing import overhead_table, plot_growth, quality_table
from engine.bench.speed import summed_up
from engine.bench.startup import measure_startup
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
    words = ["--checkpoint", str(tiny_checkpoint), "--frames", "6", "--threads", "1", "--batch", "1", "8"]
    out = tmp_path / "out"
    assert bench.main([*words, "--json", "--out", str(out), "--rounds", "1", "--resume"]) == 0

    result = json.loads(capsys.readouterr().out)
    assert (result["threads"], result["frames"], result["batch_sizes"]) == (1, 6, [1, 8])
    assert result["same_codes"] is True
    assert set(result["ratios"]) == RATIOS
    assert result["ratios"]["fp32_vs_transformers"] > 0
    assert result["versions"]["transformers"]
    assert result["machine"]["cores"]
    assert all(set(speeds) == {"1", "8"} and min(speeds.values()) > 0 for speeds in result["frames_per_s"].values())
    assert json.loads((out / "bench.json").read_text()) == result
    assert "| ratio | |" in (out / "bench.md").read_text()
    assert (out / "bench.svg").read_text().startswith("<?xml")


def test_a_run_goes_on_where_one_was_stopped(tiny_checkpoint: Path) -> None:
    def ours(folder: Path, **options: Any) -> Iterator[Contender]:
        return (contender for contender in contenders(folder, precisions=["fp32"], **options) if contender.kind == "ours fp32")

    kept: list[str] = []
    first = bench.measure(
        tiny_checkpoint, batch_sizes=[1, 2], frames=4, rounds=2, of=ours, keep=lambda found: kept.append(json.dumps(found))
    )
    assert json.loads(kept[0])["speeds"]["this project, fp32"].keys() == {"1"}  # after each size of each round
    stopped = json.loads(kept[2])  # in the second round
    again = bench.measure(tiny_checkpoint, batch_sizes=[1, 2], frames=4, rounds=2, of=ours, before=stopped)
    before, after = first["speeds"]["this project, fp32"], again["speeds"]["this project, fp32"]
    assert (after["1"], after["2"][0], len(after["2"])) == (before["1"], before["2"][0], 2)
    with pytest.raises(ValueError, match=r"measured otherwise \(frames\)"):
        bench.measure(tiny_checkpoint, batch_sizes=[1, 2], frames=5, rounds=2, of=ours, before=stopped)


@pytest.mark.parametrize("wrong", [1, 8], ids=["alone", "in company"])
def test_no_ratio_where_the_codes_differ(tiny_checkpoint: Path, wrong: int) -> None:
    def one_is_wrong(folder: Path, **options: Any) -> Iterator[Contender]:
        ours, peer = (contender for contender in contenders(folder, precisions=["fp32"], **options) if contender.kind != "audiocraft")
        yield ours
        yield replace(peer, decode=lambda takes, frames: (peer.decode(takes, frames) + (takes == wrong)) % 64)

    result = bench.measure(tiny_checkpoint, batch_sizes=[1, 8], frames=4, rounds=1, of=one_is_wrong)

    assert result["same_codes"] is False
    assert result["ratios"] is None
    assert "No ratios" in bench.table(result | {"weights": "tiny", "threads": 1, "machine": {"cpu": "any"}})


def test_prompts_have_one_length_so_that_all_do_the_same_work(tiny_checkpoint: Path) -> None:
    from engine.musicgen import checkpoint

    tokenizer = checkpoint.load(tiny_checkpoint).conditioner.tokenizer
    words = prompts(16, tokenizer)
    assert len({len(tokenizer(prompt).input_ids) for prompt in words}) == 1
    assert len(set(words)) == 8


@pytest.mark.skipif(build.reason() is not None, reason=f"the kernel can't be had here: {build.reason()}")
def test_in_half_precision_ours_and_theirs(tiny_checkpoint: Path) -> None:
    """What a GPU is measured by, on a CPU."""
    result = bench.measure(tiny_checkpoint, batch_sizes=[1, 8], frames=4, rounds=1, half=True)
    assert set(result["ratios"]) == RATIOS
    assert {"bf16_vs_transformers", "eight_bf16_vs_transformers"} <= {name for name, ratio in result["half_ratios"].items() if ratio}


def test_ratios_are_of_medians_and_of_what_memory_gave_in_the_same_round() -> None:
    found = summed_up(
        {
            "kinds": {"this project, int8": "ours int8", "this project, fp32": "ours fp32", "transformers": "transformers"},
            "speeds": {
                "this project, int8": {"1": [50.0, 25.0, 60.0], "8": [200.0, 100.0, 210.0]},
                "this project, fp32": {"1": [12.0, 11.0, 13.0]},
                "transformers": {"1": [10.0, 5.0, 11.0], "8": [40.0, 20.0, 41.0]},
            },
            "reads": {"1": [36e9, 18e9, 36e9], "8": [36e9, 36e9, 36e9]},  # memory was slow in the second round, and so was everybody
            "weight_bytes": 360_000_000,
            "same_codes": True,
        }
    )["ratios"]
    assert found["int8_vs_transformers"] == 5.0
    assert found["fp32_vs_transformers"] == 1.2
    assert found["eight_int8_vs_transformers"] == 5.0
    assert found["eight_vs_one"] == 4.0
    assert found["of_bandwidth_limit"] == 0.5
    assert found["int8_vs_audiocraft"] is None  # it was not there
    assert set(found) == RATIOS


@pytest.mark.skipif(build.reason() is not None, reason=f"the kernel can't be had here: {build.reason()}")
def test_quality_and_growth(tiny_checkpoint: Path, tmp_path: Path) -> None:
    found = measure_quality(tiny_checkpoint, takes=2, frames=20)
    quality = found["precisions"]
    assert 0 < quality["bf16"]["kl_nats"] < quality["int8"]["kl_nats"] < 0.5
    assert quality["bf16"]["top1_agreement"] > 0.9
    assert "| int8 |" in quality_table(found)

    growth = measure_growth(tiny_checkpoint, takes=(1, 2))
    assert set(growth["ms_by_takes"]) == set(growth["memory_by_takes"]) == {"1", "2"}
    assert set(growth["ms_by_position"]["8"]) == {"1", "50", "250", "500", "750", "1000", "1250", "1490"}
    assert growth["row_bytes"] == 2 * 2 * 2 * 64 * growth["row_steps"]  # layers × keys and values × bytes × width × steps
    memory = growth["memory_by_position"]["8"]
    assert 0 < memory["1490"] < 4 * 16 * growth["row_bytes"]  # of sixteen rows, as they fill
    assert memory["1"] <= memory["250"] <= memory["1490"]  # these rows are smaller than a huge page: how much less is the system's choice
    plot_growth(growth, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").stat().st_size > 1000


def test_what_a_take_costs_besides_its_decoding(tiny_checkpoint: Path, shared_engine: Any) -> None:
    found = measure_overhead(tiny_checkpoint, rounds=1, seconds=2.0, address=shared_engine.url)
    for take in found["takes"].values():
        assert 0 < take["rest_ms"] < take["waited_ms"]
        assert {"prepare", "listening", "normalise", "cover", "picture", "delivery", "flac", "finish", "as JSON"} <= take["parts_ms"].keys()
    assert "| picture |" in overhead_table(found)


def test_a_checkpoint_is_mapped_and_the_start_is_timed(tiny_checkpoint: Path) -> None:
    found = measure_startup(tiny_checkpoint, rounds=1)
    assert 0 < found["listening_s"] < found["ready_s"]
    assert found["mapped"] == (sys.platform == "linux")
