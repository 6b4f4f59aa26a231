"""The gate: whether a finetune may become what a guild hears. It must be better on music that it has not seen, and no worse anywhere.

    Evidence (measured elsewhere) ─ judge ─▶ Verdict: passed or not, each reason in words, and what would help

Pure; what measures is in ``engine.evaluation`` and ``finetune``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.evaluation.distances import Interval

NEAR_COPY_MARGIN = 0.02
"""Near-copies beyond the rate between real held-out and training tracks, in clips, where nobody says how many clips there were."""
CHANCE = 0.05
"""What chance alone gives less often is taken for none. Of 24 honest clips, every third set has two past what 5 % of real ones reach."""
FEW_TRACKS = 15


@dataclass(frozen=True, slots=True)
class Evidence:
    """held_out, base_held_out: nats on unseen tracks. kad, base_kad: clips against held-out tracks. Rates are shares of clips, 0 to 1.

    near_copies: of the finetune's clips in the training tracks; real_near_copies: of held-out tracks in them, what is normal.
    clips, real_excerpts: how many those shares are of. kad_change: how much farther the finetune is than the base, against the same draws.
    ran_out: the last step was the best, so that more of them might be better still.
    """

    held_out: float
    base_held_out: float
    kad: Interval
    base_kad: Interval
    near_copies: float
    real_near_copies: float
    silent: float
    base_silent: float
    collapsed: float
    base_collapsed: float
    training_tracks: int
    clips: int = 0
    real_excerpts: int = 0
    kad_change: Interval | None = None
    ran_out: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One question of the gate. words: its answer with its figures, for the report card."""

    name: str
    passed: bool
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says. advice: what would help, empty where it passed."""

    checks: tuple[Check, ...]
    advice: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def words(self) -> str:
        """One sentence."""
        failed = [check.words for check in self.checks if not check.passed]
        return f"The base stays: {'; '.join(failed)}." if failed else "It passed: better on unseen tracks, and no worse anywhere."


def judge(evidence: Evidence) -> Verdict:
    """All checks, whether or not an earlier one failed: a report card shows each."""
    e = evidence
    gain = e.base_held_out - e.held_out
    checks = (
        Check(
            "held-out loss",
            gain > 0,
            f"held-out loss {e.held_out:.3f} against the base's {e.base_held_out:.3f} nats"
            + (f" ({gain / e.base_held_out:.1%} lower)" if gain > 0 else ", which is no better"),
        ),
        _distance(e),
        Check(
            "near-copies",
            not _more_copies(e),
            f"near-copies of training tracks in {e.near_copies:.0%} of clips; between real tracks {e.real_near_copies:.0%}",
        ),
        Check("silence", not _more(e, e.silent, e.base_silent), f"silent clips {e.silent:.0%}; the base {e.base_silent:.0%}"),
        Check(
            "collapse",
            not _more(e, e.collapsed, e.base_collapsed),
            f"clips stuck in a loop {e.collapsed:.0%}; the base {e.base_collapsed:.0%}",
        ),
    )
    return Verdict(checks, tuple(_advice(evidence, {check.name for check in checks if not check.passed})))


def _distance(e: Evidence) -> Check:
    """Whether the clips are no farther from unseen tracks than the base's."""
    passed = e.kad.low <= e.base_kad.value if e.kad_change is None else e.kad_change.low <= 0
    words = f"KAD to unseen tracks {_interval(e.kad)} against {_interval(e.base_kad)}"
    if e.kad_change is not None and e.kad_change.high < 0:
        words += f", nearer by {-e.kad_change.value:.2f} ({-e.kad_change.high:.2f} to {-e.kad_change.low:.2f})"
    return Check("distance", passed, words + ("" if passed else ", farther"))


def _more_copies(e: Evidence) -> bool:
    """Whether clips are near-copies more often than real excerpts, by more than chance."""
    if not (e.clips and e.real_excerpts):
        return e.near_copies > e.real_near_copies + NEAR_COPY_MARGIN
    copies, real = round(e.near_copies * e.clips), round(e.real_near_copies * e.real_excerpts)
    return chance_of(copies, e.clips, real, e.real_excerpts) < CHANCE


def _more(e: Evidence, share: float, base_share: float) -> bool:
    """Whether more clips are spoilt than of the base. One more is chance; two are not borne, whatever the odds."""
    return share > base_share + (1.0 / e.clips + 1e-9 if e.clips else 0.0)


def chance_of(found: int, of: int, other: int, of_other: int) -> float:
    """How likely so many or more of ``of`` are by chance, where both sets are alike (Fisher's exact test, one-sided)."""
    all_found, everything = found + other, of + of_other
    ways = sum(math.comb(all_found, k) * math.comb(everything - all_found, of - k) for k in range(found, min(all_found, of) + 1))
    return ways / math.comb(everything, of)


def _advice(evidence: Evidence, failed: set[str]) -> list[str]:
    advice = []
    if failed and evidence.ran_out:
        advice.append("Let it run longer, with more epochs: unseen tracks still profited at its last step.")
    if failed and evidence.training_tracks < FEW_TRACKS:
        advice.append(f"Add tracks: {evidence.training_tracks} are few, and 30 or more that resemble each other teach a manner.")
    if "held-out loss" in failed:
        advice.append("Look at the crate's report: tracks of very different manners have little in common that could be learned.")
    if "near-copies" in failed:
        advice.append("Fewer epochs or a lower rank: it began to repeat its training tracks.")
    if "distance" in failed and "held-out loss" not in failed:
        advice.append("Lower the strength at generation (0.5, say), or the learning rate.")
    if failed & {"silence", "collapse"}:
        advice.append("A lower learning rate: clips fall silent or get stuck.")
    return advice


def _interval(interval: Interval) -> str:
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"
