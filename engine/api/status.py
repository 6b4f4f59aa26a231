"""What an engine says of itself: `GET /v1/checkpoints`, `GET /healthz`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.api.base import Sha256, Wire


class CheckpointInfo(Wire):
    id: str
    name: str
    kind: Literal["base", "finetuned"]
    parent: str | None = None
    token: str | None = Field(default=None, description="rare token that a finetune was trained with")
    sha256: Sha256 | None = None
    sample_rate: int
    channels: int
    window_s: float = Field(description="what the model hears at once, in seconds")
    parameters: int
    licence: str
    default: bool = False
    owner: str | None = Field(default=None, description="whose finetune it is, as its client said; None: everybody's")
    adapter: bool = Field(default=False, description="a base and what was learnt beside it: takes may say how strongly it is heard")
    gate: Literal["passed", "failed"] | None = Field(default=None, description="verdict of a finetune's report card")


class Checkpoints(Wire):
    checkpoints: list[CheckpointInfo]


class Health(Wire):
    ready: bool
    version: str
    checkpoint: str | None
    device: str
    backend: str = "native"
    queue: int = Field(ge=0)
    running: int = Field(ge=0)
    uptime_s: float
    analysis_version: int = Field(default=0, description="of what is heard in tracks: those heard by an older one are worth hearing again")
    versions: dict[str, str] = Field(default_factory=dict)
