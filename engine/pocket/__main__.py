"""`python -m engine.pocket train --stage data|codec|text|lm|tempo|decoder|sharpen|package`, `unpack` and `evaluate`.

Each stage goes on from its last checkpoint under --out, so the whole recipe is the same command again after any interruption. The long
training is codec, lm, tempo, decoder and sharpen; what they log is in OUT/*.jsonl, and the finished checkpoint in OUT/weights.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

DEFAULT_OUT = Path("var/pocket")
STAGES = ("data", "codec", "text", "lm", "tempo", "decoder", "sharpen", "package")


def parser() -> argparse.ArgumentParser:
    """Its help teaches the recipe."""
    p = argparse.ArgumentParser(prog="python -m engine.pocket", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="make the embedded model from nothing, or go on with it")
    train.add_argument("--stage", choices=[*STAGES, "all"], default="all")
    train.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"checkpoints and data (default {DEFAULT_OUT})")
    train.add_argument("--tracks", type=int, default=2400, help="data: training tracks to render (default 2400, 20 hours)")
    train.add_argument(
        "--more-tracks",
        type=int,
        default=8_000,
        help="lm: short tracks of which only the codes are kept, made while it trains (default 8000)",
    )
    train.add_argument("--steps", type=int, help="lm: how far to train in all (default 5000); the rate falls over the last 30 %%")
    train.add_argument("--tempo-steps", type=int, help="tempo: the same for what goes on with tracks in any tempo (default 5000)")
    train.add_argument("--decoder-steps", type=int, help="decoder: the same for the codec's decoder (default 10000)")
    train.add_argument("--sharpen-steps", type=int, help="sharpen: the same for what goes on with that decoder (default 3000)")
    train.add_argument("--joint-steps", type=int, help="codec: after how many steps its codes are frozen, and the lm may begin")
    train.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of one thread each")
    train.add_argument("--seed", type=int, default=0)
    unpack = commands.add_parser("unpack", help="write the packaged weights as checkpoints, to go on from with the stage tempo")
    unpack.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"where to (default {DEFAULT_OUT})")
    unpack.add_argument("--checkpoint", type=Path, help="another folder that the stage package wrote")
    evaluate = commands.add_parser("evaluate", help="measure clips of a checkpoint beside held-out tracks")
    evaluate.add_argument("--checkpoint", type=Path, help="a MusicGen folder (default: the packaged weights)")
    evaluate.add_argument("--out", type=Path, default=DEFAULT_OUT, help="where the held-out tracks are; without them, some are rendered")
    evaluate.add_argument("--clips", type=int, default=56, help="clips a condition (default 56; 8 for a quick look)")
    evaluate.add_argument("--seconds", type=float, default=10.0)
    evaluate.add_argument("--save", type=Path, help="also write the clips there, as WAV")
    evaluate.add_argument("--sheet", type=Path, help="also draw spectrograms of ten clips and ten tracks there, as PNG")
    evaluate.add_argument("--json", action="store_true", help="figures for a machine")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = parser().parse_args(argv)
    if args.command == "evaluate":
        from engine.pocket.evaluate import report

        report(args.checkpoint, args.out, clips=args.clips, seconds=args.seconds, save=args.save, sheet=args.sheet, as_json=args.json)
        return 0
    if args.command == "unpack":
        from engine.pocket import package

        try:
            package.unpack(args.checkpoint or package.WEIGHTS, args.out)
        except FileExistsError as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    for stage in STAGES if args.stage == "all" else (args.stage,):
        run_stage(stage, args)
    return 0


def run_stage(stage: str, args: argparse.Namespace) -> None:
    """One stage, with its own imports: rendering needs no torch model, packaging no workers."""
    if stage == "data":
        from engine.pocket import data, workers

        workers.run(args.workers, partial(data.build, tracks=args.tracks, held_out=12), args.out)
    elif stage in ("codec", "decoder"):
        from engine.pocket import codec_training, workers

        train = codec_training.train_codes if stage == "codec" else codec_training.train
        usual = codec_training.CodecTraining(seed=args.seed)
        changed = replace(usual, steps=args.decoder_steps or usual.steps, joint_steps=args.joint_steps or usual.joint_steps)
        workers.run(args.workers, train, args.out, changed)
    elif stage == "sharpen":
        from engine.pocket import sharpening, workers

        sharpen = sharpening.SharpenTraining(seed=args.seed)
        workers.run(args.workers, sharpening.train, args.out, replace(sharpen, steps=args.sharpen_steps or sharpen.steps))
    elif stage == "text":
        from engine.pocket import text

        text.train(args.out, seed=args.seed)
    elif stage in ("lm", "tempo"):
        from engine.pocket import lm_codes, lm_training, text, workers

        text.train(args.out, seed=args.seed)
        settings, steps = lm_training.LMTraining(seed=args.seed, more_tracks=args.more_tracks), args.steps
        if stage == "tempo":
            settings, steps = lm_training.TempoTraining(seed=args.seed), args.tempo_steps
        settings = replace(settings, steps=steps or settings.steps)
        workers.run(args.workers, lm_codes.encode_tracks, args.out)
        workers.run(args.workers, lm_training.train, args.out, settings)
    else:
        from engine.pocket import package

        print(package.package(args.out, args.out / "weights"))


if __name__ == "__main__":
    raise SystemExit(main())
