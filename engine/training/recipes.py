"""Recipes: every setting of a finetune by name, each with its reason. Three are ready: ``lora`` (the default), ``full``, ``alice-2023``.

Values only; nothing here runs. What each does is in ``losses`` and ``finetune``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from engine.training.adapters import AdapterShape


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a small personal set is learned. Counts of segments are over all processes and accumulated parts of a step."""

    name: str
    weights: Literal["adapter", "all"] = "adapter"
    """What is trained. An adapter can't forget the base (strength 0 is the base), and is 1–2 % of the numbers."""
    adapter: AdapterShape = field(default_factory=AdapterShape)
    """Rank 8–16 is where published MusicGen finetunes on 10–200 tracks stand."""
    rate: float = 1e-4
    """AdamW's, at its peak, for an adapter; all weights want a tenth of it."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    """Of all planned steps. Then a cosine down to a tenth of the rate."""
    clip_norm: float = 1.0
    batch: int = 16
    """Segments a step."""
    micro_batch: int = 4
    """Segments at once; the rest of a step is accumulated."""
    epochs: float = 4.0
    """At most. Even rank 8 got worse on unseen audio from the first epoch to the third (Musicgen-LoRA-Lab)."""
    min_steps: int = 40
    """A tiny set is seen more often than ``epochs`` says, until early stopping ends it."""
    validations_per_epoch: int = 4
    """Several inside the first epoch, where the best point often lies."""
    patience: int = 3
    """Validations without a better held-out loss, then the end. None of it on training loss, which only ever falls. 0: never stop."""
    caption_dropout: float = 0.25
    """Segments that train without text, so that guidance has a null branch to compare with."""
    prior_share: float = 0.25
    """Further rows, as a share of the batch, that hear the plain caption and are held to what the base says there."""
    prior_weight: float = 0.5
    """Of their KL to the base, in nats, beside the cross-entropy."""
    ema: float = 0.98
    """Decay a step of the averaged weights, which are what is validated and kept."""
    pad_to_window: bool = False
    """Zeros after a short segment up to the model's window, trained on as if they were music. audiocraft does so; no recipe should."""
    checkpointing: bool = False
    """Layers are computed again on the way back: a third more time, a fraction of the memory."""
    seed: int = 0

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


RECIPES: dict[str, Recipe] = {
    "lora": Recipe("lora"),
    "full": Recipe("full", weights="all", rate=1e-5, ema=0.99),
    # The experiment that this project starts from: all weights, one caption, silence up to the window, nothing held out, no stopping.
    "alice-2023": Recipe(
        "alice-2023",
        weights="all",
        rate=1e-4,
        weight_decay=0.0,
        warmup_share=0.0,
        batch=8,
        epochs=20.0,
        validations_per_epoch=1,
        patience=0,
        caption_dropout=0.0,
        prior_share=0.0,
        prior_weight=0.0,
        ema=0.0,
        pad_to_window=True,
    ),
}

SMALL_WIDTH = 512
"""A language model narrower than this learns by other numbers. musicgen-small has 1,024, the embedded model 256."""
_FOR_A_SMALL_BASE: Mapping[str, Mapping[str, Any]] = {
    # Found on the embedded model by the loss on held-out tracks, of 1e-3, 2e-3 and 4e-3. No prior: so small a text encoder hardly tells the
    # token from the plain caption (losses with either differ by 0.03 nats), and what holds the one to the base holds the other.
    "lora": {"rate": 4e-3, "adapter": AdapterShape(32, 64.0), "batch": 8, "prior_weight": 0.0},
    "full": {"rate": 5e-4, "batch": 8, "prior_weight": 0.0},
    # As the experiment's 1e-4 was to musicgen-small: about the rate that the base itself was trained at.
    "alice-2023": {"rate": 1e-3},
}


def recipe_for(name: str, width: int) -> Recipe:
    """The recipe of that name, for a language model of that width. Raises KeyError."""
    recipe = RECIPES[name]
    return replace(recipe, **_FOR_A_SMALL_BASE[name]) if width < SMALL_WIDTH else recipe
