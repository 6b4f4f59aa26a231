"""`python -m engine.pocket train --stage data|codec|text|lm|package` and `python -m engine.pocket evaluate`.

Each stage goes on from its last checkpoint under --out, so the whole recipe is the same command again after any interruption. The long
training is these four, in turn; what they log is in OUT/*.jsonl.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

DEFAULT_OUT = Path("var/pocket")
STAGES = ("data", "codec", "text", "lm", "package")


def parser() -> argparse.ArgumentParser:
    """Its help teaches the recipe."""
    p = argparse.ArgumentParser(prog="python -m engine.pocket", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="make the embedded model from nothing, or go on with it")
    train.add_argument("--stage", choices=[*STAGES, "all"], default="all")
    train.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"checkpoints and data (default {DEFAULT_OUT})")
    train.add_argument("--tracks", type=int, default=2400, help="data: training tracks to render (default 2400, 20 hours)")
    train.add_argument("--more-tracks", type=int, default=20_000, help="lm: short tracks of which only the codes are kept (default 20000)")
    train.add_argument("--steps", type=int, help="codec, lm: how far to train in all; the rate falls over the last 30 %%")
    train.add_argument("--joint-steps", type=int, help="codec: after how many steps its codes are frozen, and the lm may begin")
    train.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="codec, lm: processes of one thread each")
    train.add_argument("--seed", type=int, default=0)
    evaluate = commands.add_parser("evaluate", help="measure clips of a checkpoint beside held-out tracks")
    evaluate.add_argument("--checkpoint", type=Path, help="a MusicGen folder (default: the packaged weights)")
    evaluate.add_argument("--out", type=Path, default=DEFAULT_OUT, help="where the held-out tracks are; without them, some are rendered")
    evaluate.add_argument("--clips", type=int, default=4, help="clips a prompt (default 4)")
    evaluate.add_argument("--seconds", type=float, default=10.0)
    evaluate.add_argument("--save", type=Path, help="also write the clips there, as WAV")
    evaluate.add_argument("--json", action="store_true", help="figures for a machine")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = parser().parse_args(argv)
    if args.command == "evaluate":
        from engine.pocket.evaluate import report

        report(args.checkpoint, args.out, clips=args.clips, seconds=args.seconds, save=args.save, as_json=args.json)
        return 0
    for stage in STAGES if args.stage == "all" else (args.stage,):
        run_stage(stage, args)
    return 0


def run_stage(stage: str, args: argparse.Namespace) -> None:
    """One stage, with its own imports: rendering needs no torch model, packaging no workers."""
    given = {k: v for k, v in (("steps", args.steps), ("joint_steps", args.joint_steps)) if v is not None}
    if stage == "data":
        from engine.pocket import data, workers

        workers.run(args.workers, partial(data.build, tracks=args.tracks, held_out=12), args.out)
    elif stage == "codec":
        from engine.pocket import codec_training, workers

        workers.run(args.workers, codec_training.train, args.out, codec_training.CodecTraining(seed=args.seed, **given))
    elif stage == "text":
        from engine.pocket import text

        text.train(args.out, seed=args.seed)
    elif stage == "lm":
        from engine.pocket import lm_training, text, workers

        given.pop("joint_steps", None)
        text.train(args.out, seed=args.seed)
        workers.run(args.workers, lm_training.encode_tracks, args.out)
        workers.run(args.workers, lm_training.encode_more, args.out, args.more_tracks)
        workers.run(args.workers, lm_training.train, args.out, lm_training.LMTraining(seed=args.seed, **given))
    else:
        from engine.pocket import package

        print(package.package(args.out))


if __name__ == "__main__":
    raise SystemExit(main())
