"""What can be typed after ``python -m engine experiment``. Standard library only; nothing runs here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

EXPERIMENT = """\
The experiment of 2023 again, beside today's recipe: does a finetune beat its base? Whole, on a CPU, with the embedded model.

'Alice' is techno in a manner that the embedded model has never heard. Her tracks are learned by the recipe of 2023 (all weights, one
caption, silence up to the window, nothing held out, no stopping) and by today's. Both make clips in the four categories:

  A  her token, finetuned      B  her token, base
  C  'techno', finetuned       D  'techno', base            in 2023 D won, then C, A, B

and all are held against further tracks of hers that nothing was trained on, stopped by or chosen on: loss, FAD, KAD with its interval,
KL of tags, near-copies.

examples:
  python -m engine experiment --out runs/experiment                     3 seeds, 50 clips a category: an hour on two cores
  python -m engine experiment --out runs/quick --seeds 0 --clips 16     a first look
  python -m engine experiment --out runs/try --seeds 9 --crate 1 --recipes lora --rate 5e-4     another setting, on other tracks

It goes on where it was interrupted, and further --seeds in the same folder do only what is new. OUT/experiment.md has the table,
OUT/experiment.png the picture, OUT/experiment.json every figure, OUT/clips/ a few of each category.
"""


def add_experiment(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Its options."""
    parser.set_defaults(run=run)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the experiment; the same folder goes on")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N,…", help="of finetunes and clips (default 0,1,2)")
    parser.add_argument("--recipes", default="alice-2023,lora", metavar="R,R", help="alice-2023, lora, full (default alice-2023,lora)")
    parser.add_argument("--checkpoint", metavar="NAME", help="the base (default pocket, whatever ENGINE_CHECKPOINT says)")
    parser.add_argument("--manner", default="industrial", help="of synthesised techno (default industrial, unknown to the embedded model)")
    parser.add_argument("--crate", type=int, default=0, metavar="N", help="which of Alice's crates: other tracks in the same manner")
    parser.add_argument("--tracks", type=int, default=100, metavar="N", help="to learn, some of them held out to stop by (default 100)")
    parser.add_argument("--unseen", type=int, default=20, metavar="N", help="further tracks to measure on (default 20)")
    parser.add_argument("--bars", type=int, default=40, metavar="N", help="length of each track (default 40: a whole form)")
    parser.add_argument("--clips", type=int, default=50, metavar="N", help="a category and seed (default 50)")
    parser.add_argument("--clip-seconds", type=float, default=6.0, metavar="S", help="length of each (default 6)")
    parser.add_argument("--old-epochs", type=float, default=10.0, metavar="N", help="of alice-2023 (default 10)")
    trying = parser.add_argument_group("other settings of the recipe lora, for trying out")
    trying.add_argument("--rate", type=float, metavar="R")
    trying.add_argument("--rank", type=int, metavar="R")
    trying.add_argument("--epochs", type=float, metavar="N")
    trying.add_argument("--min-steps", type=int, metavar="N")
    trying.add_argument("--batch", type=int, metavar="N")
    trying.add_argument("--ema", type=float, metavar="D")
    trying.add_argument("--caption-dropout", type=float, metavar="P")
    trying.add_argument("--prior-share", type=float, metavar="P")
    trying.add_argument("--prior-weight", type=float, metavar="W")
    parser.add_argument("--processes", type=int, metavar="N", help="jobs side by side, one thread each (default: every core)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no progress bar")
