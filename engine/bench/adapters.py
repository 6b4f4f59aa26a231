"""``python -m engine bench --adapters``: what finetunes that are adapters cost, all in one batch, beside one finetune's takes at a time.

::

    together    one step of 8 takes, each on its own adapter        grouped    8 steps of one take, one for each adapter

The model alone, guidance 3, no sampling, rank 16 on every matrix, random weights; each figure is the median of steps taken in turn with the
others'. Not here: peers (``speed``), what company costs without adapters (``growth``).
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

RANK = 16
TAKES = 8
POSITION = 250
"""Steps that each row has heard: 5 seconds."""
_STEPS = 15


def measure_adapters(folder: Path, *, precision: str = "int8", tell: Callable[[str], None] = lambda _line: None) -> dict[str, Any]:
    """Milliseconds a step, and frames a second of all takes together, by case; bytes of an adapter and of the weights.

    Raises ValueError where the kernel can't be had.
    """
    from engine.musicgen import checkpoint
    from engine.musicgen.adapter import Dial

    model = replace(checkpoint.load(folder))
    decoding = model.prepare(precision, rows=2 * TAKES)  # type: ignore[arg-type]  # a str from the command line
    if decoding.kernel != "native":
        raise ValueError("adapters are measured with the kernel, which can't be had here")
    text = decoding.text("dark techno", model.conditioner(["dark techno"]).states[0])
    dials = [Dial(decoding.adapter(_random(model.lm, seed)), 1.0) for seed in range(TAKES)]
    rows: list[Any] = [decoding.model.row() for _ in range(2 * TAKES)]

    def step(at: int, each: list[Dial | None], first: int = 0) -> None:
        """Of takes from ``first`` on, each through its adapter."""
        import torch

        count = 2 * len(each)
        codes = torch.zeros(count, model.num_codebooks, dtype=torch.long)
        heard = [dial for dial in each for _ in range(2)]
        told = [text, None] * len(each)
        here = rows[2 * first : 2 * first + count]
        decoding.model.run(codes, [at] * count, here, told, range(count), dials=heard if any(heard) else None)

    def grouped(at: int) -> None:
        for take, dial in enumerate(dials):
            step(at, [dial], take)

    cases: dict[str, tuple[int, Callable[[int], None]]] = {  # takes, a step of all of them
        "1 take, no adapter": (1, lambda at: step(at, [None])),
        "1 take, its adapter": (1, lambda at: step(at, [dials[0]])),
        "8 takes, no adapter": (TAKES, lambda at: step(at, [None] * TAKES)),
        "8 takes, 1 adapter": (TAKES, lambda at: step(at, [dials[0]] * TAKES)),
        "8 takes, 4 of them on 1 adapter": (TAKES, lambda at: step(at, [None] * 4 + [dials[0]] * 4)),
        "8 takes, 8 adapters": (TAKES, lambda at: step(at, list(dials))),
        "8 takes, 8 adapters, grouped": (TAKES, grouped),
    }
    for row in rows:  # written, so that it is in memory: a page that never was is quick to read
        blocks = -(-(POSITION + _STEPS) // 16)
        ctypes.memset(row.struct.bytes, 0, blocks * row.struct.block_bytes)
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for at in range(POSITION, POSITION + _STEPS):
        for name, (_takes, one) in cases.items():
            begun = time.perf_counter()
            one(at)
            spent[name].append(time.perf_counter() - begun)
    ms = {name: round(1000 * statistics.median(times[2:]), 2) for name, times in spent.items()}
    for name, figure in ms.items():
        tell(f"{decoding.precision}: {name}: {figure} ms")
    return {
        "precision": decoding.precision,
        "rank": RANK,
        "ms_a_step": ms,
        "frames_per_s": {name: round(1000 * takes / ms[name], 1) for name, (takes, _one) in cases.items()},
        "adapter_bytes": dials[0].adapter.nbytes,
        "weight_bytes": decoding.model.weight_bytes,
    }


def adapters_table(found: dict[str, Any]) -> str:
    """Markdown: a row a case, for each precision milliseconds a step and frames a second of all takes."""
    all_of_them = found["precisions"]
    names = "".join(f" {each['precision']}: ms a step | frames/s |" for each in all_of_them)
    lines = [f"| takes and adapters (rank {RANK}) |{names}", "|---|" + "---:|---:|" * len(all_of_them)]
    for case in all_of_them[0]["ms_a_step"]:
        figures = "".join(f" {each['ms_a_step'][case]:.1f} | {each['frames_per_s'][case]:.0f} |" for each in all_of_them)
        lines.append(f"| {case} |{figures}")
    return "\n".join(lines)


def _random(lm: Any, seed: int) -> Any:
    """An adapter for all matrices, of the size that one has after training."""
    import torch

    from engine.musicgen.adapter import KEY_VALUE, MATRICES, Adapter, LowRank

    generator = torch.Generator().manual_seed(seed)
    parts = {"self_attention.qkv": 3, KEY_VALUE: 2}
    layers = []
    for layer in lm.layers:
        made = {}
        for name in (*MATRICES, KEY_VALUE):
            wide, narrow = layer.get_submodule(name).weight.shape
            count = parts.get(name, 1)
            a = torch.randn(count * RANK, narrow, generator=generator) * narrow**-0.5
            made[name] = LowRank(a, torch.randn(count, wide // count, RANK, generator=generator) * 0.01)
        layers.append(made)
    return Adapter(layers, sha256=f"random {seed}")
