"""From what was heard to figures: every category of every recipe against Alice's unseen tracks, by seed and over all seeds together.

Near-copies are counted against her 40 tracks, and a clip is one past what all but 5 % of excerpts of her unseen tracks reach.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.evaluation import copies, distances
from engine.evaluation.distances import Interval
from engine.evaluation.embeddings import Embedder
from engine.evaluation.report import Heard, Report, compare
from engine.experiment import alice
from engine.experiment.plan import BASE, OF_BASE, OF_FINETUNED, Category, Place, Plan
from engine.experiment.work import Clips, Kept, Listening, curve, load
from engine.training.gate import Evidence, judge


@dataclass(frozen=True, slots=True)
class Cell:
    """One category of one model. pooled: of all seeds' clips together; spread: standard deviation between seeds (None of one seed).

    recited: clips more of whose first codebook's n-grams are Alice's than of all but 5 % of her unseen tracks.
    """

    model: str
    category: Category
    pooled: dict[str, Any]
    spread: dict[str, float | None]
    by_seed: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Nearer:
    """How much farther from the unseen tracks one category is than another: below 0 it is nearer. by_seed: the same of each seed."""

    model: str
    one: str
    other: str
    pooled: Interval
    by_seed: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that the table, the plot and the JSON are made of."""

    plan: dict[str, Any]
    finetunes: dict[str, list[dict[str, Any]]]
    curves: dict[str, list[list[tuple[int, float]]]]
    cells: tuple[Cell, ...]
    nearer: tuple[Nearer, ...]
    gates: dict[str, list[dict[str, Any]]]
    real: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def cell(self, model: str, category: str) -> Cell:
        return next(cell for cell in self.cells if (cell.model, cell.category) == (model, category))


_FIGURES = ("fad", "kad", "kl", "near_copies", "recited", "silent", "collapsed")


class Judge:
    """Alice's tracks as everything is held against them."""

    def __init__(self, plan: Plan, place: Place, embedder: Embedder) -> None:
        self.plan, self.place, self.embedder = plan, place, embedder
        self.training = load([Listening(plan, place, "alice").file]).heard
        self.unseen = load([Listening(plan, place, "unseen").file]).heard
        self.coded = load([Listening(plan, place, "coded").file]).heard
        self._ngrams = copies.Ngrams(alice.first_codebooks(plan, place, "alice"))
        frames = round(plan.clip_s * 50)
        own = [codes[:frames] for codes in alice.first_codebooks(plan, place, "unseen") if len(codes) >= frames]
        self._real = [self._ngrams.share(codes) for codes in own]

    def report(self, heard: Sequence[Heard]) -> Report:
        return compare(self.unseen, heard, self.training, embedder=self.embedder)

    def figures(self, kept: Kept) -> dict[str, Any]:
        """One set of clips, as plain figures."""
        report = self.report(kept.heard)
        assert report.copies is not None
        shares = [self._ngrams.share(codes) for codes in kept.codes]
        recited = copies.beyond_real(shares, self._real) if self._real else None
        return {
            "clips": report.candidate.files,
            **_distances(report),
            "near_copies": report.copies.share,
            "recited": recited.share if recited else None,
            "ngram_share": float(np.mean(shares)),
            "silent": report.checks.silent,
            "collapsed": report.checks.collapsed,
        }

    def real(self) -> dict[str, Any]:
        """What real tracks of hers reach: half of the unseen ones as if they were clips, against the other half."""
        report, coded = self.report(self.unseen), self.report(self.coded)
        halves = compare(self.unseen[::2], self.unseen[1::2], self.training, embedder=self.embedder)
        assert report.copies is not None
        return {
            "tracks": len(self.unseen),
            **_distances(halves),
            "coded": _distances(coded),
            "near_copies": report.copies.real_share,
            "excerpts": report.copies.real_excerpts,
            "near_copy_likeness": report.copies.threshold,
            "recited": copies.beyond_real(self._real, self._real).share if self._real else None,
            "ngram_share": float(np.mean(self._real)) if self._real else None,
            "silent": report.real_checks.silent,
            "collapsed": report.real_checks.collapsed,
        }

    def nearer(self, one: Sequence[Heard], other: Sequence[Heard]) -> Interval:
        reference, clips = distances.stack([heard.embeddings for heard in self.unseen])
        (a, clips_a), (b, clips_b) = (distances.stack([heard.embeddings for heard in part]) for part in (one, other))
        return distances.kad_difference(reference, a, b, reference_clips=clips, one_clips=clips_a, other_clips=clips_b)


def _distances(report: Report) -> dict[str, Any]:
    return {"fad": report.fad, "kad": report.kad.value, "kad_low": report.kad.low, "kad_high": report.kad.high, "kl": report.kl}


def judge_all(plan: Plan, place: Place, embedder: Embedder) -> Result:
    """All figures. Everything must be done already."""
    judge_ = Judge(plan, place, embedder)
    kept = {
        (model, category, seed): load(Clips(plan, place, seed, model, category).files)
        for model in (BASE, *plan.recipes)
        for category in (OF_BASE if model == BASE else OF_FINETUNED)
        for seed in plan.seeds
    }

    def pooled(model: str, category: Category) -> Kept:
        parts = [kept[model, category, seed] for seed in plan.seeds]
        return Kept([one for part in parts for one in part.heard], [one for part in parts for one in part.codes])

    cells = []
    for model, category in dict.fromkeys((model, category) for model, category, _seed in kept):
        by_seed = tuple(judge_.figures(kept[model, category, seed]) for seed in plan.seeds)
        spread = {name: _spread([one[name] for one in by_seed]) for name in _FIGURES}
        cells.append(Cell(model, category, judge_.figures(pooled(model, category)), spread, by_seed))
    nearer: list[Nearer] = []
    outcomes: dict[str, list[dict[str, Any]]] = {}
    curves: dict[str, list[list[tuple[int, float]]]] = {}
    for recipe in plan.recipes:
        for one, other in (("A", "B"), ("C", "D"), ("A", "D")):
            a, b = (recipe, one), (BASE, other)
            each = tuple(judge_.nearer(kept[*a, seed].heard, kept[*b, seed].heard) for seed in plan.seeds)  # type: ignore[index]
            nearer.append(Nearer(recipe, one, other, judge_.nearer(pooled(*a).heard, pooled(*b).heard), each))  # type: ignore[arg-type]
        folders = [place.of(seed, recipe) for seed in plan.seeds]
        outcomes[recipe] = [json.loads((folder / "outcome.json").read_text(encoding="utf-8")) for folder in folders]
        curves[recipe] = [curve(folder) for folder in folders]
    result = Result(asdict(plan), outcomes, curves, tuple(cells), tuple(nearer), {}, judge_.real())
    return Result(**{name: getattr(result, name) for name in result.__slots__} | {"gates": _gates(plan, result)})


def _gates(plan: Plan, result: Result) -> dict[str, list[dict[str, Any]]]:
    """What the gate would say of each finetune, its clips and the base's being those with the token."""
    found: dict[str, list[dict[str, Any]]] = {}
    for recipe in plan.recipes:
        found[recipe] = []
        for index in range(len(plan.seeds)):
            own, base = result.cell(recipe, "A").by_seed[index], result.cell(BASE, "B").by_seed[index]
            outcome = result.finetunes[recipe][index]
            verdict = judge(
                Evidence(
                    held_out=outcome["unseen"]["kept"],
                    base_held_out=outcome["unseen"]["base"],
                    kad=Interval(own["kad"], own["kad_low"], own["kad_high"]),
                    base_kad=Interval(base["kad"], base["kad_low"], base["kad_high"]),
                    near_copies=own["near_copies"],
                    real_near_copies=result.real["near_copies"],
                    silent=own["silent"],
                    base_silent=base["silent"],
                    collapsed=own["collapsed"],
                    base_collapsed=base["collapsed"],
                    training_tracks=outcome["tracks"],
                    clips=own["clips"],
                    real_excerpts=result.real["excerpts"],
                    kad_change=next(one for one in result.nearer if (one.model, one.one, one.other) == (recipe, "A", "B")).by_seed[index],
                )
            )
            found[recipe].append({"passed": verdict.passed, "words": verdict.words})
    return found


def _spread(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None
