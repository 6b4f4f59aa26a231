"""Other web sites in the same browser, and other machines, are kept out."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from bot.rehearsal.app import Stage, StageOptions
from bot.rehearsal.visitor import File, Visitor


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::"])
def test_only_loopback(host: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loopback only"):
        Stage(StageOptions(data=tmp_path, host=host))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", None])
async def test_a_foreign_origin_may_not_act(stage: Stage, origin: str | None) -> None:
    headers = {"Origin": origin} if origin else {}
    async with aiohttp.ClientSession(headers=headers) as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{stage.url}/page/ws")
        assert refused.value.status == 403
        async with http.post(f"{stage.url}/page/uploads", data=b"x") as response:
            assert response.status == 403
        if origin:  # a page elsewhere that knows the token of a rehearsal
            bot = {"Authorization": "Bot rehearsal-token"}
            async with http.get(f"{stage.url}/api/v10/users/@me", headers=bot) as response:
                assert response.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await http.ws_connect(f"{stage.url}/gateway")


async def test_a_name_that_was_bent_to_loopback_is_refused(stage: Stage) -> None:
    async with aiohttp.ClientSession() as http:
        for host, status in ((f"evil.example:{stage.port}", 421), (f"localhost:{stage.port}", 200)):
            async with http.get(f"{stage.url}/healthz", headers={"Host": host}) as response:
                assert response.status == status


async def test_the_page_is_served_with_a_strict_policy_and_uncached(stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "page"
    (page / "parts").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>x</title>")
    (page / "parts" / "app.js").write_text("export {}")
    (page / "secret.py").write_text("x")
    (tmp_path / "outside.html").write_text("x")
    monkeypatch.setattr("bot.rehearsal.app.PAGE_FOLDER", page)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{stage.url}/") as response:
            assert response.headers["Content-Type"] == "text/html; charset=utf-8"
            assert response.headers["Cache-Control"] == "no-store"
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        async with http.get(f"{stage.url}/parts/app.js") as response:
            assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
        for path in ("secret.py", "parts", "missing.js", "%2e%2e/outside.html", "..%2foutside.html"):
            async with http.get(f"{stage.url}/{path}") as response:
                assert response.status == 404, path


async def test_what_members_upload_is_never_run(stage: Stage, alice: Visitor) -> None:
    message = await alice.send("", File("x.html", b"<script>1</script>"), File("x.svg", b"<svg/>"), File("x.mp3", b"0123456789"))
    page, drawing, music = message["attachments"]
    async with aiohttp.ClientSession() as http:
        for attachment in (page, drawing):
            async with http.get(stage.url + attachment["url"]) as response:
                assert response.headers["Content-Disposition"].startswith("attachment")
                assert response.headers["Content-Type"] == "application/octet-stream"
                assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
                assert response.headers["X-Content-Type-Options"] == "nosniff"
        async with http.get(stage.url + music["url"], headers={"Range": "bytes=2-4"}) as response:
            assert (response.status, await response.read()) == (206, b"234")
            assert response.headers["Content-Disposition"].startswith("inline")
        async with http.get(stage.url + music["url"].replace("x.mp3", "x.html")) as response:
            assert response.status == 404


async def test_the_bot_needs_its_token(stage: Stage) -> None:
    async with aiohttp.ClientSession() as http:
        for header, status in ({"Authorization": "Bot wrong"}, 401), ({}, 401), ({"Authorization": "Bot rehearsal-token"}, 200):
            async with http.get(f"{stage.url}/api/v10/users/@me", headers=header) as response:
                assert response.status == status
        async with http.ws_connect(f"{stage.url}/gateway") as socket:
            assert (await socket.receive_json())["op"] == 10
            await socket.send_json({"op": 2, "d": {"token": "wrong", "intents": 1}})
            assert (await socket.receive()).data == 4004
        async with http.ws_connect(f"{stage.url}/gateway") as socket:
            await socket.receive_json()
            await socket.send_json({"op": 2, "d": {"token": "rehearsal-token", "intents": 1 << 15}})  # MESSAGE_CONTENT
            assert (await socket.receive()).data == 4014
