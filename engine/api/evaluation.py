"""How near clips are to real tracks::

    POST /v1/evaluations  EvaluationRequest ─▶ 200 EvaluationReport │ 202 Working: ask again with the same request

All are uploaded tracks, named by their SHA-256. A track that the engine doesn't have, or that can't be read, is an error that names it:
a report is never of a part of what was asked for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.api.base import Sha256, Wire

MAX_EVALUATED = 1000
"""Most tracks that one set may have."""
LEAST_EVALUATED = 3

Set = Annotated[list[Sha256], Field(min_length=LEAST_EVALUATED, max_length=MAX_EVALUATED)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class EvaluationRequest(Wire):
    """``training``: the tracks that a checkpoint was trained on, to count near-copies of them."""

    reference: Set = Field(description="real tracks that were not trained on")
    candidate: Set = Field(description="the clips")
    training: list[Sha256] = Field(default_factory=list, max_length=MAX_EVALUATED)
    embedder: Literal["musicnn", "vggish", "clap"] = "musicnn"
    prompt: str | None = Field(default=None, max_length=1000, description="what the clips were asked to be; read by clap only")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="of the draws for the interval")


class Estimate(Wire):
    """A value, and where ``confidence`` of all draws of files lie."""

    value: float
    low: float
    high: float
    confidence: Share


class Extent(Wire):
    files: int
    windows: int
    seconds: float


class NearCopies(Wire):
    """Shares of clips, and of real excerpts, that are more like a training track than nearly all real ones are."""

    share: Share
    real_share: Share
    threshold: float
    clips: int
    real_excerpts: int
    worst: list[tuple[str, float]] = Field(description="clips past the threshold, the likest first")


class CheckRates(Wire):
    clips: int
    silent: Share
    clipped: Share
    collapsed: Share = Field(description="stuck in a loop shorter than a beat, or standing still")


class EvaluationReport(Wire):
    """Smaller is nearer for ``fad``, ``kad`` and ``kl``; ``real_kad`` is what two halves of the reference are apart."""

    embedder: str
    reference: Extent
    candidate: Extent
    windows_compared: int
    fad: float
    kad: Estimate
    real_kad: Estimate | None
    kl: float | None
    text_agreement: float | None
    copies: NearCopies | None
    checks: CheckRates
    real_checks: CheckRates
    seed: int
    notes: list[str]
