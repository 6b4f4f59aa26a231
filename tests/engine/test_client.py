"""The client against peers that are absent, silent, broken or something else entirely. Its happy path is in ``test_takes_over_http``."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from engine.api import AnalysisRequest, GenerateRequest, Heartbeat, Queued
from engine.client import EngineClient, EngineError, EngineUnreachable

REQUEST = GenerateRequest(take_id="t", kind="unconditional")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def peer(*parts: bytes, stay: bool = False) -> AsyncIterator[str]:
    """Something that listens, hears a request, answers with ``parts``, and hangs up, or stays silent. Its URL."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0)
        await reader.readexactly(length)
        for part in parts:
            writer.write(part)
            await writer.drain()
        if stay:
            await over.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        server.close()
        await server.wait_closed()


async def events_from(*parts: bytes, stay: bool = False, **options: Any) -> list[Any]:
    async with peer(*parts, stay=stay) as url, EngineClient(url, **options) as client:
        return [event async for event in client.generate(REQUEST)]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_nobody_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with EngineClient(url) as client:
        for call in (
            client.health(),
            client.checkpoints(),
            client.put_track(b"x"),
            client.forget_track("0" * 64),
            anext(client.generate(REQUEST)),
        ):
            with pytest.raises(EngineUnreachable) as caught:
                await call
            assert caught.value.code == "unreachable"
            assert caught.value.message == f"No engine answers at {url}. Is it running? (python -m engine serve)"
        with pytest.raises(EngineUnreachable):
            await client.wait_until_ready(0.0)


async def test_a_name_that_does_not_exist() -> None:
    async with EngineClient("http://engine.invalid") as client:
        with pytest.raises(EngineUnreachable, match="No engine answers"):
            await client.health()


async def test_a_connection_that_breaks_in_the_middle() -> None:
    event = chunk(b'{"event":"heartbeat"}\n')
    for parts in ((OK, event), (OK, event, b"0\r\n\r\n"), (OK, chunk(b'{"event":"do')), (OK, chunk(b'{"event":"do'), b"0\r\n\r\n"), (b"",)):
        with pytest.raises(EngineUnreachable, match="ask again"):
            await events_from(*parts)


async def test_silence_is_noticed() -> None:
    for parts in ((), (OK,), (OK, chunk(b'{"event":"heartbeat"}\n'))):
        with pytest.raises(EngineUnreachable, match="has gone silent"):
            await events_from(*parts, stay=True, silence_s=0.1)


async def test_lines_come_in_any_pieces() -> None:
    lines = (
        b'{"event":"queued","position":3,"eta_s":1.5}\n{"event":"heartbeat"}\n'
        + b'{"event":"error","code":"internal","message":"%b"}\n' % (b"x" * 3_000_000)
    )
    pieces = [chunk(lines[at : at + 1]) for at in range(60)] + [chunk(lines[60:])]
    heard: list[Any] = []
    async with peer(OK, *pieces, b"0\r\n\r\n") as url, EngineClient(url) as client:
        with pytest.raises(EngineError) as caught:
            async for event in client.generate(REQUEST):
                heard.append(event)
    assert heard == [Queued(position=3, eta_s=1.5), Heartbeat()]
    assert len(caught.value.message) == 3_000_000


async def test_another_version_of_the_protocol() -> None:
    with pytest.raises(EngineUnreachable, match="another version"):
        await events_from(OK, chunk(b'{"event":"sing"}\n'), b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "code"), [("502 Bad Gateway", "not_ready"), ("503 Busy", "not_ready"), ("500 Oh", "internal"), ("404 Not Found", "internal")]
)
async def test_somebody_elses_error_page(status: str, code: str) -> None:
    page = b"<html>nginx</html>"
    answer = b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status.encode(), len(page), page)
    with pytest.raises(EngineError) as caught:
        await events_from(answer)
    assert caught.value.code == code
    assert f"HTTP {status[:3]}" in caught.value.message


async def test_a_redirect_is_not_followed() -> None:
    """The token goes to the address that was given, and to no other."""
    async with peer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as elsewhere:
        answer = b"HTTP/1.1 307 Over there\r\nLocation: %b/healthz\r\nContent-Length: 0\r\n\r\n" % elsewhere.encode()
        async with peer(answer) as url, EngineClient(url, "secret") as client:
            with pytest.raises(EngineError, match="HTTP 307"):
                await client.health()


async def test_something_else_that_speaks_http() -> None:
    async with peer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as url, EngineClient(url) as client:
        with pytest.raises(EngineUnreachable, match="is no engine of this version"):
            await client.health()


async def test_a_session_that_was_lent_stays_open() -> None:
    async with aiohttp.ClientSession() as session:
        async with EngineClient("http://127.0.0.1:1", session=session):
            pass
        assert not session.closed


async def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        EngineClient("engine:8060")
    with pytest.raises(RuntimeError, match="async with"):
        await EngineClient("http://127.0.0.1:1").health()


async def test_an_engine_that_never_has_what_it_was_sent() -> None:
    """A track that is uploaded and still unknown is an error, not another upload."""
    track = hashlib.sha256(b"track").hexdigest()
    uploads = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal uploads
        if request.method == "PUT":
            uploads += 1
            facts = {"sha256": track, "duration_s": 1, "sample_rate": 44100, "channels": 1, "codec": "mp3", "peak_dbfs": -1}
            return web.json_response(facts)
        return web.json_response({"code": "unknown_track", "message": "Upload it first.", "tracks": [track]}, status=404)

    async def bytes_of(_sha256: str) -> bytes:
        return b"track"

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with EngineClient(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            with pytest.raises(EngineError, match="Upload it first") as caught:
                await client.analyse(AnalysisRequest(track=track), bytes_of)
        assert (caught.value.tracks, uploads) == ((track,), 1)
    finally:
        await runner.cleanup()
