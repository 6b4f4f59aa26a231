"""Takes through adapters: as a merged checkpoint would play, as the base at strength 0, and the same bytes whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.musicgen.adapted import Adapted
from engine.musicgen.adapter import Adapter, Dial
from engine.musicgen.checkpoint import load
from engine.musicgen.decoding import KERNEL
from engine.musicgen.generate import MusicGen, SamplingOptions, TakeDecoder
from engine.musicgen.kernel import build
from engine.musicgen.kernel.native import NativeModel
from engine.musicgen.static_model import SLOTS, StaticModel
from engine.musicgen.tiny import write_tiny_adapter
from engine.musicgen.torch_model import TorchModel
from engine.training import adapters

SAMPLED = SamplingOptions()
GREEDY = SamplingOptions(temperature=0.0)
RANKS = (4, 16, 5)
needs_kernel = pytest.mark.skipif(build.reason() is not None, reason=f"the kernel can't be had here: {build.reason()}")


@pytest.fixture(scope="module")
def folders(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters of different ranks, as trained ones lie on the disk."""
    root = tmp_path_factory.mktemp("adapters")
    return [write_tiny_adapter(root / str(rank), tiny_checkpoint, seed=rank, rank=rank) / "adapter" for rank in RANKS]


@pytest.fixture(scope="module")
def read(tiny: MusicGen, folders: list[Path]) -> list[Adapter]:
    return [adapters.read(tiny.lm, folder, base_sha256=tiny.sha256) for folder in folders]


@pytest.fixture(scope="module")
def merged(tiny_checkpoint: Path, folders: list[Path]) -> MusicGen:
    """A model of its own with the first adapter in its weights."""
    model = load(tiny_checkpoint)
    adapters.load(model.lm, folders[0]).merge()
    return model


def prepared(model: MusicGen, how: str, monkeypatch: pytest.MonkeyPatch) -> MusicGen:
    made = replace(model)
    if how == "torch":
        monkeypatch.setenv(KERNEL, "off")
    elif build.reason() is not None:
        pytest.skip(f"the kernel can't be had here: {build.reason()}")
    made.prepare("auto" if how == "torch" else how, rows=16)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("how", ["fp32", "torch"])
def test_full_strength_is_the_merged_checkpoint_and_none_the_base(
    tiny: MusicGen, merged: MusicGen, read: list[Adapter], how: str, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Tensor]
) -> None:
    """Both rows of guidance: with the null row on the base alone, other codes come out."""
    base, other = prepared(tiny, how, monkeypatch), prepared(merged, how, monkeypatch)
    adapted = Adapted(base, read[0])
    wanted, found, plain, at_zero = (
        run(model.start(prompt="dark techno", frames=50, sampling=GREEDY, seed=0)) for model in (other, adapted, base, adapted.at(0.0))
    )
    assert torch.equal(found, wanted)
    assert torch.equal(at_zero, plain)
    assert not torch.equal(found, plain)


@needs_kernel
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.02), ("int8", 0.1)])
@pytest.mark.parametrize("which", range(len(RANKS)))
def test_the_kernel_computes_what_torch_computes(tiny: MusicGen, read: list[Adapter], which: int, precision: Any, tolerance: float) -> None:
    """A prompt in pieces, then steps, beside a row without an adapter; logits relative to their size."""
    sequence = torch.randint(tiny.card, (30, 4), generator=torch.Generator().manual_seed(1))
    states = tiny.conditioner(["dark techno"]).states[0]
    found = []
    for model in (NativeModel(tiny.lm, precision, capacity=30), TorchModel(tiny.lm, capacity=30, width=4)):
        dial = Dial(model.adapter(read[which]), 0.7)
        text, plain = model.text(states, dial), model.text(states)
        rows = [model.row() for _ in range(3)]
        logits = []
        for start, end in ((0, 9), (9, 20), *((step, step + 1) for step in range(20, 30))):
            count = end - start
            each: list[Any] = [
                [thing for thing in things for _ in range(count)] for things in (rows, [text, None, plain], [dial, dial, None])
            ]
            here, positions = sequence[start:end].repeat(3, 1), list(range(start, end)) * 3
            outs = [count - 1, 2 * count - 1, 3 * count - 1]
            logits.append(model.run(here, positions, each[0], each[1], outs, dials=each[2]).clone())
        found.append(torch.stack(logits, dim=1))  # (rows, steps, K, card)
    for row in range(3):
        assert (found[0][row] - found[1][row]).norm() / found[1][row].norm() < tolerance


def takes_of(base: MusicGen, adapted: list[Adapted], audio: Tensor) -> list[TakeDecoder]:
    return [
        adapted[0].start(prompt="dark techno", frames=30, sampling=SAMPLED, seed=5),
        base.start(prompt="dark techno", frames=30, sampling=SAMPLED, seed=5),
        adapted[1].at(1.4).start(prompt="dark techno", frames=20, sampling=SAMPLED, seed=5),
        adapted[0].at(0.3).start(prompt="dark techno", frames=25, sampling=replace(SAMPLED, guidance_scale=1.0), seed=5),
        adapted[1].start(prompt=None, frames=20, sampling=SAMPLED, seed=6),
        adapted[0].start(prompt="acid", frames=20, sampling=SAMPLED, seed=7, prompt_audio=audio),
        base.start(prompt="acid", frames=20, sampling=SAMPLED, seed=7, prompt_audio=audio),
    ]


@pytest.mark.parametrize("how", ["fp32", "int8", "torch"])
def test_the_same_bytes_alone_and_beside_other_adapters_and_the_base(
    tiny: MusicGen,
    read: list[Adapter],
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    some_audio: Callable[..., Tensor],
    run: Callable[..., Tensor],
) -> None:
    base = prepared(tiny, how, monkeypatch)
    adapted = [Adapted(base, adapter) for adapter in read[:2]]
    alone = [run(take)[0] for take in takes_of(base, adapted, some_audio(2.0))]
    only_base = prepared(tiny, how, monkeypatch)  # which never heard of adapters
    assert torch.equal(alone[1], run(only_base.start(prompt="dark techno", frames=30, sampling=SAMPLED, seed=5))[0])
    assert len({tuple(codes[:, :20].flatten().tolist()) for codes in alone}) == len(alone)
    waiting = takes_of(base, adapted, some_audio(2.0))
    again, running = list(waiting), list[TakeDecoder]()
    while waiting or running:
        if waiting:
            running.append(waiting.pop())  # one joins every round
        base.advance(running)
        running = [take for take in running if not take.done]
    assert all(torch.equal(first, second.codes()) for first, second in zip(alone, again, strict=True))


def test_a_text_is_kept_for_each_adapter_and_strength(tiny: MusicGen, read: list[Adapter]) -> None:
    base = replace(tiny)
    first, second = Adapted(base, read[0]), Adapted(base, read[1])
    models = (base, first, first.at(0.5), second, first, first.at(0.0))
    texts = [model.start(prompt="techno", frames=5, sampling=GREEDY, seed=0).texts[0] for model in models]
    assert len({id(text) for text in texts[:4]}) == 4
    assert texts[4] is texts[1]
    assert texts[5] is texts[0]


def test_an_adapter_that_does_not_fit_is_refused(tiny: MusicGen, tiny_stereo: MusicGen, folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(adapters.AdapterError, match="this is another model"):
        adapters.read(tiny_stereo.lm, folders[0], base_sha256=tiny_stereo.sha256)
    with pytest.raises(adapters.AdapterError, match="can't be read"):
        adapters.read(tiny.lm, tmp_path)
    folder = write_tiny_adapter(tmp_path / "loud", Path(tiny.name), loud=1e39) / "adapter"
    with pytest.raises(adapters.AdapterError, match="holds numbers that are none: train the adapter again"):
        adapters.read(tiny.lm, folder)
    config = folder / adapters.CONFIG_FILE
    config.write_text(config.read_text().replace('"r": 4', '"r": 3'))
    with pytest.raises(adapters.AdapterError, match="where the model needs"):
        adapters.read(tiny.lm, folder)
    config.write_text(config.read_text().replace('"bias"', '"use_rslora": true, "bias"'))
    with pytest.raises(adapters.AdapterError, match="plain LoRA is needed"):
        adapters.read(tiny.lm, folder)


# The step for GPUs.


def test_on_a_gpu_adapters_share_two_graphs_that_never_change(tiny: MusicGen, read: list[Adapter]) -> None:
    """Takes on more adapters than there are slots come and go: torch's own results, no third compilation."""
    compiled: list[Any] = []

    def compiler(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def counting(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
            compiled.append(graph)
            return graph.forward

        return torch.compile(step, fullgraph=True, dynamic=False, backend=counting)

    rows = SLOTS + 3
    static, plain = StaticModel(tiny.lm, capacity=40, rows=rows, compiler=compiler), TorchModel(tiny.lm, capacity=40, width=rows)
    many = [Adapter(read[number % 3].layers, sha256=str(number)) for number in range(rows)]
    states = tiny.conditioner(["dark techno"]).states[0]
    generator = torch.Generator().manual_seed(0)
    each: list[tuple[Any, list[Any], list[Dial | None], list[Any]]] = []
    for model in (static, plain):
        dials = [None if number == 4 else Dial(model.adapter(adapter), 0.2 * number + 0.1) for number, adapter in enumerate(many)]
        texts = [model.text(states, dial) if number % 2 else None for number, dial in enumerate(dials)]
        each.append((model, [model.row() for _ in range(rows)], dials, texts))
    heard = [0] * rows
    with torch.inference_mode():
        for step in range(30):
            here = [row for row in range(rows) if step % (row + 1) == 0 or step > 25]  # all of them at first and at last
            codes = torch.randint(tiny.card, (len(here), 4), generator=generator)
            found = [
                model.run(
                    codes, [heard[i] for i in here], [its[i] for i in here], [texts[i] for i in here], range(len(here)),
                    dials=[dials[i] for i in here],
                )
                for model, its, dials, texts in each
            ]  # fmt: skip
            assert (found[0] - found[1]).abs().max() < 1e-4
            for row in here:
                heard[row] += 1
        model, its, _dials, texts = each[0]
        model.run(codes[:2], [heard[0], heard[1]], its[:2], texts[:2], range(2))
    assert len(compiled) == 2  # with adapters and, in the last step, without


def test_on_a_gpu_idle_rows_leave_what_others_hear_alone(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch, some_audio: Callable[..., Tensor], run: Callable[..., Tensor]
) -> None:
    """A row that had another take before is hearing a prompt in pieces while a neighbour steps."""
    monkeypatch.setenv(KERNEL, "off")
    model = replace(tiny)
    decoding = model.prepare(rows=4)
    decoding.model = StaticModel(tiny.lm, capacity=decoding.model.capacity, rows=4)

    def listener() -> TakeDecoder:
        return model.start(prompt="acid", frames=10, sampling=GREEDY, seed=0, prompt_audio=some_audio(4.0))

    alone = run(listener())
    run(model.start(prompt="techno", frames=60, sampling=GREEDY, seed=1))  # leaves its rows at step 63
    neighbour = model.start(prompt="techno", frames=60, sampling=SAMPLED, seed=2)
    neighbour.step()
    take = listener()
    while not take.done:
        model.advance([take, neighbour])
    assert torch.equal(take.codes(), alone[0])
