"""What was heard, beside the bytes it was heard in, so that it goes when they go.

    tracks/ab/abcd….analysis.json    TrackAnalysis.record()
    tracks/ab/abcd….card.png         its picture, without anybody's name for the file
    tracks/ab/abcd….embedding.json   {"name": …, "version": …, "vector": […]}

A record of another version is as good as none. Methods block on the disk. Not here: making any of it (``worker``).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.api import ANALYSIS_VERSION
from engine.tracks import Tracks

EMBEDDING_VERSION = 1
"""Changes whenever ``worker.embed`` gives other vectors."""
CARD, RECORD, EMBEDDING = "card.png", "analysis.json", "embedding.json"


@dataclass(frozen=True, slots=True)
class Heard:
    """A track's analysis as its record, and its card."""

    record: dict[str, Any]
    card: bytes


class Kept:
    """One folder of tracks."""

    def __init__(self, tracks: Tracks) -> None:
        self._tracks = tracks

    def heard(self, sha256: str) -> Heard | None:
        card = self._tracks.beside(sha256, CARD)
        record = self.record(sha256) if card else None
        return Heard(record, card) if card and record else None

    def is_heard(self, sha256: str) -> bool:
        """Whether ``heard`` has it, at a glance: a crate has hundreds."""
        try:
            with self.path_of_record(sha256).open("rb") as file:
                begins = b'{"version":%d,' % ANALYSIS_VERSION
                return file.read(len(begins)) == begins and self._tracks.path_beside(sha256, CARD).exists()
        except FileNotFoundError:
            return False

    def record(self, sha256: str) -> dict[str, Any] | None:
        """The analysis alone."""
        found = _json(self._tracks.beside(sha256, RECORD))
        return found if found.get("version") == ANALYSIS_VERSION else None

    def keep_heard(self, sha256: str, heard: Heard) -> bool:
        """False when the track was forgotten meanwhile: then nothing is kept."""
        return self._tracks.put_beside(sha256, RECORD, _bytes(heard.record)) and self._tracks.put_beside(sha256, CARD, heard.card)

    def path_of_record(self, sha256: str) -> Path:
        return self._tracks.path_beside(sha256, RECORD)

    def vector(self, sha256: str) -> list[float] | None:
        """How it sounds; None where that is not known, empty where it is too short to say."""
        found = _json(self._tracks.beside(sha256, EMBEDDING))
        vector = found.get("vector")
        if found.get("version") != EMBEDDING_VERSION or not isinstance(vector, list):
            return None
        return vector if all(isinstance(value, float | int) and math.isfinite(value) for value in vector) else None

    def keep_vector(self, sha256: str, name: str, vector: list[float]) -> bool:
        """False when the track was forgotten meanwhile."""
        return self._tracks.put_beside(sha256, EMBEDDING, _bytes({"name": name, "version": EMBEDDING_VERSION, "vector": vector}))


def _json(data: bytes | None) -> dict[str, Any]:
    """What a file of ours holds; nothing where the disk has spoilt it: it is made anew."""
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _bytes(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
