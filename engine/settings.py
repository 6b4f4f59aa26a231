"""What an engine is told from outside: ``ENGINE_*`` in the environment or in ``.env``. No torch.

Read once, in ``__main__``, and passed in from there; nothing reads the environment later.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.words import explain


class SettingsError(ValueError):
    """A setting is wrong; the message names it and says what would be right."""


class EngineSettings(BaseSettings):
    """Each field is one environment variable: ``host`` is ``ENGINE_HOST``."""

    model_config = SettingsConfigDict(env_prefix="ENGINE_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on. Anything but loopback needs ENGINE_TOKEN.")
    port: int = Field(8060, ge=0, le=65535, description="Port to listen on; 0 takes any free one and logs which.")
    token: SecretStr = Field(
        SecretStr(""), description="Shared secret; callers send it as 'Authorization: Bearer …'. Empty: only this machine may call."
    )
    checkpoint: str = Field(
        "pocket",
        min_length=1,
        description="Default model: 'pocket' (embedded), a hub name (facebook/musicgen-small, -medium, -large) or a transformers folder.",
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1 or mps. auto takes a GPU where there is one."
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto",
        description="Precision of the language model: auto, fp32 (exact), bf16 or int8. auto: fp32 for a small model, else the fastest.",
    )
    threads: int = Field(
        0, ge=0, le=256, description="CPU threads for the model; 0: every core, and one for a model as small as the embedded one."
    )
    data: Path = Field(Path("var/engine"), description="Folder for uploaded tracks and for further checkpoints (checkpoints/NAME/).")
    queue: int = Field(
        16, ge=0, le=1000, description="Takes that may wait beside those that run; more are refused with 503 and Retry-After."
    )
    batch: int = Field(8, ge=1, le=64, description="Takes that run side by side.")
    analyses: int = Field(1, ge=1, le=64, description="Tracks that are listened to side by side, each in a process of its own.")
    finetunes: int = Field(
        1, ge=0, le=8, description="Finetunes that run side by side, each in a process of its own; more wait. 0: none is taken."
    )
    finetune_threads: int = Field(0, ge=0, le=256, description="CPU threads of each finetune; 0: half of the cores.")
    backend: Literal["native", "audiocraft"] = Field(
        "native", description="native: this project's own model code. audiocraft: the reference (an extra installation step, see README)."
    )
    loaded_checkpoints: int = Field(
        2, ge=1, le=16, description="Checkpoints in memory at once, the least recently used leaving first; adapters count as their base."
    )
    tracks_gib: float = Field(20.0, gt=0, description="Room for uploaded tracks on disk, in GiB; the least recently used leave first.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("data")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()

    @classmethod
    def read(cls, **overrides: Any) -> Self:
        """From the environment, ``.env`` and ``overrides`` (which win; None is 'not given'). Raises SettingsError with one line."""
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            field = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else "?"
            raise SettingsError(f"ENGINE_{field.upper()} is wrong. {explain(error, cls)}") from None

    def require_safe_bind(self) -> None:
        """Raises SettingsError where the engine would be open to a network without a token."""
        if not self.token.get_secret_value() and not is_loopback(self.host):
            raise SettingsError(
                f"ENGINE_HOST={self.host} can be reached from other machines, and ENGINE_TOKEN is empty: "
                "set a token (python -c 'import secrets; print(secrets.token_urlsafe(32))'), or use ENGINE_HOST=127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can be reached by, or reach, ``host`` (a name or address without port)."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
