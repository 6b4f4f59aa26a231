"""``.env.example`` names every setting once, and gives the defaults that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from bot.settings import BotSettings
from engine.settings import EngineSettings

EXAMPLE = Path(__file__).parent.parent / ".env.example"
ASSIGNMENT = re.compile(r"^#?([A-Z][A-Z_]*)=(.*)$", re.MULTILINE)
CLASSES: list[type[BaseSettings]] = [BotSettings, EngineSettings]


def variables(settings: type[BaseSettings]) -> dict[str, str]:
    """Environment variable → field."""
    prefix = settings.model_config.get("env_prefix", "")
    return {f"{prefix}{name}".upper(): name for name in settings.model_fields}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in CLASSES:
        for variable in variables(settings):
            monkeypatch.delenv(variable, raising=False)


def test_names_every_setting_once_and_no_other() -> None:
    named = [name for name, _ in ASSIGNMENT.findall(EXAMPLE.read_text(encoding="utf-8"))]
    assert sorted(named) == sorted(set().union(*map(variables, CLASSES)))


@pytest.mark.parametrize("settings", CLASSES)
def test_a_fresh_copy_means_the_defaults(settings: type[BaseSettings]) -> None:
    assert settings(_env_file=EXAMPLE) == settings(_env_file=None)


@pytest.mark.parametrize("settings", CLASSES)
def test_what_is_commented_out_is_the_default(settings: type[BaseSettings], tmp_path: Path) -> None:
    """Every line made to count: only what depends on the machine (``default_factory``) may then differ."""
    every_line = tmp_path / "env"
    every_line.write_text(ASSIGNMENT.sub(r"\1=\2", EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
    given, default = settings(_env_file=every_line), settings(_env_file=None)
    for variable, name in variables(settings).items():
        if settings.model_fields[name].default is not PydanticUndefined:
            assert getattr(given, name) == getattr(default, name), variable


def test_holds_no_secret() -> None:
    assert {value for name, value in ASSIGNMENT.findall(EXAMPLE.read_text(encoding="utf-8")) if name.endswith("TOKEN")} == {""}
