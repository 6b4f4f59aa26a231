"""The weights that ship: they load here and in transformers, every part of them is heard, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import engine.pocket
from engine.musicgen.checkpoint import load
from engine.musicgen.generate import MusicGen
from engine.pocket.codec_training import CodecTraining
from engine.pocket.lm_training import LMTraining, TempoTraining
from engine.pocket.package import MAX_BYTES, WEIGHTS, header
from engine.pocket.sharpening import SharpenTraining

pytestmark = pytest.mark.skipif(not (WEIGHTS / "config.json").exists(), reason="no weights are packaged; see engine/pocket/__main__.py")
PROMPT = "acid techno, 130 bpm"


@pytest.fixture(scope="module")
def model(one_thread: None) -> MusicGen:
    return load(WEIGHTS)


def clip(model: MusicGen, frames: int = 30, **kwargs: Any) -> torch.Tensor:
    take = model.start(**{"prompt": PROMPT, "sampling": model.default_sampling, "seed": 5, **kwargs}, frames=frames)
    while not take.done:
        take.step()
    return take.audio()


def test_the_folder_is_small_and_has_what_transformers_needs() -> None:
    names = {p.name for p in WEIGHTS.iterdir()}
    assert names >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "README.md",
    }
    assert sum(p.stat().st_size for p in WEIGHTS.iterdir()) <= MAX_BYTES
    assert json.loads((WEIGHTS / "config.json").read_text())["audio_encoder"]["model_type"] == "pocket_codec"


def test_they_come_from_the_recipe_as_it_stands() -> None:
    made = header()
    recipe = {"codec": CodecTraining(), "lm": LMTraining(), "tempo": TempoTraining(), "sharpen": SharpenTraining()}
    assert made.keys() == recipe.keys() | {"format"}, "stages and nothing before them"
    for stage, settings in recipe.items():
        assert json.loads(made[stage]) == {"step": settings.steps, "settings": json.loads(json.dumps(asdict(settings)))}, stage


def test_a_clip_is_heard_and_a_seed_repeats_it(model: MusicGen) -> None:
    first = clip(model)
    assert first.shape == (1, 30 * 640)
    assert 0.02 < first.std() < 0.8
    assert torch.equal(first, clip(model))
    assert not torch.equal(first, clip(model, seed=6))
    assert not torch.equal(first, clip(model, prompt=None))


def test_a_track_is_continued(model: MusicGen) -> None:
    track = clip(model, frames=60)
    assert clip(model, prompt_audio=track).shape == (1, 30 * 640)


def test_transformers_gives_the_same_logits(model: MusicGen) -> None:
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    theirs = MusicgenForConditionalGeneration.from_pretrained(WEIGHTS, dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(WEIGHTS)(PROMPT, return_tensors="pt")
    sequence = torch.randint(model.card, (1, 4, 20), generator=torch.Generator().manual_seed(0))
    conditioning = model.conditioner([PROMPT])
    with torch.no_grad():
        ours = model.lm(sequence, conditioning.states, conditioning.mask)
        reference = theirs(**tokens, decoder_input_ids=sequence.reshape(4, 20)).logits.view(1, 4, 20, -1)
    assert torch.allclose(ours, reference, atol=2e-4)


def test_transformers_makes_a_clip(one_thread: None) -> None:
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    theirs = MusicgenForConditionalGeneration.from_pretrained(WEIGHTS, dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(WEIGHTS)(PROMPT, return_tensors="pt")
    torch.manual_seed(0)
    audio = theirs.generate(**tokens, max_new_tokens=24)
    assert audio.shape[:2] == (1, 1) and audio.shape[2] % 640 == 0
    assert audio.std() > 0.02


def matrices(model: MusicGen) -> dict[str, torch.nn.Parameter]:
    """Every weight of more than one dimension."""
    parts = {"lm": model.lm, "text": model.conditioner, "codec": model.codec}
    return {f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters() if p.dim() >= 2}


def test_every_weight_matrix_is_heard(model: MusicGen) -> None:
    """No clip is stored and no synthesiser stands in: logits, audio, and the codes of a track that is to be continued move with every
    matrix of every network."""
    codes = torch.randint(model.card, (4, 40), generator=torch.Generator().manual_seed(1))
    sequence = codes[None, :, :24]
    track = model.codec.decode(codes)

    def heard(part: str) -> torch.Tensor:
        model.conditioner.forget()
        with torch.no_grad():
            if part == "codec":
                return torch.cat([model.codec.decode(codes).flatten(), model.codec.encode(track).flatten()])
            conditioning = model.conditioner([PROMPT])
            return model.lm(sequence, conditioning.states, conditioning.mask)

    before = {part: heard(part) for part in ("lm", "text", "codec")}
    for name, p in matrices(model).items():
        kept = p.detach().clone()
        with torch.no_grad():
            share = 20.0 if "encoders." in name else 0.5  # codes are decisions: it takes more to change one
            p.add_(share * p.std() * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
        part = name.partition(".")[0]
        after = heard(part)
        with torch.no_grad():
            p.copy_(kept)
        assert not torch.equal(after, before[part]), f"{name} is not used"
    model.conditioner.forget()


def test_no_audio_is_shipped_with_the_code() -> None:
    folder = Path(engine.pocket.__file__).parent
    allowed = {".py", ".md", ".json", ".safetensors"}
    found = {p.suffix for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert found <= allowed
    from engine.pocket.package import stored_weights

    longest = max(stored_weights().items(), key=lambda item: item[1].numel())
    assert longest[1].numel() < 1_500_000, f"{longest[0]} is too large for a network of this size"


def test_generation_does_not_touch_the_synthesiser() -> None:
    """Loading and generating import nothing of engine.pocket but the codec."""
    import subprocess
    import sys

    program = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from engine.musicgen.checkpoint import load\n"
        f"model = load({str(WEIGHTS)!r})\n"
        "take = model.start(prompt='techno', frames=3, sampling=model.default_sampling, seed=0)\n"
        "while not take.done: take.step()\n"
        "take.audio()\n"
        "print(sorted(m for m in sys.modules if m.startswith('engine.pocket')))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip().splitlines()[-1] == "['engine.pocket', 'engine.pocket.codec']"
