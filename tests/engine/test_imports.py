"""The bot's side of the house works on a machine without torch, and the engine's command line answers without waiting for it."""

from __future__ import annotations

import subprocess
import sys

BLOCK = """
import importlib, pkgutil, sys

class Blocked:
    names = set({names!r})
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
"""


def run(code: str, names: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCK.format(names=names) + code], capture_output=True, text=True, timeout=60, check=False)


def test_the_block_blocks() -> None:
    assert "torch is blocked" in run("import engine.musicgen.generate", ["torch"]).stderr


def test_client_and_wire_need_neither_torch_nor_a_server() -> None:
    heavy = ["torch", "torchaudio", "transformers", "numpy", "scipy", "starlette", "uvicorn", "prometheus_client", "discord"]
    code = "import engine.api, engine.client, engine.errors, engine.settings, engine.words"
    assert run(code, heavy).stderr == ""


def test_bot_and_storage_need_no_torch() -> None:
    code = """
import bot, storage
for package in (bot, storage):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if "rehearsal" not in module.name:
            importlib.import_module(module.name)
"""
    assert run(code, ["torch", "torchaudio", "transformers"]).stderr == ""


def test_help_needs_next_to_nothing() -> None:
    heavy = ["torch", "numpy", "pydantic", "aiohttp", "starlette", "rich"]
    result = run("import engine.cli; engine.cli.main(['generate', '--help'])", heavy)
    assert result.stderr == ""
    assert "--guidance" in result.stdout
