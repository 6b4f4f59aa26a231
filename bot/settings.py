"""Everything about the bot that its operator may choose, read from the environment and ``.env``.

Only values and their checks live here. Nothing is read at import: ``__main__`` builds one ``BotSettings`` and passes it on.
"""

from __future__ import annotations

from datetime import time
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def is_loopback(host: str | None) -> bool:
    """Whether what is sent to this host never leaves the machine."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _address(url: str, secure: str, plain: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in (secure, plain) or not parts.hostname:
        raise ValueError(f"must be a {secure}:// address, such as {secure}://host/")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a plain address: no user, password, query or fragment")
    return url


def _discord_address(url: str, secure: str, plain: str) -> str:
    """The bot's token goes there, so it goes encrypted, or stays on this machine."""
    _address(url, secure, plain)
    if urlsplit(url).scheme == plain and not is_loopback(urlsplit(url).hostname):
        raise ValueError(f"must be {secure}:// (the token would travel unencrypted); {plain}:// is for this machine only")
    return url


def _discord_api(url: str) -> str:
    return _discord_address(url.rstrip("/"), "https", "http")


def _discord_gateway(url: str) -> str:
    return _discord_address(url, "wss", "ws")


def _engine(url: str) -> str:
    return _address(url.rstrip("/"), "https", "http")


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a name of the time zone database, such as Europe/Berlin") from None
    return name


class BotSettings(BaseSettings):
    """The bot's settings. Each field is an environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    discord_token: SecretStr = Field(SecretStr(""), description="the bot's token, from the developer portal's Bot page")
    discord_api_url: Annotated[str, AfterValidator(_discord_api)] = Field(
        "https://discord.com/api/v10", description="Discord's REST API; another address only for the rehearsal"
    )
    discord_gateway_url: Annotated[str, AfterValidator(_discord_gateway)] = Field(
        "wss://gateway.discord.gg/", description="Discord's gateway; another address only for the rehearsal"
    )
    engine_url: Annotated[str, AfterValidator(_engine)] = Field("http://127.0.0.1:8060", description="where the engine listens")
    engine_token: SecretStr = Field(SecretStr(""), description="the engine's token, needed when it is on another machine")
    bot_data: Path = Field(Path("var/bot"), description="folder of the database, the audio and the backups")
    bot_timezone: Annotated[str, AfterValidator(_timezone)] = Field("UTC", description="time zone of the nightly times below")
    bot_reconcile_at: time = Field(time(4, 10), description="when ratings are compared with the reactions that Discord shows, HH:MM")
    bot_sweep_at: time = Field(time(4, 30), description="when audio that no row names is removed, HH:MM")
    bot_backup_at: time = Field(time(4, 50), description="when the database is backed up, HH:MM")
    bot_backups_kept: int = Field(7, ge=1, le=365, description="how many nightly backups are kept")
    bot_reconcile_days: int = Field(14, ge=1, le=365, description="how old a clip may be to have its reactions compared again, in days")
    bot_reconcile_messages: int = Field(200, ge=1, le=5000, description="how many clips at most have their reactions compared again")
    bot_takes_per_member: int = Field(4, ge=1, le=50, description="waiting and running takes that one member may have at once")
    bot_crate_tracks: int = Field(500, ge=1, le=100_000, description="tracks that one server's crate may hold")
    bot_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="how much is logged")

    @classmethod
    def read(cls, **overrides: Any) -> Self:
        """From ``overrides``, the environment and ``.env``, in this order. Raises pydantic.ValidationError."""
        return cls(**overrides)
