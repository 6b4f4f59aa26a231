"""``python -m engine.analyses.worker``: listens to tracks, one line of JSON in, one out, until its standard input closes.

    {"do": "analyse", "with": {"path": …}}  ─▶  {"done": {…}}   or {"refused": words} about the audio, {"missing": words} about what
                                                is not installed, {"gone": true} where the file is, {"broke": …} with the log's help

Started by ``workers``. What it imports for a job stays imported. Not here: what is kept of the answers (``kept``).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.music.audio import Audio

log = logging.getLogger(__name__)

HEARD_S = 1200.0
"""Of a track so much is listened to, in seconds: more than any single track, and little enough to be held in memory."""
EXCERPTS, EXCERPT_S = 8, 9.0
"""How a track sounds is taken from so many places in it, evenly spread, each so many seconds long."""
_PIECE_S = 300.0
_HIGHEST_RATE = 48_000
TAG = "tag"
"""Where a value is from that the file's own tags hold."""


def analyse(path: str, sha256: str) -> dict[str, Any]:
    """Tempo, key, sections …, and the card. What the file's own tags say of tempo and key wins over what is heard.

    The card bears no name: it is kept by the bytes, and others who have them may call them otherwise.
    """
    data = _bytes(path, sha256)
    from engine.crate.tags import read_tags
    from engine.music.analysis import Hints, parse_key
    from engine.music.analysis import analyse as listen
    from engine.music.analysis.cards import draw_card

    audio = _decoded(data)
    tags = read_tags(Path(path))
    analysis = listen(audio, Hints(bpm=tags.bpm, key=parse_key(tags.key, source=TAG), source=TAG))
    picture = draw_card(audio, analysis)
    return {"record": analysis.record(), "picture": base64.b64encode(picture).decode("ascii")}


def embed(path: str, sha256: str) -> dict[str, Any]:
    """How the track sounds: the mean of the embeddings of its excerpts."""
    data = _bytes(path, sha256)
    import numpy as np

    from engine.evaluation.embeddings import Musicnn
    from engine.music.audio import Audio

    network = _once("musicnn", Musicnn)
    audio = _decoded(data)
    length = round(EXCERPT_S * audio.sample_rate)
    if audio.length_samples <= EXCERPTS * length:
        heard = network.embed(audio)
    else:
        starts = np.linspace(0, audio.length_samples - length, EXCERPTS + 2)[1:-1].astype(int)  # neither intro's nor outro's very end
        heard = np.concatenate([network.embed(Audio(audio.samples[:, start : start + length], audio.sample_rate)) for start in starts])
    vector = heard.mean(axis=0, dtype=np.float64)
    return {"name": network.name, "vector": [round(float(value), 6) for value in vector]}


def compare(record: dict[str, Any], others: dict[str, str]) -> dict[str, Any]:
    """How like each of ``others`` (a hash to the path of its analysis) is to ``record``, where they are the same recording."""
    from engine.music.analysis import SAME, AnalysisError, TrackAnalysis, same_recording

    one = TrackAnalysis.from_record(record)
    found: dict[str, float] = {}
    for sha256, path in others.items():
        with contextlib.suppress(AnalysisError, OSError, ValueError):
            likeness = same_recording(one.fingerprint, TrackAnalysis.from_record(json.loads(Path(path).read_bytes())).fingerprint)
            if likeness >= SAME:
                found[sha256] = likeness
    return {"same": found}


def report(tracks: list[dict[str, Any]], unreadable: list[str]) -> dict[str, Any]:
    """A crate's report, out of its tracks' analyses: ``tracks`` hold sha256, title, artist and the path of the record."""
    from engine.crate.report import build, line_of
    from engine.music.analysis import AnalysisError, TrackAnalysis

    found: list[tuple[dict[str, Any], TrackAnalysis]] = []
    for track in tracks:
        with contextlib.suppress(AnalysisError, OSError, ValueError):  # forgotten just now
            found.append((track, TrackAnalysis.from_record(json.loads(Path(track["path"]).read_bytes()))))
    lines = [line_of(track["sha256"], track["title"], track["artist"], analysis) for track, analysis in found]
    made = build(lines, fingerprint=lambda number: found[number][1].fingerprint, unreadable=unreadable, uploaded=True)
    text = made.text.partition("\n\nWhat would help:")[0]  # the advice goes by itself
    return {"text": text, "advice": list(made.advice), "picture": base64.b64encode(made.png).decode("ascii"), "tracks": len(lines)}


def _bytes(path: str, sha256: str) -> bytes:
    """Raises FileNotFoundError, also where the bytes are not those of that hash any more."""
    data = Path(path).read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise FileNotFoundError(path)
    return data


def _decoded(data: bytes) -> Audio:
    """The track's first HEARD_S seconds, at 48 kHz at most: some 460 MB of the longest. Raises AudioError."""
    import numpy as np
    from scipy.signal import resample_poly

    from engine.music.audio import Audio, AudioError, decode

    pieces: list[Any] = []
    rate = 0
    while True:
        try:
            piece = decode(data, start_s=len(pieces) * _PIECE_S, duration_s=_PIECE_S)
        except AudioError:
            if not pieces:
                raise
            break  # it ended with the piece before
        halved = piece.sample_rate > _HIGHEST_RATE
        rate = piece.sample_rate // 2 if halved else piece.sample_rate
        pieces.append(resample_poly(piece.samples, 1, 2, axis=1) if halved else piece.samples)
        if piece.duration_s < _PIECE_S - 0.01 or len(pieces) * _PIECE_S >= HEARD_S:
            break
    if len(pieces) == 1:
        return Audio(np.asarray(pieces[0], dtype=np.float32), rate)
    samples = np.empty((pieces[0].shape[0], sum(piece.shape[1] for piece in pieces)), dtype=np.float32)
    end = samples.shape[1]
    while pieces:  # from the last, so that each can go
        last = pieces.pop()
        samples[:, end - last.shape[1] : end] = last
        end -= last.shape[1]
    return Audio(samples, rate)


_KEPT: dict[str, Any] = {}


def _once(name: str, make: Callable[[], Any]) -> Any:
    """A network that is loaded for one track serves the next."""
    if name not in _KEPT:
        import torch

        torch.set_num_threads(1)
        _KEPT[name] = make()
    return _KEPT[name]


JOBS: dict[str, Callable[..., dict[str, Any]]] = {"analyse": analyse, "embed": embed, "compare": compare, "report": report}


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """One job's answer, whatever happens."""
    try:
        return {"done": JOBS[job["do"]](**job["with"])}
    except FileNotFoundError:
        return {"gone": True}
    except Exception as error:
        match type(error).__name__:  # by name: their modules are heavy, and a job that raises them has imported them
            case "AudioError":
                return {"refused": str(error)}
            case "AudioToolsMissing" | "EmbedderUnavailable":
                return {"missing": str(error)}
        log.exception("%s broke", job["do"])
        return {"broke": type(error).__name__}


def _lines() -> Iterator[dict[str, Any]]:
    for line in sys.stdin.buffer:
        yield json.loads(line)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the engine, which then ends this
    os.nice(5)  # the music that somebody waits for comes first
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the answers
    for job in _lines():
        answers.write(json.dumps(answer(job)).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
