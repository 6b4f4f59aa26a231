"""``GET /openapi.json``: the description of the API, generated from the wire models in ``engine.api``.

``OPERATIONS`` lists what the server offers; a test holds it against the server's routes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from engine.api import (
    Analysis,
    AnalysisRequest,
    Checkpoints,
    Done,
    ErrorBody,
    Failed,
    GenerateRequest,
    Health,
    Heartbeat,
    Progress,
    Queued,
    Report,
    ReportRequest,
    Similar,
    SimilarRequest,
    TrackInfo,
    Working,
)
from engine.api.evaluation import EvaluationReport, EvaluationRequest
from engine.api.finetunes import (
    FinetuneCancelled,
    FinetuneDone,
    FinetuneFailed,
    FinetuneQueued,
    FinetuneRequest,
    FinetuneStatus,
    Forecast,
    Judging,
    MakingClips,
    Preparing,
    TrainingProgress,
)

REFERENCE = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. answers: status to what it carries (a model, or words for what has no model)."""

    method: str
    path: str
    summary: str
    answers: dict[int, type[BaseModel] | str]
    errors: tuple[int, ...] = ()
    body: type[BaseModel] | str | None = None
    events: tuple[type[BaseModel], ...] = field(default=())


OPERATIONS = (
    Operation(
        "POST",
        "/v1/takes",
        "Make a clip: from text, as the continuation of a track, or unconditionally. Leaving before the end cancels the take.",
        {200: "A stream of events, one JSON object a line"},
        errors=(401, 404, 413, 422, 503),
        body=GenerateRequest,
        events=(Queued, Progress, Heartbeat, Done, Failed),
    ),
    Operation("DELETE", "/v1/takes/{take_id}", "Cancel a take that waits or runs.", {204: "It is cancelled"}, errors=(401, 404)),
    Operation(
        "PUT",
        "/v1/tracks/{sha256}",
        "Upload a track: any audio that ffmpeg reads, named by the SHA-256 of its bytes.",
        {200: TrackInfo},
        errors=(401, 413, 422),
        body="The bytes of the file",
    ),
    Operation("GET", "/v1/tracks/{sha256}", "What an uploaded track is.", {200: TrackInfo}, errors=(401, 404, 422)),
    Operation("HEAD", "/v1/tracks/{sha256}", "Whether a track is here.", {200: "It is"}, errors=(401, 404, 422)),
    Operation(
        "DELETE",
        "/v1/tracks/{sha256}",
        "Forget a track: its bytes and all that was made from them.",
        {204: "It is gone"},
        errors=(401, 404),
    ),
    Operation(
        "POST",
        "/v1/analyses",
        "Listen to a track: tempo, key, sections, its card, and which other tracks are the same recording.",
        {200: Analysis, 202: Working},
        errors=(401, 404, 413, 422, 503),
        body=AnalysisRequest,
    ),
    Operation("GET", "/v1/analyses/{sha256}", "What was heard in a track before.", {200: Analysis}, errors=(401, 404, 422)),
    Operation(
        "POST",
        "/v1/reports",
        "What a crate is as a dataset, and what would make it a better one.",
        {200: Report, 202: Working},
        errors=(401, 404, 413, 422, 503),
        body=ReportRequest,
    ),
    Operation(
        "POST",
        "/v1/similar",
        "Which candidates go with a track, by tempo, key and sound.",
        {200: Similar, 202: Working},
        errors=(401, 404, 413, 422, 503),
        body=SimilarRequest,
    ),
    Operation(
        "POST",
        "/v1/evaluations",
        "How near clips are to real tracks: FAD, KAD, KL of tags, near-copies, silence, clipping, stuck loops.",
        {200: EvaluationReport, 202: Working},
        errors=(401, 404, 413, 422, 503),
        body=EvaluationRequest,
    ),
    Operation(
        "POST",
        "/v1/finetunes",
        "Learn a crate: a job that goes on whoever restarts, and ends with a report card. The same id and body again is the same job.",
        {200: FinetuneStatus},
        errors=(401, 404, 413, 422, 503),
        body=FinetuneRequest,
    ),
    Operation("GET", "/v1/finetunes/{finetune_id}", "Where a finetune is.", {200: FinetuneStatus}, errors=(401, 404)),
    Operation(
        "GET",
        "/v1/finetunes/{finetune_id}/events",
        "What a finetune tells, from any number on (?after=n), until its last event. Leaving before that ends nothing.",
        {200: "A stream of numbered events, one JSON object a line"},
        errors=(401, 404, 422),
        events=(
            FinetuneQueued,
            Preparing,
            Forecast,
            TrainingProgress,
            MakingClips,
            Judging,
            FinetuneDone,
            FinetuneFailed,
            FinetuneCancelled,
            Heartbeat,
        ),
    ),
    Operation(
        "GET",
        "/v1/finetunes/{finetune_id}/files/{name}",
        "A picture or clip that a report card names.",
        {200: "The bytes of the file"},
        errors=(401, 404),
    ),
    Operation(
        "DELETE",
        "/v1/finetunes/{finetune_id}",
        "Cancel a finetune; forget one that is over, but not its checkpoint.",
        {204: "It is cancelled, or forgotten"},
        errors=(401, 404),
    ),
    Operation("GET", "/v1/checkpoints", "Which checkpoints can be asked for; the default is first.", {200: Checkpoints}, errors=(401,)),
    Operation(
        "DELETE",
        "/v1/checkpoints/{checkpoint_id}",
        "Delete a checkpoint of the folder, never the default or the embedded one. Takes that run on it end as they would have.",
        {204: "It is gone"},
        errors=(401, 404, 422),
    ),
    Operation("GET", "/healthz", "Ready or not. Without the token only that.", {200: Health, 503: Health}),
    Operation("GET", "/metrics", "Counters and gauges in Prometheus' text format.", {200: "Prometheus' text format"}, errors=(401,)),
    Operation("GET", "/openapi.json", "This description.", {200: "OpenAPI 3.1"}, errors=(401,)),
)


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    models: dict[type[BaseModel], None] = {ErrorBody: None}
    for operation in OPERATIONS:
        for model in (operation.body, *operation.answers.values(), *operation.events):
            if isinstance(model, type):
                models[model] = None
    _, schemas = models_json_schema([(model, "serialization") for model in models], ref_template=REFERENCE + "{model}")
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Techno Composer's engine", "version": metadata.version("techno-composer")},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"summary": operation.summary, "responses": {}}
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    if names:
        described["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    if isinstance(operation.body, str):
        content: dict[str, Any] = {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary", "description": operation.body}}
        }
        described["requestBody"] = {"required": True, "content": content}
    elif operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    for status, answer in operation.answers.items():
        response: dict[str, Any] = {"description": answer if isinstance(answer, str) else answer.__name__}
        if not isinstance(answer, str):
            response["content"] = _json(answer)
        if operation.events and status == 200:
            lines = {"oneOf": [{"$ref": REFERENCE + event.__name__} for event in operation.events]}
            response["content"] = {"application/x-ndjson": {"schema": lines}}
        described["responses"][str(status)] = response
    for status in operation.errors:
        described["responses"][str(status)] = {"description": "code and message say what to do", "content": _json(ErrorBody)}
    return described


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REFERENCE + model.__name__}}}
