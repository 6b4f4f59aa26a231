from __future__ import annotations

from pathlib import Path

import pytest

from engine.settings import EngineSettings, SettingsError, is_loopback


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for field in EngineSettings.model_fields:
        monkeypatch.delenv(f"ENGINE_{field.upper()}", raising=False)


def test_defaults_are_safe() -> None:
    settings = EngineSettings.read()
    assert (settings.host, settings.port, settings.checkpoint, settings.token.get_secret_value()) == ("127.0.0.1", 8060, "pocket", "")
    settings.require_safe_bind()


def test_environment_wins_over_dotenv_and_arguments_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(
        "ENGINE_PORT=1\nENGINE_QUEUE=2\nENGINE_BATCH=3\nDISCORD_TOKEN=somebody else's\nENGINE_URL=http://the-bots\n"
    )
    monkeypatch.setenv("ENGINE_QUEUE", "20")
    monkeypatch.setenv("ENGINE_BATCH", "30")
    settings = EngineSettings.read(batch=31, device=None)
    assert (settings.port, settings.queue, settings.batch, settings.device) == (1, 20, 31, "auto")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "eighty", "ENGINE_PORT is wrong. Port must be a whole number, not 'eighty'."),
        ("PORT", "70000", "ENGINE_PORT is wrong. Port must be from 0 to 65535, not 70000."),
        ("BACKEND", "tensorflow", "ENGINE_BACKEND is wrong. Backend must be 'native' or 'audiocraft', not 'tensorflow'."),
        ("LOG_LEVEL", "loud", "ENGINE_LOG_LEVEL is wrong."),
        ("DEVICE", "toaster", "ENGINE_DEVICE is wrong. Device can't be 'toaster': auto, cpu, cuda"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(f"ENGINE_{name}", value)
    with pytest.raises(SettingsError) as caught:
        EngineSettings.read()
    assert str(caught.value).startswith(words)


def test_an_open_address_needs_a_token() -> None:
    with pytest.raises(SettingsError, match=r"ENGINE_HOST=0\.0\.0\.0 can be reached from other machines"):
        EngineSettings.read(host="0.0.0.0").require_safe_bind()
    EngineSettings.read(host="0.0.0.0", token="secret").require_safe_bind()


def test_the_token_is_not_printed() -> None:
    assert "hush" not in repr(EngineSettings.read(token="hush"))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.5", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in EngineSettings.model_fields.values())
