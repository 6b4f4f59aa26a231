"""Rounds of frames a second, in turn: every contender at every number of takes, and memory read at full speed in between.

A decoder can be no faster than its weights are read; so ``of_bandwidth_limit`` says how far one take is from that: in each round by the
fastest of the reads that follow it at once (memory is shared with whoever else is on the machine, and its speed changes from minute to
minute), then the median over rounds. What was measured can be kept after each size of each round, and a later run goes on from there. Not
here: who is measured (``contenders``), tables and plots (``showing``).
"""

from __future__ import annotations

import hashlib
import platform
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine.bench.contenders import Contender, contenders

EIGHT = 8
PEERS = ("audiocraft", "transformers")
_WARM_UP_FRAMES = 2
_READS = 5

Found = dict[str, Any]
"""What a run knows: plain JSON. ``speeds[name][takes]`` is a list of frames a second in sum, one a round."""


def measure(
    folder: Path,
    *,
    batch_sizes: Sequence[int],
    frames: int,
    rounds: int,
    device: str = "cpu",
    half: bool = False,
    tell: Callable[[str], None] = lambda _line: None,
    of: Callable[..., Iterator[Contender]] = contenders,
    before: Found | None = None,
    keep: Callable[[Found], None] = lambda _found: None,
) -> Found:
    """Let every contender that is installed decode ``frames`` frames ``rounds`` times with each number of takes, in turn.

    ``before`` is what an earlier run had found, to go on from; ``keep`` gets what is known after each size of each round. Returns
    versions, median frames a second by contender and takes, whether all codes in fp32 were the same, memory's bandwidth, and ratios
    (None where codes differ). Raises ValueError where ``before`` was measured otherwise.
    """
    tell("loading")
    all_of_them = list(of(folder, most_takes=max(batch_sizes), device=device, half=half))
    names = [contender.name for contender in all_of_them]
    settings: Found = {"versions": versions(), "source": source(), "frames": frames, "contenders": names, "device": device}
    if before is not None and any(before.get(name) != value for name, value in settings.items()):
        differ = ", ".join(name for name, value in settings.items() if before.get(name) != value)
        raise ValueError(f"what is there was measured otherwise ({differ}): measure into another folder, or without --resume")
    for contender in all_of_them:
        for takes in batch_sizes:
            contender.decode(takes, min(frames, _WARM_UP_FRAMES))
        tell(f"{contender.name} is warm")
    read, weight_bytes = _reading(all_of_them, device)
    found = settings | {
        "kinds": {contender.name: contender.kind for contender in all_of_them},
        "batch_sizes": sorted({*batch_sizes, *(before or {}).get("batch_sizes", [])}),
        "weight_bytes": weight_bytes,
        "same_codes": (before or {}).get("same_codes", True),
        "reads": dict((before or {}).get("reads", {})),
        "speeds": {name: dict((before or {}).get("speeds", {}).get(name, {})) for name in names},
    }
    codes: dict[int, Any] = {}  # greedy, in fp32, by takes
    for number in range(rounds):
        for takes in batch_sizes:
            if all(len(found["speeds"][name].get(str(takes), [])) > number for name in names):
                continue
            spent: dict[str, float] = {}
            for contender in all_of_them:
                begun = time.perf_counter()
                made = contender.decode(takes, frames)
                spent[contender.name] = time.perf_counter() - begun
                if contender.exact:
                    found["same_codes"] &= bool((made == codes.setdefault(takes, made)).all())
            for name, seconds in spent.items():
                found["speeds"][name].setdefault(str(takes), []).append(round(takes * frames / seconds, 3))
            if read is not None:
                found["reads"].setdefault(str(takes), []).append(round(max(read() for _ in range(_READS))))
            keep(summed_up(found))
        tell(f"round {number + 1} of {rounds}")
    return summed_up(found)


def summed_up(found: Found) -> Found:
    """With medians and ratios of what was measured so far."""
    medians = {
        name: {int(takes): statistics.median(values) for takes, values in by_takes.items()} for name, by_takes in found["speeds"].items()
    }
    reads = [bandwidth for by_rounds in found["reads"].values() for bandwidth in by_rounds]
    kinds = {found["kinds"][name]: by_takes for name, by_takes in medians.items()}
    return found | {
        "rounds": min((len(values) for by_takes in found["speeds"].values() for values in by_takes.values()), default=0),
        "frames_per_s": {name: {str(takes): round(speed, 2) for takes, speed in by.items()} for name, by in medians.items()},
        "bandwidth_gb_per_s": round(statistics.median(reads) / 1e9, 1) if any(reads) else None,
        "weight_mb": round(found["weight_bytes"] / 1e6) if found["weight_bytes"] else None,
        "ratios": ratios(kinds, _of_limit(found)) if found["same_codes"] else None,
        "half_ratios": half_ratios(kinds) if found["same_codes"] and "ours bf16" in kinds else None,
    }


Kinds = dict[str, dict[int, float]]


def ratios(kinds: Kinds, of_limit: float | None) -> dict[str, float | None]:
    """Of median frames a second by kind of contender and number of takes. None: one of the two was not measured here."""
    found = {f"{ours}_vs_{peer}": _over(kinds, f"ours {ours}", peer, 1) for ours in ("int8", "fp32") for peer in PEERS}
    found |= {f"eight_int8_vs_{peer}": _over(kinds, "ours int8", peer, EIGHT) for peer in PEERS}
    by_takes = kinds.get(_lowest(kinds), {})
    found["eight_vs_one"] = round(by_takes[EIGHT] / by_takes[1], 2) if {1, EIGHT} <= by_takes.keys() else None
    found["of_bandwidth_limit"] = None if of_limit is None else round(of_limit, 2)
    return found


def _lowest(kinds: Collection[str]) -> str:
    """Our lowest precision of those that were measured."""
    return next((kind for kind in ("ours int8", "ours bf16", "ours fp32") if kind in kinds), "")


def _of_limit(found: Found) -> float | None:
    """Frames a second of one take over those that there would be, were nothing done but reading weights."""
    lowest = _lowest(found["kinds"].values())
    speeds: list[float] = next((found["speeds"][name].get("1", []) for name, kind in found["kinds"].items() if kind == lowest), [])
    each = [speed * found["weight_bytes"] / read for speed, read in zip(speeds, found["reads"].get("1", []), strict=False) if read]
    return statistics.median(each) if each else None


def half_ratios(kinds: Kinds) -> dict[str, float | None]:
    """The same in half precision on both sides: what counts on a GPU."""
    return {
        f"{words}bf16_vs_{peer}": _over(kinds, "ours bf16", f"{peer} half", takes)
        for words, takes in (("", 1), ("eight_", EIGHT))
        for peer in PEERS
    }


def _over(kinds: Kinds, ours: str, peer: str, takes: int) -> float | None:
    a, b = kinds.get(ours, {}).get(takes), kinds.get(peer, {}).get(takes)
    return round(a / b, 2) if a and b else None


def versions() -> dict[str, str | None]:
    def one(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: one(name) for name in ("torch", "transformers", "audiocraft")} | {"python": platform.python_version()}


def source() -> str:
    """Of this project's decoder: rounds of two states of it are not put together."""
    digest = hashlib.sha256()
    folder = Path(__file__).resolve().parents[1] / "musicgen"
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".c", ".h")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _reading(all_of_them: Sequence[Contender], device: str) -> tuple[Callable[[], float] | None, int]:
    """What reads as many bytes as the weights of our fastest are, and gives bytes a second; and that many. (None, 0) without them."""
    ours = [contender for contender in all_of_them if contender.kind.startswith("ours")]
    first = min(ours, key=lambda contender: contender.weight_bytes, default=None)
    if first is None:
        return None, 0
    if first.model is not None:
        return first.model.read_weights, first.weight_bytes
    return _copying(first.weight_bytes, device), first.weight_bytes


def _copying(count: int, device: str) -> Callable[[], float]:
    """For devices on which the kernel does not run: a copy reads and writes, so that it moves twice as many bytes."""
    import torch

    there = torch.zeros(count // 2, dtype=torch.uint8, device=device)
    other = torch.empty_like(there)

    def read() -> float:
        begun = time.perf_counter()
        other.copy_(there)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        return 2 * there.numel() / (time.perf_counter() - begun)

    return read
