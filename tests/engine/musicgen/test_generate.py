from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine.musicgen.generate import MusicGen, SamplingOptions, TakeDecoder

SAMPLED = SamplingOptions()
GREEDY = SamplingOptions(temperature=0.0)


def test_a_take_tells_how_far_it_is_and_gives_audio_at_the_end(tiny: MusicGen) -> None:
    take = tiny.start(prompt="dark techno", frames=20, sampling=SAMPLED, seed=1)
    told, codes = [], []
    while not take.done:
        take.step()
        told.append(take.frames)
        codes.append(take.codes())
    assert told == [0, 0, 0, *range(1, 21)]  # three steps more than frames: the delay of the last codebook
    assert take.of_frames == 20
    assert all(part.shape == (4, frames) for part, frames in zip(codes, told, strict=True))
    assert all(torch.equal(part, codes[-1][:, : part.shape[1]]) for part in codes)  # what was given is never changed
    assert codes[-1].min() >= 0 and codes[-1].max() < tiny.card
    audio = take.audio()
    assert audio.shape == (1, 20 * 640)
    assert audio.dtype == torch.float32
    assert audio.std() > 0.01


def test_a_seed_gives_the_same_bytes_alone_and_beside_other_takes(
    tiny: MusicGen, run: Callable[..., Tensor], some_audio: Callable[..., Tensor]
) -> None:
    def takes() -> list[TakeDecoder]:
        return [
            tiny.start(prompt="dark techno", frames=60, sampling=SAMPLED, seed=5),
            tiny.start(prompt="deep house at 128 bpm", frames=25, sampling=replace(SAMPLED, temperature=1.3, top_p=0.9), seed=5),
            tiny.start(prompt=None, frames=40, sampling=SAMPLED, seed=6),
            tiny.start(prompt="acid", frames=30, sampling=replace(SAMPLED, guidance_scale=1.0), seed=7, prompt_audio=some_audio(0.7)),
        ]

    alone, beside = takes(), takes()
    for take in alone:
        run(take)
    order = itertools.cycle([0, 2, 1, 0, 3, 2, 2])
    while not all(take.done for take in beside):
        take = beside[next(order)]
        if not take.done:
            take.step()
    for first, second in zip(alone, beside, strict=True):
        assert torch.equal(first.codes(), second.codes())
        assert first.audio().numpy().tobytes() == second.audio().numpy().tobytes()


def test_seed_prompt_and_options_each_change_the_take(tiny: MusicGen, run: Callable[..., Tensor]) -> None:
    variants = [
        tiny.start(prompt="dark techno", frames=30, sampling=SAMPLED, seed=1),
        tiny.start(prompt="dark techno", frames=30, sampling=SAMPLED, seed=2),
        tiny.start(prompt="deep house", frames=30, sampling=SAMPLED, seed=1),
        tiny.start(prompt=None, frames=30, sampling=SAMPLED, seed=1),
        tiny.start(prompt="dark techno", frames=30, sampling=replace(SAMPLED, guidance_scale=1.0), seed=1),
        tiny.start(prompt="dark techno", frames=30, sampling=GREEDY, seed=1),
    ]
    codes = [run(take) for take in variants]
    assert all(not torch.equal(first, second) for first, second in itertools.combinations(codes, 2))


def test_golden_codes(tiny: MusicGen, run: Callable[..., Tensor]) -> None:
    """Of the seeded tiny model. They change only where the model's arithmetic, the draws or the tiny checkpoint do."""
    greedy, sampled = (tiny.start(prompt="dark techno", frames=8, sampling=sampling, seed=0) for sampling in (GREEDY, SAMPLED))
    assert run(greedy)[0].tolist() == [
        [55, 55, 55, 55, 8, 8, 15, 15],
        [26, 26, 25, 7, 29, 26, 26, 25],
        [28, 28, 49, 16, 9, 18, 9, 49],
        [6, 0, 6, 38, 30, 59, 30, 30],
    ]
    assert run(sampled)[0].tolist() == [
        [51, 7, 18, 8, 50, 7, 16, 47],
        [17, 45, 32, 45, 36, 26, 59, 29],
        [25, 34, 46, 60, 3, 28, 60, 26],
        [12, 35, 0, 40, 59, 11, 59, 29],
    ]


def test_no_text_is_the_null_condition_with_one_row(tiny: MusicGen, run: Callable[..., Tensor]) -> None:
    nothing, blank = (tiny.start(prompt=prompt, frames=30, sampling=SAMPLED, seed=3) for prompt in (None, "  \n"))
    assert torch.equal(run(nothing), run(blank))
    guided, plain = (tiny.start(prompt=None, frames=30, sampling=replace(SAMPLED, guidance_scale=scale), seed=3) for scale in (9.0, 1.0))
    assert torch.equal(run(guided), run(plain))  # guidance between two equal rows changes nothing, so there is one row


def test_guidance_one_equals_the_row_with_text(tiny: MusicGen, run: Callable[..., Tensor]) -> None:
    single = tiny.start(prompt="dark techno", frames=40, sampling=replace(GREEDY, guidance_scale=1.0), seed=0)
    double = tiny.start(prompt="dark techno", frames=40, sampling=replace(GREEDY, guidance_scale=1.0000001), seed=0)
    assert torch.equal(run(single), run(double))


def test_a_continuation_begins_after_the_last_sample_it_heard(tiny: MusicGen, some_audio: Callable[..., Tensor]) -> None:
    heard = some_audio(1.0)[:, 77:]  # not whole frames: the odd samples are dropped at the front, not at the seam
    take = tiny.start(prompt="techno", frames=50, sampling=SAMPLED, seed=4, prompt_audio=heard)
    while not take.done:
        take.step()
    prompt_codes = tiny.codec.encode(heard[:, heard.shape[1] % 640 :])
    assert prompt_codes.shape == (4, 49)
    whole = tiny.codec.decode(torch.cat([prompt_codes, take.codes()], dim=1))
    assert (take.audio() - whole[:, 49 * 640 :]).abs().max() < 1e-5
    assert take.audio().shape == (1, 50 * 640)


def test_what_is_heard_changes_what_is_made(tiny: MusicGen, run: Callable[..., Tensor], some_audio: Callable[..., Tensor]) -> None:
    takes = [tiny.start(prompt=None, frames=30, sampling=GREEDY, seed=0, prompt_audio=some_audio(1.0, seed)) for seed in (1, 2)]
    first, second = run(*takes)
    assert not torch.equal(first, second)


def test_a_long_prompt_is_heard_by_its_end(tiny: MusicGen, run: Callable[..., Tensor], some_audio: Callable[..., Tensor]) -> None:
    audio = some_audio(3.0)
    short = replace(tiny, window_frames=100)  # hears 2 s, and of a prompt that fills it the last 0.8 s
    long_prompt = short.start(prompt=None, frames=20, sampling=GREEDY, seed=0, prompt_audio=audio)
    end_only = short.start(prompt=None, frames=20, sampling=GREEDY, seed=0, prompt_audio=audio[:, -40 * 640 :])
    assert torch.equal(run(long_prompt), run(end_only))


def test_past_a_window_each_goes_on_from_the_end_of_the_one_before(tiny: MusicGen, run: Callable[..., Tensor]) -> None:
    short = replace(tiny, window_frames=50)
    take = short.start(prompt="dark techno", frames=120, sampling=GREEDY, seed=0)
    told = []
    while not take.done:
        take.step()
        told.append(take.frames)
    codes = take.codes()
    assert codes.shape == (4, 120)
    assert told == sorted(told) and told[-1] == 120
    assert set(told) == set(range(121))  # a window's end loses nothing and repeats nothing
    assert torch.equal(codes[:, :50], run(short.start(prompt="dark techno", frames=50, sampling=GREEDY, seed=0))[0])
    assert take.audio().shape == (1, 120 * 640)


def test_a_take_across_windows_replays(tiny: MusicGen, run: Callable[..., Tensor], some_audio: Callable[..., Tensor]) -> None:
    short = replace(tiny, window_frames=40)
    heard = some_audio(0.5)
    first, second = (short.start(prompt="acid", frames=90, sampling=SAMPLED, seed=8, prompt_audio=heard) for _ in range(2))
    other = short.start(prompt=None, frames=70, sampling=SAMPLED, seed=8)
    run(first)
    while not second.done:
        second.step()
        if not other.done:
            other.step()
    assert torch.equal(first.codes(), second.codes())


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 160, 161])
def test_lengths_around_a_window_are_exact(tiny: MusicGen, run: Callable[..., Tensor], frames: int) -> None:
    short = replace(tiny, window_frames=100)
    codes = run(short.start(prompt=None, frames=frames, sampling=SAMPLED, seed=1))
    assert codes.shape == (1, 4, frames)


def test_seconds_become_frames(tiny: MusicGen) -> None:
    assert [tiny.frames_of(seconds) for seconds in (0.001, 1.0, 8.0, 30.02)] == [1, 50, 400, 1501]


def test_a_finished_take_lets_go_of_its_memory(tiny: MusicGen, run: Callable[..., Tensor]) -> None:
    take = tiny.start(prompt=None, frames=5, sampling=SAMPLED, seed=1)
    take.step()
    assert tiny.decoding.rows_in_use >= 1
    run(take)
    assert not take._rows
    with pytest.raises(AssertionError, match="done"):
        take.step()


def test_the_first_second_is_heard_before_the_fifth_is_made(tiny: MusicGen, some_audio: Callable[..., Tensor]) -> None:
    take = tiny.start(prompt="techno", frames=300, sampling=SAMPLED, seed=1, prompt_audio=some_audio(0.5))
    other = tiny.start(prompt="techno", frames=300, sampling=SAMPLED, seed=1, prompt_audio=some_audio(0.5))
    seconds = {}
    while not take.done:
        take.step()
        other.step()
        if work := take.decode_ahead():
            work()
            seconds[take.decoded_frames // 50] = take.frames
    assert seconds[1] < 4 * 50
    assert list(seconds) == [1, 2, 3, 4, 5]
    assert torch.equal(take.audio(), other.audio())  # whenever it was decoded
    codes = torch.cat([take._prompt, take.codes()], dim=1)
    assert (take.audio() - tiny.codec.decode(codes)[:, 25 * 640 :]).abs().max() < 1e-5


def test_stereo_takes(tiny_stereo: MusicGen, run: Callable[..., Tensor], some_audio: Callable[..., Tensor]) -> None:
    assert (tiny_stereo.channels, tiny_stereo.num_codebooks) == (2, 8)
    text = tiny_stereo.start(prompt="dark techno", frames=30, sampling=SAMPLED, seed=1)
    more = tiny_stereo.start(prompt=None, frames=30, sampling=SAMPLED, seed=1, prompt_audio=some_audio(0.5, channels=2))
    codes = run(text, more)
    assert codes.shape == (2, 8, 30)
    assert text.audio().shape == more.audio().shape == (2, 30 * 640)
    assert not torch.equal(text.audio()[0], text.audio()[1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 0}, "1 to 12000 frames"),
        ({"frames": 12_001}, "240 s"),
        ({"prompt_audio": torch.zeros(2, 6400)}, r"shape \[1, samples\]"),
        ({"prompt_audio": torch.zeros(6400)}, r"shape \[1, samples\]"),
        ({"prompt_audio": torch.zeros(1, 639)}, "639 samples"),
    ],
)
def test_what_cannot_be_is_refused(tiny: MusicGen, wrong: dict[str, object], message: str) -> None:
    request: dict[str, object] = {"prompt": "techno", "frames": 10, "sampling": SAMPLED, "seed": 0}
    with pytest.raises(ValueError, match=message):
        tiny.start(**{**request, **wrong})  # type: ignore[arg-type]
