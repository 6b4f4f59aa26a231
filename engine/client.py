"""Ask an engine for music over HTTP. aiohttp only: no torch, no server code.

    async with EngineClient("http://127.0.0.1:8060") as engine:
        async with aclosing(engine.generate(GenerateRequest(take_id="1", kind="text", prompt="techno"))) as events:
            async for event in events: ...    # Queued* → Progress* (Heartbeat anywhere) → Done

Every failure is an ``EngineError`` with words for a person; an engine that is not there, dies or falls silent is an ``EngineUnreachable``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from engine.api import (
    HEARTBEAT_S,
    MAX_TRACK_BYTES,
    Analysis,
    AnalysisRequest,
    CheckpointInfo,
    Checkpoints,
    Done,
    ErrorBody,
    ErrorCode,
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
    Wire,
    Working,
    event_adapter,
)
from engine.api.evaluation import EvaluationReport, EvaluationRequest
from engine.api.finetunes import LAST_EVENTS, FinetuneEvent, FinetuneRequest, FinetuneStatus, ReportFile, finetune_event_adapter
from engine.errors import EngineError, EngineUnreachable

__all__ = ["EngineClient", "EngineError", "EngineUnreachable"]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

BytesOf = Callable[[str], Awaitable[bytes]]
"""The bytes of a track by their SHA-256, for an engine that doesn't have them (any more)."""
Told = Callable[[Working], None]

SILENCE_S = 10 * HEARTBEAT_S
"""An engine that says nothing for so long in the middle of a take is taken for dead, in seconds."""
UPLOAD_S = 300.0
"""Longest wait for the answer to an upload: a long track is decoded once to see what it is."""
LARGE_LINE = 256 * 1024
"""Lines above this (the clip itself) are parsed in another thread: base64 and hashing take their time."""


class EngineClient:
    """One engine at one URL. Use as an async context manager; a ``session`` that is passed in stays open."""

    def __init__(self, url: str, token: str = "", session: aiohttp.ClientSession | None = None, *, silence_s: float = SILENCE_S) -> None:
        """Raises ValueError when ``url`` is no http or https URL."""
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"the engine's URL must begin with http:// or https://, and is {url!r}")
        self._url = url.rstrip("/")
        self._headers: Mapping[str, str] = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = session
        self._own_session = session is None
        self._silence_s = silence_s

    async def __aenter__(self) -> Self:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._own_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def health(self) -> Health:
        """Also of an engine that still loads (``ready`` is False then)."""
        _status, body = await self._call("GET", "/healthz", accept=(200, 503))
        return self._read(Health, body)

    async def wait_until_ready(self, timeout_s: float) -> Health:
        """Asks until the engine is ready. Raises EngineUnreachable or EngineError 'not_ready' when that takes longer than ``timeout_s``."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            problem = EngineError("not_ready", "The engine is still loading its model: ask again in a moment.", retry_after_s=5.0)
            try:
                health = await self.health()
                if health.ready:
                    return health
            except EngineUnreachable as error:
                problem = error
            if asyncio.get_running_loop().time() >= deadline:
                raise problem
            await asyncio.sleep(0.1)

    async def checkpoints(self) -> list[CheckpointInfo]:
        """The default is first."""
        _status, body = await self._call("GET", "/v1/checkpoints")
        return self._read(Checkpoints, body).checkpoints

    async def delete_checkpoint(self, checkpoint_id: str) -> bool:
        """Deletes a checkpoint of the engine's folder; takes that run on it end as they would have. False: there is none by that id.

        Raises EngineError 'bad_request' for the default, the embedded one, and one that adapters stand on.
        """
        status, _body = await self._call("DELETE", f"/v1/checkpoints/{quote(checkpoint_id, safe='')}", accept=(204, 404))
        return status == 204

    async def put_track(self, data: bytes) -> TrackInfo:
        """Uploads ``data`` unless the engine has it. Raises EngineError 'bad_audio' or 'too_large'."""
        if len(data) > MAX_TRACK_BYTES:
            raise EngineError(
                "too_large",
                f"The file is too big: {len(data) / 2**20:.0f} MiB, and {MAX_TRACK_BYTES // 2**20} MiB is the most. Export it as MP3.",
            )
        path = f"/v1/tracks/{hashlib.sha256(data).hexdigest()}"
        status, body = await self._call("GET", path, accept=(200, 404))
        if status == 404:
            _status, body = await self._call("PUT", path, data=data, silence_s=UPLOAD_S)
        return self._read(TrackInfo, body)

    async def forget_track(self, sha256: str) -> None:
        """Deletes the bytes and all that was made from them on the engine; fine if it never had them."""
        await self._call("DELETE", f"/v1/tracks/{sha256}", accept=(204, 404))

    async def analyse(self, request: AnalysisRequest, bytes_of: BytesOf, told: Told | None = None) -> Analysis:
        """What is heard in a track, as long as that takes. Raises EngineError."""
        return await self._work("/v1/analyses", request, Analysis, bytes_of, told)

    async def report(self, request: ReportRequest, bytes_of: BytesOf, told: Told | None = None) -> Report:
        """What a crate is as a dataset. Raises EngineError."""
        return await self._work("/v1/reports", request, Report, bytes_of, told)

    async def similar(self, request: SimilarRequest, bytes_of: BytesOf, told: Told | None = None) -> Similar:
        """Which candidates go with a track. Raises EngineError."""
        return await self._work("/v1/similar", request, Similar, bytes_of, told)

    async def evaluate(self, request: EvaluationRequest, bytes_of: BytesOf, told: Told | None = None) -> EvaluationReport:
        """How near clips are to real tracks, as long as that takes. Raises EngineError, also for one file that can't be read."""
        return await self._work("/v1/evaluations", request, EvaluationReport, bytes_of, told)

    async def start_finetune(self, request: FinetuneRequest, bytes_of: BytesOf) -> FinetuneStatus:
        """Begins a job, after uploading the tracks that the engine lacks. Sent again with the same id and body, it finds the same job.

        Raises EngineError: 'bad_request' where the id is another job's, 'unknown_checkpoint', 'bad_audio', 'queue_full'.
        """
        return await self._work("/v1/finetunes", request, FinetuneStatus, bytes_of, None)

    async def finetune(self, finetune_id: str) -> FinetuneStatus:
        """Where a job is, also one that is over. Raises EngineError 'unknown_finetune'."""
        _status, body = await self._call("GET", f"/v1/finetunes/{finetune_id}")
        return self._read(FinetuneStatus, body)

    async def finetune_events(self, finetune_id: str, after: int = 0) -> AsyncGenerator[FinetuneEvent | Heartbeat, None]:
        """Events ``after + 1``, ``after + 2`` …, as they come; ends after the job's last (``LAST_EVENTS``). Leaving early ends nothing.

        Raises EngineError 'unknown_finetune', and EngineUnreachable where the engine goes away: ask again after the last number heard.
        """
        async with contextlib.aclosing(self._stream("GET", f"/v1/finetunes/{finetune_id}/events?after={after}")) as lines:
            async for line in lines:
                event = await _parsed(finetune_event_adapter, line)
                yield event
                if isinstance(event, LAST_EVENTS):
                    return
        if not (await self.finetune(finetune_id)).over:  # of one that is over there may be nothing more to hear
            raise EngineUnreachable("The engine went away in the middle of a finetune: ask again, and it goes on.")

    async def cancel_finetune(self, finetune_id: str) -> bool:
        """Cancels a job; one that is over is forgotten, but not its checkpoint. False: there is none by that id."""
        status, _body = await self._call("DELETE", f"/v1/finetunes/{finetune_id}", accept=(204, 404))
        return status == 204

    async def finetune_file(self, finetune_id: str, file: ReportFile) -> bytes:
        """A picture or clip of a report card, checked. Raises EngineError 'unknown_finetune' where its checkpoint is gone."""
        _status, body = await self._call("GET", f"/v1/finetunes/{finetune_id}/files/{file.name}")
        if hashlib.sha256(body).hexdigest() != file.sha256:
            raise EngineUnreachable(f"{file.name} arrived damaged: ask again.")
        return body

    async def _work(self, path: str, request: Wire, model: type[M], bytes_of: BytesOf, told: Told | None) -> M:
        """Asks until it is done: ``told`` hears how far it is, tracks that the engine lacks are uploaded on the way."""
        data = request.model_dump_json().encode()
        uploaded: set[str] = set()
        while True:
            try:
                status, body = await self._call("POST", path, data=data, accept=(200, 202), media_type="application/json")
            except EngineError as error:
                missing = error.tracks
                if error.code != "unknown_track" or not missing or uploaded.issuperset(missing):
                    raise
                for sha256 in missing:
                    await self.put_track(await bytes_of(sha256))
                    uploaded.add(sha256)
                continue
            if status == 200:
                return await asyncio.to_thread(self._read, model, body)
            if told is not None:
                told(self._read(Working, body))

    async def cancel(self, take_id: str) -> bool:
        """Ends a take that waits or runs (from any connection). False: there is none by that id."""
        status, _body = await self._call("DELETE", f"/v1/takes/{take_id}", accept=(204, 404))
        return status == 204

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Queued | Progress | Heartbeat | Done, None]:
        """The take's events; ``Done`` is the last. Closing the iterator (``aclose``) cancels the take.

        Raises EngineError where the engine refuses or fails the take, EngineUnreachable where it is not there, dies or falls silent.
        """
        async with contextlib.aclosing(self._stream("POST", "/v1/takes", request.model_dump_json())) as lines:
            async for line in lines:
                event = await _parsed(event_adapter, line)
                if isinstance(event, Failed):
                    raise EngineError(event.code, event.message)
                yield event
                if isinstance(event, Done):
                    return
        raise EngineUnreachable("The engine went away in the middle of the take: ask again.")

    async def _stream(self, method: str, path: str, body: str | None = None) -> AsyncGenerator[bytes, None]:
        """An answer of NDJSON, line by line. Raises as ``_call``."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=self._silence_s)
        headers = {**self._headers, "Content-Type": "application/json"} if body is not None else self._headers
        try:
            async with self._open.request(
                method, self._url + path, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise _refused(response.status, await response.read())
                async for line in _lines(response.content):
                    yield line
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use EngineClient as 'async with EngineClient(url) as engine'")
        return self._session

    async def _call(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        accept: tuple[int, ...] = (200, 204),
        silence_s: float | None = None,
        media_type: str | None = None,
    ) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence_s or self._silence_s)
        try:
            async with self._open.request(
                method,
                self._url + path,
                data=None if data is None else io.BytesIO(data),
                headers={**self._headers, "Content-Type": media_type} if media_type else self._headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        if response.status not in accept:
            raise _refused(response.status, body)
        return response.status, body

    def _unreachable(self, error: Exception) -> EngineUnreachable:
        if isinstance(error, aiohttp.ClientConnectorError):
            return EngineUnreachable(f"No engine answers at {self._url}. Is it running? (python -m engine serve)")
        if isinstance(error, TimeoutError):
            return EngineUnreachable(f"The engine at {self._url} has gone silent: look at its log, or start it again.")
        return EngineUnreachable(f"The connection to the engine at {self._url} broke: ask again.")

    def _read(self, model: type[M], body: bytes) -> M:
        try:
            return model.model_validate_json(body)
        except ValidationError:
            raise EngineUnreachable(f"What answers at {self._url} is no engine of this version: check the URL.") from None


def _refused(status: int, body: bytes) -> EngineError:
    """The error of an answer that is not 2xx; a proxy's own pages are told by status."""
    try:
        error = ErrorBody.model_validate_json(body)
    except ValidationError:
        code: ErrorCode = "not_ready" if status in (502, 503, 504) else "internal"
        return EngineError(code, f"The engine's address answered with HTTP {status}: check the URL, or ask again later.")
    return EngineError(error.code, error.message, error.retry_after_s, tracks=error.tracks)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length (``readline`` refuses those above its buffer). A last line without its end is dropped: it is half an event."""
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            yield b"".join([*parts, piece])
            parts = []
        if rest:
            parts.append(rest)


async def _parsed(adapter: TypeAdapter[T], line: bytes) -> T:
    try:
        if len(line) > LARGE_LINE:
            return await asyncio.to_thread(adapter.validate_json, line)
        return adapter.validate_json(line)
    except ValidationError:
        raise EngineUnreachable("The engine speaks another version of the protocol: update both to the same.") from None
