"""What every message on the wire is made of: strict models, hashes, bytes in JSON, errors."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

API_VERSION = "v1"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the bytes, lower-case hex")]

ErrorCode = Literal[
    "bad_request",  # 422: the request is wrong, and the message says how
    "bad_audio",  # 422: the upload is no audio that can be used
    "unknown_track",  # 404: no bytes under that SHA-256: PUT /v1/tracks/{sha256} first
    "unknown_checkpoint",  # 404
    "unknown_take",  # 404: no such take waits or runs
    "unknown_finetune",  # 404: no finetune by that id, or it was forgotten
    "queue_full",  # 503 with Retry-After
    "not_ready",  # 503 with Retry-After: still loading, or stopping
    "unauthorized",  # 401
    "too_large",  # 413
    "cancelled",  # the take was cancelled
    "internal",  # 500: logged with the take's id
]


class Wire(BaseModel):
    """Frozen, and strict about names: a misspelt field is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Payload(Wire):
    """Bytes in JSON."""

    sha256: Sha256
    media_type: str
    extension: str = Field(description="file ending without the dot")
    data: str = Field(repr=False, description="base64")

    @classmethod
    def of(cls, data: bytes, media_type: str, extension: str) -> Payload:
        return cls(
            sha256=hashlib.sha256(data).hexdigest(),
            media_type=media_type,
            extension=extension,
            data=base64.b64encode(data).decode("ascii"),
        )

    def bytes(self) -> bytes:
        """The bytes, checked against their hash. Raises ValueError when they differ."""
        data = base64.b64decode(self.data, validate=True)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ValueError("payload does not match its SHA-256")
        return data


class ErrorBody(Wire):
    """Body of every response that is not 2xx."""

    code: ErrorCode
    message: str
    retry_after_s: float | None = None
    tracks: list[Sha256] = Field(default_factory=list, description="with 'unknown_track': the tracks to upload")
