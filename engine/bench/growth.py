"""``python -m engine bench --growth``: what a step costs against how many takes run and how far they are, and the memory that it takes.

The model alone, guidance 3, no sampling; each point is the fastest of a few steps. Not here: peers (``bench``).
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

TAKES = (1, 2, 4, 8, 16, 32, 64)
POSITIONS = (1, 50, 250, 500, 1000, 1490)
_STEPS = 5


def measure_growth(folder: Path, *, precision: str = "int8", takes: tuple[int, ...] = TAKES) -> dict[str, Any]:
    """Milliseconds a step by takes (at position 250) and by position (of one take and of eight); bytes of weights and of a row."""
    from engine.musicgen import checkpoint

    model = replace(checkpoint.load(folder))
    decoding = model.prepare(precision, rows=2 * max(*takes, 8))  # type: ignore[arg-type]  # a str from a loop over the names
    rows = decoding.take_rows(decoding.rows)
    text = decoding.text("dark techno", model.conditioner(["dark techno"]).states[0])
    last = decoding.model.capacity - _STEPS - 1

    def fastest_ms(count: int, position: int) -> float:
        import torch

        codes = torch.zeros(2 * count, model.num_codebooks, dtype=torch.long)
        spent = []
        for step in range(_STEPS):
            at = min(position, last) + step
            begun = time.perf_counter()
            decoding.model.run(codes, [at] * 2 * count, rows[: 2 * count], [text, None] * count, range(2 * count))
            spent.append(time.perf_counter() - begun)
        return round(1000 * min(spent), 3)

    positions = [position for position in POSITIONS if position <= last]
    return {
        "precision": decoding.precision,
        "ms_by_takes": {str(count): fastest_ms(count, min(250, last)) for count in takes},
        "ms_by_position": {str(count): {str(at): fastest_ms(count, at) for at in positions} for count in (1, 8)},
        "weight_bytes": decoding.model.weight_bytes,
        "row_bytes": decoding.cache_bytes // decoding.rows,
        "row_steps": decoding.model.capacity,
    }
