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

from pydantic import Field, TypeAdapter, field_validator, model_validator

from engine.api.base import ErrorCode, Payload, Sha256, Wire
from engine.keys import parse_key
from engine.musical import MAX_BARS, MAX_BPM, MIN_BPM, Aim, LoopFacts, bars_seconds, spoken, tempo

MAX_SECONDS = 240.0
"""Longest clip that one take may ask for, in seconds (windowed extension past the model's 30 s)."""
MIN_SECONDS = 1.0
DEFAULT_SECONDS = 8.0
"""Length of the new audio where neither seconds nor bars say it."""
MAX_PROMPT_CHARACTERS = 1000
MAX_STRENGTH = 1.5
"""Strongest that an adapter may be heard: 1 is as it was trained, 0 the base alone."""
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
    ``unconditional`` takes neither. Tempo and key are named to the model behind the prompt's own words, and checked in what comes out; a
    continuation that asks for none keeps the track's.
    """

    take_id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$", description="letters, digits and . _ : -")
    kind: Literal["text", "continuation", "unconditional"]
    prompt: str = Field(default="", max_length=MAX_PROMPT_CHARACTERS)
    seconds: float | None = Field(
        default=None,
        ge=MIN_SECONDS,
        le=MAX_SECONDS,
        description="length of the new audio, without the track's own; None: as long as ``bars``, or 8",
    )
    bpm: float | None = Field(default=None, ge=MIN_BPM, le=MAX_BPM, description="tempo")
    key: str | None = Field(default=None, max_length=24, description="as a DJ writes it: Am, A minor or 8A; read back as 'A minor'")
    bars: int | None = Field(
        default=None, ge=1, le=MAX_BARS, description="length in bars of 4/4 at ``bpm``, else the prompt's or track's tempo"
    )
    loop: bool = Field(default=False, description="cut to whole bars, its end meeting its start; of a continuation, the new part alone")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="None: the engine draws one and says which")
    sampling: Sampling = Sampling()
    checkpoint: str | None = Field(default=None, max_length=200, description="id from GET /v1/checkpoints; None is the engine's default")
    strength: float | None = Field(
        default=None,
        ge=0.0,
        le=MAX_STRENGTH,
        description="how strongly an adapter is heard: 0 is its base alone, 1 (the default) as it was trained",
    )
    track: Sha256 | None = Field(default=None, description="SHA-256 of an uploaded track, 64 lower-case hex digits")
    from_s: float | None = Field(default=None, ge=0.0, description="where in the track the new audio begins; None: the track's end")
    prompt_seconds: float = Field(default=4.0, ge=0.5, le=20.0, description="how much of the track before ``from_s`` is heard")
    delivery: Delivery = Delivery()

    @property
    def asked(self) -> Aim:
        """Tempo and key asked for, by option or in the prompt."""
        said = spoken(self.prompt)
        return Aim(self.bpm if self.bpm is not None else said.bpm, parse_key(self.key) or said.key)

    @field_validator("key")
    @classmethod
    def _known_key(cls, written: str | None) -> str | None:
        if written is None or not written.strip():
            return None
        key = parse_key(written)
        if key is None:
            raise ValueError(f"{written!r} is no key: write it as Am, A minor or 8A")
        return key.name

    @model_validator(mode="after")
    def _music_makes_sense(self) -> GenerateRequest:
        said, key = spoken(self.prompt), parse_key(self.key)
        if self.kind == "unconditional" and (self.bpm or self.key or self.bars or self.loop):
            raise ValueError("a take without a prompt has no tempo, key, bars or loop: ask for one from words")
        if self.bpm is not None and said.bpm is not None and abs(self.bpm - said.bpm) >= 1.0:
            raise ValueError(f"the prompt says {tempo(said.bpm)} and bpm says {tempo(self.bpm)}: leave one of them out")
        if key is not None and said.key is not None and (key.tonic, key.mode) != (said.key.tonic, said.key.mode):
            raise ValueError(f"the prompt says {said.key.name} and key says {key.name}: leave one of them out")
        if self.bars is not None:
            if self.seconds is not None:
                raise ValueError("give the length in bars or in seconds, not in both")
            if self.asked.bpm is not None:
                bars_length(self.bars, self.asked.bpm)
            elif self.kind == "text":
                raise ValueError("bars have no length without a tempo: give bpm too")
        return self

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


def bars_length(bars: int, bpm: float) -> float:
    """Seconds that ``bars`` bars last. Raises ValueError, with words for a person, where no take may be so short or so long."""
    seconds = bars_seconds(bars, bpm)
    if seconds > MAX_SECONDS:
        most = int(MAX_SECONDS / bars_seconds(1, bpm))
        raise ValueError(f"{bars} bars at {tempo(bpm)} are {seconds:.0f} seconds, and {MAX_SECONDS:.0f} is the most: ask for {most} bars")
    return seconds


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


class Music(Wire):
    """A tempo and a key; None: not asked for, or not to be told."""

    bpm: float | None = None
    key: str | None = Field(default=None, description="as 'A minor'")

    @classmethod
    def of(cls, aim: Aim) -> Music:
        return cls(bpm=None if aim.bpm is None else round(aim.bpm, 2), key=aim.key.name if aim.key else None)

    @property
    def aim(self) -> Aim:
        return Aim(self.bpm, parse_key(self.key))


class Loop(Wire):
    """How the clip was cut to repeat. Its length is ``bars`` bars at ``bpm``, exact to the sample."""

    bars: int | None = Field(description="None where there was no tempo to count them by")
    bpm: float | None
    own_bpm: float | None = Field(description="before stretching; None where no beat was found to cut by")

    @property
    def facts(self) -> LoopFacts:
        return LoopFacts(self.bars, self.bpm, self.own_bpm)


class Done(Wire):
    """``clip`` is lossless FLAC at −14 LUFS, its peak at most −1 dBFS; ``delivery`` is the same for the listener's client, tagged."""

    event: Literal["done"] = "done"
    clip: Payload
    delivery: Payload
    picture: Payload
    seed: int
    checkpoint: str
    checkpoint_kind: Literal["base", "finetuned"]
    strength: float | None = Field(default=None, description="of the adapter; None where the checkpoint has none")
    prompt: str
    told: str | None = Field(default=None, description="what the model was told: the prompt, with tempo and key")
    asked: Music = Field(default=Music(), description="by option or in the prompt")
    track: Music = Field(default=Music(), description="of the continued track, where it is known")
    heard: Music = Field(default=Music(), description="in what came out, by analysis")
    loop: Loop | None = None
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
