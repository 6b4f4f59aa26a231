"""Tempo and key in words: what a prompt says by itself, what is added to it, and what a DJ is told about what came out."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from engine.api import GenerateRequest
from engine.keys import parse_key
from engine.musical import Aim, LoopFacts, outcome, spoken, worded
from engine.words import explain

A_MINOR = parse_key("8A")


@pytest.mark.parametrize(
    ("prompt", "bpm", "key"),
    [
        ("acid techno, 130 bpm, A minor", 130.0, "A minor"),
        ("techno at 132.5BPM in 8A", 132.5, "A minor"),
        ("tempo 140, F#m", 140.0, "F# minor"),
        ("dub, a minor", None, "A minor"),
        ("with a minor breakdown", None, None),
        ("I am techno, 909 and 303", None, None),
        ("Eb major, 900 bpm", None, "Eb major"),
        ("f sharp minor", None, "F# minor"),
    ],
)
def test_a_prompt_may_name_them_itself(prompt: str, bpm: float | None, key: str | None) -> None:
    said = spoken(prompt)
    assert (said.bpm, said.key.name if said.key else None) == (bpm, key)


def test_they_are_told_behind_the_prompt_and_never_twice() -> None:
    both = Aim(130.4, A_MINOR)
    assert worded("acid techno", both) == "acid techno, 130 bpm, A minor"
    assert worded("acid techno, 130 bpm", both) == "acid techno, 130 bpm, A minor"
    assert worded("acid in 8A at 130 bpm", both) == "acid in 8A at 130 bpm"
    assert worded("", Aim(130.0, None)) == "130 bpm"
    assert worded("acid", Aim()) == "acid"


@pytest.mark.parametrize(
    ("asked", "track", "heard", "loop", "words"),
    [
        (Aim(130, A_MINOR), Aim(), Aim(130.4, A_MINOR), None, "asked 130 BPM in 8A, came out 130.4 BPM in 8A ✓"),
        (Aim(130), Aim(), Aim(65.1, A_MINOR), None, "asked 130 BPM, came out 65.1 BPM in 8A ✓"),
        (Aim(130, A_MINOR), Aim(), Aim(124, parse_key("9A")), None,
         "asked 130 BPM in 8A, came out 124 BPM in 9A (4.6 % too slow, another key, but one that mixes)"),
        (Aim(130, A_MINOR), Aim(), Aim(130, None), None, "asked 130 BPM in 8A, came out 130 BPM (key unclear)"),
        (Aim(), Aim(128, A_MINOR), Aim(128, A_MINOR), None, "track 128 BPM in 8A, came out 128 BPM in 8A ✓"),
        (Aim(135), Aim(128, A_MINOR), Aim(135, parse_key("3B")), None,
         "asked 135 BPM, the track is in 8A, came out 135 BPM in 3B (another key)"),
        (Aim(130), Aim(), Aim(), None, "asked 130 BPM, but no steady beat and no key could be told in what came out"),
        (Aim(), Aim(), Aim(128, A_MINOR), None, "128 BPM in 8A"),
        (Aim(), Aim(), Aim(None, A_MINOR), None, None),
        (Aim(), Aim(), Aim(), None, None),
        (Aim(130), Aim(), Aim(128.9), LoopFacts(8, 130, 128.9),
         "asked 130 BPM, came out 128.9 BPM ✓; 8 bars, loops at exactly 130 BPM, stretched by 0.8 %"),
        (Aim(130), Aim(), Aim(110), LoopFacts(1, 110, 110),
         "asked 130 BPM, came out 110 BPM (15.4 % too slow); 1 bar, loops at its own 110 BPM, since 130 BPM is more than 4 % away"),
        (Aim(), Aim(), Aim(), LoopFacts(None, None, None), "loops, but no beat was found to cut it by"),
    ],
)  # fmt: skip
def test_what_came_out_is_said_as_it_is(asked: Aim, track: Aim, heard: Aim, loop: LoopFacts | None, words: str | None) -> None:
    assert outcome(asked, track, heard, loop) == words


def order(**changes: object) -> GenerateRequest:
    return GenerateRequest.model_validate({"take_id": "t", "kind": "text", "prompt": "techno"} | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bpm": 300}, "BPM must be from 60 to 200, not 300."),
        ({"key": "Q"}, "'Q' is no key: write it as Am, A minor or 8A."),
        ({"bars": 8}, "Bars have no length without a tempo: give bpm too."),
        ({"bars": 8, "bpm": 130, "seconds": 4}, "Give the length in bars or in seconds, not in both."),
        ({"bars": 128, "bpm": 60}, "128 bars at 60 BPM are 512 seconds, and 240 is the most: ask for 60 bars."),
        ({"bars": 0, "bpm": 130}, "Bars must be from 1 to 128, not 0."),
        ({"prompt": "techno 140 bpm", "bpm": 130}, "The prompt says 140 BPM and bpm says 130 BPM: leave one of them out."),
        ({"prompt": "techno in 9A", "key": "Am"}, "The prompt says E minor and key says A minor: leave one of them out."),
        ({"kind": "unconditional", "prompt": "", "loop": True},
         "A take without a prompt has no tempo, key, bars or loop: ask for one from words."),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        order(**changes)
    assert explain(caught.value, GenerateRequest) == words


def test_an_order_survives_the_wire() -> None:
    sent = order(prompt="techno, 132 bpm", key="8a", bars=4, loop=True)
    assert GenerateRequest.model_validate_json(sent.model_dump_json()) == sent
    assert (sent.key, sent.asked.bpm, sent.seconds) == ("A minor", 132.0, None)
