"""Many takes in one step: each becomes what it becomes alone, to the byte, in every precision, with the kernel and without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine.musicgen.decoding import KERNEL, NoRows
from engine.musicgen.generate import MusicGen, SamplingOptions, TakeDecoder
from engine.musicgen.kernel import build
from engine.musicgen.kernel.native import PRODUCTS, NativeModel, quantise
from engine.musicgen.static_model import StaticModel
from engine.musicgen.torch_model import TorchModel

SAMPLED = SamplingOptions()
GREEDY = SamplingOptions(temperature=0.0)
needs_kernel = pytest.mark.skipif(build.reason() is not None, reason=f"the kernel can't be had here: {build.reason()}")


@pytest.fixture(params=["fp32", "bf16", "int8", "torch"])
def model(request: pytest.FixtureRequest, tiny: MusicGen, monkeypatch: pytest.MonkeyPatch) -> MusicGen:
    """The tiny model in each way that it can be decoded."""
    made = replace(tiny)
    if request.param == "torch":
        monkeypatch.setenv(KERNEL, "off")
        made.prepare(rows=16)
        assert made.decoding.kernel == "torch"
    elif build.reason() is not None:
        pytest.skip(f"the kernel can't be had here: {build.reason()}")
    else:
        made.prepare(request.param, rows=16)
        assert (made.decoding.kernel, made.decoding.precision) == ("native", request.param)
    return made


def takes_of(model: MusicGen, audio: Tensor) -> list[TakeDecoder]:
    """Of different lengths, prompts, guidance and sampling; the last hears a prompt that is longer than a piece."""
    return [
        model.start(prompt="dark techno", frames=40, sampling=SAMPLED, seed=5),
        model.start(prompt="deep house at 128 bpm", frames=25, sampling=replace(SAMPLED, temperature=1.3, top_p=0.9), seed=5),
        model.start(prompt=None, frames=30, sampling=SAMPLED, seed=6),
        model.start(prompt="acid", frames=20, sampling=replace(SAMPLED, guidance_scale=1.0), seed=7),
        model.start(prompt="acid", frames=20, sampling=replace(SAMPLED, guidance_scale=5.0), seed=7, prompt_audio=audio),
    ]


def test_the_same_bytes_alone_and_in_company(model: MusicGen, some_audio: Callable[..., Tensor], run: Callable[..., Tensor]) -> None:
    alone = [run(take) for take in takes_of(model, some_audio(3.0))]
    takes = takes_of(model, some_audio(3.0))
    running: list[TakeDecoder] = []
    rounds = 0
    while takes or running:
        if takes and rounds % 3 == 0:  # one joins every third round
            running.append(takes.pop())
        model.advance(running)
        running = [take for take in running if not take.done]
        rounds += 1
    again = takes_of(model, some_audio(3.0))
    while waiting := [take for take in reversed(again) if not take.done]:
        model.advance(waiting)
    for first, second in zip(alone, again, strict=True):
        assert torch.equal(first[0], second.codes())
    assert model.decoding.rows_in_use == 0


def test_a_newcomer_decides_in_the_first_round_and_a_prompt_holds_nobody_up(model: MusicGen, some_audio: Callable[..., Tensor]) -> None:
    eight = [model.start(prompt="techno", frames=60, sampling=replace(SAMPLED, guidance_scale=1.0), seed=seed) for seed in range(8)]
    for _ in range(10):
        model.advance(eight)
    ninth = model.start(prompt="acid", frames=60, sampling=SAMPLED, seed=9)
    listener = model.start(prompt="acid", frames=60, sampling=SAMPLED, seed=9, prompt_audio=some_audio(2.0))
    rounds = 0
    while listener.pending > 1:
        model.advance([*eight, ninth, listener])
        rounds += 1
        assert [take.heard for take in eight] == [10 + rounds] * 8  # each round a step, whoever joins
        assert ninth.heard == rounds
    assert rounds <= 7  # 101 steps in pieces of 16 or more


def test_rows_are_a_budget_and_go_back(tiny: MusicGen) -> None:
    model = replace(tiny)
    model.prepare(rows=4)
    first, second = (model.start(prompt="techno", frames=30, sampling=SAMPLED, seed=seed) for seed in (1, 2))
    third = model.start(prompt=None, frames=30, sampling=SAMPLED, seed=3)
    model.advance([first, second])
    with pytest.raises(NoRows, match="4 of 4 rows are in use"):
        third.step()
    first.close()
    third.step()
    del second
    assert model.decoding.rows_in_use == 1


def test_a_prompt_is_encoded_once(tiny: MusicGen) -> None:
    model = replace(tiny)
    first, second = (model.start(prompt="techno", frames=30, sampling=SAMPLED, seed=seed) for seed in (1, 2))
    assert first.texts[0] is second.texts[0]
    assert first.texts[1] is None  # no text: no second attention to it


@needs_kernel
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.02), ("int8", 0.1)])
def test_the_kernel_computes_what_torch_computes(tiny: MusicGen, precision: Any, tolerance: float) -> None:
    """A prompt in pieces, then steps; a row with a text and one without; logits relative to their size."""
    lm = tiny.lm
    sequence = torch.randint(tiny.card, (40, 4), generator=torch.Generator().manual_seed(1))
    states = tiny.conditioner(["dark techno"]).states
    kernel = NativeModel(lm, precision, capacity=40)
    text, rows = kernel.text(states[0]), [kernel.row(), kernel.row()]
    found = []
    for start, end in ((0, 9), (9, 30), *((step, step + 1) for step in range(30, 40))):
        here, positions = sequence[start:end].repeat(2, 1), list(range(start, end)) * 2
        count = end - start
        each = [rows[0]] * count + [rows[1]] * count, [text] * count + [None] * count
        found.append(kernel.run(here, positions, *each, [count - 1, 2 * count - 1]).clone())
    with torch.inference_mode():
        both = torch.cat([states, torch.zeros_like(states)])
        mask = torch.ones(2, states.shape[1]) * torch.tensor([[1.0], [0.0]])
        wanted = lm(sequence.T[None].expand(2, -1, -1), both, mask)[:, :, [8, *range(29, 40)]].transpose(1, 2)  # (2, steps, K, card)
    error = (torch.stack(found, dim=1) - wanted).norm() / wanted.norm()
    assert error < tolerance


@needs_kernel
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_neither_threads_nor_neighbours_nor_pieces_change_a_bit(tiny: MusicGen, precision: Any) -> None:
    kernel = NativeModel(tiny.lm, precision, capacity=48)
    sequence = torch.randint(tiny.card, (20, 4), generator=torch.Generator().manual_seed(1))
    row = kernel.row()
    one_by_one = [kernel.run(sequence[[step]], [step], [row], [None], [0]).clone() for step in range(20)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for count in (1, 3, 11):  # this many rows, all at once
            rows = [row for row in (kernel.row() for _ in range(count)) for _ in range(20)]
            at_once = kernel.run(sequence.repeat(count, 1), list(range(20)) * count, rows, [None] * 20 * count, list(range(20)))
            assert torch.equal(at_once, torch.cat(one_by_one))
    finally:
        torch.set_num_threads(threads)


def test_int8_weights_have_a_scale_for_each_output() -> None:
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 1, 32)[:, None]
    weight[3] = 0
    values, scale = quantise(weight)
    assert values.abs().max() == 127
    assert ((values * scale[:, None] - weight).abs() <= scale[:, None] / 2 + 1e-9).all()


@needs_kernel
def test_nothing_is_allocated_for_a_frame(tiny: MusicGen) -> None:
    """What a step returns lies where the step before put its own, and the caches stay where they were."""
    kernel = NativeModel(tiny.lm, "int8", capacity=48)
    row, codes = kernel.row(), torch.zeros(1, 4, dtype=torch.long)
    before = row.struct.bytes
    places = {kernel.run(codes, [step], [row], [None], [0]).data_ptr() for step in range(48)}
    assert len(places) == 1
    assert row.struct.bytes == before


@needs_kernel
def test_a_frame_is_so_many_products_however_many_takes(tiny: MusicGen) -> None:
    """Counted, not timed: each matrix once a step, its weights once for all rows, at the first step as at the last."""
    model = replace(tiny)
    kernel = model.prepare("int8", rows=16).model
    assert isinstance(kernel, NativeModel)
    layers = tiny.lm.config.num_layers
    for count in (1, 8):
        takes = [model.start(prompt="techno", frames=30, sampling=SAMPLED, seed=seed) for seed in range(count)]
        while not takes[0].done:
            profile = kernel.profile()
            model.advance(takes)
            made = profile.counts()
            assert [made[name] for name in PRODUCTS] == [layers] * 6 + [1]
            assert sum(made.values()) == 14 * layers + 3  # times that threads wait for each other
    alone = kernel.profile()
    model.advance([model.start(prompt=None, frames=5, sampling=SAMPLED, seed=0)])
    assert sum(alone.counts()[name] for name in PRODUCTS) == 4 * layers + 1  # no text: no second attention


class Making(TorchDispatchMode):
    """Counts torch's operations, and the bytes of the largest thing that one of them made."""

    operations = 0
    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.operations += 1
        owned = {tensor.untyped_storage().data_ptr() for tensor in args if isinstance(tensor, Tensor)}
        for tensor in made if isinstance(made, (list, tuple)) else [made]:
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in owned:
                self.largest = max(self.largest, tensor.nbytes)
        return made


@needs_kernel
def test_a_frame_costs_the_same_in_python_wherever_it_is_and_nothing_grows(tiny: MusicGen) -> None:
    """The frames of a take, and the work of eight against that of one: alike takes are guided and drawn in one go."""
    model = replace(tiny)
    model.prepare("int8", rows=16)
    found = {}
    for count in (1, 8):
        takes = [model.start(prompt="techno", frames=40, sampling=SAMPLED, seed=seed) for seed in range(count)]
        model.advance(takes)  # the warm-up takes rows
        steps = []
        for _ in range(36):
            with Making() as making:
                model.advance(takes)
            steps.append((making.operations, making.largest))
        assert len(set(steps)) == 1
        assert steps[0][1] <= 2 * count * tiny.num_codebooks * tiny.card * 4  # the logits of a step, and nothing as large as what was heard
        found[count] = steps[0][0]
    one, eight = found[1], found[8]
    assert eight - one <= 7 * 16  # of each further take: its rows of what goes in and comes out, its draw, its window


def test_without_a_compiler_torch_decodes_and_the_log_says_why(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, run: Callable[..., Tensor]
) -> None:
    monkeypatch.setattr("engine.musicgen.kernel.build.shutil.which", lambda _name: None)
    build.library.cache_clear()
    try:
        model = replace(tiny)
        model.prepare("int8", rows=4)
        assert (model.decoding.kernel, model.decoding.precision) == ("torch", "fp32")
        assert "there is no C compiler" in caplog.text
        assert run(model.start(prompt="techno", frames=5, sampling=GREEDY, seed=0)).shape == (1, 4, 5)
    finally:
        build.library.cache_clear()


def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "techno-composer").mkdir()
    (tmp_path / "techno-composer").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(build.NoKernel, match="written by others"):
        build._folder()


class NoAnswers(TorchDispatchMode):
    """Fails where a tensor's value is asked for by the host, or a tensor leaves its device: what stops a GPU's queue."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in {"item", "is_nonzero", "_local_scalar_dense", "nonzero", "cpu"}, f"{func} waits for the device"
        assert func is not torch.ops.aten._to_copy.default or "device" not in (kwargs or {}), f"{func} moves a tensor"
        return func(*args, **(kwargs or {}))


def test_the_step_for_gpus_is_one_graph_that_never_changes(tiny: MusicGen) -> None:
    """200 steps with takes that come and go: no graph break, no second compilation, nothing asked of the host, and torch's own results."""
    compiled: list[Any] = []

    def compiler(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def counting(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
            compiled.append(graph)
            return graph.forward

        return torch.compile(step, fullgraph=True, dynamic=False, backend=counting)

    static = StaticModel(tiny.lm, capacity=210, rows=4, compiler=compiler)
    plain = TorchModel(tiny.lm, capacity=210, width=4)
    states = tiny.conditioner(["dark techno"]).states[0]
    texts = [(model.text(states), model) for model in (static, plain)]
    rows = {model: [model.row() for _ in range(4)] for _, model in texts}
    generator = torch.Generator().manual_seed(0)
    heard = [0, 0, 0, 0]
    with torch.inference_mode():
        for step in range(200):
            here = [row for row in range(4) if row == 0 or (step // (7 * row)) % 2]  # the first stays, others come and go
            codes = torch.randint(tiny.card, (len(here), 4), generator=generator)
            found = []
            for text, model in texts:
                told = [text if row % 2 == 0 else None for row in here]
                each = [rows[model][row] for row in here]
                found.append(model.run(codes, [heard[row] for row in here], each, told, range(len(here))))
            assert (found[0] - found[1]).abs().max() < 1e-4
            for row in here:
                heard[row] += 1
        with NoAnswers():
            static._step(static._codes, static._positions, static._text_steps)
            with pytest.raises(AssertionError, match="waits for the device"):
                static._positions[0].item()
    assert len(compiled) == 1
