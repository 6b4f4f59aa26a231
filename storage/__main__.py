"""``python -m storage check | backup | sweep --data DIR``: looks after a data folder, also while the bot runs."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from storage import upkeep
from storage.check import check
from storage.errors import StorageError

_EPILOGUE = """\
Examples:
  python -m storage check --data var/bot            is everything whole? exit code 1 if not
  python -m storage backup --data var/bot --keep 7  a copy under var/bot/backups, the seven newest are kept
  python -m storage sweep --data var/bot --dry-run  how much would be removed?

To go back to a backup, stop the bot and put the backup's composer.sqlite3 and blobs/ in the place of the present ones
(remove composer.sqlite3-wal and composer.sqlite3-shm too). 'check' can look into a backup: --data var/bot/backups/backup-…
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 good, 1 something is wrong (and said), 2 wrong usage."""
    options = _parser().parse_args(arguments)
    run = {"check": _check, "backup": _backup, "sweep": _sweep}[options.command]
    try:
        good, answer, text = run(options)
    except (StorageError, sqlite3.Error, OSError) as error:
        good, answer, text = False, {"error": str(error)}, str(error)
    print(
        json.dumps({"good": good, **answer}, default=str) if options.json else text, file=sys.stdout if good or options.json else sys.stderr
    )
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m storage", description=__doc__, epilog=_EPILOGUE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data folder (BOT_DATA)")
    everywhere.add_argument("--json", action="store_true", help="one JSON object, for a machine")
    commands.add_parser("check", parents=[everywhere], help="verify the database and every blob")
    backup = commands.add_parser("backup", parents=[everywhere], help="make a consistent copy")
    backup.add_argument("--keep", type=int, default=upkeep.DEFAULT_KEEP, metavar="N", help="how many backups stay (default: %(default)s)")
    backup.add_argument("--copy", action="store_true", help="copy the blobs even where hard links would do")
    sweep = commands.add_parser("sweep", parents=[everywhere], help="remove blobs that no row names")
    sweep.add_argument("--grace-hours", type=float, default=24.0, metavar="H", help="spare files younger than this (default: %(default)s)")
    sweep.add_argument("--dry-run", action="store_true", help="count, but remove nothing")
    return parser


_Answer = tuple[bool, dict[str, Any], str]


def _check(options: argparse.Namespace) -> _Answer:
    report = check(options.data)
    lines = [f"{'WRONG' if finding.fault else 'note '}  {finding.what} {finding.advice}".rstrip() for finding in report.findings]
    faults = sum(finding.fault for finding in report.findings)
    lines.append(f"{report.blobs} blobs, {_size(report.bytes)} read: " + ("all good." if report.good else f"{faults} wrong."))
    return report.good, asdict(report), "\n".join(lines)


def _backup(options: argparse.Namespace) -> _Answer:
    made = upkeep.backup(options.data, keep=options.keep, copy=options.copy)
    text = f"Backed up the database and {made.blobs} blobs ({_size(made.bytes)}, {'linked' if made.linked else 'copied'}) to {made.folder}."
    if made.removed:
        text += f" Let go of {', '.join(made.removed)}."
    if made.missing:
        text += f" {len(made.missing)} blobs are missing: run check."
    return not made.missing, asdict(made), text


def _sweep(options: argparse.Namespace) -> _Answer:
    swept = upkeep.sweep(options.data, grace=timedelta(hours=options.grace_hours), dry_run=options.dry_run)
    return True, asdict(swept), f"{'Would remove' if options.dry_run else 'Removed'} {swept.files} files, {_size(swept.bytes)}."


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
