"""``python -m engine finetune``: a dataset on disk to an adapter, a checkpoint that transformers hears alike, a curve and plain words."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from engine.cli import main
from engine.crate import manifest
from engine.crate.codes import codec_hash
from engine.musicgen import checkpoint
from engine.training import adapters, plots
from engine.training.figures import Log

SAMPLE_RATE, HOP = 32_000, 640


@pytest.fixture
def dataset(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """Eight tracks of two segments, two of them held out; each segment has its audio and its codes."""
    model = checkpoint.load(tiny_checkpoint)
    codec = codec_hash(tiny_checkpoint, json.loads((tiny_checkpoint / "config.json").read_text())["audio_encoder"])
    folder, lines = tmp_path / "alice-bars", []
    rng = np.random.default_rng(0)
    for track in range(8):
        for number in range(2):
            name, split = f"{track}-{number}", "held_out" if track >= 6 else "train"
            t = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
            samples = (0.3 * np.sin(2 * np.pi * 110 * (1 + track) * t) + 0.01 * rng.standard_normal(len(t))).astype(np.float32)
            (folder / split).mkdir(parents=True, exist_ok=True)
            (folder / "codes").mkdir(exist_ok=True)
            soundfile.write(folder / split / f"{name}.flac", samples, SAMPLE_RATE)
            codes = model.codec.encode(torch.from_numpy(samples[None])).numpy().astype(np.int16)
            np.save(folder / "codes" / f"{name}.npy", codes)
            lines.append(
                manifest.Segment(
                    id=name, track=f"{track:064d}", split=split, start=0, end=len(samples), sample_rate=SAMPLE_RATE, channels=1,
                    frames=codes.shape[1], bars=1, caption="Alice_hash, techno, 130 bpm", words={"token": "Alice_hash"}, bpm=130.0,
                    key="A minor", camelot="8A", gain_db=0.0, audio=f"{split}/{name}.flac",
                    codes=f"codes/{name}.npy", title=f"Track {track}", artist=None,
                    group=f"{track:064d}", preset="bars", seed=0, checkpoint="tiny", codec=codec, versions={"manifest": manifest.VERSION},
                )
            )  # fmt: skip
    manifest.write(folder, lines)
    return folder


def words(dataset: Path, tiny_checkpoint: Path, out: Path, *more: str) -> list[str]:
    common = ["--base", str(tiny_checkpoint), "--out", str(out), "--batch", "4", "--micro-batch", "2", "--epochs", "4", "--rate", "0.005"]
    return ["finetune", str(dataset), *common, "--threads", "1", "--nice", "0", "--no-report", "--json", *more]


def test_from_dataset_to_a_checkpoint_that_all_load(
    dataset: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_DATA", str(tmp_path / "data"))
    assert main(words(dataset, tiny_checkpoint, tmp_path / "run", "--name", "alice")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["held_out"] < told["base_held_out"]
    served = tmp_path / "data" / "checkpoints" / "alice"
    card = json.loads((served / "card.json").read_text())
    assert (card["kind"], card["token"], card["tracks"]) == ("finetuned", "Alice_hash", {"training": 6, "held_out": 2})
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")

    assert sorted(path.name for path in (served / "adapter").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]

    base, merged = checkpoint.load(tiny_checkpoint), checkpoint.load(tmp_path / "run" / "checkpoint")
    assert card["parent_sha256"] == base.sha256
    sequence = torch.randint(0, base.lm.config.card, (1, base.lm.config.num_codebooks, 6), generator=torch.Generator().manual_seed(0))
    text = base.conditioner(["Alice_hash, techno"])
    with torch.no_grad():
        before = base.lm(sequence, text.states, text.mask)
        adapters.load(base.lm, tmp_path / "run" / "adapter", base_sha256=base.sha256)
        adapted, whole = base.lm(sequence, text.states, text.mask), merged.lm(sequence, text.states, text.mask)
    torch.testing.assert_close(whole, adapted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole, before, atol=1e-3)

    assert main(["checkpoints", "--json", "--checkpoint", str(tiny_checkpoint)]) == 0
    listed = {entry["id"]: entry for entry in json.loads(capsys.readouterr().out)["checkpoints"]}
    assert (listed["alice"]["kind"], listed["alice"]["adapter"]) == ("finetuned", True)


def test_a_dry_run_measures_and_leaves_nothing(
    dataset: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(dataset, tiny_checkpoint, tmp_path / "run", "--dry-run")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["segments"], told["held_out_segments"], told["tracks"]) == (12, 4, 6)
    assert told["seconds_a_step"] > 0
    assert told["peak_memory_gib"] > 0
    assert told["niceness"] == os.getpriority(os.PRIO_PROCESS, 0)
    assert any("6 tracks are few" in line for line in told["advice"])
    assert list((tmp_path / "run").iterdir()) == []


def test_the_old_recipe_pads_with_silence_and_holds_nothing_out(
    dataset: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.training import sets

    model = checkpoint.load(tiny_checkpoint)
    codec = manifest.read(dataset)[0].codec
    plain, padded = (sets.read(dataset, model, codec=codec, pad_to_window=pad) for pad in (False, True))
    assert padded.training[0].codes.shape[1] == model.window_frames > plain.training[0].codes.shape[1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace('"codec": "', '"codec": "0'), "prepared for 'tiny', whose codec is another"),
        (
            lambda text: text.replace("held_out", "train", 1).replace(f'"track": "{7:064d}"', f'"track": "{6:064d}"'),
            "on both sides|held out",
        ),
        (lambda text: "", "holds no segments"),
        (lambda text: text[: len(text) // 2], "is no segment"),
    ],
)
def test_a_wrong_dataset_is_told_in_one_line(
    dataset: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: object, message: str
) -> None:
    file = dataset / manifest.FILE
    file.write_text(spoil(file.read_text()))  # type: ignore[operator]
    assert main(words(dataset, tiny_checkpoint, tmp_path / "run")) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert re.search(message, error)


def test_a_curve_is_drawn_from_the_log(tmp_path: Path) -> None:
    from engine.training.figures import Figures

    log = Log(tmp_path / "metrics.jsonl")
    for step in range(1, 9):
        log.write(Figures(step, 8, step / 4, float(step), loss=3 - step / 10, nats=(3.0,), held_out=2.9 if step % 4 == 0 else None))
    with log.file.open("a") as file:
        file.write('{"step": 9, "of_st')  # cut off by a kill
    assert [figures.step for figures in log.read()] == list(range(1, 9))
    assert plots.draw(log.read(), title="alice").startswith(b"\x89PNG")
