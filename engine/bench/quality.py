"""``python -m engine bench --quality``: how far int8 and bf16 are from fp32, on codes that the model itself made.

The model plays takes in fp32; every precision then hears the same codes, and says what it expects next. KL is that of its distribution
of the next code from fp32's, in nats; top-1 is how often the likeliest code is the same. Both are of guided logits, as sampling sees them,
over all codebooks. Not here: how clips sound (``engine.evaluation``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.bench.contenders import prompts


def measure_quality(folder: Path, *, takes: int = 8, frames: int = 200, precisions: Sequence[str] = ("bf16", "int8")) -> dict[str, Any]:
    """For each precision that can be had here: mean KL in nats, its standard error over takes, and the share of equal likeliest codes."""
    import torch

    from engine.musicgen import checkpoint

    model = checkpoint.load(folder)
    with torch.inference_mode():
        exact, sequences = _play(model, takes, frames)
        found: dict[str, Any] = {}
        for precision in precisions:
            other = replace(model)
            if other.prepare(precision, rows=2).precision != precision:  # type: ignore[arg-type]  # a str from a loop over the names
                continue
            kl, same = [], []
            for index, (wanted, sequence) in enumerate(zip(exact, sequences, strict=True)):
                heard = _hear(other, prompts(takes)[index], sequence)
                p, q = wanted.log_softmax(-1), heard.log_softmax(-1)  # (steps, K, card)
                kl.append(float((p.exp() * (p - q)).sum(-1).mean()))
                same.append(float((wanted.argmax(-1) == heard.argmax(-1)).float().mean()))
            values = torch.tensor(kl)
            found[precision] = {
                "kl_nats": round(float(values.mean()), 5),
                "kl_error": round(float(values.std() / max(1, takes) ** 0.5), 5) if takes > 1 else None,
                "top1_agreement": round(sum(same) / takes, 4),
            }
    return {"takes": takes, "frames": frames, "against": "fp32", "precisions": found}


def _play(model: Any, takes: int, frames: int) -> tuple[list[Any], list[Any]]:
    """Takes in fp32, drawn as the checkpoint asks -> guided logits ``(steps, K, card)`` and sequences ``(steps, K)`` of each."""
    from engine.musicgen.delay import apply_delay

    exact = replace(model)
    exact.prepare("fp32", rows=2)
    logits, sequences = [], []
    for index, prompt in enumerate(prompts(takes)):
        take = exact.start(prompt=prompt, frames=frames, sampling=model.default_sampling, seed=index)
        while not take.done:
            take.step()
        sequence = apply_delay(take.codes()[None], model.lm.pad, model.lm.config.delays)[0].T  # (steps, K)
        sequences.append(sequence)
        logits.append(_hear(exact, prompt, sequence))
    return logits, sequences


def _hear(model: Any, prompt: str, sequence: Any) -> Any:
    """Guided logits ``(steps, K, card)`` after each step of a sequence ``(steps, K)``."""
    import torch

    from engine.musicgen.sampling import guide

    decoding, rows = model.decoding, model.decoding.take_rows(2)
    text = decoding.text(prompt, model.conditioner([prompt]).states[0])
    steps = []
    for step in range(sequence.shape[0]):
        logits = decoding.model.run(sequence[[step, step]], [step, step], rows, [text, None], [0, 1])  # (2, K, card)
        steps.append(guide(logits, model.default_sampling.guidance_scale)[0].float().clone())
    decoding.give_back(rows)
    return torch.stack(steps)
