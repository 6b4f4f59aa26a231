"""``POST /v1/evaluations`` through the client: the report, how far it is, and what is said when it can't be given."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import pytest
import soundfile

from engine.api import Working
from engine.api.evaluation import EvaluationRequest
from engine.client import EngineClient
from engine.errors import EngineError
from engine.evaluation.embeddings import Musicnn
from engine.music.audio import Audio


@pytest.fixture(scope="module")
def clips(techno: Callable[..., Audio]) -> dict[str, bytes]:
    """Six clips by SHA-256: three of seed 0, three of seed 1."""
    found = {}
    for seed in (0, 1):
        for manner in ("acid", "minimal", "dub"):
            sound, file = techno(manner, seed, seconds=3.2), io.BytesIO()
            soundfile.write(file, sound.samples.T, sound.sample_rate, format="FLAC")
            found[hashlib.sha256(file.getvalue()).hexdigest()] = file.getvalue()
    return found


async def test_clips_are_uploaded_compared_and_the_report_kept(client: EngineClient, clips: dict[str, bytes], musicnn: Musicnn) -> None:
    names = list(clips)
    request = EvaluationRequest(reference=names[:3], candidate=names[3:], training=names[:1] + names[4:], seed=3)
    sent, told = [], []

    async def bytes_of(sha256: str) -> bytes:
        sent.append(sha256)
        return clips[sha256]

    report = await client.evaluate(request, bytes_of, told.append)
    assert set(sent) == set(names)
    assert report.reference.files == report.candidate.files == 3
    assert report.windows_compared == 3
    assert report.fad > 0
    assert report.seed == 3
    assert report.copies is not None
    assert report.copies.clips == 3
    assert all(isinstance(one, Working) and one.of == 9 and one.done <= 9 for one in told)
    assert await client.evaluate(request, bytes_of) == report


async def test_a_track_that_can_not_be_compared_is_named(client: EngineClient, clips: dict[str, bytes], musicnn: Musicnn) -> None:
    names, short = list(clips), io.BytesIO()
    soundfile.write(short, soundfile.read(io.BytesIO(clips[names[0]]))[0][:32_000], 32_000, format="FLAC")
    bad = hashlib.sha256(short.getvalue()).hexdigest()

    async def bytes_of(sha256: str) -> bytes:
        return short.getvalue() if sha256 == bad else clips[sha256]

    with pytest.raises(EngineError, match=f"^{bad}: That is too short") as caught:
        await client.evaluate(EvaluationRequest(reference=names[:3], candidate=[bad, *names[4:]]), bytes_of)
    assert caught.value.code == "bad_audio"
