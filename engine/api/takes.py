"""One take, as a stream of NDJSON events::

POST /v1/takes  GenerateRequest
  ─▶ {"event": "queued", "position": 2, "eta_s": 11.0}
  ─▶ {"event": "progress", "frames": 120, "of_frames": 400, "eta_s": 4.1}
  ─▶ {"event": "heartbeat"}
  ─▶ {"event": "done", "clip": {...}, "delivery": {...}, "picture": {...}, "seed": 1, ...}
   or {"event": "error", "code": "bad_audio", "message": "..."}
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from engine.api.base import ErrorCode, Payload, Sha256, Wire

MAX_SECONDS = 240.0
"""Longest clip that one take may ask for, in seconds (windowed extension past the model's 30 s)."""
MIN_SECONDS = 1.0
MAX_PROMPT_CHARACTERS = 1000
MAX_SEED = 2**32 - 1

HEARTBEAT_S = 3.0
"""A stream of events is never silent for longer than this while the engine lives, in seconds."""


class Sampling(Wire):
    """How the next code is chosen from the logits. What is None is the checkpoint's own choice (its ``generation_config.json``)."""

    temperature: float | None = Field(default=None, ge=0.0, le=3.0, description="0 takes the likeliest code (greedy)")
    top_k: int | None = Field(default=None, ge=0, le=2048, description="keep the k likeliest codes; 0 keeps all")
    top_p: float | None = Field(default=None, ge=0.0, le=1.0, description="nucleus; 0 switches it off")
    guidance_scale: float | None = Field(default=None, ge=1.0, le=10.0, description="classifier-free guidance; 1 is none")


class Delivery(Wire):
    """What the listener's client is to get, beside the lossless clip."""

    format: Literal["mp3", "ogg", "flac", "wav"] = "mp3"
    max_bytes: int = Field(default=10 * 2**20, ge=64 * 1024, description="the bit rate is chosen so that the file fits")
    title: str | None = Field(default=None, max_length=200)


class GenerateRequest(Wire):
    """One take.

    ``text`` needs ``prompt``; ``continuation`` needs ``track`` (bytes stored before by ``PUT /v1/tracks/{sha256}``);
    ``unconditional`` takes neither.
    """

    take_id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$", description="letters, digits and . _ : -")
    kind: Literal["text", "continuation", "unconditional"]
    prompt: str = Field(default="", max_length=MAX_PROMPT_CHARACTERS)
    seconds: float = Field(default=8.0, ge=MIN_SECONDS, le=MAX_SECONDS, description="length of the new audio, without the track's own")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="None: the engine draws one and says which")
    sampling: Sampling = Sampling()
    checkpoint: str | None = Field(default=None, max_length=200, description="id from GET /v1/checkpoints; None is the engine's default")
    track: Sha256 | None = Field(default=None, description="SHA-256 of an uploaded track, 64 lower-case hex digits")
    from_s: float | None = Field(default=None, ge=0.0, description="where in the track the new audio begins; None: the track's end")
    prompt_seconds: float = Field(default=4.0, ge=0.5, le=20.0, description="how much of the track before ``from_s`` is heard")
    delivery: Delivery = Delivery()

    @model_validator(mode="after")
    def _kind_fits_fields(self) -> GenerateRequest:
        if self.kind == "text" and not self.prompt.strip():
            raise ValueError("a text take needs a prompt: say what it should sound like")
        if self.kind == "continuation" and self.track is None:
            raise ValueError("a continuation needs a track: upload one first")
        if self.kind != "continuation" and self.track is not None:
            raise ValueError("only a continuation takes a track")
        if self.kind == "unconditional" and self.prompt.strip():
            raise ValueError("an unconditional take has no prompt")
        return self


class Queued(Wire):
    event: Literal["queued"] = "queued"
    position: int = Field(ge=0, description="takes ahead of this one; 0 is next")
    eta_s: float = Field(ge=0, description="seconds until this clip is expected to be done, from the frames per second measured so far")


class Progress(Wire):
    event: Literal["progress"] = "progress"
    frames: int = Field(ge=0)
    of_frames: int = Field(ge=1)
    eta_s: float = Field(ge=0, description="seconds until this clip is expected to be done")


class Heartbeat(Wire):
    event: Literal["heartbeat"] = "heartbeat"


class Done(Wire):
    """``clip`` is lossless FLAC at −14 LUFS, its peak at most −1 dBFS; ``delivery`` is the same for the listener's client, tagged."""

    event: Literal["done"] = "done"
    clip: Payload
    delivery: Payload
    picture: Payload
    seed: int
    checkpoint: str
    checkpoint_kind: Literal["base", "finetuned"]
    prompt: str
    duration_s: float
    sample_rate: int
    channels: int
    seam_s: float | None = Field(default=None, description="where in the clip the new audio begins, for a continuation")
    loudness_lufs: float | None = Field(description="None where the clip is too short or too quiet to measure")
    peak_dbfs: float
    generate_s: float = Field(description="seconds spent in the model")
    total_s: float = Field(description="seconds from arrival to done")


class Failed(Wire):
    event: Literal["error"] = "error"
    code: ErrorCode
    message: str


Event = Annotated[Queued | Progress | Heartbeat | Done | Failed, Field(discriminator="event")]
event_adapter: TypeAdapter[Queued | Progress | Heartbeat | Done | Failed] = TypeAdapter(Event)
