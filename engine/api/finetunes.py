"""Finetuning on a crate: a job of minutes to hours that survives both ends restarting, and the report card that it ends with.

::

    POST   /v1/finetunes                     FinetuneRequest ─▶ FinetuneStatus; the same id and body again is the same job
    GET    /v1/finetunes/{id}                ─▶ FinetuneStatus
    GET    /v1/finetunes/{id}/events?after=n ─▶ events n + 1, n + 2 … as NDJSON, heartbeats between; ends after the job's last
    GET    /v1/finetunes/{id}/files/{name}   ─▶ a picture or clip that the report card names
    DELETE /v1/finetunes/{id}                cancels; of a job that is over: forgets it, but not its checkpoint

    queued ─▶ preparing ─▶ forecast ─▶ progress ─▶ clips ─▶ judging ─▶ done │ failed │ cancelled

Events are numbered from 1 without a gap, are kept, and can be read again from any number, also after the engine was restarted. A job that
was interrupted goes on by itself: ``progress`` may then begin again at an earlier step. Not here: running jobs (``engine.finetunes``).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from engine.api.base import ErrorCode, Payload, Sha256, Wire
from engine.api.crate import CrateTrack
from engine.api.evaluation import Estimate
from engine.api.takes import MAX_SEED, Heartbeat

MAX_FINETUNE_TRACKS = 1000
"""Most tracks that one finetune may learn from."""
FINETUNE_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a finetune's id looks like; its checkpoint bears the same."""
KEPT_CLIPS = 4
"""Clips that a report card keeps for listening, before and after."""

RecipeName = Literal["lora", "full", "alice-2023"]
State = Literal["queued", "preparing", "training", "clips", "judging", "done", "failed", "cancelled"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class FinetuneOverrides(Wire):
    """What may differ from the recipe. None is the recipe's own."""

    epochs: float | None = Field(default=None, gt=0, le=100, description="at most so many times through the tracks")
    steps: int | None = Field(default=None, ge=1, le=100_000, description="at most so many steps, instead of by epochs")
    rank: int | None = Field(default=None, ge=1, le=256, description="of the adapter; its alpha is twice that")
    rate: float | None = Field(default=None, gt=0, le=0.1, description="learning rate")


class FinetuneRequest(Wire):
    """One job. ``tracks`` were uploaded before (``PUT /v1/tracks/{sha256}``); some of them are held out, to judge by."""

    id: str = Field(pattern=FINETUNE_ID, description="the caller's choice; the checkpoint gets the same")
    name: str = Field(min_length=1, max_length=100, description="for people")
    recipe: RecipeName = "lora"
    base: str | None = Field(default=None, max_length=200, description="checkpoint id; None is the engine's default")
    token: str = Field(min_length=1, max_length=60, pattern=r"^[^\s,]+$", description="rare word that asks for this sound, as 'Alice_hash'")
    genre: str = Field(default="techno", min_length=1, max_length=60, description="what stands behind the token, and for the base alone")
    owner: str | None = Field(default=None, max_length=200, description="opaque; the checkpoint bears it")
    tracks: Annotated[list[CrateTrack], Field(min_length=1, max_length=MAX_FINETUNE_TRACKS)]
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    overrides: FinetuneOverrides = FinetuneOverrides()
    clips: int = Field(default=24, ge=KEPT_CLIPS, le=200, description="made with the base and with the finetune, to compare by")
    clip_seconds: float = Field(default=10.0, ge=4.0, le=30.0)


# The report card.


class ReportFile(Wire):
    """Bytes that are fetched apart: ``GET /v1/finetunes/{id}/files/{name}``."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")
    sha256: Sha256
    media_type: str
    extension: str = Field(description="file ending without the dot")
    size_bytes: int = Field(ge=0)


class ReportClip(Wire):
    """The same prompt and seed with the base (``before``) and with the finetune (``after``), as MP3."""

    prompt: str
    seed: int
    duration_s: float
    before: ReportFile
    after: ReportFile


class ClipFigures(Wire):
    """What the clips of one side are like beside held-out tracks. Smaller is nearer for ``fad``, ``kad`` and ``kl``.

    ``near_copies``: share of clips more like a training track than nearly all real excerpts are.
    """

    fad: float
    kad: Estimate
    kl: float | None
    near_copies: Share
    silent: Share
    clipped: Share
    collapsed: Share = Field(description="stuck in a loop shorter than a beat, or standing still")


class RealFigures(Wire):
    """The same of held-out tracks themselves: what is normal. ``kad``: two halves of them apart; None where they are too few."""

    kad: Estimate | None
    near_copies: Share
    silent: Share
    clipped: Share
    collapsed: Share


class GateCheck(Wire):
    """One question of the gate, and its answer in words."""

    name: str = Field(description="held-out loss, distance, near-copies, silence or collapse")
    passed: bool
    words: str


class ReportCard(Wire):
    """What a finetune is worth. Where too little is held out to compare with, ``gate`` and what it rests on are None; ``words`` says so."""

    gate: Literal["passed", "failed"] | None
    words: str = Field(description="the verdict, one sentence")
    checks: list[GateCheck] = Field(default_factory=list)
    advice: list[str] = Field(default_factory=list, description="what would help, one sentence each; the weightiest first")
    base: str = Field(description="checkpoint that it was compared with")
    recipe: str
    token: str | None
    held_out_base: float | None = Field(description="nats a code on unseen tracks, before")
    held_out: float | None = Field(description="nats a code on unseen tracks, after: lower is better")
    before: ClipFigures | None
    after: ClipFigures | None
    kad_change: Estimate | None = Field(
        default=None, description="KAD after less KAD before, against the same draws of tracks: below 0, nearer; sharper than the two apart"
    )
    real: RealFigures | None
    clips_compared: int = Field(ge=0, description="of each side")
    clips: list[ReportClip] = Field(default_factory=list, description="kept for listening")
    tracks: int = Field(ge=0, description="trained on")
    held_out_tracks: int = Field(ge=0)
    segments: int = Field(ge=0)
    held_out_segments: int = Field(ge=0)
    steps: int = Field(ge=0)
    best_step: int = Field(ge=0, description="the one that is kept; 0 is the base unchanged")
    stopped_early: bool
    train_s: float = Field(ge=0, description="seconds of training")
    left_out: list[str] = Field(default_factory=list, description="tracks that could not be used, and why, one sentence each")
    notes: list[str] = Field(default_factory=list, description="on how much the figures say")
    picture: ReportFile | None = Field(description="PNG, for a dark chat")


# Events.


class FinetuneQueued(Wire):
    event: Literal["queued"] = "queued"
    number: int = Field(ge=1)
    position: int = Field(ge=0, description="jobs ahead of this one; 0 is next")


class Preparing(Wire):
    event: Literal["preparing"] = "preparing"
    number: int = Field(ge=1)
    what: Literal["listening", "cutting"] = Field(description="to the tracks; them into segments")
    done: int = Field(ge=0)
    of: int = Field(ge=0)


class Forecast(Wire):
    """What the run will take, from one step that was measured."""

    event: Literal["forecast"] = "forecast"
    number: int = Field(ge=1)
    seconds: float = Field(ge=0, description="at most, from here to the report card")
    memory_bytes: int = Field(ge=0, description="beside what serving takes")
    disk_bytes: int = Field(ge=0, description="while it runs")
    niceness: int = Field(description="of its process, beside the engine's 0: takes come first")
    threads: int = Field(ge=1, description="CPU threads that it uses")
    tracks: int = Field(ge=0)
    held_out_tracks: int = Field(ge=0)
    segments: int = Field(ge=0)
    held_out_segments: int = Field(ge=0)
    steps: int = Field(ge=0, description="at most")
    trained_parameters: int = Field(ge=0)
    advice: list[str] = Field(default_factory=list, description="what would make the result better")
    left_out: list[str] = Field(default_factory=list, description="tracks that can't be used, and why")


class TrainingProgress(Wire):
    """``held_out``, ``best`` and ``picture`` are of the step that was validated last; a new ``picture`` comes with each validation."""

    event: Literal["progress"] = "progress"
    number: int = Field(ge=1)
    step: int = Field(ge=0)
    of_steps: int = Field(ge=1)
    loss: float | None = Field(description="of this step, in nats a code")
    held_out: float | None = Field(default=None, description="on unseen tracks")
    held_out_base: float | None = Field(default=None, description="the same of the base")
    best: float | None = Field(default=None, description="the lowest so far")
    best_step: int | None = None
    eta_s: float = Field(ge=0, description="seconds until training ends, if it does not stop early")
    picture: Payload | None = Field(default=None, description="training and held-out loss so far, PNG")


class MakingClips(Wire):
    event: Literal["clips"] = "clips"
    number: int = Field(ge=1)
    done: int = Field(ge=0)
    of: int = Field(ge=1)


class Judging(Wire):
    event: Literal["judging"] = "judging"
    number: int = Field(ge=1)


class FinetuneDone(Wire):
    """``checkpoint`` can be asked for from now on, whether the gate let it pass or not: ``report.gate`` says so."""

    event: Literal["done"] = "done"
    number: int = Field(ge=1)
    checkpoint: str
    report: ReportCard


class FinetuneFailed(Wire):
    event: Literal["failed"] = "failed"
    number: int = Field(ge=1)
    code: ErrorCode
    message: str = Field(description="what went wrong, and what would help")


class FinetuneCancelled(Wire):
    event: Literal["cancelled"] = "cancelled"
    number: int = Field(ge=1)


FinetuneEvent = (
    FinetuneQueued | Preparing | Forecast | TrainingProgress | MakingClips | Judging | FinetuneDone | FinetuneFailed | FinetuneCancelled
)
LAST_EVENTS = (FinetuneDone, FinetuneFailed, FinetuneCancelled)
"""After one of these a job says nothing more."""
finetune_event_adapter: TypeAdapter[FinetuneEvent | Heartbeat] = TypeAdapter(
    Annotated[FinetuneEvent | Heartbeat, Field(discriminator="event")]
)
"""Reads a line of the stream; a ``Heartbeat`` has no number."""


class FinetuneStatus(Wire):
    """Where a job is. ``events``: how many there are so far, the last one's number."""

    id: str
    name: str
    recipe: RecipeName
    base: str = Field(description="checkpoint id")
    token: str
    owner: str | None
    state: State
    position: int | None = Field(default=None, description="while queued: jobs ahead of it")
    created_at: float = Field(description="seconds since 1970, UTC")
    events: int = Field(ge=0)
    forecast: Forecast | None = None
    progress: TrainingProgress | None = Field(default=None, description="the last, without its picture")
    checkpoint: str | None = Field(default=None, description="once it is done")
    report: ReportCard | None = None
    code: ErrorCode | None = Field(default=None, description="where it failed")
    message: str | None = None

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")
