"""A track's form: what each bar is called, which roles play in it. How it sounds is in arrangement.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["intro", "main", "build", "breakdown", "drop", "outro"]
ALL_ROLES = frozenset({"kick", "hats", "perc", "bass", "lead", "pad"})
SONG_BARS = 40  # from here on a track has the form of a whole one; shorter ones are excerpts


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its section's kind, whether it begins that section, and the roles that play."""

    kind: Kind
    begins: bool
    roles: frozenset[str]


def form(rng: np.random.Generator, bars: int) -> list[Bar]:
    """The form of `bars` bars: a whole track's if there is room for it, else an excerpt's."""
    plan = _song(rng, bars) if bars >= SONG_BARS else _excerpt(rng, bars)
    return [Bar(kind, i == 0, roles) for kind, n, roles in plan for i in range(n)][:bars]


def _without(rng: np.random.Generator, *choices: str) -> frozenset[str]:
    return ALL_ROLES - {str(rng.choice(choices))}


def _break(rng: np.random.Generator, n: int) -> tuple[Kind, int, frozenset[str]]:
    return ("breakdown", n, frozenset({"lead", "pad", "hats"} if rng.random() < 0.5 else {"lead", "pad", "bass"}))


def _excerpt(rng: np.random.Generator, bars: int) -> list[tuple[Kind, int, frozenset[str]]]:
    """Mostly the full groove; now and then an intro, or a breakdown, build and drop, or an outro."""
    plan: list[tuple[Kind, int, frozenset[str]]] = []
    if rng.random() < 0.5:
        plan.append(("intro", int(rng.choice([2, 4])), frozenset({"kick", "hats", "perc" if rng.random() < 0.5 else "bass"})))
    while sum(n for _, n, _ in plan) < bars:
        draw = rng.random()
        if draw < 0.14 and plan:
            plan += [
                _break(rng, int(rng.choice([1, 2, 4]))),
                ("build", int(rng.choice([1, 2])), frozenset({"lead", "pad", "hats", "perc"})),
            ]
            plan.append(("drop", 8, ALL_ROLES))
        elif draw < 0.24 and plan and bars - sum(n for _, n, _ in plan) <= 6:
            plan.append(("outro", 4, frozenset({"kick", "hats", "perc"})))
            break
        elif draw < 0.4:
            plan.append(("main", 4, _without(rng, "hats", "perc", "lead", "pad", "bass")))
        else:
            plan.append(("main", 8, ALL_ROLES))
    kind, n, roles = plan[-1]
    return [*plan[:-1], (kind, n + max(0, bars - sum(m for _, m, _ in plan)), roles)]


def _song(rng: np.random.Generator, bars: int) -> list[tuple[Kind, int, frozenset[str]]]:
    """Intro in two steps, groove, breakdown, build, drop, groove again …, outro: eight bars a piece where they fit."""
    tail: list[tuple[Kind, int, frozenset[str]]] = [("outro", 4, ALL_ROLES - {"lead", "pad"}), ("outro", 4, frozenset({"kick", "hats"}))]
    plan: list[tuple[Kind, int, frozenset[str]]] = [
        ("intro", 4, frozenset({"kick", "hats"})),
        ("intro", 4, frozenset({"kick", "hats", "perc", "bass"})),
    ]
    while True:
        part: list[tuple[Kind, int, frozenset[str]]] = [
            ("main", 4, _without(rng, "lead", "pad", "perc")),
            ("main", int(rng.choice([4, 8])), ALL_ROLES),
            _break(rng, int(rng.choice([2, 4]))),
            ("build", int(rng.choice([2, 4])), frozenset({"lead", "pad", "hats", "perc"})),
            ("drop", 8, ALL_ROLES),
        ]
        if sum(n for _, n, _ in plan + part + tail) > bars:
            break
        plan += part
    missing = bars - sum(n for _, n, _ in plan + tail)
    if missing > 0:
        plan.append(("main", missing, ALL_ROLES))
    return plan + tail
