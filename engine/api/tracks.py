"""Uploaded tracks: `PUT /v1/tracks/{sha256}`."""

from __future__ import annotations

from pydantic import Field

from engine.api.base import Sha256, Wire

MAX_TRACK_SECONDS = 7200.0
MAX_TRACK_BYTES = 40 * 2**20


class TrackInfo(Wire):
    """Answer of ``PUT /v1/tracks/{sha256}``: what the bytes turned out to be."""

    sha256: Sha256
    duration_s: float
    sample_rate: int
    channels: int
    codec: str
    peak_dbfs: float = Field(description="−120 at silence")
    title: str | None = None
    artist: str | None = None
