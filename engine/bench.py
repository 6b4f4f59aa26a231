"""``python -m engine bench``: frames a second of this decoder beside transformers' and audiocraft's own ``generate``.

One take, greedy, guidance 3, float32, the same weights and the same threads in every contender, several rounds in turn; text encoder and
language model are timed, the codec is not. Where two contenders' codes differ no ratio is printed: then they did not do the same work.
Not here: batches, int8, GPUs, quality.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

PROMPT = "dark driving techno at 130 bpm"
GUIDANCE = 3.0
EPILOG = """\
examples:
  python -m engine bench                        the embedded model
  python -m engine bench --sizes small          musicgen-small's true sizes, random weights (needs 6 GB of memory)
  python -m engine bench --frames 50 --rounds 3 --json
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A decoder: its name with version, and a function of frames that gives greedy codes ``[K, frames]``."""

    name: str
    decode: Callable[[int], Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0, or 1 where the contenders' codes differ."""
    parser = argparse.ArgumentParser(
        prog="python -m engine bench",
        description="Frames a second of one take, beside transformers and audiocraft. 50 frames are one second of music.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--checkpoint", default="pocket", metavar="NAME", help="pocket, a hub name or a folder (default: pocket)")
    what.add_argument("--sizes", choices=("tiny", "small"), help="random weights of these sizes instead")
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="frames a take (default 100)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="times that each contender decodes (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: every core)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args(argv)
    if min(arguments.frames, arguments.rounds, arguments.threads) < 1:
        parser.error("--frames, --rounds and --threads are at least 1")

    import torch

    torch.set_num_threads(arguments.threads)
    with _folder(arguments.checkpoint, arguments.sizes) as folder:
        result = measure(folder, frames=arguments.frames, rounds=arguments.rounds, tell=not arguments.json)
    result |= {
        "weights": f"random, {arguments.sizes}" if arguments.sizes else arguments.checkpoint,
        "threads": arguments.threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps(result) if arguments.json else _table(result))
    return 0 if result["same_codes"] else 1


def measure(folder: Path, *, frames: int, rounds: int, tell: bool = False) -> dict[str, Any]:
    """Let every contender that is installed decode ``frames`` frames ``rounds`` times, in turn, after one warm-up each.

    Returns medians of frames a second by contender, whether all codes were the same, and then ratios of the first to the others.
    """
    contenders = list(_contenders(folder))
    codes = {contender.name: contender.decode(frames) for contender in contenders}  # also the warm-up
    same = all(bool((value == codes[contenders[0].name]).all()) for value in codes.values())
    speeds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            begun = time.perf_counter()
            contender.decode(frames)
            speeds[contender.name].append(frames / (time.perf_counter() - begun))
        if tell:
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    medians = {name: round(statistics.median(values), 2) for name, values in speeds.items()}
    ours = contenders[0].name
    ratios = {
        name: round(statistics.median(a / b for a, b in zip(speeds[ours], speeds[name], strict=True)), 2) for name in speeds if name != ours
    }
    return {
        "frames": frames,
        "rounds": rounds,
        "frames_per_s": medians,
        "same_codes": same,
        "ratios": ratios if same else None,
        "torch": version("torch"),
    }


def _contenders(folder: Path) -> Iterator[Contender]:
    """Ours first. Each reads the same folder."""
    from engine.musicgen import checkpoint
    from engine.musicgen.generate import SamplingOptions

    model = checkpoint.load(folder)

    def ours(frames: int) -> Any:
        model.conditioner.forget()
        take = model.start(prompt=PROMPT, frames=frames, sampling=SamplingOptions(temperature=0, guidance_scale=GUIDANCE), seed=0)
        while not take.done:
            take.step()
        return take.codes()

    yield Contender("this project", ours)
    yield _transformers(folder, model.conditioner.tokenizer)
    if importlib.util.find_spec("audiocraft") is not None:
        yield _audiocraft(model)


def _transformers(folder: Path, tokenizer: Any) -> Contender:
    import torch
    from transformers import MusicgenForConditionalGeneration

    from engine.musicgen.checkpoint import quiet_transformers

    with quiet_transformers():
        model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()  # weights may be stored in half
    seen: list[Any] = []
    codec_output = type("Output", (), {"audio_values": torch.zeros(1, 1, 1)})

    def keep(audio_codes: Any, *_: Any, **__: Any) -> Any:
        """In place of the codec's decode: the codes are what is compared, and the codec is not what is timed."""
        seen[:] = [audio_codes[0, 0]]
        return codec_output

    model.audio_encoder.decode = keep

    def decode(frames: int) -> Any:
        inputs = tokenizer([PROMPT], return_tensors="pt")
        steps = frames + model.config.decoder.num_codebooks
        with quiet_transformers(), torch.inference_mode():
            model.generate(**inputs, do_sample=False, guidance_scale=GUIDANCE, max_length=steps)
        return seen[0]

    return Contender(f"transformers {version('transformers')}", decode)


def _audiocraft(model: Any) -> Contender:
    import torch

    from engine.musicgen import reference

    lm = reference.build(model).inner.lm

    def decode(frames: int) -> Any:
        from audiocraft.modules.conditioners import ConditioningAttributes

        with torch.no_grad():
            return lm.generate(
                None, [ConditioningAttributes(text={"description": PROMPT})], max_gen_len=frames, use_sampling=False, cfg_coef=GUIDANCE
            )[0]

    return Contender(f"audiocraft {version('audiocraft')}", decode)


@contextmanager
def _folder(checkpoint: str, sizes: str | None) -> Iterator[Path]:
    """A folder in transformers' form: a checkpoint's own, or random weights in a temporary one."""
    if sizes is None:
        from engine.checkpoints import POCKET_FOLDER
        from engine.musicgen.checkpoint import find

        yield POCKET_FOLDER if checkpoint == "pocket" else find(checkpoint)
        return
    from engine.musicgen.tiny import MUSICGEN_SMALL, TINY, write_tiny_checkpoint

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield write_tiny_checkpoint(folder, sizes=MUSICGEN_SMALL if sizes == "small" else TINY)


def _table(result: dict[str, Any]) -> str:
    """Markdown."""
    ratios = result["ratios"]
    rows = [f"| {'decoder':<24} | frames a second | this project is |", f"|{'-' * 26}|----------------:|----------------:|"]
    for name, speed in result["frames_per_s"].items():
        ratio = f"{ratios[name]:.2f} × as fast" if ratios and name in ratios else ""
        rows.append(f"| {name:<24} | {speed:>15.1f} | {ratio:>15} |")
    about = f"{result['weights']} weights, {result['threads']} threads, {result['frames']} frames, median of {result['rounds']} rounds, "
    about += f"torch {result['torch']}, {result['machine']}"
    verdict = "Greedy codes are the same in all." if result["same_codes"] else "No ratios: the greedy codes differ."
    return "\n".join([*rows, "", about, verdict])
