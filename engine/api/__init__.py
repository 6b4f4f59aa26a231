"""The wire: every value that crosses between an engine and whoever asks it for music.

Only pydantic models live here, so that the bot imports this without torch. JSON with audio bytes in it (base64), or bytes
named by their SHA-256; never a path, a pickle or a Discord object. Not here: HTTP (``server``, ``client``), decoding (``musicgen``).
"""

from engine.api.base import API_VERSION, ErrorBody, ErrorCode, Payload, Sha256, Wire
from engine.api.status import CheckpointInfo, Checkpoints, Health
from engine.api.takes import (
    HEARTBEAT_S,
    MAX_PROMPT_CHARACTERS,
    MAX_SECONDS,
    MAX_SEED,
    MIN_SECONDS,
    Delivery,
    Done,
    Event,
    Failed,
    GenerateRequest,
    Heartbeat,
    Progress,
    Queued,
    Sampling,
    event_adapter,
)
from engine.api.tracks import MAX_TRACK_BYTES, MAX_TRACK_SECONDS, TrackInfo

__all__ = [
    "API_VERSION",
    "HEARTBEAT_S",
    "MAX_PROMPT_CHARACTERS",
    "MAX_SECONDS",
    "MAX_SEED",
    "MAX_TRACK_BYTES",
    "MAX_TRACK_SECONDS",
    "MIN_SECONDS",
    "CheckpointInfo",
    "Checkpoints",
    "Delivery",
    "Done",
    "ErrorBody",
    "ErrorCode",
    "Event",
    "Failed",
    "GenerateRequest",
    "Health",
    "Heartbeat",
    "Payload",
    "Progress",
    "Queued",
    "Sampling",
    "Sha256",
    "TrackInfo",
    "Wire",
    "event_adapter",
]
