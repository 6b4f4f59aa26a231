"""What can go wrong between an engine and whoever asks it for music: one exception, with a code from the wire and words for a person.

The server raises ``EngineError`` and answers with its ``ErrorBody``; the client reads the body and raises the same again.
Not here: HTTP (``server``, ``client``). No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from engine.api import ErrorBody, ErrorCode, Failed


class EngineError(Exception):
    """``message`` is for the person who asked, and says what to do; ``retry_after_s`` is set where asking again later may help.

    ``tracks``: with 'unknown_track', the hashes to upload where several were asked for.
    """

    def __init__(
        self, code: ErrorCode | Literal["unreachable"], message: str, retry_after_s: float | None = None, *, tracks: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.tracks = tuple(tracks)


class EngineUnreachable(EngineError):
    """Nobody answers at the engine's URL, or the connection broke or fell silent in the middle of an answer."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__("unreachable", message, retry_after_s)


HTTP_STATUS: dict[ErrorCode, int] = {
    "bad_request": 422,
    "bad_audio": 422,
    "unknown_track": 404,
    "unknown_checkpoint": 404,
    "unknown_take": 404,
    "unknown_finetune": 404,
    "queue_full": 503,
    "not_ready": 503,
    "unauthorized": 401,
    "too_large": 413,
    "cancelled": 409,
    "internal": 500,
}


def _wire_code(error: EngineError) -> ErrorCode:
    return "internal" if error.code == "unreachable" else error.code


def body_of(error: EngineError) -> ErrorBody:
    return ErrorBody(code=_wire_code(error), message=error.message, retry_after_s=error.retry_after_s, tracks=list(error.tracks))


def event_of(error: EngineError) -> Failed:
    return Failed(code=_wire_code(error), message=error.message)
