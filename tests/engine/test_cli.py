"""``python -m engine`` with real files: what it writes, what it prints, and how it says no."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import pytest
import soundfile

from engine.cli import main

Files = Callable[[str], Path]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and the tiny checkpoint as the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGINE_CHECKPOINT", str(tiny_checkpoint))
    monkeypatch.setenv("ENGINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ENGINE_THREADS", "1")
    monkeypatch.setenv("ENGINE_DEVICE", "cpu")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_generate_as_a_process(workplace: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "engine",
        "generate",
        "dark techno",
        "--seconds",
        "2",
        "--seed",
        "1",
        "--out",
        "clip.wav",
        "--picture",
        "clip.png",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("clip.wav: 2.0 s · 32 kHz mono · −14.0 LUFS\nseed 1 · checkpoint (base) · ")
    assert result.stdout.endswith("picture: clip.png\n")
    assert soundfile.info(workplace / "clip.wav").duration == 2.0
    assert (workplace / "clip.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in workplace.iterdir()) == ["clip.png", "clip.wav"]


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg"])
def test_the_ending_decides_the_format(capsys: pytest.CaptureFixture[str], workplace: Path, ending: str) -> None:
    code, out, _err = run(capsys, "generate", "techno", "--seconds", "1", "--seed", "1", "--out", f"clip.{ending}", "--json")
    facts = json.loads(out)
    assert (code, facts["out"], facts["seed"], facts["checkpoint"], facts["picture"]) == (0, f"clip.{ending}", 1, "checkpoint", None)
    file = mutagen.File(workplace / f"clip.{ending}")
    assert file.mime[0] in {"wav": ["audio/wav"], "flac": ["audio/flac"], "mp3": ["audio/mpeg", "audio/mp3"], "ogg": ["audio/ogg"]}[ending]
    assert "AI-generated" in str(file.tags)


def test_a_seed_replays_and_options_count(capsys: pytest.CaptureFixture[str], workplace: Path) -> None:
    def sha256(*options: str) -> str:
        code, out, _err = run(capsys, "generate", "techno", "--seconds", "1", "--seed", "3", "--out", "clip.flac", "--json", *options)
        assert code == 0
        return str(json.loads(out)["sha256"])

    plain = sha256()
    assert sha256() == plain
    for option in (["--temperature", "0"], ["--top-k", "2"], ["--top-p", "0.2"], ["--guidance", "1"]):
        assert sha256(*option) != plain


def test_continue_from_a_moment(capsys: pytest.CaptureFixture[str], files: Files) -> None:
    track = str(files("track.mp3"))
    code, out, err = run(
        capsys, "continue", track, "--from", "0:05", "--prompt-seconds", "2", "--seconds", "1", "--seed", "1", "--out", "next.flac"
    )
    assert (code, err) == (0, "")
    assert out.startswith("next.flac: 3.0 s · new from 2.0 s on · 32 kHz mono")
    code, out, _err = run(capsys, "continue", track, "--prompt", "acid", "--seconds", "1", "--json", "--out", "next.wav")
    assert (code, json.loads(out)["seam_s"], json.loads(out)["prompt"]) == (0, pytest.approx(4.0, abs=0.001), "acid")


def test_surprise_names_its_own_file(capsys: pytest.CaptureFixture[str], workplace: Path) -> None:
    code, out, _err = run(capsys, "surprise", "--seconds", "1", "--json")
    facts = json.loads(out)
    assert (code, facts["out"]) == (0, f"surprise-{facts['seed']}.wav")
    assert (workplace / facts["out"]).is_file()


def test_checkpoints(capsys: pytest.CaptureFixture[str], workplace: Path, tiny_stereo_checkpoint: Path) -> None:
    (workplace / "data" / "checkpoints").mkdir(parents=True)
    (workplace / "data" / "checkpoints" / "wide").symlink_to(tiny_stereo_checkpoint)
    code, out, _err = run(capsys, "checkpoints")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0
    assert lines["checkpoint"].endswith("← default")
    assert "32 kHz stereo · hears 30 s" in lines["wide"]
    _code, out, _err = run(capsys, "checkpoints", "--json")
    assert {"checkpoint", "wide"} <= {info["id"] for info in json.loads(out)["checkpoints"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", ""], "A text take needs a prompt"),
        (["generate", "x" * 4000], "The prompt has 4,000 characters"),
        (["generate", "x", "--seconds", "0"], "Seconds must be from 1 to 240, not 0"),
        (["generate", "x", "--seconds", "10000"], "Seconds must be from 1 to 240, not 10000"),
        (["generate", "x", "--seed", "-1"], "Seed must be from 0"),
        (["generate", "x", "--guidance", "99"], "Guidance must be from 1 to 10, not 99"),
        (["generate", "x", "--checkpoint", "nowhere"], "There is no checkpoint 'nowhere'"),
        (["generate", "x", "--out", "clip.doc"], "clip.doc: the file's ending must be .wav or .flac or .mp3 or .ogg."),
        (["generate", "x", "--out", "no/where/clip.wav"], "The folder no/where does not exist"),
        (["generate", "x", "--picture", "clip.jpg"], "clip.jpg: the file's ending must be .png."),
        (["generate", "x", "--device", "toaster"], "ENGINE_DEVICE is wrong."),
        (["generate", "x", "--threads", "-1"], "ENGINE_THREADS is wrong. Threads must be from 0 to 256, not -1."),
        (["continue", "nowhere.mp3"], "nowhere.mp3 does not exist"),
        (["continue", "."], ". is a folder, not a file"),
        (["continue", "FILE:text.mp3"], "“text.mp3” is"),
        (["continue", "FILE:empty.mp3"], "“empty.mp3” is empty"),
        (["continue", "FILE:silent.wav"], "That part of the track is silent"),
        (["continue", "FILE:track.wav", "--from", "30"], "The track is 0:12 long (12.0 s): it can't be continued from 0:30."),
        (["continue", "FILE:track.wav", "--from", "-3"], "From must be at least 0 seconds, not -3"),
        (["continue", "FILE:track.wav", "--prompt-seconds", "60"], "Prompt seconds must be from 0.5 to 20, not 60"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], files: Files, workplace: Path, words: list[str], message: str
) -> None:
    words = [str(files(word.removeprefix("FILE:"))) if word.startswith("FILE:") else word for word in words]
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not list(workplace.iterdir())  # nothing was written


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["frobnicate"],
        ["generate"],
        ["generate", "x", "--seconds", "long"],
        ["continue", "x", "--from", "later"],
        ["surprise", "--backend", "tensorflow"],
    ],
)
def test_words_that_make_no_sense_are_one_line_too(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    _out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert err.startswith("error: ")
    assert err.rstrip().endswith("--help)")
    assert err.count("\n") == 1


def test_a_machine_is_told_errors_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "generate", "x", "--seconds", "0", "--json")
    assert (code, json.loads(out)) == (2, {"error": {"code": "bad_request", "message": "Seconds must be from 1 to 240, not 0.0."}})
    assert err.startswith("error: ")


@pytest.mark.parametrize("command", ["generate", "continue", "surprise", "serve", "checkpoints"])
def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    out, _err = capsys.readouterr()
    assert caught.value.code == 0
    assert command == "checkpoints" or f"examples:\n  python -m engine {command}" in out


def test_pocket_has_a_command_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["pocket", "train", "--help"])
    assert caught.value.code == 0
    assert "--stage" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_checkpoint: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_checkpoint.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[: 5000 if file.suffix == ".safetensors" else None])
    code, _out, err = run(capsys, "surprise", "--checkpoint", str(broken))
    assert code == 2
    assert err.startswith("error: The checkpoint 'broken' could not be loaded: ")
    assert err.count("\n") == 1


# serve, as far as it gets without a process of its own: that is in test_process.


def test_serve_refuses_to_be_open_to_the_world(capsys: pytest.CaptureFixture[str]) -> None:
    code, _out, err = run(capsys, "serve", "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert err.startswith("error: ENGINE_HOST=0.0.0.0 can be reached from other machines, and ENGINE_TOKEN is empty: set a token")


def test_serve_says_when_its_port_is_taken(capsys: pytest.CaptureFixture[str], shared_engine: Any) -> None:
    port = shared_engine.url.rpartition(":")[2]
    code, _out, err = run(capsys, "serve", "--port", port)
    assert code == 2
    assert err == f"error: Can't listen on 127.0.0.1:{port}: Address already in use. Choose another ENGINE_PORT or ENGINE_HOST.\n"


def test_serve_ends_when_its_checkpoint_does_not_work(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_checkpoint: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_checkpoint.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[: 5000 if file.suffix == ".safetensors" else None])
    code, _out, err = run(capsys, "serve", "--port", "0", "--checkpoint", str(broken))
    assert code == 1
    assert err.startswith("error: The checkpoint 'broken' could not be loaded: ")
    assert err.count("\n") == 1
