"""``crate``: import, show, list, remove, prepare, report. From arguments to what a person reads; the work is in ``engine.crate``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.tools import require_audio_tools
from engine.crate import importing, pool
from engine.crate.store import Crates, CrateTrack, Unreadable
from engine.errors import EngineError
from engine.music import words
from engine.settings import EngineSettings

if TYPE_CHECKING:
    from rich.text import Text

    from engine.crate.preparing import Prepared

Tell = Callable[[str, int, int], None]
_MOST_NAMED = 20
_WIDE = 96
"""Columns of a terminal from which on loudness and course have room beside the names."""
_PIPED_COLUMNS = 132
_LETTERS = {"rekordbox": "R", "tags": "T", "file name": "N", "detected": "D"}
_LEVELS = "▁▂▃▄▅▆▇█"
_COLOURS = {"i": "bright_black", "o": "bright_black", "m": "cyan", "d": "magenta", "u": "yellow", "b": "blue"}


def crate(arguments: argparse.Namespace) -> int:
    """Raises EngineError, SettingsError."""
    settings = EngineSettings.read(
        data=arguments.data, checkpoint=getattr(arguments, "checkpoint", None), device=getattr(arguments, "device", None)
    )
    if arguments.crate_command == "bench":
        from engine.cli.crate_bench import bench

        return bench(arguments, settings)
    command: Callable[[argparse.Namespace, EngineSettings], int] = {
        "import": _import,
        "show": _show,
        "list": _list,
        "remove": _remove,
        "prepare": _prepare,
        "report": _report,
    }[arguments.crate_command]
    try:
        return command(arguments, settings)
    except KeyboardInterrupt:
        print("Stopped. What is done is kept: the same command goes on from here.", file=sys.stderr)
        return 130


def _import(arguments: argparse.Namespace, settings: EngineSettings) -> int:
    require_audio_tools()
    wanted = importing.Wanted(arguments.played, arguments.playlist, arguments.rated)
    with _bar(arguments) as tell:
        done = importing.import_into(
            Crates(settings.data),
            arguments.crate,
            arguments.path,
            wanted,
            copy=arguments.copy,
            processes=_processes(arguments),
            tell=tell,
        )
    if arguments.json:
        facts = {"crate": arguments.crate, "tracks": len(done.crate.tracks), "added": done.added, "again": done.again, "twice": done.twice}
        print(json.dumps(facts | {"unreadable": _records(done.unreadable), "problems": done.problems}, ensure_ascii=False))
        return 0
    total_s = sum(track.duration_s for track in done.crate.tracks)
    again = f", {done.again} again" if done.again else ""
    again += f", {done.twice} twice the same file" if done.twice else ""
    print(f"{arguments.crate}: {done.added} new{again}; now {_tracks(len(done.crate.tracks))}, {words.length(total_s)}")
    _name_problems("could not be taken", [problem.message for problem in done.unreadable])
    _name_problems("of the library could not be read", list(done.problems))
    if done.on_stick:
        print("The music stays where it is: 'prepare' needs it there again. --copy keeps copies.")
    print(f"next: python -m engine crate show {arguments.crate}")
    return 0


def _show(arguments: argparse.Namespace, settings: EngineSettings) -> int:
    found = Crates(settings.data).read(arguments.crate)
    if arguments.json:
        tracks = [track.record() | {"name": track.name} for track in found.tracks]
        print(json.dumps({"crate": found.name, "tracks": tracks, "unreadable": _records(found.unreadable)}, ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.table import Table

    console = Console() if sys.stdout.isatty() else Console(width=_PIPED_COLUMNS)
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("artist", overflow="ellipsis", no_wrap=True, ratio=2, min_width=8)
    table.add_column("title", overflow="ellipsis", no_wrap=True, ratio=3, min_width=12)
    for heading, width in (("BPM", 7), ("key", 9), ("length", 6), *((("LUFS", 5), ("course", 24)) if wide else ()), ("from", 4)):
        table.add_column(heading, no_wrap=True, width=width, justify="right" if heading in ("BPM", "length", "LUFS") else "left")
    for track in found.tracks:
        cells = _cells(track)
        table.add_row(*(cells if wide else [*cells[:5], cells[-1]]))
    console.print(table)
    total_s = sum(track.duration_s for track in found.tracks)
    console.print(f"\n{_tracks(len(found.tracks))}, {words.length(total_s)}", highlight=False)
    console.print("[dim]from: title·BPM·key, by R rekordbox  T tags  N file name  D detected; ~ no steady tempo[/]", highlight=False)
    if wide:
        legend = "[cyan]main[/] [magenta]drop[/] [yellow]build[/] [blue]breakdown[/] [bright_black]intro, outro[/]"
        console.print(f"[dim]course:[/] {legend}", highlight=False)
    _name_problems("could not be taken at the last import", [problem.message for problem in found.unreadable])
    return 0


def _cells(track: CrateTrack) -> list[Text]:
    from rich.text import Text

    bpm = "–" if track.bpm is None else f"{track.bpm:.2f}".rstrip("0").rstrip(".") + ("" if track.steady else "~")
    key = Text("–")
    if track.key is not None:
        key = Text(f"{track.key.camelot:>3} ", style="bold") + Text(track.key.short, style="dim")
    course = Text()
    for level, kind in zip(track.levels, track.kinds, strict=True):
        course.append(_LEVELS[int(level)], style=_COLOURS.get(kind, ""))
    sources = "".join(_LETTERS.get(track.sources.get(field, ""), "·") for field in ("title", "bpm", "key"))
    minutes, seconds = divmod(round(track.duration_s), 60)
    lufs = "–" if track.lufs is None else f"{track.lufs:.1f}".replace("-", "−")
    return [
        Text(track.artist or "–"),
        Text(track.title),
        Text(bpm),
        key,
        Text(f"{minutes}:{seconds:02d}"),
        Text(lufs),
        course,
        Text(sources),
    ]


def _list(arguments: argparse.Namespace, settings: EngineSettings) -> int:
    crates = Crates(settings.data)
    found = [crates.read(name) for name in crates.names()]
    if arguments.json:
        facts = [{"crate": one.name, "tracks": len(one.tracks), "seconds": sum(t.duration_s for t in one.tracks)} for one in found]
        print(json.dumps({"crates": facts}, ensure_ascii=False))
        return 0
    if not found:
        print("No crates yet. 'python -m engine crate import PATH --crate NAME' makes one.")
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        print(f"{one.name:<{width}}  {_tracks(len(one.tracks))}, {words.length(sum(track.duration_s for track in one.tracks))}")
    return 0


def _remove(arguments: argparse.Namespace, settings: EngineSettings) -> int:
    gone = Crates(settings.data).remove(arguments.crate)
    copies = sum(track.copied for track in gone.tracks)
    if arguments.json:
        print(json.dumps({"removed": gone.name, "tracks": len(gone.tracks), "copies": copies}))
    else:
        print(f"{gone.name} is forgotten" + (f", and {copies} copies of its tracks are deleted" if copies else "") + ". The music stays.")
    return 0


def _prepare(arguments: argparse.Namespace, settings: EngineSettings) -> int:
    require_audio_tools()
    from engine.crate import captions, codes, dataset, preparing
    from engine.models import pick_device

    found = Crates(settings.data).read(arguments.crate)
    if arguments.segment_seconds is not None and not 1.0 <= arguments.segment_seconds <= 30.0:
        raise EngineError("bad_request", "--segment-seconds must be from 1 to 30.")
    token = arguments.token if arguments.token is not None else captions.token_for(found.name)
    if len(token.split()) != 1 or "," in token:
        raise EngineError("bad_request", f"A token is one word without commas, such as {captions.token_for(found.name)}, not {token!r}.")
    options = preparing.Options(token, arguments.preset, arguments.seed, tuple(arguments.tag), arguments.segment_seconds)
    out = arguments.out or settings.data / "datasets" / f"{found.name}-{arguments.preset}"
    device = "cpu" if settings.device in ("auto", "cpu") and not _has_gpu(settings) else pick_device(settings.device)
    with _bar(arguments) as tell:
        done = preparing.prepare(
            found.tracks, settings.data, out, codes.target(settings), options, device=device, processes=_processes(arguments), tell=tell
        )
        report = dataset.write_report(found.name, done, found.unreadable)
    _tell_prepared(arguments, done, report.advice)
    return 0


def _has_gpu(settings: EngineSettings) -> bool:
    """Asked of torch only where there may be one: importing it takes longer than a second run of ``prepare``."""
    return settings.device == "auto" and (Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists() or sys.platform == "darwin")


def _tell_prepared(arguments: argparse.Namespace, done: Prepared, advice: tuple[str, ...]) -> None:
    train = [segment for segment in done.segments if segment.split == "train"]
    held = [segment for segment in done.segments if segment.split == "held_out"]
    if arguments.json:
        facts: dict[str, Any] = {
            "manifest": str(done.folder / "manifest.jsonl"),
            "report": str(done.folder / "report.html"),
            "segments": len(done.segments),
            "made": done.made,
            "train": {"segments": len(train), "tracks": len({segment.track for segment in train})},
            "held_out": {"segments": len(held), "tracks": len({segment.track for segment in held})},
            "left_out": _records(done.left_out),
            "advice": list(advice),
        }
        print(json.dumps(facts, ensure_ascii=False))
        return
    for name, part in (("to train on", train), ("held out", held)):
        length = words.length(sum(segment.duration_s for segment in part))
        print(f"{name}: {len(part)} segments, {length}, of {_tracks(len({segment.track for segment in part}))}")
    print(f"made now: {done.made}; the rest was there" if done.made < len(done.segments) else f"made now: all {done.made}")
    _name_problems("gave nothing", [problem.message for problem in done.left_out])
    for sentence in advice:
        print(f"  → {sentence}")
    print(f"report: {done.folder / 'report.html'}")
    print(f"next: python -m engine finetune {done.folder} --out runs/{arguments.crate} --dry-run")


def _report(arguments: argparse.Namespace, settings: EngineSettings) -> int:
    from engine.crate import dataset

    found = Crates(settings.data).read(arguments.crate)
    report = dataset.report_of(found, settings.data)
    if arguments.out is not None:
        dataset.save(report, arguments.out)
    if arguments.json:
        print(json.dumps({"crate": found.name, "text": report.text, "advice": list(report.advice)}, ensure_ascii=False))
    else:
        print(report.text)
    return 0


def _processes(arguments: argparse.Namespace) -> int:
    asked: int | None = arguments.processes
    if asked is not None and not 1 <= asked <= 64:
        raise EngineError("bad_request", f"--processes must be from 1 to 64, not {asked}.")
    return asked or pool.cores()


def _tracks(number: int) -> str:
    return f"{number} track{'' if number == 1 else 's'}"


def _records(problems: tuple[Unreadable, ...]) -> list[dict[str, str]]:
    return [{"path": problem.path, "message": problem.message} for problem in problems]


def _name_problems(what: str, messages: list[str]) -> None:
    """On stderr, so that a list of tracks stays one."""
    if messages:
        print(f"{len(messages)} {what}:", file=sys.stderr)
    for message in messages[:_MOST_NAMED]:
        print(f"  {message}", file=sys.stderr)
    if len(messages) > _MOST_NAMED:
        print(f"  and {len(messages) - _MOST_NAMED} more: --json names all", file=sys.stderr)


@contextmanager
def _bar(arguments: argparse.Namespace) -> Iterator[Tell]:
    """A progress bar over tracks, for a person at a terminal."""
    if arguments.json or not sys.stderr.isatty():
        yield lambda _what, _done, _of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking", total=None)

        def tell(what: str, done: int, of: int) -> None:
            progress.update(task, description=what[:50], completed=done, total=of)

        yield tell
