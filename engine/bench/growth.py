"""``python -m engine bench --growth``: what a step costs against how many takes run and how far they are, and the memory that it takes.

The model alone, guidance 3, no sampling; each point is the median of a few steps. What a row would have heard is really in memory: pages
that were never written are one page of zeros to the processor, and cost nothing to read. Not here: peers (``speed``).
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

TAKES = (1, 2, 4, 8, 16, 32, 64)
POSITIONS = (1, 50, 250, 500, 750, 1000, 1250, 1490)
COMPANIES = (1, 8)
"""Takes at which a step is measured by position."""
USUAL_POSITION = 250
_STEPS = 7


def measure_growth(
    folder: Path, *, precision: str = "int8", takes: tuple[int, ...] = TAKES, tell: Callable[[str], None] = lambda _line: None
) -> dict[str, Any]:
    """Milliseconds a step, and bytes that its rows take, by takes (at position 250) and by position (of one take and of eight)."""
    from engine.musicgen import checkpoint

    model = replace(checkpoint.load(folder))
    decoding = model.prepare(precision, rows=2 * max(*takes, *COMPANIES))  # type: ignore[arg-type]  # a str from a loop over the names
    text = decoding.text("dark techno", model.conditioner(["dark techno"]).states[0])
    last = decoding.model.capacity - _STEPS - 1

    def series(counts: tuple[int, ...], positions: tuple[int, ...]) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
        """(ms, bytes) by takes and position. Rows are new for each number of takes, so that memory is what these have."""
        import torch

        ms: dict[str, dict[str, float]] = {}
        memory: dict[str, dict[str, int]] = {}
        for count in counts:
            before = resident_bytes()
            rows: list[Any] = [decoding.model.row() for _ in range(2 * count)]
            codes = torch.zeros(2 * count, model.num_codebooks, dtype=torch.long)
            ms[str(count)], memory[str(count)] = {}, {}
            for position in positions:
                _occupy(rows, position + _STEPS)
                spent = []
                for at in range(position, position + _STEPS):
                    begun = time.perf_counter()
                    decoding.model.run(codes, [at] * 2 * count, rows, [text, None] * count, range(2 * count))
                    spent.append(time.perf_counter() - begun)
                ms[str(count)][str(position)] = round(1000 * statistics.median(spent), 3)
                memory[str(count)][str(position)] = max(0, resident_bytes() - before)
            rows.clear()  # given back before the next ones are counted
            tell(f"{count} takes: {ms[str(count)]} ms")
        return ms, memory

    usual = min(USUAL_POSITION, last)
    by_takes, memory_by_takes = series(takes, (usual,))
    by_position, memory_by_position = series(COMPANIES, tuple(position for position in POSITIONS if position <= last))
    return {
        "precision": decoding.precision,
        "ms_by_takes": {count: points[str(usual)] for count, points in by_takes.items()},
        "ms_by_position": by_position,
        "memory_by_takes": {count: points[str(usual)] for count, points in memory_by_takes.items()},
        "memory_by_position": memory_by_position,
        "weight_bytes": decoding.model.weight_bytes,
        "row_bytes": decoding.cache_bytes // decoding.rows,
        "row_steps": decoding.model.capacity,
    }


def _occupy(rows: Sequence[Any], steps: int) -> None:
    """As if each had heard so many: written, so that they are in memory. Caches of torch's own are so from the start."""
    from engine.musicgen.kernel.native import Memory

    for row in rows:
        if isinstance(row, Memory):
            blocks = -(-steps * row.nbytes // (row.struct.steps * row.struct.block_bytes))
            ctypes.memset(row.struct.bytes, 0, min(row.nbytes, blocks * row.struct.block_bytes))


def resident_bytes() -> int:
    """What of this process is in memory; 0 where the system does not say."""
    import resource

    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
