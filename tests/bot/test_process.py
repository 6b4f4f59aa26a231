"""``python -m bot`` as a process: what it says, and how it ends, when it can't run. And that it needs no torch."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from bot.settings import BotSettings

NOBODY = {"DISCORD_API_URL": "http://127.0.0.1:9/api/v10", "DISCORD_GATEWAY_URL": "ws://127.0.0.1:9/"}


def run(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DISCORD_", "BOT_", "ENGINE_"))}
    environment |= {"DISCORD_TOKEN": "some-token", "BOT_DATA": str(folder / "data"), **NOBODY, **settings}
    return subprocess.run(
        [sys.executable, "-m", "bot"], env=environment, cwd=folder, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.fixture
async def refusing_discord() -> AsyncIterator[str]:
    """A Discord that knows no token."""

    async def unauthorized(_request: web.Request) -> web.Response:
        response = web.json_response({"message": "401: Unauthorized", "code": 0}, status=401)
        response.headers["Content-Type"] = "application/json"
        return response

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", unauthorized)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/v10"
    await runner.cleanup()


def test_without_a_token_it_says_where_to_get_one(tmp_path: Path) -> None:
    ended = run(tmp_path, DISCORD_TOKEN=" ")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "DISCORD_TOKEN is empty: put the bot's token" in ended.stderr


async def test_a_wrong_token(tmp_path: Path, refusing_discord: str) -> None:
    import asyncio

    ended = await asyncio.to_thread(run, tmp_path, DISCORD_API_URL=refusing_discord)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "Discord refused DISCORD_TOKEN" in ended.stderr and "some-token" not in ended.stderr


def test_an_unreachable_discord_and_a_newer_database(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "Discord can't be reached at http://127.0.0.1:9/api/v10" in ended.stderr

    with sqlite3.connect(tmp_path / "data" / "composer.sqlite3") as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    ended = run(tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "schema 999" in ended.stderr and "newer version" in ended.stderr


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("discord_api_url", "http://example.org/api", "must be https:// (the token would travel unencrypted)"),
        ("discord_api_url", "ftp://127.0.0.1/", "must be a https:// address"),
        ("discord_api_url", "https://user:secret@example.org/", "must be a plain address"),
        ("discord_gateway_url", "ws://example.org/", "must be wss://"),
        ("discord_gateway_url", "nonsense", "must be a wss:// address"),
        ("engine_url", "127.0.0.1:8060", "must be a https:// address"),
        ("bot_timezone", "Mars/Olympus", "must be a name of the time zone database"),
        ("bot_backup_at", "25:00", "valid time format"),
    ],
)
def test_settings_that_are_wrong_say_what_would_be_right(name: str, value: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BotSettings.read(_env_file=None, **{name: value})
    assert words in str(caught.value)


def test_loopback_may_go_unencrypted_and_the_token_is_no_part_of_the_settings_text() -> None:
    settings = BotSettings.read(
        _env_file=None,
        discord_token="secret",
        discord_api_url="http://[::1]:8070/api/v10/",
        discord_gateway_url="ws://localhost:8070/gateway",
    )
    assert settings.discord_api_url == "http://[::1]:8070/api/v10"
    assert "secret" not in repr(settings)


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in BotSettings.model_fields.values())


def test_the_bot_and_the_engines_client_import_without_torch(tmp_path: Path) -> None:
    blocked = ["torch", "torchaudio", "transformers", "numpy.testing", "scipy", "soundfile", "pydub", "pyloudnorm", "uvicorn", "starlette"]
    script = (
        "import sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        "import bot.__main__, bot.client, bot.commands, engine.client, storage\n"
        "print('imported')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=90, check=False)
    assert ended.stdout == "imported\n", ended.stderr
