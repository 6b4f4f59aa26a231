"""The dataset report as one HTML page that needs nothing else: ``page``. Text is escaped, plots are SVG, colours follow the system.

tiles      tracks · music · segments · held out · tempo · key
advice     what would help, the weightiest first
plots      tempo histogram │ keys on the Camelot wheel
strips     every track as long as it is, its course, and where segments lie in it
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from engine.crate.report import Line, Report
from engine.music import words

MOST_STRIPS = 300
_STRIP_WIDTH, _STRIP_HEIGHT = 640, 40
_STYLE = Path(__file__).with_name("report.css")
_KIND_CLASS = {"i": "edge", "o": "edge", "m": "main", "d": "drop", "u": "build", "b": "break", "-": "main"}
_HUES = tuple((number * 30 + 150) % 360 for number in range(12))


def page(report: Report, mark: str = "") -> str:
    """``mark`` names what the page is of, to tell later whether it is still that."""
    sections = [
        f'<header><p class="over">dataset report</p><h1>{escape(report.name)}</h1>{_subtitle(report)}</header>',
        f'<section class="tiles">{"".join(_tiles(report))}</section>',
        _advice(report.advice),
        '<section class="pair">'
        f'<figure class="card"><figcaption>Tempo</figcaption>{_tempo(report.lines)}</figure>'
        f'<figure class="card"><figcaption>Keys on the Camelot wheel</figcaption>{_wheel(report.lines)}</figure></section>',
        _together(report),
        _strips(report),
        _captions(report),
    ]
    style = _STYLE.read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><!-- {escape(mark)} -->\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.name)}: dataset report</title>\n<style>{style}</style></head>\n<body><main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main></body></html>\n"
    )


def _subtitle(report: Report) -> str:
    if report.dataset is None:
        return '<p class="sub">not prepared yet</p>'
    return f'<p class="sub">preset <b>{escape(report.dataset.preset)}</b> for <b>{escape(report.dataset.checkpoint)}</b></p>'


def _tiles(report: Report) -> list[str]:
    lines, facts = report.lines, report.dataset
    tempos = [line.bpm for line in lines if line.bpm is not None]
    keys = Counter(line.key.camelot for line in lines if line.key)
    tiles = [("tracks", str(len(lines)), f"{len(lines) - len(report.groups.copies())} different")]
    tiles.append(("music", _short(sum(line.duration_s for line in lines)), "in the crate"))
    if facts is not None:
        tiles.append(("segments", f"{facts.segments:,}", f"{_short(facts.train_s + facts.held_out_s)} of audio"))
        tiles.append(
            ("held out", str(facts.held_out_tracks), f"tracks, {_short(facts.held_out_s)}" if facts.held_out_tracks else "nothing")
        )
    if tempos:
        tiles.append(("tempo", f"{np.median(tempos):.0f}", f"BPM, {min(tempos):.0f} to {max(tempos):.0f}"))
    if keys:
        key, count = keys.most_common(1)[0]
        tiles.append(("most in", key, f"{count} of {sum(keys.values())} tracks"))
    return [f'<div class="tile"><p>{name}</p><strong>{value}</strong><span>{note}</span></div>' for name, value, note in tiles]


def _short(seconds: float) -> str:
    """'9.7 h', '42 min'."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _advice(advice: Sequence[str]) -> str:
    if not advice:
        return '<section class="card good"><h2>Nothing to mend</h2><p>Enough tracks, in good shape.</p></section>'
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in advice)
    return f'<section class="card advice"><h2>What would help</h2><ol>{items}</ol></section>'


def _tempo(lines: Sequence[Line]) -> str:
    tempos = np.array([line.bpm for line in lines if line.bpm is not None])
    if not len(tempos):
        return '<p class="none">No tempo is known.</p>'
    low, high = math.floor(tempos.min()) - 2, math.ceil(tempos.max()) + 3
    width = 1 if high - low <= 48 else 2 if high - low <= 96 else 5
    counts, edges = np.histogram(tempos, np.arange(low, high + width, width))
    W, H, bottom, left = 460, 270, 30, 26
    most = int(counts.max())
    step = (W - left - 14) / len(counts)
    bars = []
    for count, edge in zip(counts, edges, strict=False):
        if count:
            height = (H - bottom - 34) * count / most
            x, y = left + (edge - low) / width * step, H - bottom - height
            label = f"{edge:.0f}" if width == 1 else f"{edge:.0f}–{edge + width:.0f}"
            tracks = f"{count} track{'' if count == 1 else 's'}"
            bars.append(
                f'<rect class="bar" x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" height="{height:.1f}" '
                f'rx="{min(3, step * 0.2):.1f}"><title>{label} BPM: {tracks}</title></rect>'
            )
    every = next(size for size in (2, 5, 10, 20, 50, 100) if (high - low) / size <= 9)
    ticks = [
        f'<text class="tick" x="{left + (bpm - low + 0.5) / width * step:.1f}" y="{H - 8}" text-anchor="middle">{bpm}</text>'
        for bpm in range(math.ceil(low / every) * every, high + 1, every)
    ]
    levels = sorted({most, max(1, round(most / 2))})
    rules = []
    for level in levels:
        y = H - bottom - (H - bottom - 34) * level / most
        rules.append(f'<line class="rule" x1="{left}" x2="{W}" y1="{y:.1f}" y2="{y:.1f}"/>')
        rules.append(f'<text class="tick" x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{level}</text>')
    middle = float(np.median(tempos))
    x = left + (middle - low) / width * step
    mark = (
        f'<line class="middle" x1="{x:.1f}" x2="{x:.1f}" y1="14" y2="{H - bottom}"/>'
        f'<text class="note" x="{x + (6 if x < W - 90 else -6):.1f}" y="20" text-anchor="{"start" if x < W - 90 else "end"}">'
        f"middle {middle:.1f}</text>"
    )
    base = f'<line class="axis" x1="{left}" x2="{W}" y1="{H - bottom}" y2="{H - bottom}"/>'
    told = f"Tempo of {len(tempos)} tracks, middle {middle:.1f} BPM"
    return f'<svg viewBox="0 0 {W} {H}" role="img" aria-label="{told}">{"".join(rules)}{"".join(bars)}{base}{mark}{"".join(ticks)}</svg>'


def _wheel(lines: Sequence[Line]) -> str:
    counts = Counter(line.key.camelot for line in lines if line.key)
    if not counts:
        return '<p class="none">No key is known.</p>'
    most = max(counts.values())
    size, parts = 300, []
    for number in range(1, 13):
        for letter, inner, outer in (("B", 98, 142), ("A", 54, 96)):
            name = f"{number}{letter}"
            count = counts.get(name, 0)
            middle = math.radians(number * 30 - 90)
            path = _sector(size / 2, inner, outer, middle)
            strength = 0.0 if not count else 0.25 + 0.75 * count / most
            fill = f"hsl({_HUES[number - 1]} 62% 52% / {strength:.2f})" if count else "var(--empty)"
            x, y = size / 2 + (inner + outer) / 2 * math.cos(middle), size / 2 + (inner + outer) / 2 * math.sin(middle)
            heavy = ' class="on"' if count else ""
            parts.append(f'<path d="{path}" fill="{fill}"><title>{name}: {count}</title></path>')
            parts.append(f'<text{heavy} x="{x:.1f}" y="{y + (0 if count else 4):.1f}" text-anchor="middle">{name}</text>')
            if count:
                parts.append(f'<text class="count" x="{x:.1f}" y="{y + 13:.1f}" text-anchor="middle">{count}</text>')
    known = sum(counts.values())
    centre = (
        f'<text class="big" x="{size / 2}" y="{size / 2 + 4}" text-anchor="middle">{known}</text>'
        f'<text class="count" x="{size / 2}" y="{size / 2 + 22}" text-anchor="middle">in key</text>'
    )
    told = "; ".join(f"{count} in {name}" for name, count in counts.most_common())
    return f'<svg class="wheel" viewBox="0 0 {size} {size}" role="img" aria-label="{told}">{"".join(parts)}{centre}</svg>'


def _sector(centre: float, inner: float, outer: float, middle: float) -> str:
    half = math.radians(14.3)

    def point(radius: float, angle: float) -> str:
        return f"{centre + radius * math.cos(angle):.2f} {centre + radius * math.sin(angle):.2f}"

    return (
        f"M{point(inner, middle - half)}A{inner} {inner} 0 0 1 {point(inner, middle + half)}"
        f"L{point(outer, middle + half)}A{outer} {outer} 0 0 0 {point(outer, middle - half)}Z"
    )


def _together(report: Report) -> str:
    groups = [members for members in report.groups.members() if len(members) > 1]
    if not groups:
        return ""
    copies = report.groups.copies()
    rows = []
    for members in groups[:50]:
        names = [
            escape(words.tidy(report.lines[n].name, 70) or "") + (' <em class="copy">same recording</em>' if n in copies else "")
            for n in members
        ]
        rows.append(f"<li>{'<span> + </span>'.join(names)}</li>")
    return (
        '<section class="card"><h2>Kept on one side of the split</h2><p class="sub">Copies and remixes share their music: '
        f'heard in training, they can’t be a test.</p><ul class="groups">{"".join(rows)}</ul></section>'
    )


def _strips(report: Report) -> str:
    longest = max((line.duration_s for line in report.lines), default=1.0)
    rows = [_strip(line, longest, report) for line in report.lines[:MOST_STRIPS]]
    more = f'<p class="sub">and {len(report.lines) - MOST_STRIPS} more</p>' if len(report.lines) > MOST_STRIPS else ""
    marks = {"main": "main", "drop": "drop", "build": "build", "break": "breakdown", "edge": "intro, outro"}
    if report.dataset is not None:
        marks |= {"cut": "trained on", "held": "held out"}
    legend = '<p class="legend">' + " ".join(f'<span><i class="{mark}"></i>{name}</span>' for mark, name in marks.items())
    return f'<section class="card"><h2>Tracks</h2>{legend}</p>{"".join(rows)}{more}</section>'


def _strip(line: Line, longest: float, report: Report) -> str:
    span = _STRIP_WIDTH * line.duration_s / longest
    shapes = []
    for step, (level, kind) in enumerate(zip(line.levels, line.kinds, strict=True)):
        width = span / len(line.levels)
        height = 4 + 24 * int(level) / 7
        shapes.append(
            f'<rect class="{_KIND_CLASS.get(kind, "main")}" x="{step * width:.1f}" y="{29 - height:.1f}" width="{max(1.0, width - 1):.1f}" '
            f'height="{height:.1f}" rx="1"/>'
        )
    for cut in report.dataset.cuts.get(line.sha256, ()) if report.dataset else ():
        x, width = _STRIP_WIDTH * cut.start_s / longest, _STRIP_WIDTH * (cut.end_s - cut.start_s) / longest
        shapes.append(
            f'<rect class="{"held" if cut.held_out else "cut"}" x="{x:.1f}" y="33" width="{max(1.0, width - 1):.1f}" height="4" rx="1.5">'
            f"<title>{cut.start_s:.1f} to {cut.end_s:.1f} s</title></rect>"
        )
    minutes, seconds = divmod(round(line.duration_s), 60)
    bpm = "–" if line.bpm is None else f"{line.bpm:.1f}{'' if line.steady else '~'}"
    key = "" if line.key is None else f'<b class="key" style="--hue:{_HUES[line.key.wheel - 1]}">{line.key.camelot}</b>'
    held = any(cut.held_out for cut in (report.dataset.cuts.get(line.sha256, ()) if report.dataset else ()))
    badge = ' <em class="out">held out</em>' if held else ""
    return (
        f'<div class="row"><div class="who"><b>{escape(words.tidy(line.title, 80) or "")}</b>{badge}'
        f"<span>{escape(line.artist or '')}</span></div>"
        f'<div class="num" title="tempo: {escape(line.bpm_from)}">{bpm}</div><div title="key: {escape(line.key_from)}">{key}</div>'
        f'<svg viewBox="0 0 {_STRIP_WIDTH} {_STRIP_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{"".join(shapes)}</svg>'
        f'<div class="num">{minutes}:{seconds:02d}</div></div>'
    )


def _captions(report: Report) -> str:
    if report.dataset is None or not report.dataset.captions:
        return ""
    items = "".join(f"<li>{escape(caption)}</li>" for caption in report.dataset.captions)
    return f'<section class="card"><h2>What the model is told</h2><ul class="captions">{items}</ul></section>'
