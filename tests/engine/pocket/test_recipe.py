"""The stages: each goes on where it was stopped, as if it had not been, and what they make is packaged as a MusicGen folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from engine import files
from engine.musicgen.checkpoint import load
from engine.pocket import codec_training as codec_stage
from engine.pocket import data, lm_codes, lm_training, package, text
from engine.pocket.__main__ import main
from engine.pocket.codec import PocketCodecConfig
from engine.pocket.codec_training import CodecTraining
from engine.pocket.lm import PocketLM, PocketSizes
from engine.pocket.lm_training import LMTraining, TempoTraining
from engine.training.states import load_checkpoint
from engine.training.team import Team


def tensors(path: Path) -> dict[str, torch.Tensor]:
    saved = load_checkpoint(path)
    assert saved is not None
    return saved[0]


def steps(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_data_is_rendered_once_and_the_rest_later(tmp_path: Path) -> None:
    data.build(Team(), tmp_path, tracks=1, held_out=0, bars=1)
    first = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "data" / "train").glob("*.npy")}
    (tmp_path / "data" / "train" / "dub_0000000.json").unlink()  # as if it had been killed between samples and facts
    data.build(Team(), tmp_path, tracks=1, held_out=0, bars=1)
    second = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "data" / "train").glob("*.npy")}
    assert [name for name in second if second[name] != first[name]] == ["dub_0000000.npy"]
    assert steps(tmp_path / "data.jsonl")[-1]["skipped"] == 7
    track = data.stored_tracks(tmp_path / "data" / "train")[0]
    assert len(track.samples()) == track.bar_samples
    assert len(track.caption(np.random.default_rng(0))) > 3


def test_codec_resumed_equals_codec_unbroken(
    recipe: Path, tmp_path_factory: pytest.TempPathFactory, codec_config: PocketCodecConfig, codec_training: CodecTraining
) -> None:
    codec_stage.train(Team(), recipe, codec_training, codec_config)
    broken = tmp_path_factory.mktemp("broken")
    (broken / "data").symlink_to(recipe / "data")
    for stop in (1, 4, 7, 8):  # before the codebooks, among them, after freezing, the end
        run = codec_stage.CodecRun(Team(), broken, codec_training, codec_config)
        while run.step < stop:
            if run.step >= codec_training.unquantised_steps and not run.quantised:
                torch.manual_seed(5)
                run.start_codebooks()
            if run.step >= codec_training.joint_steps and not run.frozen:
                run.freeze_codes()
            run.advance()
        run.save()
    facts = load_checkpoint(broken / "codec.safetensors")
    assert facts is not None and facts[1]["step"] == 8 and facts[1]["frozen"]
    assert [line["resumed_at"] for line in steps(broken / "codec.jsonl") if "resumed_at" in line] == [1, 4, 7]


def test_codec_stage_survives_kill_9(recipe: Path) -> None:
    program = (
        "import sys, torch; from pathlib import Path\n"
        "torch.set_num_threads(1)\n"
        "from engine.pocket.codec import PocketCodecConfig\n"
        "from engine.pocket.codec_training import CodecTraining, train\n"
        "from engine.training.team import Team\n"
        "config = PocketCodecConfig(codebook_size=16, codebook_dim=4, encoder_width=8, encoder_layers=1,"
        " decoder_width=16, decoder_layers=1)\n"
        "train(Team(), Path(sys.argv[1]), CodecTraining(steps=100_000, joint_steps=4, batch=2, frames=16, unquantised_steps=2,"
        " save_every=1, log_every=2), config)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(recipe)], stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    for line in process.stdout:  # a line of figures is the sign that steps were made and saved
        if json.loads(line).get("step", 0) >= 6:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    saved = load_checkpoint(recipe / "codec.safetensors")
    assert saved is not None
    killed_at = saved[1]["step"]
    assert killed_at >= 5
    settings = CodecTraining(steps=killed_at + 2, joint_steps=4, batch=2, frames=16, unquantised_steps=2, save_every=1, log_every=1)
    config = PocketCodecConfig(codebook_size=16, codebook_dim=4, encoder_width=8, encoder_layers=1, decoder_width=16, decoder_layers=1)
    codec_stage.train(Team(), recipe, settings, config)
    log = steps(recipe / "codec.jsonl")
    assert {"resumed_at": killed_at}.items() <= log[-3].items()
    assert [line["step"] for line in log[-2:]] == [killed_at + 1, killed_at + 2]
    frozen = {k: v for k, v in tensors(recipe / "codec.safetensors").items() if k.startswith("model.encoders") or k == "model.codebooks"}
    assert all(torch.equal(v, saved[0][k]) for k, v in frozen.items()), "codes must not change once they are frozen"


def test_lm_resumed_equals_lm_unbroken_and_packages(
    recipe: Path, codec_config: PocketCodecConfig, codec_training: CodecTraining, lm_training_settings: LMTraining, sizes: PocketSizes
) -> None:
    with pytest.raises(FileNotFoundError, match="stage `codec`"):
        lm_codes.frozen_codec(recipe)
    codec_stage.train(Team(), recipe, codec_training, codec_config)
    lm_codes.encode_tracks(Team(), recipe)
    lm_training.train(Team(), recipe, lm_training_settings, sizes)
    unbroken = tensors(recipe / "lm.safetensors")
    (recipe / "lm.safetensors").unlink()
    assert sorted(p.name for p in (recipe / "codes").glob("more_*")) == ["more_000000.safetensors", "more_000002.safetensors"]
    for stop in (2, 5, 6):
        run = lm_training.LMRun(Team(), recipe, lm_training_settings, sizes)
        while run.step < stop:
            run.advance()
        run.save()
    resumed = tensors(recipe / "lm.safetensors")
    assert resumed.keys() == unbroken.keys()
    assert all(torch.equal(resumed[k], unbroken[k]) for k in resumed)

    folder = package.package(recipe, recipe / "weights", window_frames=64)
    with safe_open(folder / "model.safetensors", "pt") as f:
        made = f.metadata()
    assert json.loads(made["lm"]) == {"step": 6, "settings": json.loads(json.dumps(asdict(lm_training_settings)))}
    assert json.loads(made["codec"])["settings"]["seed"] == codec_training.seed
    model = load(folder)
    assert (model.window_frames, model.num_codebooks, model.card, model.sample_rate) == (64, 4, 16, 32_000)
    trained = lm_training.load_trained(recipe).half().float()
    sequence = torch.randint(16, (1, 4, 9), generator=torch.Generator().manual_seed(0))
    prompt = "dark techno, 130 bpm"
    ours = logits(trained, text.train(recipe), prompt, sequence)
    conditioning = model.conditioner([prompt])
    assert torch.allclose(model.lm(sequence, conditioning.states, conditioning.mask), ours, atol=1e-4)


def test_tempo_goes_on_from_lm_or_from_a_package_and_resumes(
    recipe: Path, tmp_path_factory: pytest.TempPathFactory, codec_config: PocketCodecConfig, codec_training: CodecTraining,
    lm_training_settings: LMTraining, sizes: PocketSizes, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = TempoTraining(
        steps=4, tokens=64, segments=(16, 32), shares=(0.5, 0.5), save_every=1, log_every=2, measure_every=4, listen_every=4,
        first_tracks=1, new_tracks=1, new_every=2, more_tracks=2, more_bars=6, unseen_tracks=2,
    )  # fmt: skip
    with pytest.raises(FileNotFoundError, match="stage `codec`"):
        lm_training.train(Team(), recipe, settings, sizes)
    codec_stage.train(Team(), recipe, codec_training, codec_config)
    lm_codes.encode_tracks(Team(), recipe)
    with pytest.raises(FileNotFoundError, match="stage `lm`"):
        lm_training.train(Team(), recipe, settings, sizes)
    lm_training.train(Team(), recipe, replace(lm_training_settings, steps=2), sizes)
    grid = package.package(recipe, recipe / "grid", window_frames=64)

    lm_training.train(Team(), recipe, settings, sizes)
    unbroken = tensors(recipe / "tempo.safetensors")
    assert unbroken["averaged.beat.bias"].shape == (128,), "time to the next beat is counted in quarters of a frame"
    assert {"held_out_nats", "tempo_read"} <= steps(recipe / "tempo.jsonl")[-1].keys()
    (recipe / "tempo.safetensors").unlink()
    for stop in (1, 3, 4):
        run = lm_training.LMRun(Team(), recipe, settings, sizes)
        while run.step < stop:
            run.advance()
        run.save()
    resumed = tensors(recipe / "tempo.safetensors")
    assert all(torch.equal(resumed[k], unbroken[k]) for k in unbroken) and resumed.keys() == unbroken.keys()

    out = tmp_path_factory.mktemp("unpacked")
    (out / "data").symlink_to(recipe / "data")
    package.unpack(grid, out)
    assert main(["unpack", "--checkpoint", str(grid), "--out", str(out)]) == 2
    assert "is there already: name another --out" in capsys.readouterr().err
    lm_codes.encode_tracks(Team(), out)
    lm_training.train(Team(), out, settings, None)
    unpacked = tensors(out / "tempo.safetensors")
    assert all(torch.equal(unpacked[k], unbroken[k]) for k in unbroken), "a package holds all that the next stage begins with"

    made = package.header(package.package(recipe, recipe / "weights", window_frames=64))
    assert json.loads(made["tempo"]) == {"step": 4, "settings": json.loads(json.dumps(asdict(settings)))}
    assert json.loads(made["lm"])["step"] == 2 and "before" not in made
    again = tmp_path_factory.mktemp("again")
    package.unpack(recipe / "weights", again)
    assert json.loads(package.header(package.package(again, again / "weights", window_frames=64))["before"]).keys() == {
        "codec", "lm", "tempo",
    }  # fmt: skip


def test_tracks_in_any_tempo_know_where_their_beats_are(tmp_path: Path) -> None:
    rendered, slower, faster = list(lm_codes.MAKERS["any"](3, 2, tmp_path))
    assert rendered[0].front_samples == 0 and rendered[0].key
    for facts, samples in (rendered, slower, faster):
        assert len(samples) == pytest.approx(facts.front_samples + 2 * facts.bar_samples, abs=2)
        until = lm_codes.until_beat(facts, 0, 60)
        at = torch.arange(60) + until - facts.downbeat_frames(0)  # where the next beat is, from the first downbeat on
        assert torch.allclose(at / facts.beat_frames, (at / facts.beat_frames).round(), atol=1e-3)
        assert until.min() >= 1 and until.max() <= facts.beat_frames + 1
        start = lm_codes.segment_start(facts, len(samples) // 640, 20, np.random.default_rng(0))
        assert any(start == int(facts.downbeat_frames(bar)) for bar in facts.kick_bars), "a drill starts on a kick"
    assert len({facts.step_samples for facts, _ in (rendered, slower, faster)}) > 1
    again = list(lm_codes.MAKERS["any"](3, 2, tmp_path))
    assert all(np.array_equal(a[1], b[1]) and a[0] == b[0] for a, b in zip((rendered, slower, faster), again, strict=True))


@torch.no_grad()
def logits(model: PocketLM, tokenizer: object, prompt: str, sequence: torch.Tensor) -> torch.Tensor:
    from engine.pocket.lm import tokenise

    ids, mask = tokenise(tokenizer, [prompt])
    result: torch.Tensor = model(sequence, ids, mask, torch.tensor([True]))[0]
    return result


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"step": 1})

    def fail(p: Path) -> None:
        p.write_text("half a")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, fail)
    assert json.loads(path.read_text()) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_text_folds_case_keeps_numbers_and_spells_the_rest(recipe_data: Path) -> None:
    tokenizer = text.train(recipe_data)
    assert tokenizer.tokenize("Minimal TECHNO, 128BPM") == ["minimal", "techno", ",", "128", "bpm"]
    assert "".join(tokenizer.tokenize("wobbly")) == "wobbly"
    assert tokenizer("💥").input_ids[-1] == 1


def test_segments_start_on_downbeats_mostly(recipe_data: Path) -> None:
    track = next(t for t in data.stored_tracks(recipe_data / "data" / "held_out"))
    bar = round(4 * track.beat_frames)
    rng = np.random.default_rng(0)
    starts = [lm_codes.segment_start(track, 8 * bar, 100, rng) for _ in range(300)]
    on_the_bar = sum(s % bar == 0 for s in starts) / 300
    assert 0.7 < on_the_bar < 0.92
    assert max(starts) <= 8 * bar - 100 and min(starts) >= 0


def test_null_rows_hear_no_text(sizes: PocketSizes) -> None:
    torch.manual_seed(0)
    model = PocketLM(sizes).eval()
    for p in model.lm.parameters():
        if p.dim() == 2:
            p.data.normal_(0, 0.3)
    sequence = torch.randint(16, (2, 4, 9), generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[3, 4, 1], [5, 6, 1]])
    with torch.no_grad():
        none = model(sequence[:1].repeat(2, 1, 1), ids, torch.ones_like(ids), torch.tensor([False, False]))[0]
        some = model(sequence[:1].repeat(2, 1, 1), ids, torch.ones_like(ids), torch.tensor([True, True]))[0]
    assert torch.equal(none[0], none[1])
    assert not torch.allclose(some[0], some[1])


def test_workers_average(tmp_path: Path) -> None:
    from engine.pocket import workers

    began = time.monotonic()
    workers.run(1, _alone, tmp_path / "alone")
    assert (tmp_path / "alone").read_text() == "0 of 1"
    assert time.monotonic() - began < 60


def _alone(team: Team, path: Path) -> None:
    value = torch.tensor([2.0])
    team.average([value])
    team.follow([value])
    assert value.item() == 2.0
    path.write_text(f"{team.rank} of {team.size}")


def test_a_team_shares_muons_work_and_comes_to_the_same(tmp_path: Path) -> None:
    """Two processes and one: the same matrices after two steps, and a state that either takes up from the other."""

    def run(*arguments: object) -> None:
        subprocess.run([sys.executable, Path(__file__).with_name("muon_steps.py"), *map(str, arguments)], check=True)

    run(1, tmp_path / "one")
    run(2, tmp_path / "two")
    run(2, tmp_path / "resumed", tmp_path / "one_0")
    one, two, resumed = (load_file(tmp_path / f"{name}_0") for name in ("one", "two", "resumed"))
    assert one.keys() == two.keys() and len(one) == 6
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = load_file(tmp_path / "two_1")
    assert all(torch.equal(two[name], other[name]) for name in two)
    assert not any(torch.equal(resumed[name], one[name]) for name in one)
    run(1, tmp_path / "again", tmp_path / "two_0")
    again = load_file(tmp_path / "again_0")
    assert all(torch.equal(resumed[name], again[name]) for name in again)
