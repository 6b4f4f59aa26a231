from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.musicgen.audiocraft_files import CODEC_FILE, LM_FILE, export_audiocraft, import_audiocraft
from engine.musicgen.checkpoint import CheckpointError, export, load
from engine.musicgen.generate import MusicGen, SamplingOptions

GREEDY = SamplingOptions(temperature=0.0)


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def _edit_json(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text())
    value.update(changes)
    path.write_text(json.dumps(value))


def test_a_folder_says_what_it_is(tiny: MusicGen, tiny_checkpoint: Path) -> None:
    assert (tiny.sample_rate, tiny.frame_rate, tiny.channels, tiny.num_codebooks, tiny.card) == (32_000, 50.0, 1, 4, 64)
    assert tiny.window_frames == 1500
    assert tiny.default_sampling == SamplingOptions(guidance_scale=3.0)
    assert tiny.sha256 == hashlib.sha256((tiny_checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert 100_000 < tiny.parameters < 1_000_000
    assert tiny.lm.dtype == torch.float32


def test_what_the_checkpoint_asks_for_is_its_default(folder: Path) -> None:
    _edit_json(folder / "generation_config.json", guidance_scale=2.0, temperature=0.9, top_k=50, max_length=500)
    model = load(folder)
    assert model.default_sampling == SamplingOptions(temperature=0.9, top_k=50, guidance_scale=2.0)
    assert model.window_frames == 500
    (folder / "generation_config.json").unlink()
    model = load(folder)
    assert model.default_sampling == SamplingOptions()
    assert model.window_frames == 1500  # 30 s


def test_an_export_is_the_same_checkpoint(tiny: MusicGen, tmp_path: Path) -> None:
    again = load(export(tiny, tmp_path / "again"))
    assert again.sha256 == tiny.sha256
    assert (again.default_sampling, again.window_frames) == (tiny.default_sampling, tiny.window_frames)
    assert again.conditioner.tokenizer("dark techno").input_ids == tiny.conditioner.tokenizer("dark techno").input_ids


def test_shards_and_old_names_of_weight_norm_load(folder: Path, tiny: MusicGen, run: Callable[..., Tensor]) -> None:
    """As on the hub: split files, ``weight_g`` and ``weight_v``, and a table of positions that is no weight."""
    weights = load_file(folder / "model.safetensors")
    for tail, old in (("parametrizations.weight.original0", "weight_g"), ("parametrizations.weight.original1", "weight_v")):
        weights = {name.replace(tail, old): tensor for name, tensor in weights.items()}
    weights["decoder.model.decoder.embed_positions.weights"] = torch.zeros(2048, 64)
    names = sorted(weights)
    half = len(names) // 2
    parts = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()

    model = load(folder)
    takes = [one.start(prompt="dark techno", frames=20, sampling=GREEDY, seed=0) for one in (model, tiny)]
    first, second = run(*takes)
    assert torch.equal(first, second)
    assert torch.equal(takes[0].audio(), takes[1].audio())
    assert len(model.sha256) == 64 and model.sha256 != tiny.sha256


def test_half_precision_is_the_language_models_only(folder: Path) -> None:
    model = load(folder, dtype=torch.bfloat16)
    assert model.lm.dtype == torch.bfloat16
    assert model.conditioner.text_encoder.dtype == torch.float32
    take = model.start(prompt="dark techno", frames=10, sampling=SamplingOptions(), seed=0)
    while not take.done:
        take.step()
    assert take.audio().dtype == torch.float32


def test_a_codec_that_transformers_learnt_from_elsewhere_loads(folder: Path, run: Callable[..., Tensor]) -> None:
    """The pocket's codec registers itself with AutoModel; nothing here knows its class."""
    codec_module = pytest.importorskip("engine.pocket.codec")
    config = codec_module.PocketCodecConfig(codebook_size=64, encoder_width=16, encoder_layers=1, decoder_width=16, decoder_layers=1)
    torch.manual_seed(0)
    codec = codec_module.PocketCodec(config)
    _edit_json(folder / "config.json", audio_encoder=config.to_dict())
    weights = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if not name.startswith("audio_encoder.")}
    weights |= {f"audio_encoder.{name}": tensor.contiguous() for name, tensor in codec.state_dict().items()}
    save_file(weights, folder / "model.safetensors")

    model = load(folder)
    assert (model.codec.hop_samples, model.frame_rate) == (640, 50.0)
    take = model.start(prompt="dark techno", frames=20, sampling=GREEDY, seed=0, prompt_audio=torch.randn(1, 6400) * 0.1)
    run(take)
    assert take.audio().shape == (1, 20 * 640)
    again = load(export(model, folder.parent / "again"))
    assert torch.equal(again.codec.decode(take.codes()), model.codec.decode(take.codes()))
    with pytest.raises(CheckpointError, match="no codec of the kind 'pocket_codec'"):
        export_audiocraft(model, folder.parent / "pair")


class TestRefusals:
    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"there is no folder .*facebook/musicgen-small"):
            load(tmp_path / "nowhere")

    def test_a_hub_name_without_the_hub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(CheckpointError, match="hub can't be reached: connect to the internet once"):
            load("someone/some-musicgen")

    def test_a_name_that_can_be_neither(self) -> None:
        with pytest.raises(CheckpointError, match="there is no folder"):
            load("../../etc/passwd")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"has no config\.json"):
            load(tmp_path)

    def test_a_melody_model(self, folder: Path) -> None:
        _edit_json(folder / "config.json", model_type="musicgen_melody")
        with pytest.raises(CheckpointError, match="ENGINE_BACKEND=audiocraft"):
            load(folder)

    def test_another_kind_of_model(self, folder: Path) -> None:
        _edit_json(folder / "config.json", model_type="bert")
        with pytest.raises(CheckpointError, match="is a bert, not a MusicGen"):
            load(folder)

    def test_missing_weights_are_named(self, folder: Path) -> None:
        for lost in ("decoder.lm_heads.2.weight", "text_encoder.shared.weight", "enc_to_dec_proj.bias"):
            weights = load_file(folder / "model.safetensors")
            kept = weights.pop(lost)
            save_file(weights, folder / "model.safetensors")
            with pytest.raises(CheckpointError, match=r"weights are missing: .*download the checkpoint again"):
                load(folder)
            save_file({**weights, lost: kept}, folder / "model.safetensors")

    def test_weights_of_another_size(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["decoder"]["ffn_dim"] = 96
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=r"layers\.0\.up\.weight is \[128, 64\] where config\.json means \[96, 64\]"):
            load(folder)

    def test_a_torn_file(self, folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])
        with pytest.raises(CheckpointError, match="is damaged"):
            load(folder)

    def test_no_safetensors(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
            load(folder)

    def test_an_index_that_points_outside(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../elsewhere.safetensors"}}))
        with pytest.raises(CheckpointError, match="lacks"):
            load(folder)

    def test_config_that_is_not_json(self, folder: Path) -> None:
        (folder / "config.json").write_text("<html>")
        with pytest.raises(CheckpointError, match="can't be read as JSON"):
            load(folder)

    def test_a_tokenizer_that_is_gone(self, folder: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
        with pytest.raises(CheckpointError, match="tokenizer"):
            load(folder)


class TestAudiocraftFiles:
    def test_a_pickle_that_would_run_code_is_not_opened(self, tiny: MusicGen, tmp_path: Path) -> None:
        export_audiocraft(tiny, tmp_path)

        class Trap:
            def __reduce__(self) -> tuple[Any, tuple[str]]:
                return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

        torch.save({"best_state": Trap(), "xp.cfg": ""}, tmp_path / LM_FILE)
        with pytest.raises(CheckpointError, match="more than tensors and text"):
            import_audiocraft(tmp_path)
        (tmp_path / LM_FILE).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(CheckpointError, match="more than tensors and text"):
            import_audiocraft(tmp_path)
        assert not (tmp_path / "sprung").exists()

    def test_half_a_pair(self, tiny: MusicGen, tmp_path: Path) -> None:
        export_audiocraft(tiny, tmp_path)
        (tmp_path / CODEC_FILE).unlink()
        with pytest.raises(CheckpointError, match=f"there is no .*{CODEC_FILE}"):
            import_audiocraft(tmp_path)

    def test_a_melody_pair(self, tiny: MusicGen, tmp_path: Path) -> None:
        export_audiocraft(tiny, tmp_path)
        package = torch.load(tmp_path / LM_FILE, weights_only=True)
        package["best_state"]["condition_provider.conditioners.self_wav.output_proj.weight"] = torch.zeros(64, 12)
        torch.save(package, tmp_path / LM_FILE)
        with pytest.raises(CheckpointError, match=r"self_wav.*ENGINE_BACKEND=audiocraft"):
            import_audiocraft(tmp_path)

    def test_missing_weights_are_named(self, tiny: MusicGen, tmp_path: Path) -> None:
        export_audiocraft(tiny, tmp_path)
        package = torch.load(tmp_path / LM_FILE, weights_only=True)
        del package["best_state"]["out_norm.bias"]
        torch.save(package, tmp_path / LM_FILE)
        with pytest.raises(CheckpointError, match=r"weights are missing: .*layer_norm\.bias"):
            import_audiocraft(tmp_path)

    def test_no_configuration(self, tiny: MusicGen, tmp_path: Path) -> None:
        export_audiocraft(tiny, tmp_path)
        package = torch.load(tmp_path / LM_FILE, weights_only=True)
        torch.save({"best_state": package["best_state"]}, tmp_path / LM_FILE)
        with pytest.raises(CheckpointError, match="no readable configuration"):
            import_audiocraft(tmp_path)

    def test_the_folder_form_says_which_form_it_is(self, tiny: MusicGen, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="import_audiocraft reads it"):
            load(export_audiocraft(tiny, tmp_path))

    def test_a_text_encoder_can_come_from_a_musicgen_folder(
        self, tiny: MusicGen, tiny_checkpoint: Path, tmp_path: Path, run: Callable[..., Tensor]
    ) -> None:
        shutil.rmtree(export_audiocraft(tiny, tmp_path) / "text_encoder")
        model = import_audiocraft(tmp_path, text_encoder=tiny_checkpoint)
        first, second = (run(one.start(prompt="acid", frames=20, sampling=GREEDY, seed=0)) for one in (model, tiny))
        assert torch.equal(first, second)
