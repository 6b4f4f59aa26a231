"""``python -m engine bench --profile``: where the time of one frame goes, by part, for one take and for eight, int8 and fp32.

Guidance 3 and MusicGen's own sampling, as members use it. The kernel's parts are timed in its first thread by the kernel itself
(``kernel/pool.h``); what is left of a frame is Python's: guidance, draws, bookkeeping. Not here: speed beside peers (``speed``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

TAKES = (1, 8)
_WARM_UP, _STEPS = 4, 24
WAITING, PYTHON = "waiting for other threads", "guidance, draws, bookkeeping"


def measure_profile(
    folder: Path, *, precisions: tuple[str, ...] = ("int8", "fp32"), takes: tuple[int, ...] = TAKES, tell: Callable[[str], None] = print
) -> dict[str, Any]:
    """Milliseconds of a step by part, for each precision that the kernel can have here and each number of takes; and products a step."""
    from engine.musicgen import checkpoint

    model = checkpoint.load(folder)
    found: dict[str, Any] = {}
    for precision in precisions:
        for count in takes:
            if (one := _profile(model, precision, count)) is not None:
                found.setdefault(precision, {})[str(count)] = one
                tell(f"{precision}, {count} at once: {one['ms']} ms a step")
    return {"steps": _STEPS, "profiles": found}


def _profile(model: Any, precision: str, count: int) -> dict[str, Any] | None:
    from engine.musicgen.generate import SamplingOptions
    from engine.musicgen.kernel.native import PRODUCTS, NativeModel

    mine = replace(model)
    decoding = mine.prepare(precision, rows=2 * count)
    if not isinstance(decoding.model, NativeModel) or decoding.precision != precision:
        return None
    frames = _WARM_UP + _STEPS + 1
    running = [mine.start(prompt="dark techno", frames=frames, sampling=SamplingOptions(), seed=seed) for seed in range(count)]
    for _ in range(_WARM_UP):
        mine.advance(running)
    profile = decoding.model.profile()
    spent = []
    for _ in range(_STEPS):
        begun = time.perf_counter()
        mine.advance(running)
        spent.append(time.perf_counter() - begun)
    parts = {name: 1000 * working / _STEPS for name, (working, _) in profile.seconds().items()}
    parts[WAITING] = 1000 * sum(waiting for _, waiting in profile.seconds().values()) / _STEPS
    parts[PYTHON] = 1000 * statistics.mean(spent) - sum(parts.values())
    read = max(decoding.model.read_weights() for _ in range(5))  # whole MiB: nothing of a tiny model
    return {
        "ms": round(1000 * statistics.mean(spent), 2),
        "parts": {name: round(ms, 3) for name, ms in parts.items()},
        "products": sum(profile.counts()[name] for name in PRODUCTS) // _STEPS,
        "read_ms": round(1000 * decoding.model.weight_bytes / read, 2) if read else 0.0,
    }


def profile_table(found: dict[str, Any]) -> str:
    """Markdown: a line a part, milliseconds and share by precision and takes."""
    columns = [(precision, takes, one) for precision, by_takes in found["profiles"].items() for takes, one in by_takes.items()]
    if not columns:
        return "The kernel can't be had here, and torch has its own profiler."
    names = list(columns[0][2]["parts"])
    lines = ["| ms of a step | " + " | ".join(f"{precision}, {_takes(takes)}" for precision, takes, _ in columns) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for name in names:
        cells = (f"{one['parts'][name]:.2f} ({one['parts'][name] / one['ms']:.0%})" for _, _, one in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("| **all** | " + " | ".join(f"**{one['ms']:.2f}**" for _, _, one in columns) + " |")
    lines.append("| reading the weights once, and nothing else | " + " | ".join(f"{one['read_ms']:.2f}" for _, _, one in columns) + " |")
    return "\n".join(lines)


def _takes(takes: str) -> str:
    return "one take" if takes == "1" else f"{takes} takes"
