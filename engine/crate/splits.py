"""Which tracks are held out: ``hold_out``. By whole groups, before anything is cut. Pure.

The order in which groups are asked comes from a hash of seed and content, so that a crate that grows keeps the tracks that were held out:
a new finetune is then measured on nearly the same ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

FEWEST = 5
SHARE = 0.1
_MOST_SHARE = 1 / 3
"""Of a small crate: what is left must still be worth training on."""


def wanted(tracks: int) -> int:
    """How many of ``tracks`` to hold out: 10 %, at least five, and never more than a third."""
    return min(max(FEWEST, math.ceil(SHARE * tracks)), max(1 if tracks > 1 else 0, math.floor(_MOST_SHARE * tracks)))


def hold_out(groups: Sequence[Sequence[str]], seed: int) -> frozenset[str]:
    """The tracks (by SHA-256) that training never hears. ``groups``: tracks that must lie on the same side.

    At least ``wanted`` of them, where groups can be so taken that as many are left; one group alone is all for training.
    """
    total = sum(len(group) for group in groups)
    goal = wanted(total)

    def place(group: Sequence[str]) -> str:
        return hashlib.sha256(f"{seed}:{min(group)}".encode()).hexdigest()

    held: set[str] = set()
    if len(groups) < 2:
        return frozenset()
    # Small groups first: twelve remixes of one track would make a poor measure. Within the same size, by hash.
    for group in sorted(groups, key=lambda group: (len(group) > 2, place(group))):
        if len(held) >= goal:
            break
        if len(held) + len(group) <= max(1, total // 2):
            held.update(group)
    return frozenset(held)
