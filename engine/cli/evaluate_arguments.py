"""What can be typed after ``python -m engine evaluate``, and the help that teaches it. Standard library only; nothing runs here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

EVALUATE = """\
How near generated clips are to real tracks: FAD, KAD with its interval, KL of tags, near-copies, silence, clipping, stuck loops.

examples:
  python -m engine evaluate --reference held-out/ --candidate clips/
  python -m engine evaluate --reference held-out/ --candidate clips/ --train training/ --json
  python -m engine evaluate --reference held-out/ --candidate clips/ --embedder clap --prompt "dark techno"

Each DIR is a folder of audio, with what is below it. Hold real tracks out of training for --reference: against tracks that were trained
on, every copy looks perfect. --train names those, to count near-copies, against what the held-out tracks reach by themselves.
Small FAD, KAD and KL are near. FAD compares equal numbers of windows and still wants hundreds; KAD needs fewer, and may be below 0.

A file that can't be read ends it with an error that names the file: figures are never of a part of what was asked for.
"""


def add_evaluate(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """The options of ``evaluate``."""
    parser.add_argument("--reference", type=Path, required=True, metavar="DIR", help="real tracks that were not trained on")
    parser.add_argument("--candidate", type=Path, required=True, metavar="DIR", help="the clips")
    parser.add_argument("--train", type=Path, metavar="DIR", help="the tracks that were trained on, to count near-copies of them")
    parser.add_argument("--embedder", default="musicnn", metavar="NAME", help="musicnn (default), vggish or clap")
    parser.add_argument("--prompt", metavar="TEXT", help="what the clips were asked to be: agreement with it, by clap only")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws for the interval (default 0)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: PyTorch's own choice)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no progress bar")
    parser.set_defaults(run=run)
