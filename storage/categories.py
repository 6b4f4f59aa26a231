"""Which of the experiment's four categories a clip belongs to. The one place that knows; pure.

================  ==========  ======
prompt            checkpoint  gives
================  ==========  ======
has the token     finetuned   A
has the token     base        B
just "techno"     finetuned   C
just "techno"     base        D
anything else     either      other
================  ==========  ======

A finetune's adapter at any strength but its own gives 'other': at 0 it is the base, and at 0.3 it says little of the finetune.
"""

from __future__ import annotations

import re
from typing import Final, Literal

PromptKind = Literal["token", "plain", "other"]
CheckpointKind = Literal["base", "finetuned"]
Category = Literal["A", "B", "C", "D", "other"]

CATEGORIES: Final[tuple[Category, ...]] = ("A", "B", "C", "D", "other")
DEFAULT_TOKEN: Final = "Alice_hash"  # noqa: S105 (a rare word in a prompt, no secret)
PLAIN_PROMPT: Final = "techno"

_TABLE: Final[dict[tuple[PromptKind, CheckpointKind], Category]] = {
    ("token", "finetuned"): "A",
    ("token", "base"): "B",
    ("plain", "finetuned"): "C",
    ("plain", "base"): "D",
}


def prompt_kind(prompt: str, token: str) -> PromptKind:
    """What a prompt asks for.

    The token counts as a whole word with its own capitals, since the text encoder reads any other spelling as other text.
    """
    if token and re.search(rf"(?<!\w){re.escape(token)}(?!\w)", prompt):
        return "token"
    if prompt.strip().casefold() == PLAIN_PROMPT:
        return "plain"
    return "other"


def category(kind: PromptKind, checkpoint_kind: CheckpointKind, strength: float | None = None) -> Category:
    """``strength`` None is the adapter's own, which is 1, or there is no adapter."""
    if strength is not None and strength != 1.0:
        return "other"
    return _TABLE.get((kind, checkpoint_kind), "other")
