"""What can be typed after ``python -m engine finetune``. Standard library only; nothing runs here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

FINETUNE = """\
Learn a prepared crate: an adapter on all layers, stopped where unseen tracks no longer profit.

examples:
  python -m engine finetune var/engine/datasets/alice-bars --out runs/alice --dry-run     what it will take
  python -m engine finetune var/engine/datasets/alice-bars --out runs/alice --name alice  and serve it as 'alice'
  python -m engine finetune DATASET --base facebook/musicgen-small --recipe full --out runs/full
  accelerate launch --multi_gpu -m engine finetune DATASET --out runs/alice               over several GPUs

The same command goes on after an interruption. OUT/metrics.jsonl has the figures, OUT/loss.png the curve, OUT/adapter/ the adapter in
PEFT's layout, OUT/checkpoint/ base and adapter merged, which the engine, transformers and 'generate --checkpoint' load. OUT/report/ has
the report card: the same clips of base and finetune, compared with held-out tracks, and whether the finetune is to be preferred.
"""
PLOT = """\
Curves of runs that are done, or go on: training loss, and loss on unseen tracks. Several runs come into one picture.

examples:
  python -m engine finetune-plot runs/alice
  python -m engine finetune-plot runs/alice runs/alice-r32 --out both.png

A run's folder also holds TensorBoard's events: tensorboard --logdir runs
"""
RECIPES = ("lora", "full", "alice-2023")


def add_finetune(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Its options."""
    parser.set_defaults(run=run)
    parser.add_argument("manifest", type=Path, metavar="DATASET", help="folder of 'crate prepare', or its manifest.jsonl")
    parser.add_argument("--base", metavar="NAME", help="checkpoint to begin from (ENGINE_CHECKPOINT, pocket)")
    parser.add_argument("--recipe", choices=RECIPES, default="lora", help="lora (default), full, or the experiment of 2023")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run; the same folder goes on")
    parser.add_argument("--name", metavar="NAME", help="also put the checkpoint where the engine serves it, under this name")
    parser.add_argument("--epochs", type=float, metavar="N", help="at most (default: the recipe's)")
    parser.add_argument("--rate", type=float, metavar="R", help="learning rate (default: the recipe's)")
    parser.add_argument("--rank", type=int, metavar="R", help="of the adapter (default 16)")
    parser.add_argument("--batch", type=int, metavar="N", help="segments a step (default: the recipe's)")
    parser.add_argument("--micro-batch", type=int, metavar="N", help="segments at once (default: the recipe's)")
    parser.add_argument("--prior-weight", type=float, metavar="W", help="how strongly the base is kept where there is no token")
    parser.add_argument("--checkpointing", action="store_true", help="less memory, a third more time")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps (ENGINE_DEVICE)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (ENGINE_THREADS)")
    parser.add_argument("--clips", type=int, default=24, metavar="N", help="made with base and finetune for the report card (default 24)")
    parser.add_argument("--clip-seconds", type=float, default=10.0, metavar="S", help="length of each (default 10)")
    parser.add_argument("--no-report", dest="report", action="store_false", help="end without a report card")
    parser.add_argument("--nice", type=int, default=10, metavar="N", help="0 is as urgent as serving, 19 waits for all (default 10)")
    parser.add_argument("--dry-run", action="store_true", help="one step, timed and thrown away: what the run would take")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no progress bar")


def add_plot(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Its options."""
    parser.set_defaults(run=run)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a finetune, or its metrics.jsonl")
    parser.add_argument("--out", type=Path, metavar="PNG", help="the picture (default: the first run's loss.png)")
    parser.add_argument("--title", default="", help="above the curves (default: the run's name)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
