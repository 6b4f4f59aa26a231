"""What a member asked for, checked before anything else happens. Pure: no Discord, no database, no engine.

An order is the wire's own ``GenerateRequest``, so that every bound stands in one place (``engine.api``); what is added here is
what people type: times as ``1:30``, prompts of nothing but emoji, numbers in text fields.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from pydantic import ValidationError

from bot.refusal import Refusal, sentence
from engine.api import MAX_PROMPT_CHARACTERS, MAX_SEED, GenerateRequest, Sampling
from engine.api.takes import DEFAULT_SECONDS, MAX_STRENGTH
from engine.keys import NOTE_NAMES, Key, parse_key
from engine.musical import bars_seconds
from engine.words import explain

DEFAULT_PROMPT_SECONDS = 4.0
MAX_TAKES = 4
PROMPT_EXAMPLE = "`dark warehouse techno, rolling bass, 135 bpm`"

_USUAL_BPM = 130.0
_UNNAMED = "new"
"""Stands for the take's id until there is one."""


def text_order(
    prompt: str,
    *,
    seconds: float | None = None,
    bpm: float | None = None,
    key: str | None = None,
    bars: int | None = None,
    loop: bool = False,
    seed: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
    checkpoint: str | None = None,
    strength: float | None = None,
) -> GenerateRequest:
    """``/generate``. Raises Refusal."""
    if not prompt.strip():
        raise Refusal(f"Say what it should sound like, for example {PROMPT_EXAMPLE}.")
    music: dict[str, Any] = {"bpm": bpm, "key": key, "bars": bars, "loop": loop}
    made_by: dict[str, Any] = {"checkpoint": checkpoint, "strength": parse_strength(strength)}
    return _order("text", prompt, seconds=seconds, seed=seed, guidance=guidance, temperature=temperature, **music, **made_by)


def surprise_order(*, seconds: float | None = None, seed: int | None = None) -> GenerateRequest:
    """``/surprise``. Raises Refusal."""
    return _order("unconditional", "", seconds=seconds, seed=seed)


def continuation_order(
    track_sha256: str,
    *,
    from_s: float | None = None,
    prompt_seconds: float | None = None,
    seconds: float | None = None,
    bpm: float | None = None,
    key: str | None = None,
    bars: int | None = None,
    loop: bool = False,
    strength: float | None = None,
    prompt: str = "",
) -> GenerateRequest:
    """``/continue``; ``prompt`` may be empty: the track alone says how it goes on. Raises Refusal."""
    music: dict[str, Any] = {"bpm": bpm, "key": key, "bars": bars, "loop": loop, "strength": parse_strength(strength)}
    return _order("continuation", prompt, seconds=seconds, track=track_sha256, from_s=from_s, prompt_seconds=prompt_seconds, **music)


def again(order: GenerateRequest, *, keep_seed: bool) -> GenerateRequest:
    """The same once more: with a new seed for a clip that came out, with its own for one that failed."""
    return order if keep_seed else order.model_copy(update={"seed": draw_seed()})


def several(order: GenerateRequest, takes: int) -> list[GenerateRequest]:
    """``takes`` orders that differ only in their seed: the asked one and those after it, or each its own. Raises Refusal."""
    if not 1 <= takes <= MAX_TAKES:
        raise Refusal(f"`takes` must be from 1 to {MAX_TAKES}, not {takes}.")
    if order.seed is None:
        return [order.model_copy(update={"seed": draw_seed()}) for _ in range(takes)]
    return [order.model_copy(update={"seed": (order.seed + number) % (MAX_SEED + 1)}) for number in range(takes)]


def draw_seed() -> int:
    return secrets.randbelow(MAX_SEED + 1)


def check_reaches(from_s: float | None, duration_s: float) -> None:
    """Raises Refusal where a continuation would begin after the track's end."""
    if from_s is not None and from_s > duration_s:
        raise Refusal(
            f"That track is {clock(duration_s)} long, so it can't go on from {clock(from_s)}. "
            f"Give a `from` before {clock(duration_s)}, or leave it out to go on from the end."
        )


def parse_time(text: str, name: str = "from") -> float | None:
    """Seconds from ``90``, ``90.5``, ``1:30`` or ``1:02:03``; None from nothing. Raises Refusal."""
    text = text.strip().lower().removesuffix("s").strip().replace(",", ".")
    if not text:
        return None
    if not re.fullmatch(r"([0-9]{1,3}:){0,2}[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise Refusal(f"`{name}` must be a time in the track, such as `90` (seconds) or `1:30`.")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def parse_strength(typed: float | None) -> float | None:
    """1 is a finetune's own strength: from ``80`` or ``0.8``, both 80 %. Raises Refusal."""
    if typed is None:
        return None
    if not 0 <= typed <= 100 * MAX_STRENGTH:
        raise Refusal(f"`strength` must be from 0 to {100 * MAX_STRENGTH:.0f} %, not {typed:g}. 100 is the finetune as it is, 0 its base.")
    return typed if typed <= MAX_STRENGTH else typed / 100


def parse_length(text: str, name: str) -> tuple[float | None, int | None, bool]:
    """Seconds, bars and whether it is a loop, from ``8``, ``8 bars`` or ``8 bars loop``. Raises Refusal."""
    words = text.strip().lower()
    loop = bool(re.search(r"\bloop\b", words))
    words = re.sub(r"\bloop\b", "", words).strip(" ,")
    if found := re.fullmatch(r"([0-9]{1,4}) ?bars?", words):
        return None, int(found[1]), loop
    try:
        return parse_number(words, name), None, loop
    except Refusal:
        raise Refusal(f"`{name}` must be a number of seconds, such as `8`, or of bars, such as `8 bars` or `8 bars loop`.") from None


def suggest_keys(typed: str) -> list[tuple[str, str]]:
    """What to show and what to send for the 24 keys, round the Camelot wheel; those that fit what is typed so far."""
    keys = sorted((Key(tonic, mode) for tonic in range(len(NOTE_NAMES)) for mode in ("minor", "major")), key=lambda k: (k.wheel, k.camelot))
    meant, start = parse_key(typed), typed.strip().casefold()
    exact = [key for key in keys if meant is not None and (key.tonic, key.mode) == (meant.tonic, meant.mode)]
    begun = [key for key in keys if any(name.casefold().startswith(start) for name in (key.name, key.short, key.camelot))]
    keys = exact + [key for key in begun if key not in exact]
    return [(f"{key.camelot} · {key.name}", key.name) for key in keys]


def seconds_of(order: GenerateRequest) -> float:
    """How long the new audio will be; of bars whose tempo is the track's, and not known yet, about how long."""
    if order.bars is not None:
        return bars_seconds(order.bars, order.asked.bpm or _USUAL_BPM)
    return order.seconds or DEFAULT_SECONDS


def parse_number(text: str, name: str) -> float | None:
    """A number typed into a text field; None from nothing. Raises Refusal."""
    text = text.strip().lower().removesuffix("s").strip().replace(",", ".")
    if not text:
        return None
    if not re.fullmatch(r"[-+]?[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise Refusal(f"`{name}` must be a number, such as `8`.")
    return float(text)


def clock(seconds: float) -> str:
    """``8 s``, ``1:30``, ``1:02:03``: how long, or where, for a person."""
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _order(kind: str, prompt: str, *, guidance: float | None = None, temperature: float | None = None, **fields: object) -> GenerateRequest:
    prompt = " ".join(prompt.split())
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise Refusal(
            f"That prompt has {len(prompt):,} characters, and {MAX_PROMPT_CHARACTERS:,} is the most. "
            f"A few words work best, for example {PROMPT_EXAMPLE}."
        )
    if prompt and not any(character.isalnum() for character in prompt):
        raise Refusal(f"The model reads words, and there is none in that prompt. Say how it should sound, for example {PROMPT_EXAMPLE}.")
    sampling = {"guidance_scale": guidance, "temperature": temperature}
    given = {name: _as_typed(value) for name, value in fields.items() if value is not None}
    try:
        return GenerateRequest.model_validate(
            {
                "take_id": _UNNAMED,
                "kind": kind,
                "prompt": prompt,
                "sampling": Sampling.model_validate({name: value for name, value in sampling.items() if value is not None}),
                **given,
            }
        )
    except ValidationError as error:
        model = Sampling if error.title == Sampling.__name__ else GenerateRequest
        raise Refusal(sentence(explain(error, model))) from None


def _as_typed(value: object) -> object:
    """Discord sends 8 as 8.0; a message that quotes it should not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
