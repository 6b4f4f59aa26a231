from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.api import CheckpointInfo
from engine.checkpoints import POCKET_FOLDER, Catalogue, describe
from engine.errors import EngineError
from engine.models import ModelShelf, loader, pick_device
from engine.settings import EngineSettings


@pytest.fixture
def folder(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """ENGINE_DATA/checkpoints with one finetune, one plain folder, and things that are no checkpoints."""
    for name in ("alice", "plain"):
        (tmp_path / name).symlink_to(tiny_checkpoint)
    (tmp_path / "alice").unlink()
    (tmp_path / "alice").mkdir()
    for file in tiny_checkpoint.iterdir():
        (tmp_path / "alice" / file.name).symlink_to(file)
    (tmp_path / "alice" / "card.json").write_text(
        json.dumps({"name": "Alice's", "kind": "finetuned", "parent": "pocket", "token": "Alice_hash", "more": 1})
    )
    (tmp_path / "notes").mkdir()
    (tmp_path / "readme.txt").write_text("hello")
    return tmp_path


def infos(catalogue: Catalogue) -> dict[str, CheckpointInfo]:
    found = (describe(source, None, default=source.id == catalogue.default_id) for source in catalogue.sources())
    return {info.id: info for info in found if info is not None}


def test_the_default_comes_first_then_what_the_folder_has(tiny_checkpoint: Path, folder: Path) -> None:
    known = infos(Catalogue(str(tiny_checkpoint), folder))
    assert [name for name in known if name != "pocket"] == ["checkpoint", "alice", "plain"]
    assert [name for name, info in known.items() if info.default] == ["checkpoint"]
    alice = known["alice"]
    assert (alice.name, alice.kind, alice.parent, alice.token) == ("Alice's", "finetuned", "pocket", "Alice_hash")
    assert (alice.sample_rate, alice.channels, alice.window_s) == (32000, 1, 30.0)


def test_files_say_what_the_loaded_model_says(tiny_checkpoint: Path, tiny_stereo_checkpoint: Path, tmp_path: Path) -> None:
    embedded = ["pocket"] if (POCKET_FOLDER / "config.json").is_file() else []
    for path in (tiny_checkpoint, tiny_stereo_checkpoint, *embedded):
        catalogue = Catalogue(str(path), tmp_path)
        source = catalogue.find(None)
        settings = EngineSettings(_env_file=None, checkpoint=str(path), device="cpu", threads=1)
        model = ModelShelf(catalogue, loader(settings), 1).get(source.id)
        loaded, unloaded = describe(source, model, default=True), describe(source, None, default=True)
        assert loaded is not None
        assert unloaded == loaded.model_copy(update={"sha256": None})


def test_one_in_the_folder_can_be_the_default_by_its_name(folder: Path) -> None:
    catalogue = Catalogue("alice", folder)
    assert catalogue.default_id == "alice"
    assert catalogue.find(None).where == folder / "alice"


def test_a_folder_as_audiocraft_writes_it_can_be_the_default(tmp_path: Path) -> None:
    """Its backend loads it; until then nothing is known of it."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "state_dict.bin").touch()
    catalogue = Catalogue(str(tmp_path / "theirs"), tmp_path / "checkpoints")
    assert catalogue.default_id == "theirs"
    assert infos(catalogue).get("theirs") is None


def test_a_finetune_appears_when_its_folder_does(tiny_checkpoint: Path, tmp_path: Path) -> None:
    catalogue = Catalogue(str(tiny_checkpoint), tmp_path / "checkpoints")
    with pytest.raises(EngineError, match="There is no checkpoint 'new' here"):
        catalogue.find("new")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "new").symlink_to(tiny_checkpoint)
    assert catalogue.find("new").id == "new"


@pytest.mark.parametrize("name", ["../checkpoint", "/etc", "..", "alice/../plain", ""])
def test_an_id_is_never_a_path(tiny_checkpoint: Path, folder: Path, name: str) -> None:
    catalogue = Catalogue(str(tiny_checkpoint), folder)
    if name:
        with pytest.raises(EngineError) as caught:
            catalogue.find(name)
        assert caught.value.code == "unknown_checkpoint"
    else:
        assert catalogue.find(name).id == "checkpoint"


def test_hub_names_carry_their_licence(tmp_path: Path) -> None:
    source = Catalogue("facebook/musicgen-small", tmp_path).find(None)
    assert (source.id, source.where, source.card.licence) == ("facebook/musicgen-small", "facebook/musicgen-small", "CC-BY-NC 4.0")


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere", "There is no checkpoint 'nowhere'"), ("/no/such/folder", "There is no checkpoint"), (".", "it has no config.json")],
)
def test_a_default_that_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match=words):
        Catalogue(name, tmp_path)


@pytest.mark.skipif((POCKET_FOLDER / "config.json").is_file(), reason="the embedded model is there")
def test_without_the_embedded_model_the_message_says_what_else_there_is(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="facebook/musicgen-small"):
        Catalogue("pocket", tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"decoder": {}}', '{"audio_encoder": {"sampling_rate": "x"}, "decoder": {}}'])
def test_a_configuration_that_can_not_be_read_is_left_out(
    tiny_checkpoint: Path, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text(content)
    assert "odd" not in infos(Catalogue(str(tiny_checkpoint), tmp_path))
    assert "its configuration can't be read" in caplog.text


def test_a_card_that_can_not_be_read_is_ignored(tiny_checkpoint: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "alice" / "card.json").write_text('{"kind": "superb"}')
    assert infos(Catalogue(str(tiny_checkpoint), folder))["alice"].kind == "base"
    assert "card.json is ignored" in caplog.text


def test_a_device_that_is_not_there() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert pick_device("auto") in ("cpu", "mps")
    with pytest.raises(EngineError, match="There is no cuda device on this machine: use auto or cpu"):
        pick_device("cuda")
