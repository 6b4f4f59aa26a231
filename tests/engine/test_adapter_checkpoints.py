"""Finetunes that are adapters, from their folder to a clip: found, loaded beside their base, hot, with a strength, and deleted."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import mutagen
import pytest
import torch

from engine.api import CheckpointInfo, Done, GenerateRequest, Progress
from engine.checkpoints import NOBODY, Catalogue, describe
from engine.cli import main
from engine.client import EngineClient
from engine.errors import EngineError
from engine.models import ADAPTERS, ModelShelf, beside, loader
from engine.musicgen.adapted import Adapted
from engine.musicgen.tiny import write_tiny_adapter, write_tiny_checkpoint
from engine.service import Engine


@pytest.fixture(scope="module")
def adapter(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a finetune leaves: card.json and adapter/, on the checkpoint 'checkpoint'."""
    return write_tiny_adapter(
        tmp_path_factory.mktemp("finetune") / "alice", tiny_checkpoint, licence="hers", owner="guild-1", token="Alice_hash"
    )


@pytest.fixture
def folder(adapter: Path, tmp_path: Path) -> Path:
    """ENGINE_DATA/checkpoints with that adapter."""
    shutil.copytree(adapter, tmp_path / "checkpoints" / "alice")
    return tmp_path / "checkpoints"


def change_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def infos(catalogue: Catalogue) -> dict[str, CheckpointInfo]:
    found = (describe(source, None, default=source.id == catalogue.default_id) for source in catalogue.sources())
    return {info.id: info for info in found if info is not None}


# Which there are.


def test_an_adapter_is_described_by_its_card_and_its_base(tiny_checkpoint: Path, folder: Path, settings_for: Callable[..., Any]) -> None:
    (folder / ".alice.tmp").mkdir()  # one that is being written
    catalogue = Catalogue(str(tiny_checkpoint), folder)
    known = infos(catalogue)
    alice, base = known["alice"], known["checkpoint"]
    assert (alice.kind, alice.parent, alice.adapter, alice.owner, alice.gate) == ("finetuned", "checkpoint", True, "guild-1", "passed")
    assert (alice.licence, alice.token, alice.window_s, alice.sample_rate) == ("hers", "Alice_hash", base.window_s, base.sample_rate)
    assert (base.adapter, base.owner, base.gate) == (False, None, None)
    assert base.parameters < alice.parameters < 1.5 * base.parameters
    model = ModelShelf(catalogue, loader(settings_for()), 1).get("alice")
    loaded = describe(catalogue.find("alice"), model, default=False)
    assert loaded is not None
    assert loaded.model_copy(update={"sha256": None}) == alice


def test_without_its_base_an_adapter_is_left_out_and_the_message_says_which_is_missing(
    tiny_checkpoint: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = Catalogue("pocket", folder)
    assert "alice" not in infos(catalogue)
    assert "'alice' stands on 'checkpoint', which is not here" in caplog.text
    with pytest.raises(EngineError, match="stands on 'checkpoint', which is not here: put that checkpoint back") as caught:
        catalogue.find("alice")
    assert caught.value.code == "unknown_checkpoint"
    shutil.copytree(tiny_checkpoint, folder / "checkpoint")
    assert catalogue.find("alice").base == catalogue.find("checkpoint")
    shutil.copytree(folder / "alice", folder / "bob")
    change_card(folder / "bob", parent="alice")
    with pytest.raises(EngineError, match="stands on 'alice', which is an adapter itself"):
        catalogue.find("bob")
    (folder / "bob" / "card.json").unlink()
    with pytest.raises(EngineError, match=r"its card.json does not say of which checkpoint"):
        catalogue.find("bob")


def test_a_card_that_can_not_be_read_gives_nobodys_finetune_away(tiny_checkpoint: Path, folder: Path) -> None:
    catalogue = Catalogue(str(tiny_checkpoint), folder)
    change_card(folder / "alice", gate="superb")
    assert catalogue.sources()[-1].card.owner == "guild-1"
    (folder / "alice" / "card.json").write_text("{")
    assert catalogue.sources()[-1].card.owner == NOBODY


def test_what_may_be_deleted(tiny_checkpoint: Path, folder: Path) -> None:
    shutil.copytree(tiny_checkpoint, folder / "second")
    shutil.copytree(folder / "alice", folder / "bob")
    change_card(folder / "bob", parent="second")
    (folder / "linked").symlink_to(tiny_checkpoint)
    catalogue = Catalogue(str(tiny_checkpoint), folder)
    for name, words in (
        ("checkpoint", "is the engine's default"),
        ("pocket", "it comes with the engine"),
        ("second", "is the base of bob"),
    ):
        with pytest.raises(EngineError, match=words) as caught:
            catalogue.delete(name)
        assert caught.value.code == "bad_request"
    for name in ("nobody", "..", "../checkpoints/bob", "", "."):
        with pytest.raises(EngineError, match="There is no checkpoint"):
            catalogue.delete(name)
    for name in ("bob", "second", "linked", "alice"):
        catalogue.delete(name)
    assert list(folder.iterdir()) == []
    assert (tiny_checkpoint / "config.json").is_file()


# What is in memory.


def test_a_base_is_loaded_once_for_itself_and_its_adapters(tiny_checkpoint: Path, folder: Path, settings_for: Callable[..., Any]) -> None:
    for number in range(ADAPTERS + 1):
        shutil.copytree(folder / "alice", folder / f"more{number}")
    write_tiny_checkpoint(folder / "second", seed=1)
    shelf = ModelShelf(Catalogue(str(tiny_checkpoint), folder), loader(settings_for()), keep=1)
    alice = shelf.get("alice")
    assert isinstance(alice, Adapted)
    assert shelf.get("checkpoint") is alice.base
    assert shelf.get("alice") is alice
    others: list[Any] = [shelf.get(f"more{number}") for number in range(ADAPTERS + 1)]
    assert all(isinstance(other, Adapted) and other.base is alice.base for other in others)
    assert len({other.batch for other in (alice, alice.base, *others)}) == 1
    assert shelf.peek("alice") is None  # the least recently used of too many
    assert shelf.peek("more1") is others[1]
    second = shelf.get("second")
    assert [shelf.peek(name) for name in ("checkpoint", "more1", "second")] == [None, None, second]  # the base took them along


def test_another_base_by_the_same_name_is_refused(tiny_checkpoint: Path, folder: Path, settings_for: Callable[..., Any]) -> None:
    write_tiny_checkpoint(folder / "second", seed=1)
    change_card(folder / "alice", parent="second")
    shelf = ModelShelf(Catalogue(str(tiny_checkpoint), folder), loader(settings_for()), keep=1)
    words = "'alice' was trained on another 'second' than the one that is here: put that one back, or finetune again"
    with pytest.raises(EngineError, match=words):
        shelf.get("alice")
    change_card(folder / "alice", parent_sha256=None)  # the adapter's own file says so, too
    with pytest.raises(EngineError, match="'alice' could not be loaded: adapter was trained on checkpoint"):
        shelf.get("alice")


def test_audiocrafts_backend_says_that_it_has_none(tiny_checkpoint: Path, folder: Path, settings_for: Callable[..., Any]) -> None:
    data = folder.parent
    engine = Engine(settings_for(data=data, backend="audiocraft"), on_failure=lambda _error: None)
    request = GenerateRequest(take_id="t", kind="text", prompt="techno", checkpoint="alice")
    words = "'alice' is an adapter, and the audiocraft backend has none: set ENGINE_BACKEND=native"
    with pytest.raises(EngineError, match=words):
        engine._prepare(request)
    with pytest.raises(EngineError, match=words):
        beside(engine.catalogue.find("alice"), object())  # type: ignore[arg-type]  # any model that is not this project's


# Over HTTP.


def asked(checkpoint: str | None, **changes: Any) -> GenerateRequest:
    given = {"take_id": f"{checkpoint}-{changes}"[:60].translate({ord(c): "_" for c in "{}' ,"}), "kind": "text", "prompt": "dark techno"}
    return GenerateRequest.model_validate(given | {"seconds": 1.0, "seed": 1, "checkpoint": checkpoint} | changes)


async def made(client: EngineClient, request: GenerateRequest) -> Done:
    async with aclosing(client.generate(request)) as events:
        async for event in events:
            if isinstance(event, Done):
                return event
    raise AssertionError


async def test_an_adapter_is_hot_has_a_strength_and_can_be_deleted_while_it_plays(
    start_engine: Any, tiny_checkpoint: Path, adapter: Path
) -> None:
    engine = start_engine(loaded_checkpoints=1, batch=4)
    folder = engine.settings.data / "checkpoints"
    async with EngineClient(engine.url) as client:
        base = await made(client, asked(None))
        with pytest.raises(EngineError, match="There is no checkpoint 'alice' here"):
            await made(client, asked("alice"))
        folder.mkdir()
        shutil.copytree(adapter, folder / "alice")
        write_tiny_adapter(folder / "bob", tiny_checkpoint, seed=3, rank=8)
        assert [info.id for info in await client.checkpoints() if info.adapter] == ["alice", "bob"]
        orders = [asked(None), asked("alice"), asked("alice", strength=0.5), asked("bob"), asked("alice", strength=0.0)]
        together = await asyncio.gather(*(made(client, order) for order in orders))
        alone = [await made(client, order) for order in orders[2:4]]
        sounds = [done.clip.sha256 for done in together]
        assert [done.strength for done in together] == [None, 1.0, 0.5, 1.0, 0.0]
        assert [done.checkpoint_kind for done in together] == ["base", *["finetuned"] * 4]
        samples = [_sound(done) for done in together]
        assert len({*samples}) == 4
        assert samples[4] == samples[0] == _sound(base)
        assert [_sound(done) for done in alone] == samples[2:4]
        assert sounds[0] == base.clip.sha256
        file = mutagen.File(_file(together[2]))  # says how strongly, for whoever wants it again
        models = engine.app.state.engine._models
        assert f"alice at strength 0.5, adapter {models.get('alice').sha256[:12]}, seed" in str(file.tags)
        assert models.get("alice").base is models.get("bob").base is models.get("checkpoint")

        with pytest.raises(EngineError, match="'checkpoint' has no adapter whose strength could be set") as caught:
            await made(client, asked(None, strength=0.5))
        assert caught.value.code == "bad_request"

        async with aclosing(client.generate(asked("bob", seconds=6.0))) as events:
            async for event in events:
                if isinstance(event, Progress) and (folder / "bob").is_dir():
                    assert await client.delete_checkpoint("bob")
                if isinstance(event, Done):
                    assert (event.checkpoint, event.duration_s) == ("bob", 6.0)
        assert not (folder / "bob").exists()
        assert not await client.delete_checkpoint("bob")
        assert not await client.delete_checkpoint("../alice")
        with pytest.raises(EngineError, match="is the engine's default"):
            await client.delete_checkpoint("checkpoint")
        with pytest.raises(EngineError, match="There is no checkpoint 'bob' here"):
            await made(client, asked("bob"))
        write_tiny_adapter(folder / "alice", tiny_checkpoint, seed=9)  # trained anew, in the same place
        assert _sound(await made(client, asked("alice"))) not in samples


def _file(done: Done) -> Any:
    import io

    return io.BytesIO(done.clip.bytes())


def _sound(done: Done) -> bytes:
    """What is heard, without the tags."""
    import soundfile

    return soundfile.read(_file(done))[0].tobytes()  # type: ignore[no-any-return]


# On the command line.


def test_generate_with_a_strength(folder: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("ENGINE_CHECKPOINT", str(tiny_checkpoint))
    monkeypatch.setenv("ENGINE_DATA", str(folder.parent))
    monkeypatch.setenv("ENGINE_DEVICE", "cpu")
    monkeypatch.setenv("ENGINE_THREADS", "1")

    def generate(*options: str) -> tuple[int, str, str]:
        code = main(["generate", "techno", "--seconds", "1", "--seed", "1", "--out", "clip.wav", *options])
        return (code, *capsys.readouterr())

    code, out, _err = generate("--checkpoint", "alice", "--strength", "0.7")
    assert code == 0
    assert "seed 1 · alice (finetuned, strength 0.7) · " in out
    _code, out, _err = generate("--checkpoint", "alice", "--json")
    assert json.loads(out)["strength"] == 1.0
    code, _out, err = generate("--strength", "0.7")
    assert (code, "'checkpoint' has no adapter whose strength could be set: leave it out" in err) == (2, True)
    code, _out, err = generate("--checkpoint", "alice", "--strength", "3")
    assert (code, "Strength must be from 0 to 1.5, not 3" in err) == (2, True)
    assert main(["checkpoints"]) == 0
    listed = capsys.readouterr().out
    assert "alice" in listed
    assert "finetuned of checkpoint" in listed
    assert "adapter · gate passed" in listed
    torch.set_num_threads(1)
