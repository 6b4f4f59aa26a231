"""A finetune that is exported, by adapter or with all weights, plays the same here, in transformers and in audiocraft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from engine.musicgen.audiocraft_files import export_audiocraft
from engine.musicgen.checkpoint import load, quiet_transformers
from engine.musicgen.generate import MusicGen, SamplingOptions
from engine.training import export
from engine.training.adapters import AdapterShape
from engine.training.finetune import Finetune
from engine.training.recipes import Recipe
from engine.training.segments import Segment
from engine.training.sets import FinetuneSet

pytestmark = pytest.mark.parity
PROMPT, FRAMES = "dark techno", 60
GREEDY = SamplingOptions(temperature=0.0, guidance_scale=3.0)


@dataclass(frozen=True)
class Finetuned:
    """The exported folder read again, and what it plays here. codes: [1, K, T]. audio: [C, N]."""

    folder: Path
    model: MusicGen
    codes: Tensor
    audio: Tensor


@pytest.fixture(scope="module", params=["adapter", "all"])
def finetuned(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, run: Callable[..., Tensor]
) -> Finetuned:
    weights: Literal["adapter", "all"] = request.param
    out = tmp_path_factory.mktemp(weights)
    model = load(tiny_checkpoint)
    generator = torch.Generator().manual_seed(0)
    segments = tuple(Segment(f"s{i}", f"t{i}", torch.randint(0, 8, (4, 12), generator=generator), PROMPT) for i in range(2))
    recipe = Recipe(
        weights, weights=weights, adapter=AdapterShape(2, 8.0), rate=2e-2, batch=2, micro_batch=2, epochs=1, min_steps=3, ema=0.0
    )
    training = Finetune(model, segments, segments, recipe, out / "run")
    data = FinetuneSet(segments, segments, 2, 2, "Alice_hash")
    folder = export.write(training, training.run(), data, out, name=weights, parent="tiny", licence="MIT")

    def plays(which: MusicGen) -> tuple[Tensor, Tensor]:
        take = which.start(prompt=PROMPT, frames=FRAMES, sampling=GREEDY, seed=0)
        return run(take), take.audio()

    again = load(folder)
    codes, audio = plays(again)
    assert not torch.equal(codes, plays(load(tiny_checkpoint))[0])  # it learned something that can be heard
    return Finetuned(folder, again, codes, audio)


def test_in_transformers(finetuned: Finetuned, load_transformers: Callable[[Path], Any], hf_greedy: Callable[..., Tensor]) -> None:
    theirs, tokenizer = load_transformers(finetuned.folder), finetuned.model.conditioner.tokenizer
    assert torch.equal(hf_greedy(theirs, tokenizer, [PROMPT], FRAMES), finetuned.codes)
    with quiet_transformers(), torch.no_grad():
        audio = theirs.generate(**tokenizer(PROMPT, return_tensors="pt"), do_sample=False, guidance_scale=3.0, max_length=FRAMES + 4)
    assert (finetuned.audio - audio[0]).abs().max() < 1e-5


def test_in_audiocraft(finetuned: Finetuned, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    models = pytest.importorskip("audiocraft.models", reason="audiocraft is not installed (scripts/install-audiocraft)")
    request.getfixturevalue("_t5_from_disk")
    from audiocraft.modules.transformer import set_efficient_attention_backend

    set_efficient_attention_backend("torch")
    peer = models.MusicGen.get_pretrained(str(export_audiocraft(finetuned.model, tmp_path)), device="cpu")
    peer.set_generation_params(use_sampling=False, duration=FRAMES / 50, cfg_coef=3.0)
    audio, codes = peer.generate([PROMPT], return_tokens=True)
    assert torch.equal(finetuned.codes, codes)
    assert (finetuned.audio - audio[0]).abs().max() < 1e-5
