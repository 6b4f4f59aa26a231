"""The audiocraft backend on random weights: the same requests, and greedy the same codes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.musicgen import reference
from engine.musicgen.audiocraft_files import export_audiocraft
from engine.musicgen.checkpoint import CheckpointError
from engine.musicgen.generate import MusicGen, SamplingOptions

installed = pytest.mark.skipif(
    importlib.util.find_spec("audiocraft") is None, reason="audiocraft is not installed (scripts/install-audiocraft)"
)
GREEDY = SamplingOptions(temperature=0.0)


def test_without_audiocraft_the_message_names_the_step(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audiocraft", None)  # Python's own way to say that there is none
    with pytest.raises(reference.AudiocraftMissing, match="run scripts/install-audiocraft"):
        reference.load(tiny_checkpoint)
    assert (Path(reference.__file__).parents[2] / "scripts" / "install-audiocraft").is_file()


@installed
@pytest.mark.parametrize("kind", ["tiny_checkpoint", "tiny_stereo_checkpoint"])
def test_text_continuation_and_unconditional(
    request: pytest.FixtureRequest, kind: str, run: Callable[..., Tensor], some_audio: Callable[..., Tensor]
) -> None:
    model: MusicGen = request.getfixturevalue(kind.removesuffix("_checkpoint"))
    peer = reference.load(request.getfixturevalue(kind))
    assert (peer.sample_rate, peer.frame_rate, peer.channels) == (model.sample_rate, model.frame_rate, model.channels)
    assert (peer.num_codebooks, peer.card, peer.window_frames) == (model.num_codebooks, model.card, model.window_frames)
    assert (peer.sha256, peer.parameters) == (model.sha256, model.parameters)

    heard = some_audio(0.6, channels=model.channels)[:, 100:]
    for prompt, audio in (("dark techno", None), ("dark techno", heard), (None, heard), (None, None)):
        theirs = peer.start(prompt=prompt, frames=40, sampling=GREEDY, seed=0, prompt_audio=audio)
        assert (theirs.frames, theirs.of_frames, theirs.done) == (0, 40, False)
        ours = model.start(prompt=prompt, frames=40, sampling=GREEDY, seed=0, prompt_audio=audio)
        first, second = run(theirs), run(ours)
        assert (theirs.frames, theirs.done) == (40, True)
        assert torch.equal(first, second)
        assert theirs.audio().shape == (model.channels, 40 * 640)
        assert (theirs.audio() - ours.audio()).abs().max() < 1e-5


@installed
def test_a_seed_replays_and_leaves_the_global_generator_alone(tiny: MusicGen, run: Callable[..., Tensor]) -> None:
    peer = reference.build(tiny)
    before = torch.random.get_rng_state()
    first, second, third = (run(peer.start(prompt="acid", frames=20, sampling=SamplingOptions(), seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert torch.equal(torch.random.get_rng_state(), before)


@installed
def test_past_its_window_it_strides_as_this_project_does(
    tiny: MusicGen, run: Callable[..., Tensor], some_audio: Callable[..., Tensor]
) -> None:
    short = replace(tiny, window_frames=50)
    peer = reference.build(short)
    heard = some_audio(0.3)
    theirs, ours = (one.start(prompt="acid", frames=110, sampling=GREEDY, seed=0, prompt_audio=heard) for one in (peer, short))
    assert torch.equal(run(theirs), run(ours))
    for frames in (50, 51):
        theirs, ours = (one.start(prompt="acid", frames=frames, sampling=GREEDY, seed=0) for one in (peer, short))
        assert torch.equal(run(theirs), run(ours))


@installed
def test_audiocrafts_own_pair_loads(tiny: MusicGen, tmp_path: Path, run: Callable[..., Tensor]) -> None:
    peer = reference.load(export_audiocraft(tiny, tmp_path))
    first, second = (run(one.start(prompt="acid", frames=20, sampling=GREEDY, seed=0)) for one in (peer, tiny))
    assert torch.equal(first, second)


@installed
def test_what_cannot_be_is_refused_as_by_this_projects_decoder(tiny: MusicGen, tmp_path: Path) -> None:
    peer = reference.build(tiny)
    with pytest.raises(ValueError, match="1 to 12000 frames"):
        peer.start(prompt="techno", frames=0, sampling=GREEDY, seed=0)
    with pytest.raises(ValueError, match="shape"):
        peer.start(prompt="techno", frames=10, sampling=GREEDY, seed=0, prompt_audio=torch.zeros(3, 6400))
    with pytest.raises(CheckpointError, match="there is no folder"):
        reference.load(tmp_path / "nowhere")
