"""What can be typed after ``python -m engine crate``, and the help that teaches it. Standard library only; nothing runs here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

CRATE = """\
A DJ's crate: her tracks, what is known of each, and a dataset that is worth training on.

examples:
  python -m engine crate import /media/usb --crate alice --played      what she really played, from her stick
  python -m engine crate show alice
  python -m engine crate prepare alice                                 segments, codes, manifest and report
  python -m engine finetune var/engine/datasets/alice-bars --out runs/alice

Nothing is ever written where the music comes from. '… crate COMMAND --help' says more.
"""

IMPORT = """\
Takes tracks into a crate, and finds out tempo, bars, key, loudness and sections of each.

examples:
  python -m engine crate import ~/Music/techno --crate alice                 a folder, with what is below it
  python -m engine crate import /media/usb --crate alice --playlist "Peak time"
  python -m engine crate import /media/usb --crate alice --played --rated 4 --copy
  python -m engine crate import rekordbox.xml --crate alice

PATH is a folder of audio, one file, a mounted stick of rekordbox, or the XML that rekordbox exports. What her software says of tempo,
grid and key wins over the files' tags, and those over what is heard; 'show' says which it was. Of --played, --playlist and --rated
all that are given must hold.

A track is kept by where it lies, not copied: a stick must be there again for 'prepare'. With --copy the crate has copies of its own, in
ENGINE_DATA. What was heard is kept by content: importing again, elsewhere or after an interruption, only reads what is new.
"""

SHOW = """\
A crate's tracks: artist, title, tempo, key, length, course, and who said so: R her software, T the file's tags, N the file's name,
D detected.

examples:
  python -m engine crate show alice
  python -m engine crate show alice --json | jq '.tracks[] | select(.key.camelot == "8A") | .title'
"""

PREPARE = """\
Makes a dataset: segments, their codes, a manifest for finetuning, and a report on what the crate is worth and what would help.

examples:
  python -m engine crate prepare alice
  python -m engine crate prepare alice --checkpoint facebook/musicgen-small --out /data/alice
  python -m engine crate prepare alice --preset alice-2023            as the experiment of 2023 did it, to compare

bars        crops up to the checkpoint's window from the whole track, on bar lines, where the music is; whole tracks are held out,
            remixes and copies with them; captions vary; loudness matched
alice-2023  WAV, two segments of 10 s (or --segment-seconds) from each track's beginning, one caption, nothing held out

Interrupted, it goes on where it was; a second time it only reads.
"""

REPORT = """\
What a crate is as a dataset, without preparing it: on the screen, and with --out as a page.

examples:
  python -m engine crate report alice
  python -m engine crate report alice --out report.html
"""

BENCH = """\
Speed and memory of import and prepare on synthesised tracks, beside a plain loop of librosa (load, cut, write).

examples:
  python -m engine crate bench
  python -m engine crate bench --tracks 100 --minutes 6
"""


def add_crate(crate: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Gives ``crate``, made by whoever knows how mistakes are told, its own commands. ``run`` is called with what was typed."""
    commands = crate.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="crate_command", parser_class=type(crate))

    def command(name: str, summary: str, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(
            name, help=summary, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        made.add_argument("--data", type=Path, metavar="DIR", help="the engine's folder (ENGINE_DATA, var/engine)")
        made.add_argument("--json", action="store_true", help="one JSON object on stdout, no progress bar")
        made.set_defaults(run=run)
        return made

    take = command("import", "a folder, a stick or rekordbox.xml into a crate", IMPORT)
    take.add_argument("path", type=Path, metavar="PATH", help="folder, file, stick or rekordbox.xml")
    take.add_argument("--crate", required=True, metavar="NAME", help="which crate; made where there is none")
    take.add_argument("--played", action="store_true", help="only tracks that the DJ played (histories and play counts)")
    take.add_argument("--playlist", metavar="NAME", help="only tracks of a playlist ('Folder/Name' where there are two)")
    take.add_argument("--rated", type=int, choices=range(1, 6), metavar="N", help="only tracks of N stars or more, 1 to 5")
    take.add_argument("--copy", action="store_true", help="keep copies, so that the stick can go")
    _add_processes(take)

    show = command("show", "a crate's tracks", SHOW)
    show.add_argument("crate", metavar="CRATE")

    command("list", "which crates there are", "Which crates there are, and how much is in each.")

    remove = command(
        "remove", "forget a crate", "Forgets a crate and the copies that it made. The DJ's own files stay, and so do datasets."
    )
    remove.add_argument("crate", metavar="CRATE")

    prepare = command("prepare", "a dataset for finetuning", PREPARE)
    prepare.add_argument("crate", metavar="CRATE")
    prepare.add_argument("--preset", choices=("bars", "alice-2023"), default="bars", help="how to cut (default bars)")
    prepare.add_argument("--out", type=Path, metavar="DIR", help="where to (default ENGINE_DATA/datasets/CRATE-PRESET)")
    prepare.add_argument("--checkpoint", metavar="NAME", help="which model's window, rate and codec (ENGINE_CHECKPOINT, pocket)")
    prepare.add_argument("--seed", type=int, default=0, metavar="N", help="decides split, cuts and captions (default 0)")
    prepare.add_argument("--token", metavar="WORD", help="the word that asks for this sound (default: Alice_hash for 'alice')")
    prepare.add_argument("--tag", action="append", default=[], metavar="WORD", help="a word for the captions; can be given again")
    prepare.add_argument("--segment-seconds", type=float, metavar="S", help="shorter segments than the window (alice-2023: 10)")
    prepare.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps for the codec (ENGINE_DEVICE)")
    _add_processes(prepare)

    report = command("report", "what a crate is worth as a dataset", REPORT)
    report.add_argument("crate", metavar="CRATE")
    report.add_argument("--out", type=Path, metavar="FILE", help="also as a page (.html), picture (.png) or text (.txt)")

    bench = command("bench", "speed and memory beside librosa", BENCH)
    bench.add_argument("--tracks", type=int, default=6, metavar="N", help="how many (default 6)")
    bench.add_argument("--minutes", type=float, default=2.0, metavar="M", help="length of each (default 2)")
    bench.add_argument("--checkpoint", metavar="NAME", help="whose codec (ENGINE_CHECKPOINT, pocket)")
    bench.add_argument("--no-librosa", action="store_true", help="only ours")
    _add_processes(bench)


def _add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=int, metavar="N", help="tracks at once (default: one for every core)")
