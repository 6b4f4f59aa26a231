"""What is heard in tracks, and what that is good for: cards, the crate's report, the tracks that fit.

::

    POST /v1/analyses  AnalysisRequest ─▶ 200 Analysis │ 202 Working: ask again
    POST /v1/reports   ReportRequest   ─▶ 200 Report   │ 202 Working
    POST /v1/similar   SimilarRequest  ─▶ 200 Similar  │ 202 Working

An answer never takes longer than ``WORK_ANSWER_S``. Work that isn't done by then goes on, and ``Working`` says how far it is; the same
request again waits for more of it, and finds what is done kept by the tracks' hashes. A track that the engine doesn't have is
``unknown_track``, and ``ErrorBody.tracks`` names all such: upload them, ask again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.api.base import Payload, Sha256, Wire

ANALYSIS_VERSION = 1
"""Of what is heard in a track. Part of every record; one of another version is not read: the track is heard again."""
WORK_ANSWER_S = 8.0
"""A request for an analysis, a report or a comparison is answered within about so many seconds, done or not."""
MAX_CRATE_TRACKS = 5000
"""Most tracks that one request may name."""
MAX_SIMILAR = 25

Hashes = Annotated[list[Sha256], Field(max_length=MAX_CRATE_TRACKS)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Tempo(Wire):
    """``downbeat_s``: the first one. ``steady``: the same all along, so that bars can be counted from there."""

    bpm: float = Field(gt=0)
    downbeat_s: float
    steady: bool
    confidence: Share
    source: str = Field(description="where it is from, such as 'detected' or 'tag'")


class MusicalKey(Wire):
    name: str = Field(description="as 'A minor'")
    camelot: str = Field(description="as '8A'")
    confidence: Share
    source: str = Field(description="where it is from, such as 'detected' or 'tag'")


class Section(Wire):
    kind: str = Field(description="intro, main, build, breakdown, drop or outro")
    start_s: float
    end_s: float
    energy: float


class AnalysisRequest(Wire):
    """``among``: the tracks that this one may be another copy of. The engine compares it with these and no others."""

    track: Sha256
    among: Hashes = Field(default_factory=list)


class SameRecording(Wire):
    """Other bytes, the same music: another encoding or another cut of one recording."""

    sha256: Sha256
    likeness: Share


class Analysis(Wire):
    """What was heard in a track. ``picture``: its card, PNG."""

    sha256: Sha256
    version: int = Field(description="of the analysis; a later one may hear more")
    duration_s: float
    heard_s: float = Field(description="seconds that were listened to: of a very long track, the first of them")
    tempo: Tempo | None = Field(description="None: no beat was found")
    key: MusicalKey | None = Field(description="None: no key is clear")
    lufs: float | None
    peak_dbfs: float
    clipped_share: Share
    silence_s: float = Field(ge=0, description="seconds of silence, all together")
    sections: list[Section]
    picture: Payload
    same_as: list[SameRecording] = Field(default_factory=list, description="the likest first")
    not_compared: int = Field(default=0, ge=0, description="tracks of ``among`` that were never analysed here")


class Working(Wire):
    """Not done yet: ask again, at once if you like."""

    state: Literal["working"] = "working"
    done: int = Field(ge=0, description="tracks that are listened to")
    of: int = Field(ge=1, description="tracks that have to be")
    waiting: int = Field(default=0, ge=0, description="others' work before this")


class CrateTrack(Wire):
    sha256: Sha256
    title: str | None = Field(default=None, max_length=300)
    artist: str | None = Field(default=None, max_length=300)


class ReportRequest(Wire):
    tracks: Annotated[list[CrateTrack], Field(min_length=1, max_length=MAX_CRATE_TRACKS)]


class Report(Wire):
    """What a crate is as a dataset: ``advice`` is one sentence each, the weightiest first."""

    text: str
    advice: list[str]
    picture: Payload
    tracks: int = Field(ge=0, description="tracks that the report is about")
    not_heard: list[Sha256] = Field(default_factory=list, description="tracks that can't be analysed, and are left out")


class SimilarRequest(Wire):
    """Which of ``candidates`` go with ``track``. The engine looks at these and no others."""

    track: Sha256
    candidates: Hashes
    limit: int = Field(default=5, ge=1, le=MAX_SIMILAR)


class Match(Wire):
    """One candidate beside the track. Whatever can't be said of the two is None."""

    sha256: Sha256
    fits: bool
    bpm: float | None
    tempo_change: float | None = Field(description="+0.019: the candidate is 1.9 % faster")
    camelot: str | None
    key_fits: bool | None
    closeness: float | None = Field(description="how alike they sound, −1 to 1; None where that can't be compared")
    reason: str = Field(description="in words for a DJ")


class Similar(Wire):
    """``matches``: what fits, the closest first. ``nearest``: where nothing fits, what comes nearest to it."""

    bpm: float | None
    camelot: str | None
    matches: list[Match]
    nearest: list[Match] = Field(default_factory=list)
    compared: int = Field(ge=0)
    same: list[Sha256] = Field(default_factory=list, description="candidates that are the same recording, and are left out")
    not_heard: list[Sha256] = Field(default_factory=list, description="candidates that can't be analysed, and are left out")
    note: str | None = Field(default=None, description="what could not be taken into account, and what to do about it")
