"""What can be typed after ``python -m engine analyse``, and the help that teaches it. Standard library only; nothing runs here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

ANALYSE = """\
Tempo, bar lines, key, loudness and sections of tracks, by ear.

examples:
  python -m engine analyse track.mp3
  python -m engine analyse *.flac --pictures cards/      a picture of each, with bars and sections
  python -m engine analyse track.wav --json              one JSON object a line and track

'≈' before a tempo: the track does not keep one. Keys are said as Camelot and by name. What DJ software knows about a track is in
'crate import', which reads it and only listens for the rest.
"""


def add_analyse(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """The options of ``analyse``."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="audio that ffmpeg reads: mp3, wav, flac, ogg, opus, m4a, aiff")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also draw each track's card there, as PNG")
    parser.add_argument("--json", action="store_true", help="one JSON object a track on stdout, each in a line")
    parser.set_defaults(run=run)
