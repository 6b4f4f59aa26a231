"""Which numbers a recipe has: by the base's width, and by what the caller says."""

from __future__ import annotations

import argparse

import pytest

from engine.api.finetunes import FinetuneRequest
from engine.cli.finetune import _recipe
from engine.finetunes.work import recipe_of
from engine.training.recipes import RECIPES, SMALL_WIDTH, recipe_for


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_small_base_learns_by_other_numbers_and_the_same_rules(name: str) -> None:
    assert recipe_for(name, 1024) is RECIPES[name]
    small = recipe_for(name, 256)
    assert small.rate > RECIPES[name].rate
    kept = ("name", "weights", "epochs", "patience", "pad_to_window", "validations_per_epoch", "caption_dropout", "ema")
    assert {field: getattr(small, field) for field in kept} == {field: getattr(RECIPES[name], field) for field in kept}


def test_what_the_caller_says_wins_on_any_base() -> None:
    options = {"epochs": None, "rate": 1e-4, "batch": None, "micro_batch": None, "prior_weight": 0.5, "seed": None, "rank": 4}
    arguments = argparse.Namespace(recipe="lora", checkpointing=False, **options)
    tracks = [{"sha256": f"{number:064x}"} for number in range(3)]
    asked = {"id": "f", "name": "n", "tracks": tracks, "token": "t", "recipe": "lora", "overrides": {"rate": 1e-4, "rank": 4}}
    for width in (SMALL_WIDTH - 2, SMALL_WIDTH):
        found = _recipe(arguments, width)
        assert (found.rate, found.prior_weight, found.adapter.rank, found.batch) == (1e-4, 0.5, 4, recipe_for("lora", width).batch)
        by_request = recipe_of(FinetuneRequest.model_validate(asked), width)
        assert (by_request.rate, by_request.adapter.rank, by_request.batch) == (1e-4, 4, found.batch)
