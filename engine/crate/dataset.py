"""The report on a crate or a prepared dataset, as files: ``report_of``, ``write_report``, ``save``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.crate.disk import digest, write_bytes
from engine.crate.manifest import Segment
from engine.crate.preparing import Prepared, group_tracks
from engine.crate.report import Cut, DatasetFacts, Report, build, line_in
from engine.crate.store import Crate, Unreadable
from engine.errors import EngineError

_CAPTIONS = 8
_VERSION = 1


def report_of(crate: Crate, data: Path) -> Report:
    """Of a crate that may never be prepared. ``data`` is ENGINE_DATA."""
    return build(
        [line_in(track) for track in crate.tracks],
        name=crate.name,
        groups=group_tracks(crate.tracks, data),
        unreadable=[problem.message for problem in crate.unreadable],
    )


def write_report(name: str, done: Prepared, unreadable: Sequence[Unreadable] = ()) -> Report:
    """report.html, report.txt and report.png beside the manifest; only where something has changed since they were written."""
    problems = {problem.path: problem.message for problem in (*unreadable, *done.left_out)}
    report = build(
        [line_in(track) for track in done.tracks],
        name=name,
        groups=done.groups,
        unreadable=list(problems.values()),
        dataset=_facts(done.segments),
    )
    mark = digest([_VERSION, report.text, [segment.id for segment in done.segments], [track.title for track in done.tracks]])
    page = done.folder / "report.html"
    if page.is_file() and (done.folder / "report.png").is_file() and mark in page.read_text(encoding="utf-8", errors="replace")[:400]:
        return report
    save(report, done.folder / "report.txt", mark)
    save(report, done.folder / "report.png", mark)
    save(report, page, mark)
    return report


def save(report: Report, path: Path, mark: str = "") -> None:
    """As page, picture or text, by the name's ending. Raises EngineError for another one."""
    ending = path.suffix.lower()
    if ending == ".html":
        from engine.crate.report_page import page

        write_bytes(path, page(report, mark).encode())
    elif ending == ".png":
        write_bytes(path, report.png)
    elif ending == ".txt":
        write_bytes(path, (report.text + "\n").encode())
    else:
        raise EngineError("bad_request", f"{path}: a report is written as .html, .png or .txt.")


def _facts(segments: Sequence[Segment]) -> DatasetFacts:
    cuts: dict[str, list[Cut]] = {}
    for segment in segments:
        cut = Cut(segment.start / segment.sample_rate, segment.end / segment.sample_rate, segment.split == "held_out")
        cuts.setdefault(segment.track, []).append(cut)
    held = [segment for segment in segments if segment.split == "held_out"]
    step = max(1, len(segments) // _CAPTIONS)
    return DatasetFacts(
        preset=segments[0].preset,
        checkpoint=segments[0].checkpoint,
        segments=len(segments),
        train_s=sum(segment.duration_s for segment in segments if segment.split == "train"),
        held_out_s=sum(segment.duration_s for segment in held),
        held_out_tracks=len({segment.track for segment in held}),
        cuts=cuts,
        captions=tuple(dict.fromkeys(segment.caption for segment in segments[::step]))[:_CAPTIONS],
    )
