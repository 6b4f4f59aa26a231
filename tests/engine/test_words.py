from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from engine.api import GenerateRequest
from engine.words import explain

GOOD: dict[str, Any] = {"take_id": "1", "kind": "text", "prompt": "techno"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seconds": 0}, "Seconds must be from 1 to 240, not 0."),
        ({"seconds": -1}, "Seconds must be from 1 to 240, not -1."),
        ({"seconds": 10_000}, "Seconds must be from 1 to 240, not 10000."),
        ({"seconds": float("nan")}, "Seconds must be from 1 to 240."),
        ({"seconds": "long"}, "Seconds must be a number, not 'long'."),
        ({"prompt": "x" * 4000}, "The prompt has 4,000 characters and at most 1,000 fit: shorten it."),
        ({"prompt": ""}, "A text take needs a prompt: say what it should sound like."),
        ({"prompt": "  \n"}, "A text take needs a prompt: say what it should sound like."),
        ({"seed": -3}, "Seed must be from 0 to 4294967295, not -3."),
        ({"seed": 1.5}, "Seed must be a whole number, not '1.5'."),
        ({"sampling": {"guidance_scale": 20}}, "Guidance must be from 1 to 10, not 20."),
        ({"sampling": {"temprature": 1}}, "There is no 'temprature' to set; is 'temperature' meant?"),
        ({"sampling": 3}, "Sampling must be a JSON object."),
        ({"kind": "song"}, "Kind must be 'text', 'continuation' or 'unconditional', not 'song'."),
        ({"kind": "continuation"}, "A continuation needs a track: upload one first."),
        ({"kind": "unconditional"}, "An unconditional take has no prompt."),
        ({"track": "xyz"}, "Track can't be 'xyz': SHA-256 of an uploaded track, 64 lower-case hex digits."),
        ({"track": "0" * 64}, "Only a continuation takes a track."),
        ({"from_s": -1}, "From must be at least 0 seconds, not -1."),
        ({"prompt_seconds": 30}, "Prompt seconds must be from 0.5 to 20, not 30."),
        ({"take_id": "../etc"}, "Take id can't be '../etc': letters, digits and . _ : -."),
        ({"delivery": {"format": "midi"}}, "Format must be 'mp3', 'ogg', 'flac' or 'wav', not 'midi'."),
        ({"seconds": 0, "seed": -1}, "Seconds must be from 1 to 240, not 0; seed must be from 0 to 4294967295, not -1."),
    ],
)
def test_mistakes_are_told_in_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GenerateRequest.model_validate(GOOD | change)
    assert explain(caught.value, GenerateRequest) == sentence


@pytest.mark.parametrize("body", [b"", b"{", b'{"prompt": "\xff"}', b"[]", b'"text"'])
def test_what_is_no_request_at_all(body: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        GenerateRequest.model_validate_json(body)
    assert explain(caught.value, GenerateRequest) in ("The request is not valid JSON in UTF-8.", "The request must be a JSON object.")


def test_a_prompt_of_emoji_is_a_prompt() -> None:
    assert GenerateRequest.model_validate(GOOD | {"prompt": "🔥" * 1000}).prompt == "🔥" * 1000
