"""``python -m engine.bench.alternatives``: the matrix products of a frame in others' int8 and int4, beside a whole step of the kernel.

A frame of musicgen-small is 24 layers of six products and the heads, 352 M weights. Here each library does those products, one after the
other, with weights of their own in every layer (so that they come from memory, as in a model), for two rows (one take with guidance) and
for sixteen (eight takes); the kernel does all of its step: norms, attention and sampling's logits too. What is not installed is left out.

    pip install torchao onnx onnxruntime openvino      none of them is a dependency of this project
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.musicgen.delay import delays_for
from engine.musicgen.kernel.native import NativeModel, Precision
from engine.musicgen.model import LanguageModel, LanguageModelConfig

LAYERS, WIDTH = 24, 1024
PRODUCTS = ((3 * WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH))
"""(outputs, inputs) of a layer's: q, k and v; out; the text's query and out; up and down."""
HEADS = (4 * 2048, WIDTH)
ROWS = (2, 16)

Frame = Callable[[Tensor], Any]
"""All products of a frame on rows ``(R, C)``."""


def shapes(layers: int) -> list[tuple[int, int]]:
    return [*PRODUCTS * layers, HEADS]


class Products(nn.Module):
    """In torch: each product's first outputs are the next one's inputs."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(inputs, outputs, bias=False) for outputs, inputs in shapes(layers))

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears:
            x = linear(x[:, : linear.in_features])
        return x


def in_torch(layers: int) -> Iterator[tuple[str, Frame]]:
    yield f"torch {torch.__version__}, fp32", Products(layers)
    yield "torch, bf16", _in_half(Products(layers).bfloat16())
    torch.backends.quantized.engine = "x86" if "x86" in torch.backends.quantized.supported_engines else "qnnpack"
    packed = []
    for outputs, inputs in shapes(layers):
        weight = torch.randn(outputs, inputs) * inputs**-0.5
        scale = weight.abs().amax(1) / 127
        quantised = torch.quantize_per_channel(weight, scale.double(), torch.zeros(outputs, dtype=torch.long), 0, torch.qint8)
        packed.append((inputs, torch.ops.quantized.linear_prepack(quantised, None)))

    def dynamic(x: Tensor) -> Tensor:
        for inputs, weight in packed:
            x = torch.ops.quantized.linear_dynamic(x[:, :inputs].contiguous(), weight, reduce_range=False)
        return x

    yield "torch, quantized::linear_dynamic, int8", dynamic


def _in_half(model: nn.Module) -> Frame:
    return lambda x: model(x.bfloat16())


def in_torchao(layers: int) -> Iterator[tuple[str, Frame]]:
    ao = importlib.import_module("torchao.quantization")
    name = f"torchao {version('torchao')}"
    for words, config in (
        ("int8 weights", ao.Int8WeightOnlyConfig()),
        ("int8 weights and activations", ao.Int8DynamicActivationInt8WeightConfig()),
    ):
        model = Products(layers)
        ao.quantize_(model, config)
        yield f"{name}, {words}, eager", model
        yield f"{name}, {words}, torch.compile", torch.compile(model, dynamic=False)
        torch._dynamo.reset()


def in_onnxruntime(layers: int) -> Iterator[tuple[str, Frame]]:
    onnx, ort = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    name = f"ONNX Runtime {ort.__version__}"
    for words, nodes in (
        ("MatMulInteger, int8", _integer_nodes),
        ("MatMulNBits, int8", partial(_bits_nodes, 8)),
        ("MatMulNBits, int4", partial(_bits_nodes, 4)),
    ):
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        model = _onnx_model(onnx, layers, nodes).SerializeToString()
        yield f"{name}, {words}", _in_session(ort.InferenceSession(model, options, ["CPUExecutionProvider"]))


def _in_session(session: Any) -> Frame:
    return lambda x: session.run(None, {"x0": x.numpy()})


@dataclass(frozen=True, slots=True)
class _Product:
    """One of a graph. kept: its constants are put there. of: a generator of random numbers. x, y: names of what goes in and comes out."""

    onnx: Any
    kept: list[Any]
    of: np.random.Generator
    number: int
    outputs: int
    inputs: int

    @property
    def x(self) -> str:
        return f"n{self.number}"

    @property
    def y(self) -> str:
        return f"x{self.number + 1}"


def _onnx_model(onnx: Any, layers: int, nodes: Callable[[_Product], list[Any]]) -> Any:
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph: list[Any] = []
    kept: list[Any] = []
    of = np.random.default_rng(0)
    for number, (outputs, inputs) in enumerate(shapes(layers)):
        product = _Product(onnx, kept, of, number, outputs, inputs)
        for name, value in (("b", 0), ("e", inputs), ("a", 1)):
            kept.append(onnx.numpy_helper.from_array(np.array([value], np.int64), f"{name}{number}"))
        graph.append(helper.make_node("Slice", [f"x{number}", f"b{number}", f"e{number}", f"a{number}"], [product.x]))
        graph += nodes(product)
    inputs_of = [helper.make_tensor_value_info("x0", floats, ["rows", WIDTH])]
    outputs_of = [helper.make_tensor_value_info(f"x{len(shapes(layers))}", floats, ["rows", HEADS[0]])]
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph(graph, "frame", inputs_of, outputs_of, kept), opset_imports=sets, ir_version=9)


def _integer_nodes(product: _Product) -> list[Any]:
    """What ONNX Runtime's own dynamic quantisation makes of a MatMul."""
    array, node, n = product.onnx.numpy_helper.from_array, product.onnx.helper.make_node, product.number
    product.kept.extend(
        [
            array(product.of.integers(-127, 128, (product.inputs, product.outputs)).astype(np.int8), f"w{n}"),
            array(np.full(product.outputs, 1e-3, np.float32), f"s{n}"),
            array(np.zeros(product.outputs, np.int8), f"z{n}"),
        ]
    )
    return [
        node("DynamicQuantizeLinear", [product.x], [f"q{n}", f"qs{n}", f"qz{n}"]),
        node("MatMulInteger", [f"q{n}", f"w{n}", f"qz{n}", f"z{n}"], [f"i{n}"]),
        node("Cast", [f"i{n}"], [f"f{n}"], to=product.onnx.TensorProto.FLOAT),
        node("Mul", [f"qs{n}", f"s{n}"], [f"m{n}"]),
        node("Mul", [f"f{n}", f"m{n}"], [product.y]),
    ]


def _bits_nodes(bits: int, product: _Product) -> list[Any]:
    """Weights in blocks of 128 with a scale each; accuracy level 4 lets it round activations to int8."""
    array, block, n = product.onnx.numpy_helper.from_array, 128, product.number
    blocks = product.inputs // block
    product.kept.extend(
        [
            array(product.of.integers(0, 256, (product.outputs, blocks, block * bits // 8)).astype(np.uint8), f"w{n}"),
            array(np.full(product.outputs * blocks, 1e-3, np.float32), f"s{n}"),
        ]
    )
    about = {"K": product.inputs, "N": product.outputs, "bits": bits, "block_size": block, "accuracy_level": 4}
    node = product.onnx.helper.make_node
    return [node("MatMulNBits", [product.x, f"w{n}", f"s{n}"], [product.y], domain="com.microsoft", **about)]


def in_openvino(layers: int) -> Iterator[tuple[str, Frame]]:
    ov = importlib.import_module("openvino")
    ops = importlib.import_module("openvino.opset13")
    name = f"OpenVINO {ov.__version__.split('-')[0]}"
    of = np.random.default_rng(0)
    for words, kind, group in (("int8 weights", "i8", 0), ("int8 weights and activations", "i8", 1024), ("int4 weights", "i4", 128)):
        x = start = ops.parameter([-1, WIDTH], np.float32)
        for outputs, inputs in shapes(layers):
            x = ops.slice(x, np.array([0]), np.array([inputs]), np.array([1]), np.array([1]))
            if kind == "i8":
                weight = ops.constant(of.integers(-127, 128, (outputs, inputs)).astype(np.int8))
                real = ops.multiply(ops.convert(weight, "f32"), ops.constant(np.full((outputs, 1), 1e-3, np.float32)))
            else:
                four = ov.Tensor(of.integers(0, 256, outputs * inputs // 2).astype(np.uint8), [outputs, inputs // group, group], ov.Type.i4)
                scaled = ops.multiply(
                    ops.convert(ops.constant(four), "f32"), ops.constant(np.full((outputs, inputs // group, 1), 1e-3, np.float32))
                )
                real = ops.reshape(scaled, np.array([outputs, inputs]), special_zero=False)
            x = ops.matmul(x, real, False, True)
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": group,
            "PERFORMANCE_HINT": "LATENCY",
        }
        yield f"{name}, {words}", _compiled(ov.Core().compile_model(ov.Model([x], [start], "frame"), "CPU", settings))


def _compiled(model: Any) -> Frame:
    return lambda x: model(x.numpy())


def ours(layers: int) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """A whole step of the kernel, at the first position."""
    config = LanguageModelConfig(
        num_codebooks=4, card=2048, width=WIDTH, num_layers=layers, num_heads=16, ffn_width=4 * WIDTH, delays=delays_for(4, 1)
    )
    torch.manual_seed(0)
    lm = LanguageModel(config).eval().requires_grad_(False)
    codes = torch.zeros(max(ROWS), 4, dtype=torch.long)
    precisions: tuple[Precision, ...] = ("int8", "fp32")
    for precision in precisions:
        yield f"this project's kernel, {precision}, the whole step", _step(NativeModel(lm, precision, capacity=16), codes)


def _step(model: NativeModel, codes: Tensor) -> Callable[[int], Any]:
    rows = [model.row() for _ in codes]
    return lambda count: model.run(codes[:count], [0] * count, rows[:count], [None] * count, range(count))


def milliseconds(work: Callable[[], Any], times: int) -> float:
    """Median, after two that are not counted."""
    spent = []
    for _ in range(times + 2):
        begun = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begun)
    return 1000 * statistics.median(spent[2:])


def _on_random(frame: Frame, rows: int) -> Any:
    return frame(torch.randn(rows, WIDTH))


LIBRARIES: dict[str, tuple[str | None, Callable[[int], Iterator[tuple[str, Frame]]]]] = {
    "torch": (None, in_torch),
    "torchao": ("torchao", in_torchao),
    "onnxruntime": ("onnxruntime", in_onnxruntime),
    "openvino": ("openvino", in_openvino),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print a Markdown table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.alternatives", description="Others' int8 and int4 beside the kernel.")
    parser.add_argument("--only", nargs="+", choices=("kernel", *LIBRARIES), help="default: all that are installed")
    parser.add_argument("--times", type=int, default=15, metavar="N", help="frames that each does (default 15)")
    parser.add_argument("--layers", type=int, default=LAYERS, metavar="N", help="layers of a frame (default 24)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: every core)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    print(f"| ms a frame | {' | '.join(f'{rows} rows' for rows in ROWS)} |\n|---|{'---:|' * len(ROWS)}", flush=True)

    def tell(name: str, work: Callable[[int], Any]) -> None:
        cells = [f"{milliseconds(partial(work, rows), arguments.times):.1f}" for rows in ROWS]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)

    with torch.inference_mode():
        if not arguments.only or "kernel" in arguments.only:
            for name, step in ours(arguments.layers):
                tell(name, step)
        for library, (package, made) in LIBRARIES.items():
            if arguments.only and library not in arguments.only:
                continue
            if package is not None and importlib.util.find_spec(package) is None:
                print(f"| {library} is not installed | {' | '.join('' for _ in ROWS)} |", flush=True)
                continue
            for name, frame in made(arguments.layers):
                tell(name, partial(_on_random, frame))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
