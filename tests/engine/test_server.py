"""The HTTP side: uploads good and bad, who may call, a full queue, health, metrics, the description of itself."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.api import ErrorBody, GenerateRequest, Progress, TrackInfo
from engine.client import EngineClient, EngineError

Files = Callable[[str], Path]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def http(shared_engine: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(shared_engine.url) as session:
        yield session


async def refusal(response: aiohttp.ClientResponse) -> ErrorBody:
    return ErrorBody.model_validate_json(await response.read())


# Tracks.


async def test_a_track_is_uploaded_once_asked_for_and_forgotten(client: EngineClient, http: aiohttp.ClientSession, files: Files) -> None:
    data = files("track.mp3").read_bytes()
    path = f"/v1/tracks/{hashlib.sha256(data).hexdigest()}"
    info = await client.put_track(data)
    assert (info.sample_rate, info.channels, info.codec) == (44100, 2, "mp3")
    assert info.duration_s == pytest.approx(12, abs=0.1)
    assert info.peak_dbfs > -6
    async with http.head(path) as head, http.get(path) as get:
        assert (head.status, get.status) == (200, 200)
        assert TrackInfo.model_validate_json(await get.read()) == info
    assert await client.put_track(data) == info
    await client.forget_track(info.sha256)
    async with http.head(path) as head, http.get(path) as get:
        assert (head.status, (await refusal(get)).code) == (404, "unknown_track")
    await client.forget_track(info.sha256)  # forgotten is forgotten


async def test_forgetting_leaves_nothing_behind(client: EngineClient, shared_engine: Any, files: Files) -> None:
    info = await client.put_track(files("phone.wav").read_bytes())
    folder = shared_engine.settings.data / "tracks"
    assert list(folder.rglob(f"*{info.sha256}*"))
    await client.forget_track(info.sha256)
    assert not list(folder.rglob(f"*{info.sha256}*"))
    assert not list((folder / "incoming").iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mute_video.mp4", "video without sound"),
        ("corrupt.flac", "can't be played"),
        ("truncated.m4a", "incomplete"),
        ("text.mp3", "text"),
        ("empty.mp3", "empty"),
        ("three_hours.flac", "3 h long, and at most 2 h can be used"),
        ("playlist.m3u8", "playlist"),
    ],
)
async def test_what_is_no_usable_track(client: EngineClient, shared_engine: Any, files: Files, name: str, words: str) -> None:
    data = files(name).read_bytes()
    with pytest.raises(EngineError) as caught:
        await client.put_track(data)
    assert caught.value.code == "bad_audio"
    assert words in caught.value.message
    assert not list((shared_engine.settings.data / "tracks").rglob(f"*{hashlib.sha256(data).hexdigest()}*"))


async def test_fifty_megabytes(client: EngineClient, http: aiohttp.ClientSession) -> None:
    with pytest.raises(EngineError, match="too big: 50 MiB, and 40 MiB is the most") as caught:
        await client.put_track(bytes(50 * 2**20))
    assert caught.value.code == "too_large"

    async def pieces() -> AsyncIterator[bytes]:  # no Content-Length: found out on the way
        for _ in range(50):
            yield bytes(2**20)

    for data in (pieces(), io.BytesIO(bytes(50 * 2**20))):
        async with http.put(f"/v1/tracks/{'0' * 64}", data=data) as response:
            assert response.status == 413
            assert (await refusal(response)).message.startswith("The file is too big: at most 40 MiB can be used.")


async def test_bytes_that_are_not_what_their_address_says(http: aiohttp.ClientSession) -> None:
    found = hashlib.sha256(b"something").hexdigest()
    async with http.put(f"/v1/tracks/{'0' * 64}", data=b"something") as response:
        assert response.status == 422
        assert (
            await refusal(response)
        ).message == f"The upload is damaged or incomplete: the SHA-256 of what arrived is {found}. Send it again."


@pytest.mark.parametrize("name", ["x", "..%2f..%2fetc%2fpasswd", "A" * 64, "0" * 63])
async def test_names_that_are_no_hashes(http: aiohttp.ClientSession, name: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        async with http.request(method, f"/v1/tracks/{name}") as response:
            assert response.status in (404, 422)
            assert (await refusal(response)).code == "bad_request"


# Requests.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": ""}, "A text take needs a prompt: say what it should sound like."),
        ({"prompt": "x" * 4000}, "The prompt has 4,000 characters and at most 1,000 fit: shorten it."),
        ({"seconds": 0}, "Seconds must be from 1 to 240, not 0."),
        ({"seconds": -1}, "Seconds must be from 1 to 240, not -1."),
        ({"seconds": 10_000}, "Seconds must be from 1 to 240, not 10000."),
        ({"second": 10}, "There is no 'second' to set; is 'seconds' meant?"),
    ],
)
async def test_bad_requests_are_told_in_words(http: aiohttp.ClientSession, change: dict[str, Any], words: str) -> None:
    async with http.post("/v1/takes", json={"take_id": "1", "kind": "text", "prompt": "techno"} | change) as response:
        assert response.status == 422
        assert await refusal(response) == ErrorBody(code="bad_request", message=words)


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{}", {"Content-Type": "text/plain"}, 422, "Send the request as JSON"),
        (b"not json", JSON, 422, "The request is not valid JSON in UTF-8."),
        (b'{"take_id":"1","kind":"text","prompt":"\\ud800"}', JSON, 422, "The request is not valid JSON in UTF-8."),
        (b" " * 100_000, JSON, 413, "The request is too big: at most 64 KiB."),
    ],
)
async def test_bodies_that_are_no_requests(
    http: aiohttp.ClientSession, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    async with http.post("/v1/takes", data=body, headers=headers) as response:
        assert response.status == status
        assert (await refusal(response)).message.startswith(words)


@pytest.mark.parametrize("prompt", ["🔥🎛️🖤", "a\x00b", "техно", "<script>alert(1)</script>", "—" * 1000])
async def test_odd_prompts_play(client: EngineClient, prompt: str) -> None:
    request = GenerateRequest(take_id="odd", kind="text", prompt=prompt, seconds=1.0, seed=1)
    assert [event async for event in client.generate(request)][-1].prompt == prompt  # type: ignore[union-attr]


async def test_addresses_that_are_not_there(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/nothing") as missing, http.get("/v1/takes") as method:
        assert (missing.status, method.status) == (404, 405)
        assert (await refusal(missing)).message == "There is nothing at this address. GET /openapi.json lists what there is."
        assert (await refusal(method)).message == "This address doesn't take that method. GET /openapi.json lists what there is."


async def test_what_nobody_foresaw_is_told_without_a_traceback(start_engine: Any, files: Files, caplog: pytest.LogCaptureFixture) -> None:
    engine = start_engine()
    shutil.rmtree(engine.settings.data)  # the disk is gone
    async with EngineClient(engine.url) as client:
        with pytest.raises(EngineError) as caught:
            await client.put_track(files("track.mp3").read_bytes())
    assert (caught.value.code, caught.value.message) == ("internal", "Something broke in the engine. Its log says what.")
    assert "FileNotFoundError" in caplog.text


# Who may call.


@pytest.fixture(scope="session")
def guarded_engine(start_engine: Any) -> Any:
    """One take at a time, no queue, a token."""
    return start_engine(token="open sesame ✓", batch=1, queue=0)


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer ", "Basic open sesame ✓", "open sesame ✓"])
async def test_without_the_token_nothing_but_health(guarded_engine: Any, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with aiohttp.ClientSession(guarded_engine.url, headers=headers) as session:
        for method, path in (("POST", "/v1/takes"), ("PUT", f"/v1/tracks/{'0' * 64}"), ("GET", "/v1/checkpoints"), ("GET", "/metrics")):
            async with session.request(method, path) as response:
                assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
                assert (await refusal(response)).message == "The engine wants its token: set ENGINE_TOKEN to the same value on both sides."
        async with session.get("/healthz") as response:
            health = await response.json()
            assert (response.status, health["ready"], health["checkpoint"], health["versions"]) == (200, True, None, {})


async def test_with_the_token_all_is_open(guarded_engine: Any) -> None:
    async with EngineClient(guarded_engine.url, "open sesame ✓") as client:
        assert (await client.health()).checkpoint == "checkpoint"
        assert (await client.checkpoints())[0].id == "checkpoint"
    async with EngineClient(guarded_engine.url, "wrong") as client:
        with pytest.raises(EngineError, match="wants its token") as caught:
            await client.checkpoints()
        assert caught.value.code == "unauthorized"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
async def test_without_a_token_only_this_machine_by_its_own_name(http: aiohttp.ClientSession, host: str) -> None:
    """A page that makes its own name point to 127.0.0.1 gets nowhere."""
    async with http.get("/v1/checkpoints", headers={"Host": host}) as response:
        assert response.status == 401
        assert (await refusal(response)).code == "unauthorized"


# Busy.


async def test_a_full_queue_says_when_to_come_back(guarded_engine: Any) -> None:
    async with EngineClient(guarded_engine.url, "open sesame ✓") as client:
        request = GenerateRequest(take_id="long", kind="text", prompt="techno", seconds=240)
        async with aclosing(client.generate(request)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    break
            with pytest.raises(EngineError, match="The engine is busy: 1 takes run and 0 wait") as caught:
                await anext(client.generate(request.model_copy(update={"take_id": "one-too-many"})))
            assert caught.value.code == "queue_full"
            assert caught.value.retry_after_s is not None
            assert caught.value.retry_after_s >= 1
            headers = {"Authorization": "Bearer open sesame ✓"} | JSON
            body = request.model_copy(update={"take_id": "3"}).model_dump_json()
            async with (
                aiohttp.ClientSession(guarded_engine.url, headers=headers) as session,
                session.post("/v1/takes", data=body) as response,
            ):
                assert response.status == 503
                assert int(response.headers["Retry-After"]) >= 1


# Watching.


async def test_health_says_what_runs(client: EngineClient) -> None:
    health = await client.health()
    assert (health.ready, health.backend, health.device, health.checkpoint) == (True, "native", "cpu", "checkpoint")
    assert {"python", "torch", "transformers"} <= set(health.versions)


async def test_metrics_count_takes_by_outcome(client: EngineClient, http: aiohttp.ClientSession) -> None:
    async def read() -> dict[str, float]:
        async with http.get("/metrics") as response:
            assert response.content_type == "text/plain"
            return {name: float(value) for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", await response.text(), flags=re.M)}

    before = await read()
    request = GenerateRequest(take_id="m", kind="unconditional", seconds=2.0)
    _events = [event async for event in client.generate(request)]
    with pytest.raises(EngineError):
        await anext(client.generate(request.model_copy(update={"checkpoint": "nowhere"})))
    after = await read()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown('engine_takes_total{kind="unconditional",outcome="done"}') == 1
    assert grown('engine_takes_total{kind="unconditional",outcome="unknown_checkpoint"}') == 1
    assert grown("engine_frames_total") == 100
    assert grown("engine_audio_seconds_total") == pytest.approx(2.0)
    assert grown("engine_take_seconds_count") == grown("engine_generate_seconds_count") == 1
    assert (after["engine_ready"], after["engine_running"], after["engine_queue"]) == (1, 0, 0)
    assert after["engine_frames_per_second"] > 0


async def test_openapi_describes_every_route_and_no_other(shared_engine: Any, http: aiohttp.ClientSession) -> None:
    async with http.get("/openapi.json") as response:
        described = await response.json()
    offered = {(method, route.path) for route in shared_engine.app.routes for method in route.methods}
    # Starlette adds HEAD to every GET; of a track it is offered
    offered -= {("HEAD", path) for _method, path in offered if path != "/v1/tracks/{sha256}"}
    assert {(method.upper(), path) for path, methods in described["paths"].items() for method in methods} == offered
    schemas = described["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert references <= set(schemas)
    assert set(schemas["GenerateRequest"]["properties"]) == set(GenerateRequest.model_fields)
    assert "prompt" not in schemas["GenerateRequest"].get("required", [])
    events = described["paths"]["/v1/takes"]["post"]["responses"]["200"]["content"]["application/x-ndjson"]["schema"]["oneOf"]
    assert [event["$ref"].rpartition("/")[2] for event in events] == ["Queued", "Progress", "Heartbeat", "Done", "Failed"]


async def test_more_at_once_than_there_is_room_for(client: EngineClient) -> None:
    """Two run and sixteen wait: what is over that is refused, and all others end well."""

    async def play(number: int) -> str:
        request = GenerateRequest(take_id=f"n{number}", kind="unconditional", seconds=1.0, seed=number)
        try:
            return [event.event async for event in client.generate(request)][-1]
        except EngineError as error:
            return str(error.code)

    outcomes = await asyncio.gather(*(play(number) for number in range(20)))
    assert set(outcomes) <= {"done", "queue_full"}
    assert outcomes.count("done") >= 18
