"""A job: its folder on the disk, what was asked for, its events, numbered from 1, one a line, and what the latest of them say.

::

    ENGINE_DATA/finetunes/ID/job.json       written last when a job is taken on, so that it is there when this is
                             events.jsonl   what was told; the last line says whether it is over
                             tracks/ work/  while it waits or runs

Not here: what is in work/ (``steps``), who writes events (``desk``, and nobody else). No torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.api.finetunes import (
    FINETUNE_ID,
    LAST_EVENTS,
    FinetuneCancelled,
    FinetuneDone,
    FinetuneEvent,
    FinetuneFailed,
    FinetuneQueued,
    FinetuneRequest,
    FinetuneStatus,
    Forecast,
    Judging,
    MakingClips,
    Preparing,
    ReportCard,
    State,
    TrainingProgress,
    finetune_event_adapter,
)
from engine.api.takes import HEARTBEAT_S, Heartbeat
from engine.crate.disk import read_json, write_bytes

if TYPE_CHECKING:
    from engine.finetunes.processes import JobProcess

LEAST_TRACKS = 3
"""One of them is held out, and two are learned from: less is no crate."""
REPORT_FOLDER = "report"
"""In the checkpoint's folder: the report card's picture and clips."""
_TAIL_BYTES = 256 * 1024
"""Of the events' file: more than a last event with its report card takes."""
_ID = re.compile(FINETUNE_ID)


class JobFacts(BaseModel):
    """job.json. base: the checkpoint's id; base_is_default: nobody asked for it, or it is the engine's own."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    request: FinetuneRequest
    base: str
    base_is_default: bool
    licence: str
    created_at: float


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Where a job is. Made by ``take_on`` or ``find``."""

    path: Path
    facts: JobFacts

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    def track(self, sha256: str) -> Path:
        return self.path / "tracks" / f"{sha256}.audio"

    def clear(self) -> None:
        """Working files and tracks go; what was asked and told stays. Blocks on the disk."""
        for folder in (self.work, self.path / "tracks"):
            shutil.rmtree(folder, ignore_errors=True)

    @classmethod
    def take_on(cls, path: Path, facts: JobFacts) -> JobFolder:
        """Tracks must be there already."""
        write_bytes(path / "job.json", facts.model_dump_json(indent=1).encode() + b"\n")
        return cls(path, facts)

    @classmethod
    def find(cls, path: Path) -> JobFolder | None:
        """None where there is no job, or none that can be read."""
        try:
            return cls(path, JobFacts.model_validate_json((path / "job.json").read_bytes()))
        except (OSError, ValidationError):
            return None


def served_card(folder: Path, finetune_id: str) -> ReportCard | None:
    """The report card of a checkpoint that this finetune made; None where there is none."""
    facts = read_json(folder / "card.json")
    if facts is None or facts.get("finetune") != finetune_id:
        return None
    with contextlib.suppress(KeyError, ValidationError):
        return ReportCard.model_validate(facts["report"])
    return None


def is_id(text: str) -> bool:
    """Whether it can be a finetune's, and so a folder's name."""
    return _ID.fullmatch(text) is not None


class Events:
    """A job's events: kept as they are told, read from any number. Use from one event loop."""

    def __init__(self, path: Path) -> None:
        """Takes up what is there; half a line, which a kill may leave at the end, goes."""
        self._path = path
        self.last: FinetuneEvent | None = None
        self.count = 0
        self._news = asyncio.Event()
        self._closed = False

    def read_back(self) -> list[FinetuneEvent]:
        """What was told before, the first time that the job is looked at after a start; of one that is over, its last. Blocks."""
        if not self._path.exists():
            return []
        if (last := self._end()) is not None:
            self.count, self.last = last.number, last
            return [last]
        data = self._path.read_bytes()
        found: list[FinetuneEvent] = []
        whole = 0
        for line in data.splitlines(keepends=True):
            try:
                event = finetune_event_adapter.validate_json(line)
            except ValidationError:
                break
            if isinstance(event, Heartbeat) or event.number != len(found) + 1 or not line.endswith(b"\n"):
                break
            found.append(event)
            whole += len(line)
        if whole < len(data):
            os.truncate(self._path, whole)
        self.count, self.last = len(found), found[-1] if found else None
        return found

    def _end(self) -> FinetuneDone | FinetuneFailed | FinetuneCancelled | None:
        """The last event, where the job is over; found without reading all, pictures and all, of every job that ever was."""
        with self._path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().splitlines(keepends=True)
        if lines and lines[-1].endswith(b"\n"):
            with contextlib.suppress(ValidationError):
                event = finetune_event_adapter.validate_json(lines[-1])
                return event if isinstance(event, LAST_EVENTS) else None
        return None

    @property
    def over(self) -> bool:
        return isinstance(self.last, LAST_EVENTS)

    def tell(self, event: dict[str, Any]) -> FinetuneEvent:
        """Gives it its number and keeps it. Raises ValidationError where it is no event."""
        told = finetune_event_adapter.validate_python(event | {"number": self.count + 1})
        assert not isinstance(told, Heartbeat)
        with self._path.open("ab") as file:
            file.write(told.model_dump_json().encode() + b"\n")
            if isinstance(told, LAST_EVENTS):
                file.flush()
                os.fsync(file.fileno())
        self.count, self.last = told.number, told
        self._wake()
        return told

    def close(self) -> None:
        """Readers end: nothing more is told in this process."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def lines(self, after: int, heartbeat_s: float = HEARTBEAT_S) -> AsyncIterator[bytes]:
        """Events after number ``after``, one a line; the last one ends it. Never silent for longer than ``heartbeat_s``."""
        heartbeat = Heartbeat().model_dump_json().encode() + b"\n"
        read, offset = 0, 0
        while True:
            news = self._news
            if self.count > read:
                upto = self.count
                data = await asyncio.to_thread(self._read, offset)
                offset += len(data)
                for line in data.splitlines(keepends=True):
                    read += 1
                    if read > after:
                        yield line
                if read < upto:
                    return  # somebody deleted the job
                continue
            if self.over or self._closed:
                return
            try:
                await asyncio.wait_for(news.wait(), heartbeat_s)
            except TimeoutError:
                yield heartbeat

    def _read(self, offset: int) -> bytes:
        """Whole lines from there on."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(offset)
            data = file.read()
            return data[: data.rfind(b"\n") + 1]
        return b""


class Job:
    """One job in memory: its folder, its events, and what the latest of them say."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.events = Events(folder.events)
        self.process: JobProcess | None = None
        self.end: FinetuneCancelled | FinetuneFailed | None = None
        """How it is to end where it is not its process that says so."""
        self.forecast: Forecast | None = None
        self.progress: TrainingProgress | None = None
        self.state: State = "queued"
        self.furthest = (0, 0)
        """The latest step that it ever came to, and how far in it: one that goes on begins again with earlier ones."""
        for event in self.events.read_back():
            self._note(event)

    @property
    def id(self) -> str:
        return self.folder.facts.request.id

    def tell(self, event: dict[str, Any]) -> FinetuneEvent:
        told = self.events.tell(event)
        self._note(told)
        return told

    def _note(self, event: FinetuneEvent) -> None:
        self.furthest = max(self.furthest, _place(event))
        match event:
            case Forecast():
                self.forecast, self.state = event, "preparing"
            case TrainingProgress():
                self.progress, self.state = event.model_copy(update={"picture": None}), "training"
            case FinetuneQueued():
                self.state = "queued"
            case MakingClips():
                self.state = "clips"
            case Judging():
                self.state = "judging"
            case FinetuneDone():
                self.state = "done"
            case FinetuneFailed():
                self.state = "failed"
            case FinetuneCancelled():
                self.state = "cancelled"
            case _:
                self.state = "preparing"

    def status(self, position: int | None) -> FinetuneStatus:
        facts, last = self.folder.facts, self.events.last
        failed = last if isinstance(last, FinetuneFailed) else None
        done = last if isinstance(last, FinetuneDone) else None
        return FinetuneStatus(
            id=self.id,
            name=facts.request.name,
            recipe=facts.request.recipe,
            base=facts.base,
            token=facts.request.token,
            owner=facts.request.owner,
            state=self.state,
            position=position,
            created_at=facts.created_at,
            events=self.events.count,
            forecast=self.forecast,
            progress=self.progress,
            checkpoint=done.checkpoint if done else None,
            report=done.report if done else None,
            code=failed.code if failed else None,
            message=failed.message if failed else None,
        )


def _place(event: FinetuneEvent) -> tuple[int, int]:
    """Where in a job an event is: rising as it goes on."""
    match event:
        case Preparing():
            return (1 if event.what == "listening" else 2, event.done)
        case Forecast():
            return (3, 0)
        case TrainingProgress():
            return (4, event.step)
        case MakingClips():
            return (5, event.done)
        case Judging():
            return (6, 0)
    return (0, 0)
