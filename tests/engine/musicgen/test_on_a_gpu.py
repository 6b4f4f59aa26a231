"""What can be known of decoding on a GPU without one: tensors that only claim to be there, on which nothing can be computed or asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.musicgen.decoding import Decoding, advance
from engine.musicgen.generate import MusicGen, SamplingOptions, TakeDecoder
from engine.musicgen.model import LanguageModel
from engine.musicgen.static_model import StaticModel


class NothingComesBack(TorchDispatchMode):
    """Fails where a value or a tensor goes from the GPU to the host: until then the host would have to wait for all that it asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in {"item", "is_nonzero", "_local_scalar_dense", "nonzero"}, f"{func} waits for the device"
        made = func(*args, **(kwargs or {}))
        there = any(isinstance(leaf, Tensor) and leaf.device.type == "cuda" for leaf in tree_leaves((args, kwargs)))
        back = any(isinstance(leaf, Tensor) and leaf.device.type == "cpu" for leaf in tree_leaves(made))
        assert not (there and back), f"{func} waits for the device"
        return made


@pytest.fixture
def on_gpu(tiny: MusicGen) -> Iterator[Decoding]:
    with FakeTensorMode(), torch.inference_mode():
        with torch.device("cuda"):
            lm = LanguageModel(tiny.lm.config).eval().requires_grad_(False)
        decoding = Decoding(lm, capacity=80, rows=4)
        assert isinstance(decoding.model, StaticModel)
        decoding.model = StaticModel(lm, capacity=80, rows=4, compiler=lambda step: step)  # what is not computed can't be compiled
        yield decoding


def take_on(decoding: Decoding, tiny: MusicGen, sampling: SamplingOptions, frames: int = 20) -> TakeDecoder:
    text = decoding.text("techno", torch.zeros(3, tiny.lm.config.width, device="cuda"))
    texts = [text] if sampling.guidance_scale == 1 else [text, None]
    generator = torch.Generator()
    return TakeDecoder(
        decoding, tiny.codec, texts, prompt_codes=None, frames=frames, window_frames=60, sampling=sampling, generator=generator
    )


def test_nothing_is_asked_of_the_device_while_takes_run(tiny: MusicGen, on_gpu: Decoding) -> None:
    """Whole steps: the model, guidance, sampling in every way, and what each take does with its codes."""
    takes = [take_on(on_gpu, tiny, SamplingOptions()), take_on(on_gpu, tiny, SamplingOptions(temperature=0, guidance_scale=1))]
    late = take_on(on_gpu, tiny, SamplingOptions(top_p=0.9, guidance_scale=1), frames=10)
    with NothingComesBack():
        for step in range(30):
            if step == 10:
                takes.append(late)
            if running := [take for take in takes if not take.done]:
                advance(running)
            assert sum(take.frames for take in takes) <= 3 * step  # how far they are is known without asking
    assert all(take.done for take in takes)
    assert takes[0].codes().device.type == "cuda"


def test_what_would_wait_is_found(tiny: MusicGen, on_gpu: Decoding) -> None:
    take = take_on(on_gpu, tiny, SamplingOptions())
    take.step()
    asking: list[Callable[[Tensor], Any]] = [lambda c: c[0, 0].item(), lambda c: c.cpu(), lambda c: c.to("cpu"), lambda c: c.nonzero()]
    for waits in asking:
        with NothingComesBack(), pytest.raises(AssertionError, match="waits for the device"):
            waits(take.steps(0, 1))
