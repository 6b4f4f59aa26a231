"""The gateway and REST as a client on the wire sees them, without discord.py in between."""

from __future__ import annotations

import json
import zlib
from typing import Any

import aiohttp
import discord

from bot.rehearsal.app import Stage
from bot.rehearsal.visitor import Visitor

INTENTS = discord.Intents(guilds=True, guild_messages=True, guild_reactions=True).value
BOT = {"Authorization": "Bot rehearsal-token"}


class Client:
    """Frames in and out; ``compressed`` reads one zlib stream for the whole connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, compressed: bool) -> None:
        self.socket = socket
        self._inflate = zlib.decompressobj() if compressed else None

    async def receive(self, event: str | None = None) -> dict[str, Any]:
        while True:
            message = await self.socket.receive(timeout=10)
            assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
            if self._inflate is not None:
                assert message.data.endswith(b"\x00\x00\xff\xff")
            frame = json.loads(self._inflate.decompress(message.data) if self._inflate is not None else message.data)
            if event is None or frame["t"] == event:
                return dict(frame)

    async def identify(self, intents: int = INTENTS) -> dict[str, Any]:
        assert (await self.receive())["op"] == 10
        await self.socket.send_json({"op": 2, "d": {"token": "rehearsal-token", "intents": intents}})
        return await self.receive("READY")


async def connect(stage: Stage, http: aiohttp.ClientSession, compressed: bool = False) -> Client:
    query = "?v=10&encoding=json" + ("&compress=zlib-stream" if compressed else "")
    return Client(await http.ws_connect(f"{stage.url}/gateway{query}"), compressed)


async def test_a_compressed_connection_from_hello_to_members(stage: Stage) -> None:
    async with aiohttp.ClientSession() as http:
        client = await connect(stage, http, compressed=True)
        ready = await client.identify()
        assert ready["s"] == 1 and ready["d"]["user"]["username"] == "techno-composer"
        assert ready["d"]["resume_gateway_url"] == f"{stage.url.replace('http', 'ws')}/gateway"
        guild = (await client.receive("GUILD_CREATE"))["d"]
        assert [member["user"]["username"] for member in guild["members"]] == ["techno-composer"]  # no members intent
        await client.socket.send_json({"op": 1, "d": 2})
        assert (await client.receive())["op"] == 11
        await client.socket.send_json({"op": 8, "d": {"guild_id": guild["id"], "query": "", "limit": 0, "nonce": "n"}})
        chunk = (await client.receive("GUILD_MEMBERS_CHUNK"))["d"]
        assert (len(chunk["members"]), chunk["nonce"]) == (4, "n")
        await client.socket.close()


async def test_intents_decide_what_is_told(stage: Stage, alice: Visitor) -> None:
    async with aiohttp.ClientSession() as http:
        client = await connect(stage, http)
        await client.identify(discord.Intents(guilds=True, guild_reactions=True).value)
        message = await alice.send("not for bots without the intent")
        await alice.react(message, "🔥")
        while (frame := await client.receive())["t"] != "MESSAGE_REACTION_ADD":
            assert frame["t"] != "MESSAGE_CREATE"
        assert frame["d"]["emoji"]["name"] == "🔥" and frame["d"]["message_author_id"] == alice.state["me"]["id"]


async def test_resume_gives_what_was_missed_once_and_in_order(stage: Stage, alice: Visitor) -> None:
    message = await alice.send("x")
    async with aiohttp.ClientSession() as http:
        client = await connect(stage, http)
        session = (await client.identify())["d"]["session_id"]
        seen = (await client.receive("GUILD_CREATE"))["s"]
        await stage.gateway.drop()
        for emoji in ("1️⃣", "2️⃣"):
            await alice.react(message, emoji)
        client = await connect(stage, http)
        await client.receive()
        await client.socket.send_json({"op": 6, "d": {"token": "rehearsal-token", "session_id": session, "seq": seen}})
        frames = [await client.receive() for _ in range(3)]
        assert [frame["t"] for frame in frames] == ["MESSAGE_REACTION_ADD", "MESSAGE_REACTION_ADD", "RESUMED"]
        assert [frame["s"] for frame in frames] == [seen + 1, seen + 2, seen + 3]
        await alice.react(message, "3️⃣")
        assert (await client.receive())["s"] == seen + 4


async def test_what_cannot_be_resumed_is_op_9(stage: Stage, alice: Visitor) -> None:
    async with aiohttp.ClientSession() as http:
        client = await connect(stage, http)
        session = (await client.identify())["d"]["session_id"]
        stage.gateway.sessions[session].events.clear()  # more was missed than is kept
        for asked in ({"session_id": session, "seq": 1}, {"session_id": "unknown", "seq": 1}):
            client = await connect(stage, http)
            await client.receive()
            await client.socket.send_json({"op": 6, "d": {"token": "rehearsal-token", **asked}})
            assert await client.receive() == {"op": 9, "d": False, "s": None, "t": None}


async def test_what_cannot_be_read_closes_the_connection_only(stage: Stage, alice: Visitor) -> None:
    async with aiohttp.ClientSession() as http:
        for frame in ("{", "[]", '{"op": 2, "d": {}}'):
            client = await connect(stage, http)
            await client.receive()
            await client.socket.send_str(frame)
            assert (await client.socket.receive(timeout=10)).data == 4002
        page = await http.ws_connect(f"{stage.url}/page/ws", headers={"Origin": stage.url})
        await page.send_str("[]")
        assert (await page.receive(timeout=10)).data == 1003
    assert (await alice.send("still here"))["content"] == "still here"


async def test_errors_have_discords_form(stage: Stage) -> None:
    async def ask(method: str, path: str, **how: Any) -> tuple[int, Any]:
        async with http.request(method, f"{stage.url}/api/v10{path}", headers=BOT, **how) as response:
            assert response.headers["Content-Type"] == "application/json"
            return response.status, await response.json()

    channel = next(iter(stage.backend.channels))
    async with aiohttp.ClientSession() as http:
        assert await ask("GET", "/channels/1") == (404, {"code": 10003, "message": "Unknown Channel"})
        assert (await ask("GET", "/no/such/route"))[0] == 501
        assert (await ask("POST", f"/channels/{channel}/messages", data=b"{"))[0] == 400
        assert (await ask("POST", f"/channels/{channel}/messages", json={"content": "x" * 2001}))[1]["code"] == 50035
        assert (await ask("POST", f"/webhooks/{stage.backend.application_id}/gone", json={"content": "x"}))[1]["code"] == 50027
        stage.rest.fail("GET", "/channels/1", status=429, retry_after_s=0.5)
        assert await ask("GET", "/channels/1") == (429, {"message": "You are being rate limited.", "retry_after": 0.5, "global": False})
        assert stage.rest.calls[-1] == ("GET", "/channels/1", 429)
