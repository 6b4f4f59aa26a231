"""The engine over HTTP: ``create_app`` makes the Starlette app. Routes read requests, call ``service.Engine``, and write answers.

What each route takes and gives is listed in ``openapi.OPERATIONS``. Not here: what a take goes through (``service``, ``takes``),
running the process (``engine.cli.serve``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import math
import re
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.api import (
    MAX_CRATE_TRACKS,
    MAX_TRACK_BYTES,
    AnalysisRequest,
    Checkpoints,
    GenerateRequest,
    ReportRequest,
    SimilarRequest,
    Wire,
    Working,
)
from engine.api.evaluation import EvaluationRequest
from engine.api.finetunes import FinetuneRequest
from engine.errors import HTTP_STATUS, EngineError, body_of
from engine.openapi import document
from engine.service import Engine, Take
from engine.settings import EngineSettings, is_loopback
from engine.tracks import require_name, too_large
from engine.words import explain

log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

MAX_REQUEST_BYTES = 64 * 1024
MAX_CRATE_REQUEST_BYTES = MAX_CRATE_TRACKS * 1024
"""A request that names a whole crate: hashes, titles and artists."""
DRAIN_BYTES = 4 * MAX_TRACK_BYTES
"""Of a body that is too large so much is still read and thrown away: a client that is sending does not hear an early answer."""


def create_app(settings: EngineSettings | None = None, on_failure: Callable[[EngineError], None] | None = None) -> Starlette:
    """An app that owns one engine: loading begins with the lifespan, requests are answered 'not_ready' until it is done.

    ``on_failure`` is called, on some thread, when the default checkpoint turns out not to work; without it that is logged.
    Raises EngineError where ENGINE_CHECKPOINT names nothing, SettingsError where a setting is wrong.
    """
    settings = settings or EngineSettings.read()
    engine = Engine(settings, on_failure or (lambda error: log.critical("%s", error.message)))

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        engine.start()
        try:
            yield
        finally:
            await engine.stop()

    routes = [
        Route("/v1/takes", _post_take, methods=["POST"]),
        Route("/v1/takes/{take_id}", _delete_take, methods=["DELETE"]),
        Route("/v1/tracks/{sha256}", _put_track, methods=["PUT"]),
        Route("/v1/tracks/{sha256}", _get_track, methods=["GET", "HEAD"]),
        Route("/v1/tracks/{sha256}", _delete_track, methods=["DELETE"]),
        Route("/v1/analyses", _post_analysis, methods=["POST"]),
        Route("/v1/analyses/{sha256}", _get_analysis, methods=["GET"]),
        Route("/v1/reports", _post_report, methods=["POST"]),
        Route("/v1/similar", _post_similar, methods=["POST"]),
        Route("/v1/evaluations", _post_evaluation, methods=["POST"]),
        Route("/v1/finetunes", _post_finetune, methods=["POST"]),
        Route("/v1/finetunes/{finetune_id}", _get_finetune, methods=["GET"]),
        Route("/v1/finetunes/{finetune_id}", _delete_finetune, methods=["DELETE"]),
        Route("/v1/finetunes/{finetune_id}/events", _get_finetune_events, methods=["GET"]),
        Route("/v1/finetunes/{finetune_id}/files/{name}", _get_finetune_file, methods=["GET"]),
        Route("/v1/checkpoints", _get_checkpoints, methods=["GET"]),
        Route("/v1/checkpoints/{checkpoint_id}", _delete_checkpoint, methods=["DELETE"]),
        Route("/healthz", _get_health, methods=["GET"]),
        Route("/metrics", _get_metrics, methods=["GET"]),
        Route("/openapi.json", _get_openapi, methods=["GET"]),
    ]
    handlers = {EngineError: _on_engine_error, HTTPException: _on_http_error}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)  # type: ignore[arg-type]  # each takes its own exception
    app.state.engine = engine
    app.state.token = settings.token.get_secret_value()
    app.add_middleware(LastResort)
    app.add_middleware(Guard, token=app.state.token)
    return app


# Routes.


async def _post_take(request: Request) -> Response:
    take = await _engine(request).admit(await _asked(request, GenerateRequest, MAX_REQUEST_BYTES))
    return TakeResponse(take)


async def _delete_take(request: Request) -> Response:
    _engine(request).cancel(request.path_params["take_id"])
    return Response(status_code=204)


async def _put_track(request: Request) -> Response:
    sha256 = require_name(request.path_params["sha256"])
    engine = _engine(request)
    if _announced_length(request) > MAX_TRACK_BYTES:
        await _drain(request)
        raise too_large()
    with engine.tracks.upload() as upload:
        try:
            async for piece in request.stream():
                upload.write(piece)
        except EngineError:
            await _drain(request)
            raise
        return _json(await engine.accept_track(upload, sha256))


async def _get_track(request: Request) -> Response:
    return _json(await asyncio.to_thread(_engine(request).tracks.find, request.path_params["sha256"]))


async def _delete_track(request: Request) -> Response:
    await _engine(request).forget_track(request.path_params["sha256"])
    return Response(status_code=204)


async def _post_analysis(request: Request) -> Response:
    return _worked(await _engine(request).analyses.analyse(await _asked(request, AnalysisRequest, MAX_CRATE_REQUEST_BYTES)))


async def _get_analysis(request: Request) -> Response:
    return _json(await _engine(request).analyses.find(request.path_params["sha256"]))


async def _post_report(request: Request) -> Response:
    return _worked(await _engine(request).analyses.report(await _asked(request, ReportRequest, MAX_CRATE_REQUEST_BYTES)))


async def _post_similar(request: Request) -> Response:
    return _worked(await _engine(request).analyses.similar(await _asked(request, SimilarRequest, MAX_CRATE_REQUEST_BYTES)))


async def _post_evaluation(request: Request) -> Response:
    return _worked(await _engine(request).evaluations.evaluate(await _asked(request, EvaluationRequest, MAX_CRATE_REQUEST_BYTES)))


async def _post_finetune(request: Request) -> Response:
    return _json(await _engine(request).finetunes.submit(await _asked(request, FinetuneRequest, MAX_CRATE_REQUEST_BYTES)))


async def _get_finetune(request: Request) -> Response:
    return _json(_engine(request).finetunes.status(request.path_params["finetune_id"]))


async def _delete_finetune(request: Request) -> Response:
    await _engine(request).finetunes.cancel(request.path_params["finetune_id"])
    return Response(status_code=204)


async def _get_finetune_events(request: Request) -> Response:
    after = request.query_params.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) < 10):
        raise EngineError("bad_request", "'after' is the number of the last event that was heard: 0 or more.")
    lines = _engine(request).finetunes.events(request.path_params["finetune_id"], int(after))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


async def _get_finetune_file(request: Request) -> Response:
    data, media_type = await _engine(request).finetunes.file(request.path_params["finetune_id"], request.path_params["name"])
    return Response(data, media_type=media_type)


async def _get_checkpoints(request: Request) -> Response:
    return _json(Checkpoints(checkpoints=await _engine(request).checkpoints()))


async def _delete_checkpoint(request: Request) -> Response:
    await _engine(request).delete_checkpoint(request.path_params["checkpoint_id"])
    return Response(status_code=204)


async def _get_health(request: Request) -> Response:
    health = _engine(request).health()
    if not _allowed(request.headers, request.app.state.token):
        health = health.model_copy(update={"checkpoint": None, "device": "", "version": "", "versions": {}})
    return _json(health, status=200 if health.ready else 503)


async def _get_metrics(request: Request) -> Response:
    return Response(_engine(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _get_openapi(_request: Request) -> Response:
    return Response(json.dumps(document(), ensure_ascii=False), media_type="application/json")


class TakeResponse(Response):
    """A take's events as they come. A client that goes away ends the take, whether the server tells so at once or only on send."""

    def __init__(self, take: Take) -> None:
        super().__init__(media_type="application/x-ndjson", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._take = take

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listener = asyncio.create_task(self._cancel_when_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for line in self._take.lines():
                await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            log.info("take %s: its client is gone", self._take.id)
        finally:
            self._take.cancel()
            listener.cancel()

    async def _cancel_when_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._take.cancel()


class Guard:
    """Who may call: with a token, whoever sends it; without one, only who calls this machine by a loopback name.

    The latter keeps web pages out that reach 127.0.0.1 under a name of their own (DNS rebinding). ``/healthz`` is open, and says less.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            refusal: EngineError | None = None
            if self._token:
                if scope["path"] != "/healthz" and not _allowed(headers, self._token):
                    refusal = EngineError("unauthorized", "The engine wants its token: set ENGINE_TOKEN to the same value on both sides.")
            elif not is_loopback(re.sub(r":\d+$", "", headers.get("host", "localhost"))):
                refusal = EngineError(
                    "unauthorized", "An engine without a token answers only to 127.0.0.1 and localhost: set ENGINE_TOKEN."
                )
            if refusal is not None:
                await _refuse(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _allowed(headers: Headers, token: str) -> bool:
    """Starlette hands headers over as Latin-1, whatever the bytes meant: back to bytes with it."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return not token or (scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode()))


# Errors.


async def _on_engine_error(_request: Request, error: EngineError) -> Response:
    return _refuse(error)


async def _on_http_error(_request: Request, error: HTTPException) -> Response:
    message = {404: "There is nothing at this address.", 405: "This address doesn't take that method."}.get(error.status_code, error.detail)
    return _json(body_of(EngineError("bad_request", f"{message} GET /openapi.json lists what there is.")), status=error.status_code)


class LastResort:
    """What nobody foresaw: the log gets the traceback, the caller a sentence."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            log.info("%s %s: its client is gone", scope.get("method"), scope.get("path"))
        except Exception:
            log.exception("%s %s broke", scope.get("method"), scope.get("path"))
            if not begun:
                await _refuse(EngineError("internal", "Something broke in the engine. Its log says what."))(scope, receive, send)


def _refuse(error: EngineError) -> Response:
    body = body_of(error)
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))} if error.retry_after_s is not None else {}
    if body.code == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    return _json(body, status=HTTP_STATUS[body.code], headers=headers)


# Reading and writing.


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _worked(answer: Wire) -> Response:
    return _json(answer, status=202 if isinstance(answer, Working) else 200)


def _json(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(model.model_dump_json(), status_code=status, media_type="application/json", headers=headers)


async def _asked(request: Request, model: type[M], limit: int) -> M:
    """The request's body as what it should be. Raises EngineError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise EngineError("bad_request", "Send the request as JSON, with 'Content-Type: application/json'.")
    body = await _body(request, limit)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise EngineError("bad_request", explain(error, model)) from None


def _announced_length(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            await _drain(request)
            raise EngineError("too_large", f"The request is too big: at most {limit // 1024} KiB. Tracks go to PUT /v1/tracks/SHA256.")
    return bytes(body)


async def _drain(request: Request) -> None:
    """Reads what is still coming, within reason, so that the answer arrives."""
    read = 0
    with contextlib.suppress(ClientDisconnect, RuntimeError):
        async for piece in request.stream():
            read += len(piece)
            if read > DRAIN_BYTES:
                return
