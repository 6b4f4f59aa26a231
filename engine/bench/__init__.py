"""``python -m engine bench``: frames a second of this decoder beside transformers' and audiocraft's own ``generate``, and what else costs.

    speed.py       rounds in turn, medians, ratios           contenders.py  who is measured
    growth.py      a step by takes and position, memory      startup.py     from the start of a process to ready
    adapters.py    finetunes that share a batch
    overhead.py    a take's time outside decoding, by part   quality.py     int8 and bf16 against fp32
    profile.py     where the time of a frame goes            showing.py     tables and plots

One take and many, greedy, guidance 3, the same weights and threads in every contender. Where two fp32 contenders' codes differ no ratio is
printed: then they did not do the same work. This file reads the command line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from engine.bench.showing import overhead_table, plot, plot_growth, quality_table, table
from engine.bench.speed import EIGHT, Found, measure

__all__ = ["main", "measure", "table"]

EPILOG = """\
examples:
  python -m engine bench                          musicgen-small's true sizes, random weights (8 GB of memory; half an hour on two cores)
  python -m engine bench --quick --json           the same in under five minutes: one take and eight, fewer frames
  python -m engine bench --checkpoint pocket      the embedded model
  python -m engine bench --device cuda            on a GPU: also in half precision, ours and theirs
  python -m engine bench --out out --resume       also bench.json, bench.md and bench.svg there; goes on where it was stopped
  python -m engine bench --growth --out out       what a step costs by number of takes and position, and memory
  python -m engine bench --adapters               finetunes that share a batch, beside one finetune's takes at a time
  python -m engine bench --overhead               what a take costs besides decoding, part by part
  python -m engine bench --profile                where the time of a frame goes, for one take and for eight
  python -m engine bench --startup                seconds from the start of a process to ready
  python -m engine bench --checkpoint pocket --quality --clips 100
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0, or 1 where the contenders' codes differ."""
    parser = argparse.ArgumentParser(
        prog="python -m engine bench",
        description="Frames a second of one take and of many, beside transformers and audiocraft. 50 frames are one second of music.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sizes", choices=("tiny", "small"), default="small", help="random weights of these sizes (default: small)")
    what.add_argument("--checkpoint", metavar="NAME", help="instead: pocket, a hub name or a folder")
    parser.add_argument("--batch", type=int, nargs="+", metavar="N", help="takes at once (default: 1 2 4 8 16)")
    parser.add_argument("--frames", type=int, metavar="N", help="frames a take (default 50)")
    parser.add_argument("--rounds", type=int, metavar="N", help="times that each contender decodes (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: every core)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")
    parser.add_argument("--half", action="store_true", help="also in half precision, ours and theirs (on a GPU always)")
    parser.add_argument("--quick", action="store_true", help="one take and eight, 25 frames, 3 rounds")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--growth", action="store_true", help="instead: what a step costs by number of takes and position, and memory")
    other.add_argument("--adapters", action="store_true", help="instead: what finetunes cost that share a batch, and one after the other")
    other.add_argument("--overhead", action="store_true", help="instead: what a take costs besides decoding, part by part")
    other.add_argument("--profile", action="store_true", help="instead: where the time of a frame goes, part by part")
    other.add_argument("--startup", action="store_true", help="instead: seconds from the start of a process to ready")
    other.add_argument("--quality", action="store_true", help="instead: how far int8 and bf16 are from fp32 (give --checkpoint)")
    parser.add_argument("--clips", type=int, default=0, metavar="N", help="with --quality: also FAD and KAD of so many clips")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write results, tables and plots there")
    parser.add_argument("--resume", action="store_true", help="go on from what is in --out")
    arguments = parser.parse_args(argv)
    if arguments.resume and not arguments.out:
        parser.error("--resume goes on from what is in --out: give that too")
    if min(arguments.frames or 1, arguments.rounds or 1, arguments.threads, *(arguments.batch or [1])) < 1 or arguments.clips < 0:
        parser.error("--batch, --frames, --rounds and --threads are at least 1")

    import torch

    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no GPU here that torch can use: leave --device out")
    torch.set_num_threads(arguments.threads)
    with _folder(arguments.checkpoint, arguments.sizes) as folder:
        if arguments.growth or arguments.adapters or arguments.overhead or arguments.profile or arguments.startup or arguments.quality:
            return _tell_other(arguments, folder)
        try:
            result = _speed(arguments, folder)
        except ValueError as error:
            parser.error(str(error))
    print(json.dumps(result) if arguments.json else table(result))
    return 0 if result["same_codes"] else 1


def _speed(arguments: argparse.Namespace, folder: Path) -> Found:
    """Raises ValueError where there is nothing to go on from."""
    sizes = f"random weights of musicgen-{arguments.sizes}'s sizes"
    about: Found = {
        "weights": f"weights of {arguments.checkpoint}" if arguments.checkpoint else sizes,
        "threads": arguments.threads,
        "machine": machine(arguments.device),
    }
    before: Found | None = None
    if arguments.resume and (arguments.out / "bench.json").is_file():
        before = json.loads((arguments.out / "bench.json").read_text(encoding="utf-8"))
        if differ := [name for name, value in about.items() if before.get(name) != value]:
            raise ValueError(f"what is in {arguments.out} was measured otherwise ({', '.join(differ)}): name another folder")

    def keep(found: Found) -> None:
        if arguments.out:
            _write(arguments.out, "bench.json", json.dumps(found | about, indent=1) + "\n")

    result = about | measure(
        folder,
        batch_sizes=arguments.batch or ([1, EIGHT] if arguments.quick else [1, 2, 4, EIGHT, 16]),
        frames=arguments.frames or (25 if arguments.quick else 50),
        rounds=arguments.rounds or (3 if arguments.quick else 5),
        device=arguments.device,
        half=arguments.half or arguments.device.startswith("cuda"),
        tell=_to_stderr,
        before=before,
        keep=keep,
    )
    if arguments.out:
        keep(result)
        _write(arguments.out, "bench.md", table(result))
        plot(result, arguments.out / "bench.svg")
    return result


def _tell_other(arguments: argparse.Namespace, folder: Path) -> int:
    """Growth, overhead, start-up or quality: printed as JSON, or as a table where there is one; kept in --out."""
    name: str
    words: Callable[[Any], str] = partial(json.dumps, indent=2)
    if arguments.growth:
        from engine.bench.growth import measure_growth

        name, found = "growth", measure_growth(folder, tell=_to_stderr)
    elif arguments.adapters:
        from engine.bench.adapters import adapters_table, measure_adapters

        precisions = ("int8", "fp32") if arguments.checkpoint != "pocket" else ("fp32",)
        found = {"precisions": [measure_adapters(folder, precision=precision, tell=_to_stderr) for precision in precisions]}
        name, words = "adapters", adapters_table
    elif arguments.overhead:
        from engine.bench.overhead import measure_overhead

        name, found, words = "overhead", measure_overhead(folder, rounds=arguments.rounds or 5), overhead_table
    elif arguments.profile:
        from engine.bench.profile import measure_profile, profile_table

        name, found, words = "profile", measure_profile(folder, tell=_to_stderr), profile_table
    elif arguments.startup:
        from engine.bench.startup import measure_startup

        name, found = "startup", measure_startup(folder, rounds=arguments.rounds or 3)
    else:
        from engine.bench.quality import measure_quality

        name, found, words = "quality", measure_quality(folder, clips=arguments.clips, tell=_to_stderr), quality_table
    found = found | {"threads": arguments.threads, "machine": machine("cpu")}
    if arguments.out:
        _write(arguments.out, f"{name}.json", json.dumps(found, indent=1) + "\n")
        if arguments.growth:
            plot_growth(found, arguments.out / "growth.svg")
        elif not arguments.startup:
            _write(arguments.out, f"{name}.md", words(found) + "\n")
    print(json.dumps(found) if arguments.json else words(found))
    return 0


def machine(device: str) -> dict[str, Any]:
    """What it was measured on."""
    import torch

    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {"cpu": _cpu(), "cores": os.cpu_count(), "gpu": gpu, "system": platform.system(), "architecture": platform.machine()}


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _write(folder: Path, name: str, text: str) -> None:
    """Whole or not at all: a run may be stopped at any moment."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{name}.new"
    beside.write_text(text, encoding="utf-8")
    beside.replace(folder / name)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _folder(checkpoint: str | None, sizes: str) -> Iterator[Path]:
    """A folder in transformers' form: a checkpoint's own, or random weights in a temporary one."""
    if checkpoint is not None:
        from engine.checkpoints import POCKET_FOLDER
        from engine.musicgen.checkpoint import find

        yield POCKET_FOLDER if checkpoint == "pocket" else find(checkpoint)
        return
    from engine.musicgen.tiny import MUSICGEN_SMALL, TINY, write_tiny_checkpoint

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield write_tiny_checkpoint(folder, sizes=MUSICGEN_SMALL if sizes == "small" else TINY)
