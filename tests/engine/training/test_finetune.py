"""The loop: it learns what generalises, stops when it no longer does, goes on after kill -9 with the same bytes, and says what broke."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.musicgen import checkpoint
from engine.musicgen.generate import MusicGen
from engine.training.adapters import AdapterShape
from engine.training.finetune import Finetune, FinetuneError, schedule
from engine.training.losses import collate, kl_to_base
from engine.training.recipes import RECIPES, Recipe
from engine.training.segments import Deck, Rows, Segment

Make = Callable[..., list[Segment]]
QUICK = Recipe(
    "quick",
    adapter=AdapterShape(rank=4, alpha=16, dropout=0.1),
    rate=5e-3,
    batch=4,
    micro_batch=2,
    epochs=8,
    min_steps=20,
    ema=0.8,
    patience=3,
)


def test_held_out_loss_falls_below_the_base(model: MusicGen, segments: Make, tmp_path: Path) -> None:
    run = Finetune(model, segments(12), segments(3, seed=9), QUICK, tmp_path)
    outcome = run.run()
    assert outcome.base is not None
    assert outcome.best is not None
    assert outcome.best < outcome.base - 0.3
    assert outcome.best == pytest.approx(min(f.held_out for f in outcome.history if f.held_out is not None), abs=1e-6)
    assert len([f for f in outcome.history if f.loss is not None]) == outcome.steps
    assert all(len(f.nats) == model.lm.config.num_codebooks for f in outcome.history if f.loss is not None)


def test_q_k_v_out_and_both_of_the_feed_forward_learn_and_nothing_else(model: MusicGen, segments: Make, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in model.lm.state_dict().items()}
    run = Finetune(model, segments(4), segments(2, seed=9), replace(QUICK, min_steps=5, epochs=1), tmp_path)
    run.run()
    assert run.adapter is not None
    learned = {name for name, value in run.adapter.state().items() if name.endswith("lora_B.weight") and bool(value.any())}
    parts = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    assert len(learned) == 10 * model.lm.config.num_layers == sum(any(part in name for part in parts) for name in learned)
    run.adapter.detach()
    assert all(torch.equal(value, before[name]) for name, value in model.lm.state_dict().items())


def test_without_the_token_it_stays_nearer_to_the_base(tiny_checkpoint: Path, segments: Make, tmp_path: Path) -> None:
    def apart(weight: float) -> float:
        recipe = replace(QUICK, prior_weight=weight, prior_share=0.5, patience=0, min_steps=15, epochs=1)
        run = Finetune(checkpoint.load(tiny_checkpoint), segments(8), segments(2, seed=9), recipe, tmp_path / str(weight))
        run.run()
        rows = Rows(tuple(segments(4, seed=5)), ("techno",) * 4)
        batch = collate(rows, run.model.lm, run.model.conditioner)
        with torch.no_grad():
            return float(kl_to_base(run.model.lm, batch, run._base()).mean())

    assert apart(20.0) < 0.6 * apart(1e-6)


def test_it_stops_when_unseen_tracks_no_longer_profit_and_keeps_the_best(model: MusicGen, segments: Make, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)

    def noise(name: str) -> Segment:  # nothing that could be learned for others
        return Segment(name, name, torch.randint(0, model.lm.config.card, (4, 12), generator=generator), "x")

    recipe = replace(QUICK, epochs=200, rate=2e-2, prior_share=0.0)
    run = Finetune(model, [noise(f"n{i}") for i in range(4)], [noise(f"h{i}") for i in range(4)], recipe, tmp_path)
    outcome = run.run()
    assert outcome.stopped_early
    assert outcome.steps < 100 < run.steps
    assert outcome.best_step < outcome.steps
    again = Finetune(checkpoint.load(model.name), run.deck.segments, [s for rows in run.held_out for s in rows.segments], recipe, tmp_path)
    assert again.run().best == outcome.best  # what is over stays over


@pytest.mark.parametrize("name", ["full", "alice-2023"])
def test_the_other_recipes_train_all_weights(model: MusicGen, segments: Make, tmp_path: Path, name: str) -> None:
    recipe = replace(RECIPES[name], batch=4, micro_batch=2, min_steps=6, epochs=1, rate=1e-3)
    before = {k: v.clone() for k, v in model.lm.state_dict().items()}
    run = Finetune(model, segments(8), [] if name == "alice-2023" else segments(2, seed=9), recipe, tmp_path)
    outcome = run.run()
    assert outcome.steps >= 6
    assert (outcome.base is None) == (name == "alice-2023")
    changed = [k for k, v in model.lm.state_dict().items() if not torch.equal(v, before[k])]
    assert set(changed) == set(before)


def test_without_held_out_tracks_nothing_could_stop_it(model: MusicGen, segments: Make, tmp_path: Path) -> None:
    with pytest.raises(FinetuneError, match="held out"):
        Finetune(model, segments(4), [], QUICK, tmp_path)
    with pytest.raises(FinetuneError, match="nothing to train on"):
        Finetune(model, [], segments(4), QUICK, tmp_path)


def test_a_folder_belongs_to_one_run(model: MusicGen, segments: Make, tmp_path: Path, tiny_checkpoint: Path) -> None:
    Finetune(model, segments(4), segments(2, seed=9), QUICK, tmp_path)
    with pytest.raises(FinetuneError, match="another recipe"):
        Finetune(checkpoint.load(tiny_checkpoint), segments(4), segments(2, seed=9), replace(QUICK, rate=1e-3), tmp_path)


def test_a_loss_that_is_no_number_names_its_batch_and_leaves_the_last_state(model: MusicGen, segments: Make, tmp_path: Path) -> None:
    run = Finetune(model, segments(8), segments(2, seed=9), replace(QUICK, min_steps=40), tmp_path)

    def spoil(figures: object) -> None:
        if run.standing.step == 27:
            run.parameters[1].data.fill_(float("nan"))

    with pytest.raises(FinetuneError, match=r"no longer a number at step 27 \(segments s0-"):
        run.run(spoil)
    state = load_file(tmp_path / "state.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_steps_are_drawn_from_seed_and_number_alone(segments: Make) -> None:
    def draws(deck: Deck) -> list[tuple[list[str], list[str | None]]]:
        steps = [deck.step(n, caption_dropout=0.5, prior_share=0.5, plain="techno") for n in (0, 7, 3)]
        return [(step.ids, [p for rows in step.learn for p in rows.prompts]) for step in steps]

    crate = segments(6)
    assert draws(Deck(crate, batch=4, micro_batch=2, seed=1)) == draws(Deck(crate, batch=4, micro_batch=2, seed=1))
    assert draws(Deck(crate, batch=4, micro_batch=2, seed=1)) != draws(Deck(crate, batch=4, micro_batch=2, seed=2))
    deck = Deck(crate, batch=3, micro_batch=3, seed=1)
    epoch = [name for n in range(2) for name in deck.step(n, caption_dropout=0, prior_share=0, plain="").ids]
    assert sorted(epoch) == sorted(segment.id for segment in crate)


def test_the_rate_warms_up_and_falls() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] < rates[5] < rates[9] <= rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.1 <= rates[-1] < 0.11


RUN = textwrap.dedent("""
    import os, signal, sys
    import torch
    torch.set_num_threads(1)
    from dataclasses import replace
    from pathlib import Path
    from engine.musicgen import checkpoint
    from engine.training.adapters import AdapterShape
    from engine.training.finetune import Finetune
    from engine.training.recipes import Recipe
    from engine.training.segments import Segment
    from engine.training.team import team_of_launch

    folder, out, kill_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    model = checkpoint.load(folder)
    generator = torch.Generator().manual_seed(0)
    def make(name):
        return Segment(name, name, torch.randint(0, 8, (4, 4), generator=generator).repeat(1, 3), "Alice_hash, techno")
    recipe = Recipe("r", adapter=AdapterShape(2, 8, 0.1), rate=5e-3, batch=4, micro_batch=2, epochs=1, min_steps=40, patience=0)
    training, held_out = [make(f"s{i}") for i in range(8)], [make(f"h{i}") for i in range(2)]
    with team_of_launch() as team:
        run = Finetune(model, training, held_out, recipe, out, team=team)
        def tell(figures):
            if figures.step == kill_at and figures.loss is not None:
                os.kill(os.getpid(), signal.SIGKILL)
        run.run(tell)
""")


def train(folder: Path, out: Path, *, kill_at: int = -1, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", RUN, str(folder), str(out), str(kill_at)], env=os.environ | environment)


@pytest.fixture(scope="module")
def unbroken(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process from its first step to its last."""
    out = tmp_path_factory.mktemp("unbroken")
    assert train(tiny_checkpoint, out).wait(170) == 0
    return out


def test_after_kill_9_it_ends_with_the_same_bytes_as_unbroken(tiny_checkpoint: Path, unbroken: Path, tmp_path: Path) -> None:
    assert train(tiny_checkpoint, tmp_path, kill_at=33).wait(170) == -signal.SIGKILL
    assert train(tiny_checkpoint, tmp_path).wait(170) == 0
    assert (unbroken / "best.safetensors").read_bytes() == (tmp_path / "best.safetensors").read_bytes()
    a, b = (load_file(run / "state.safetensors") for run in (unbroken, tmp_path))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert losses(unbroken) == losses(tmp_path)


def test_two_processes_are_one_with_twice_the_accumulation(tiny_checkpoint: Path, unbroken: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launch = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    pair = [train(tiny_checkpoint, tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), **launch) for rank in range(2)]
    assert [process.wait(170) for process in pair] == [0, 0]
    one, two = losses(unbroken), losses(tmp_path)
    assert len(one) == len(two) > 40
    assert one == pytest.approx(two, abs=2e-3)


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line.get("loss", line.get("held_out")) for line in lines]
