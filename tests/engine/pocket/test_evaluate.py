"""The command's figures: clips in a batch are the engine's own, judges know what they are shown, and floors are below ceilings."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.musicgen.checkpoint import load
from engine.musicgen.generate import MusicGen
from engine.musicgen.sampling import SamplingOptions
from engine.pocket.clips import clips
from engine.pocket.evaluate import Prompt, beats_of, conditions, seam_s, spectral_loss
from engine.pocket.excerpts import excerpts, played_at, through_codec
from engine.pocket.package import WEIGHTS
from engine.pocket.rhythm import SAMPLE_RATE, beat
from engine.pocket.sheets import spectrogram, write_sheet
from engine.pocket.synth import FRAME_SAMPLES, MANNERS, TRAINING_MANNERS

pytestmark = pytest.mark.skipif(not (WEIGHTS / "config.json").exists(), reason="no weights are packaged; see engine/pocket/__main__.py")


@pytest.fixture(scope="module")
def model(one_thread: None) -> MusicGen:
    """The packaged checkpoint without its dice, so that clips can be compared."""
    model = load(WEIGHTS)
    model.default_sampling = SamplingOptions(temperature=0, guidance_scale=2.5)
    return model


def take(model: MusicGen, prompt: str | None, frames: int, heard: torch.Tensor | None = None) -> torch.Tensor:
    audio = None if heard is None else torch.zeros(1, heard.shape[1] * FRAME_SAMPLES)
    decoder = model.start(prompt=prompt, frames=frames, sampling=model.default_sampling, seed=0, prompt_audio=audio)
    while not decoder.done:
        decoder.step()
    return decoder.codes()


def test_a_batch_of_clips_is_what_the_engine_would_make(model: MusicGen) -> None:
    prompts = ["acid techno, 130 bpm", None, "techno"]
    together = clips(model, prompts, 12, seed=0)
    assert together.shape == (3, 4, 12)
    for prompt, codes in zip(prompts, together, strict=True):
        assert torch.equal(codes, take(model, prompt, 12))


def test_a_batch_of_continuations_is_too(model: MusicGen) -> None:
    heard = model.codec.encode(torch.zeros(1, 9 * FRAME_SAMPLES))
    together = clips(model, ["techno", "techno"], 10, seed=0, heard=torch.stack([heard, heard]))
    assert torch.equal(together[0], take(model, "techno", 10, heard)) and torch.equal(together[0], together[1])


def test_what_the_model_cannot_hear_is_not_measured(model: MusicGen) -> None:
    with pytest.raises(ValueError, match="measure shorter"):
        clips(model, ["techno"], model.window_frames + 1, seed=0)


def test_prompts_cover_manners_and_tempi() -> None:
    asked = conditions(56)
    assert {len(prompts) for prompts in asked.values()} == {56}
    first = asked["manner and tempo"]
    assert {p.manner for p in first} == set(TRAINING_MANNERS)
    assert all(p.text and str(p.bpm) in p.text and any(w in p.text for w in MANNERS[p.manner or ""].words) for p in first)
    tempi = [p.bpm for p in asked["tempo alone"] if p.bpm]
    assert (min(tempi), max(tempi)) == (110, 160) and len(set(tempi)) > 40, "any whole number, not the grid's nine"
    assert all(MANNERS[p.manner or ""].tempi[0] <= (p.bpm or 0) <= MANNERS[p.manner or ""].tempi[1] for p in first)
    assert asked["no prompt"] == [Prompt(None)] * 56


def test_a_track_is_in_phase_with_itself_and_a_late_one_is_not(tmp_path: Path) -> None:
    for manner in ("minimal", "breakbeat"):
        (track,) = excerpts(tmp_path, "train", [manner], [1], seconds=10.0, kick=True)
        begins = 4 * SAMPLE_RATE
        assert seam_s(track.sound, begins, track) < 0.03
        late = np.concatenate([track.sound[:begins], np.zeros(round(0.1 * SAMPLE_RATE), np.float32), track.sound[begins:]])
        assert seam_s(late, begins, track) == pytest.approx(0.1, abs=0.03)


def test_a_track_played_faster_has_that_tempo_and_is_in_phase_with_itself(tmp_path: Path) -> None:
    (track,) = excerpts(tmp_path, "train", ["minimal"], [1], seconds=10.0, kick=True)
    fast = played_at(track, Fraction(128, 125))
    assert len(fast.sound) == len(track.sound) and not fast.sound[-round(0.2 * SAMPLE_RATE) :].any()
    heard = fast.sound[: round(9.7 * SAMPLE_RATE)]
    assert beat(heard).bpm == pytest.approx(track.bpm * 1.024, rel=0.004)
    assert fast.bpm == pytest.approx(track.bpm * 1.024)
    assert seam_s(heard, 4 * SAMPLE_RATE, fast) < 0.03
    assert played_at(track, Fraction(1)) is track


def test_hits_are_counted_where_a_tempo_was_asked_for(tmp_path: Path) -> None:
    (track,) = excerpts(tmp_path, "train", ["melodic"], [1], seconds=8.0, kick=True)
    right = beats_of([track.sound], [track.bpm], ["melodic"])
    wrong = beats_of([track.sound], [track.bpm * 1.06], ["melodic"])
    unasked = beats_of([track.sound], [None], [None])
    near = beats_of([track.sound], [track.bpm * 1.015], ["melodic"])
    assert (right["within_1_percent"], near["tempo_hits"], near["within_1_percent"]) == (1.0, 1.0, 0.0)
    assert (right["tempo_hits"], wrong["tempo_hits"]) == (1.0, 0.0) and "tempo_hits" not in unasked
    assert right["kick_periodicity_median"] == pytest.approx(beat(track.sound).periodicity)
    assert "kick_periodicity_median" not in beats_of([track.sound], [None], ["breakbeat"])


def test_the_judges_tell_manners_apart_and_noise_from_tracks(tmp_path: Path) -> None:
    from engine.evaluation.embeddings import EmbedderUnavailable
    from engine.pocket.judges import Ears, MannerClassifier, distance

    try:
        ears = Ears()
    except EmbedderUnavailable as missing:
        pytest.skip(str(missing))
    manners = ("minimal", "hard")
    known, unknown, others = (excerpts(tmp_path, "train", manners, s, seconds=3.2) for s in (range(3), range(3, 5), range(5, 7)))
    heard = ears.hear([e.sound for e in known])
    new, more = ears.hear([e.sound for e in unknown]), ears.hear([e.sound for e in others])
    classifier = MannerClassifier(heard.means, [e.manner for e in known])
    right = [a == e.manner for a, e in zip(classifier.name(new.means), unknown, strict=True)]
    assert np.mean(right) >= 3 / 4
    noise = ears.hear([0.1 * np.random.default_rng(i).standard_normal(3 * SAMPLE_RATE + 9).astype(np.float32) for i in range(4)])
    assert new.techno_share >= 3 / 4  # noise is 'techno' to the tagger as well: a tag alone proves nothing
    assert distance(new, more).fad < distance(new, noise).fad


def test_the_codec_is_nearer_to_a_track_than_its_codes_in_disorder(model: MusicGen, tmp_path: Path) -> None:
    sounds = [e.sound for e in excerpts(tmp_path, "held_out", ["minimal", "acid"], [1_000_000], seconds=3.0)]
    coded, shuffled = (through_codec(model, sounds, shuffled=disorder) for disorder in (False, True))
    assert spectral_loss(sounds, sounds) < 1e-3
    assert 0.0 < spectral_loss(sounds, coded) < 0.6 * spectral_loss(sounds, shuffled)


def test_a_sheet_is_a_picture(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    picture = spectrogram(tone)
    row = picture.mean(1).argmax() / len(picture)  # from the top, 16 kHz, down to 40 Hz
    assert row == pytest.approx(np.log(16_000 / 1000) / np.log(16_000 / 40), abs=0.03)
    write_sheet(tmp_path / "sheet.png", [("a", tone)], [("b", tone)])
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
