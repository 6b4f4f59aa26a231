"""``python -m engine bench --quality``: how far int8 and bf16 are from fp32, in codes and to the ear of a network.

The model plays takes in fp32; every precision then hears the same codes, and says what it expects next. KL is that of its distribution
of the next code from fp32's, in nats; top-1 is how often the likeliest code is the same. Both are of guided logits, as sampling sees them,
over all codebooks. With ``clips``, every precision also plays so many by itself, and FAD and KAD say how far they are from tracks that the
synthesiser made and no model was trained on; once more in fp32 from other seeds, which says how much of a difference is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

SECONDS = 10.0
"""Length of a clip."""
AT_ONCE = 8
_OTHER_SEEDS = 1_000_000


def captions(count: int) -> list[str]:
    """A manner and a tempo each, as people write them and the embedded model has learnt them."""
    from engine.pocket.evaluate import conditions

    return [prompt.text or "" for prompt in conditions(count)["manner and tempo"]]


def measure_quality(
    folder: Path,
    *,
    takes: int = 8,
    frames: int = 200,
    clips: int = 0,
    seconds: float = SECONDS,
    precisions: Sequence[str] = ("bf16", "int8"),
    tell: Callable[[str], None] = lambda _line: None,
) -> dict[str, Any]:
    """For each precision that can be had here: mean KL in nats, its standard error over takes, and the share of equal likeliest codes.

    With ``clips`` also FAD and KAD of clips of ``seconds``. Raises EmbedderUnavailable where musicnn's weights are not installed.
    """
    import torch

    from engine.musicgen import checkpoint

    model = checkpoint.load(folder)
    words = captions(takes)
    found: dict[str, Any] = {}
    with torch.inference_mode():
        exact, sequences = _play(model, words, frames)
        for precision in precisions:
            other = replace(model)
            if other.prepare(precision, rows=2).precision != precision:  # type: ignore[arg-type]  # a str from a loop over the names
                continue
            kl, same = [], []
            for text, wanted, sequence in zip(words, exact, sequences, strict=True):
                heard = _hear(other, text, sequence)
                p, q = wanted.log_softmax(-1), heard.log_softmax(-1)  # (steps, K, card)
                kl.append(float((p.exp() * (p - q)).sum(-1).mean()))
                same.append(float((wanted.argmax(-1) == heard.argmax(-1)).float().mean()))
            values = torch.tensor(kl)
            found[precision] = {
                "kl_nats": round(float(values.mean()), 5),
                "kl_error": round(float(values.std() / max(1, takes) ** 0.5), 5) if takes > 1 else None,
                "top1_agreement": round(sum(same) / takes, 4),
            }
            tell(f"{precision} has heard what fp32 played")
    result = {"takes": takes, "frames": frames, "against": "fp32", "precisions": found}
    if clips:
        result |= {"clips": clips, "seconds": seconds, "sound": _sound(model, clips, seconds, tuple(found), tell)}
    return result


def _play(model: Any, words: Sequence[str], frames: int) -> tuple[list[Any], list[Any]]:
    """Takes in fp32, drawn as the checkpoint asks -> guided logits ``(steps, K, card)`` and sequences ``(steps, K)`` of each."""
    from engine.musicgen.delay import apply_delay

    exact = replace(model)
    exact.prepare("fp32", rows=2 * AT_ONCE)
    logits, sequences = [], []
    for prompt, codes in zip(words, _codes(exact, words, frames), strict=True):
        sequence = apply_delay(codes[None], model.lm.pad, model.lm.config.delays)[0].T  # (steps, K)
        sequences.append(sequence)
        logits.append(_hear(exact, prompt, sequence))
    return logits, sequences


def _codes(model: Any, words: Sequence[str], frames: int, first_seed: int = 0) -> list[Any]:
    """Takes with the checkpoint's own sampling, several at a time -> codes ``(K, frames)`` of each."""
    made = []
    for begin in range(0, len(words), AT_ONCE):
        takes = [
            model.start(prompt=prompt, frames=frames, sampling=model.default_sampling, seed=first_seed + begin + index)
            for index, prompt in enumerate(words[begin : begin + AT_ONCE])
        ]
        while not takes[0].done:
            model.advance(takes)
        made += [take.codes() for take in takes]
    return made


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


def _sound(model: Any, clips: int, seconds: float, precisions: Sequence[str], tell: Callable[[str], None]) -> dict[str, Any]:
    """FAD and KAD, with its interval, of each precision's clips to as many excerpts of held-out tracks."""
    from engine.pocket.data import HELD_OUT_FIRST_SEED
    from engine.pocket.excerpts import excerpts
    from engine.pocket.judges import Ears, distance
    from engine.pocket.synth import TRAINING_MANNERS

    ears = Ears()
    seeds = range(HELD_OUT_FIRST_SEED, HELD_OUT_FIRST_SEED + -(-clips // len(TRAINING_MANNERS)))
    tracks = excerpts(Path("nowhere"), "held_out", TRAINING_MANNERS, seeds, seconds=seconds)[:clips]  # none stored: made now
    reference = ears.hear([track.sound for track in tracks])
    tell(f"{len(tracks)} held-out tracks are heard")
    words, frames = captions(clips), round(seconds * model.frame_rate)
    found: dict[str, Any] = {}
    for name, precision, first_seed in (
        ("fp32", "fp32", 0),
        ("fp32, other seeds", "fp32", _OTHER_SEEDS),
        *((precision, precision, 0) for precision in precisions),
    ):
        other = replace(model)
        if other.prepare(precision, rows=2 * AT_ONCE).precision != precision:
            continue
        sounds = [other.codec.decode(codes)[0].numpy() for codes in _codes(other, words, frames, first_seed)]
        far = distance(reference, ears.hear(sounds))
        found[name] = {"fad": round(far.fad, 2), "kad": round(far.kad.value, 2), "kad_95": [round(far.kad.low, 2), round(far.kad.high, 2)]}
        tell(f"{name}: FAD {far.fad:.2f}, KAD {far.kad.value:.2f}")
    return found
