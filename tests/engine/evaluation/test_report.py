"""From folders to a report, by the command and in the process: whole, or an error that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfilt

from engine.cli import main
from engine.evaluation.embeddings import Musicnn
from engine.evaluation.report import EvaluationError, Heard, Sound, compare, evaluate, folder, hear, of_audio, of_bytes
from engine.music.audio import Audio

MANNERS = ("acid", "minimal", "dub")
Techno = Callable[..., Audio]


def changed(audio: Audio, change: Callable[[np.ndarray], np.ndarray]) -> Audio:
    return Audio(change(audio.samples).astype(np.float32), audio.sample_rate)


@pytest.fixture(scope="module")
def reference(musicnn: Musicnn, techno: Techno) -> list[Heard]:
    return [hear(of_audio(manner, techno(manner, 0, seconds=7)), musicnn) for manner in MANNERS]


def noisy(level_db: float) -> Callable[[np.ndarray], np.ndarray]:
    noise = np.random.default_rng(0).standard_normal((1, 320_000))
    return lambda x: x + 10 ** (level_db / 20) * x.std() * noise[:, : x.shape[1]]


def dulled(cutoff_hz: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: sosfilt(butter(6, cutoff_hz, fs=32_000, output="sos"), x)


@pytest.mark.parametrize(
    "changes",
    [
        [noisy(-40), noisy(-10)],
        [dulled(9000), dulled(800)],
    ],
    ids=["noise", "low-pass"],
)
def test_what_is_worse_is_further(
    changes: list[Callable[[np.ndarray], np.ndarray]], reference: list[Heard], musicnn: Musicnn, techno: Techno
) -> None:
    """FAD, KAD and KL to the reference all grow with the noise, and with the treble that is missing."""
    reports = []
    for change in changes:
        clips = [hear(of_audio(manner, changed(techno(manner, 0, seconds=7), change)), musicnn) for manner in MANNERS]
        reports.append(compare(reference, clips, embedder=musicnn))
    for figures in ([r.fad for r in reports], [r.kad.value for r in reports], [r.kl for r in reports]):
        assert figures == sorted(figures), figures
        assert figures[0] < figures[-1]
    assert reports[-1].fad > 1.5 * reports[0].fad
    assert reports[0].real_kad is None  # of three tracks no halves can be made


def test_another_tempo_is_further(musicnn: Musicnn, techno: Techno) -> None:
    """The same music, rendered at 125 BPM and ever faster."""
    at = {frames: [hear(of_audio(m, techno(m, 1, seconds=6, bpm=3000 / frames)), musicnn) for m in MANNERS] for frames in (24, 23, 20)}
    near, far = (compare(at[24], at[frames], embedder=musicnn).fad for frames in (23, 20))
    assert 0 < near < far


def test_a_set_is_at_no_distance_from_itself(reference: list[Heard], musicnn: Musicnn) -> None:
    report = compare(reference, reference, reference, embedder=musicnn)
    assert report.fad == pytest.approx(0.0, abs=1e-6)
    assert report.kl == 0.0
    assert report.kad.value < 0  # unbiased: the same clips are nearer than two draws of their kind
    assert report.copies is not None
    assert report.copies.share == report.copies.real_share == 0.0  # each is its own nearest, on both sides alike
    assert any("go by KAD" in note for note in report.notes)
    assert json.loads(json.dumps(report.record()))["kad"]["value"] == report.kad.value


# Folders, and the command.


@pytest.fixture(scope="module")
def folders(techno: Techno, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    for name, seed in (("reference", 0), ("candidate", 1), ("train", 2)):
        (root / name / "sub").mkdir(parents=True)
        for place, manner in (("a", "acid"), ("b", "minimal"), ("sub/c", "dub")):
            sound = techno(manner, seed, seconds=4.6)
            soundfile.write(root / name / f"{place}.flac", sound.samples.T, sound.sample_rate)
        (root / name / "notes.txt").write_text("no audio")
        (root / name / "._a.flac").write_bytes(b"what macOS leaves behind")
    return root


def test_the_command_tells_a_machine_and_a_person(folders: Path, musicnn: Musicnn, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--reference", str(folders / "reference"), "--candidate", str(folders / "candidate")]
    assert main([*words, "--train", str(folders / "train"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reference"] == {"files": 3, "windows": 6, "seconds": 13.8}
    assert told["windows_compared"] == 6
    assert told["fad"] > 0
    assert told["kad"]["low"] < told["kad"]["high"]
    assert told["copies"]["clips"] == 3
    assert told["checks"] == {"clips": 3, "silent": 0.0, "clipped": 0.0, "collapsed": 0.0}
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"FAD             {told['fad']:.2f}" in out
    assert "near-copies" not in out


def test_one_unreadable_file_is_an_error_that_names_it(folders: Path, musicnn: Musicnn, capsys: pytest.CaptureFixture[str]) -> None:
    broken = folders / "candidate" / "0.mp3"
    words = ["evaluate", "--reference", str(folders / "reference"), "--candidate", str(folders / "candidate"), "--json"]
    try:
        for content, why in ((b"\xff\xfb\x90" + bytes(5000), "can't be played"), (b"", "empty")):
            broken.write_bytes(content)
            assert main(words) == 2
            out, err = capsys.readouterr()
            assert str(broken) in err
            assert why in err
            assert json.loads(out)["error"]["code"] == "bad_audio"
    finally:
        broken.unlink()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--reference": "nowhere"}, "is no folder"),
        ({"--candidate": "reference/sub"}, "at least three are needed"),
        ({"--embedder": "openl3"}, "choose musicnn"),
        ({"--prompt": "techno"}, "choose clap"),
    ],
)
def test_bad_input_is_one_line(
    changes: dict[str, str], said: str, folders: Path, musicnn: Musicnn, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"--reference": "reference", "--candidate": "candidate"} | changes
    words = [
        word
        for name, value in options.items()
        for word in (name, str(folders / value) if name in ("--reference", "--candidate") else value)
    ]
    assert main(["evaluate", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


def test_an_empty_folder_and_a_short_clip(musicnn: Musicnn, techno: Techno, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no audio files"):
        folder(tmp_path)
    short = of_audio("short", techno("acid", 0, seconds=2))
    with pytest.raises(EvaluationError, match=r"^short: That is too short"):
        evaluate([short] * 3, [short] * 3, embedder=musicnn)

    def gone() -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    sound: Sound = of_bytes("gone", gone)
    with pytest.raises(EvaluationError, match=r"^gone can't be read: No such file"):
        hear(sound, musicnn)
