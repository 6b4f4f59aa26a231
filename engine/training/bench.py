"""``python -m engine finetune-bench``: frames a second and peak memory of a training step, beside transformers with PEFT.

Both train an adapter of rank 16 on the same matrices of the same weights, in fp32, on the same batch of 10-second segments; each in its
own process, in turn, several rounds. Where their losses differ no ratio is printed: then they did not do the same work. Not here: the
contenders (``bench_contenders``); decoding (engine.bench).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FRAME_RATE = 50
AGREE = 1e-3
"""Of the loss: fp32 sums in another order differ by less, another batch, mask or adapter by more."""
NAMES = {"ours": "this project", "transformers": "transformers with PEFT"}
_EPILOG = """\
examples:
  python -m engine finetune-bench                 musicgen-small's true sizes, random weights (needs 12 GB of memory, minutes)
  python -m engine finetune-bench --quick --json  one segment a step, three rounds
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0, or 1 where the losses differ."""
    parser = argparse.ArgumentParser(
        prog="python -m engine finetune-bench",
        description="A training step of an adapter beside transformers with PEFT: frames a second, peak memory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sizes", choices=("tiny", "small"), default="small", help="random weights of these sizes (default: small)")
    what.add_argument("--checkpoint", metavar="DIR", help="instead: a MusicGen folder, mono")
    parser.add_argument("--batch", type=int, metavar="N", help="segments a step (default 2)")
    parser.add_argument("--rounds", type=int, metavar="N", help="steps of each that count, after one that does not (default 5)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="length of a segment (default 10)")
    parser.add_argument("--rank", type=int, default=16, metavar="R", help="of the adapter (default 16)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: every core)")
    parser.add_argument("--quick", action="store_true", help="one segment a step, 3 rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args(argv)
    batch, rounds = arguments.batch or (1 if arguments.quick else 2), arguments.rounds or (3 if arguments.quick else 5)
    if min(batch, rounds, arguments.rank, arguments.threads) < 1 or not 0.5 <= arguments.seconds <= 30:
        parser.error("--batch, --rounds, --rank and --threads are at least 1, --seconds 0.5 to 30")
    with _folder(arguments.checkpoint, arguments.sizes) as folder:
        found = measure(
            folder,
            batch=batch,
            frames=round(arguments.seconds * FRAME_RATE),
            rank=arguments.rank,
            rounds=rounds,
            threads=arguments.threads,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
        )
    found["weights"] = arguments.checkpoint or f"random, musicgen-{arguments.sizes}'s sizes"
    print(json.dumps(found) if arguments.json else table(found))
    return 0 if found["same_loss"] else 1


def measure(
    folder: Path, *, batch: int, frames: int, rank: int, rounds: int, threads: int, tell: Callable[[str], None] = lambda _line: None
) -> dict[str, Any]:
    """Median seconds and highest memory of ``rounds`` steps of each, in turn, and the ratios, None where the losses differ."""
    with tempfile.TemporaryDirectory() as adapter, ExitStack() as stack:
        card, codebooks = _write_adapter(folder, Path(adapter), rank)
        job = {
            "folder": str(folder), "adapter": adapter, "batch": batch, "frames": frames, "threads": threads, "card": card,
            "codebooks": codebooks,
        }  # fmt: skip
        processes = {name: stack.enter_context(_contender(name, job)) for name in NAMES}
        for name, process in processes.items():
            trained = _hear(process)["trained"]
            tell(f"{NAMES[name]} is ready: {trained:,} numbers to train")
        steps: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
        for number in range(rounds + 1):
            for name, process in processes.items():
                assert process.stdin is not None
                process.stdin.write("step\n")
                process.stdin.flush()
                steps[name].append(_hear(process))
            took = ", ".join(
                f"{NAMES[name]} {own[-1]['seconds']:.1f} s, {own[-1]['peak_bytes'] / 2**20:,.0f} MiB" for name, own in steps.items()
            )
            tell(f"{f'round {number} of {rounds}' if number else 'warm'}: {took}")
    losses = {name: [step["loss"] for step in own] for name, own in steps.items()}
    apart = max(abs(a - b) / b for a, b in zip(losses["ours"], losses["transformers"], strict=True))
    same = apart <= AGREE
    speed = {name: batch * frames / statistics.median(step["seconds"] for step in own[1:]) for name, own in steps.items()}
    peak = {name: max(step["peak_bytes"] for step in own) for name, own in steps.items()}
    beyond = {name: peak[name] - own[0]["before_bytes"] for name, own in steps.items()}
    return {
        "batch": batch,
        "frames": frames,
        "rank": rank,
        "rounds": rounds,
        "threads": threads,
        "precision": "fp32",
        "frames_per_s": {name: round(value, 2) for name, value in speed.items()},
        "step_s": {name: [round(step["seconds"], 2) for step in own[1:]] for name, own in steps.items()},
        "peak_mib": {name: round(value / 2**20) for name, value in peak.items()},
        "peak_beyond_weights_mib": {name: round(value / 2**20) for name, value in beyond.items()},
        "losses": {name: [round(loss, 5) for loss in own] for name, own in losses.items()},
        "same_loss": same,
        "losses_apart": apart,
        "ratios": {"speed": speed["ours"] / speed["transformers"], "memory": peak["ours"] / peak["transformers"]} if same else None,
        "versions": {name: _version(name) for name in ("torch", "transformers", "peft")} | {"python": platform.python_version()},
    }


def table(found: dict[str, Any]) -> str:
    """For a person, in Markdown."""
    lines = ["| | frames/s | seconds a step | peak memory, MiB | of it beyond the weights, MiB |", "|---|---:|---:|---:|---:|"]
    for name, words in NAMES.items():
        shown = f"{words} {found['versions'][name]}" if name in found["versions"] else words
        took, memory = found["step_s"][name], f"{found['peak_mib'][name]:,} | {found['peak_beyond_weights_mib'][name]:,}"
        lines.append(f"| {shown} | {found['frames_per_s'][name]:.1f} | {min(took):.1f} to {max(took):.1f} | {memory} |")
    seconds = found["frames"] / FRAME_RATE
    about = (
        f"{found['weights']}; {found['batch']} segment{'s' * (found['batch'] > 1)} of {seconds:g} s a step, rank {found['rank']}, "
        f"{found['precision']}, {found['threads']} thread{'s' * (found['threads'] > 1)}, median of {found['rounds']} rounds in turn."
    )
    if (ratios := found["ratios"]) is None:
        said = f"Their losses are {found['losses_apart']:.1%} apart: they did not do the same work, so nothing is compared."
    else:
        said = f"{ratios['speed']:.2f} × its speed in {ratios['memory']:.0%} of its memory; losses agree to {found['losses_apart']:.0e}."
    return "\n".join([*lines, "", about, said.replace("%", " %")])


def _write_adapter(folder: Path, out: Path, rank: int) -> tuple[int, int]:
    """An adapter that does something already, so that every gradient is one. -> card, codebooks."""
    import torch

    from engine.musicgen import checkpoint
    from engine.training import adapters

    model = checkpoint.load(folder)
    torch.manual_seed(0)
    adapter = adapters.attach(model.lm, adapters.AdapterShape(rank, 2.0 * rank))
    for layer in adapter.layers.values():
        layer.lora_B.data.normal_(0, 0.01)
    adapters.save(adapter, out, base="bench", base_sha256="")
    return model.card, model.num_codebooks


@contextmanager
def _contender(name: str, job: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-W", "ignore", "-m", "engine.training.bench_contenders", name, json.dumps(job)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own arguments
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _hear(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Its next word. Raises RuntimeError where it has ended instead; why is on stderr."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a contender ended with {process.wait()}: see above")
    told: dict[str, Any] = json.loads(line)
    return told


@contextmanager
def _folder(given: str | None, sizes: str) -> Iterator[Path]:
    if given:
        yield Path(given)
        return
    from engine.musicgen.tiny import MUSICGEN_SMALL, TINY, write_tiny_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        yield write_tiny_checkpoint(Path(folder) / "checkpoint", sizes=MUSICGEN_SMALL if sizes == "small" else TINY)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
