"""``python -m engine bench``: frames a second of this decoder beside transformers' and audiocraft's own ``generate``.

One take and many, greedy, guidance 3, the same weights and threads in every contender, several rounds in turn; text encoder and language
model are timed, the codec is not. Where two fp32 contenders' codes differ no ratio is printed: then they did not do the same work. Memory
is read at full speed in the same rounds, since a decoder can be no faster than its weights are read. Not here: who is measured
(``contenders``), tables and plots (``showing``), quality (``quality``), a step's cost by length and company (``growth``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine.bench.contenders import Contender, contenders
from engine.bench.growth import measure_growth
from engine.bench.quality import measure_quality
from engine.bench.showing import plot, plot_growth, table

EPILOG = """\
examples:
  python -m engine bench                          musicgen-small's true sizes, random weights (needs 8 GB of memory)
  python -m engine bench --quick --json           the same in under five minutes: one take and eight, fewer frames
  python -m engine bench --checkpoint pocket      the embedded model
  python -m engine bench --checkpoint pocket --quality
  python -m engine bench --out docs               also bench.json, bench.md and bench.svg there
"""
EIGHT = 8


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
    parser.add_argument("--frames", type=int, metavar="N", help="frames a take (default 100)")
    parser.add_argument("--rounds", type=int, metavar="N", help="times that each contender decodes (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: every core)")
    parser.add_argument("--quick", action="store_true", help="one take and eight, 25 frames, 3 rounds")
    parser.add_argument("--growth", action="store_true", help="instead: what a step costs by number of takes and position, and memory")
    parser.add_argument("--quality", action="store_true", help="instead: how far int8 and bf16 are from fp32 (give --checkpoint)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write bench.json, bench.md and bench.svg there")
    arguments = parser.parse_args(argv)
    sizes = arguments.batch or ([1, EIGHT] if arguments.quick else [1, 2, 4, EIGHT, 16])
    frames = arguments.frames or (25 if arguments.quick else 100)
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    if min(frames, rounds, arguments.threads, *sizes) < 1:
        parser.error("--batch, --frames, --rounds and --threads are at least 1")

    import torch

    torch.set_num_threads(arguments.threads)
    with _folder(arguments.checkpoint, arguments.sizes) as folder:
        if arguments.growth or arguments.quality:
            found = measure_growth(folder) if arguments.growth else measure_quality(folder)
            if arguments.growth and arguments.out:
                arguments.out.mkdir(parents=True, exist_ok=True)
                plot_growth(found, arguments.out / "growth.svg")
            print(json.dumps(found, indent=None if arguments.json else 2))
            return 0
        result = measure(folder, batch_sizes=sizes, frames=frames, rounds=rounds, tell=_to_stderr)
    result |= {
        "weights": arguments.checkpoint or f"random, musicgen-{arguments.sizes}'s sizes,",
        "threads": arguments.threads,
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.system(), "architecture": platform.machine()},
    }
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "bench.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        (arguments.out / "bench.md").write_text(table(result), encoding="utf-8")
        plot(result, arguments.out / "bench.svg")
    print(json.dumps(result) if arguments.json else table(result))
    return 0 if result["same_codes"] else 1


def measure(
    folder: Path,
    *,
    batch_sizes: Sequence[int],
    frames: int,
    rounds: int,
    tell: Callable[[str], None] = lambda _line: None,
    of: Callable[..., Iterator[Contender]] = contenders,
) -> dict[str, Any]:
    """Let every contender that is installed decode ``frames`` frames ``rounds`` times at each size, in turn, after one warm-up each.

    Returns versions, median frames a second by contender and size, whether all codes in fp32 were the same, the bandwidth of memory, and
    ratios (None where the codes differ).
    """
    tell("loading")
    all_of_them = list(of(folder, most_takes=max(batch_sizes)))
    codes: dict[str, Any] = {}
    for contender in all_of_them:
        codes[contender.name] = contender.decode(1, frames)  # also the warm-up
        tell(f"{contender.name} is warm")
    exact = [codes[contender.name] for contender in all_of_them if contender.exact]
    same = all(bool((value == exact[0]).all()) for value in exact)
    speeds: dict[str, dict[int, list[float]]] = {contender.name: {size: [] for size in batch_sizes} for contender in all_of_them}
    read, weight_bytes = _reading(all_of_them)
    bandwidths: list[float] = []
    for number in range(rounds):
        for size in batch_sizes:
            for contender in all_of_them:
                begun = time.perf_counter()
                contender.decode(size, frames)
                speeds[contender.name][size].append(size * frames / (time.perf_counter() - begun))
            if read is not None:
                bandwidths += [read() for _ in range(5)]
        tell(f"round {number + 1} of {rounds}")
    medians = {name: {size: statistics.median(values) for size, values in by_size.items()} for name, by_size in speeds.items()}
    bandwidth = statistics.median(sorted(bandwidths)[len(bandwidths) // 2 :]) if bandwidths else None  # its better half: it is a limit
    kinds = {contender.kind: medians[contender.name] for contender in all_of_them}
    return {
        "versions": {name: _version(name) for name in ("torch", "transformers", "audiocraft")} | {"python": platform.python_version()},
        "batch_sizes": list(batch_sizes),
        "frames": frames,
        "rounds": rounds,
        "frames_per_s": {name: {str(size): round(speed, 2) for size, speed in by_size.items()} for name, by_size in medians.items()},
        "same_codes": same,
        "bandwidth_gb_per_s": round(bandwidth / 1e9, 1) if bandwidth else None,
        "int8_weight_mb": round(weight_bytes / 1e6) if weight_bytes else None,
        "ratios": ratios(kinds, bandwidth, weight_bytes) if same else None,
    }


def ratios(kinds: dict[str, dict[int, float]], bandwidth: float | None, weight_bytes: int) -> dict[str, float | None]:
    """Of median frames a second by kind of contender and number of takes. None: one of the two was not measured here."""

    def over(a: float | None, b: float | None) -> float | None:
        return round(a / b, 2) if a and b else None

    def speed(kind: str, takes: int) -> float | None:
        return kinds.get(kind, {}).get(takes)

    found = {
        f"{precision}_vs_{peer}": over(speed(f"ours {precision}", 1), speed(peer, 1))
        for precision in ("int8", "fp32")
        for peer in ("audiocraft", "transformers")
    }
    found |= {f"eight_int8_vs_{peer}": over(speed("ours int8", EIGHT), speed(peer, EIGHT)) for peer in ("audiocraft", "transformers")}
    found["eight_vs_one"] = over(speed("ours int8", EIGHT), speed("ours int8", 1))
    limit = bandwidth / weight_bytes if bandwidth and weight_bytes else None  # frames a second, were nothing done but reading weights
    found["of_bandwidth_limit"] = over(speed("ours int8", 1), limit)
    return found


def _reading(all_of_them: Sequence[Contender]) -> tuple[Callable[[], float] | None, int]:
    """What reads the int8 weights once and gives bytes a second; and how many bytes they are. (None, 0) without them."""
    for contender in all_of_them:
        if contender.kind == "ours int8" and contender.model is not None:
            return contender.model.read_weights, contender.model.weight_bytes
    return None, 0


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


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
