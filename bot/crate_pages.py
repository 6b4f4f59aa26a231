"""What is said of the crate: its list, a track's card, the report, the tracks that fit. Pure: values in, text and embeds out.

card    **128.0 BPM** · **8A** A minor · 6:12 · −8.1 LUFS        + picture with bar grid and sections
list    1. **Alice – Nacht** · 128.0 BPM · 8A · 6:12
fits    1. **Bob – Foo** · 128.0 → 130.4 BPM, +1.9 %; 8A → 9A; sounds close
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import discord

from bot.charts import plural
from bot.limits import EMBED_DESCRIPTION_CHARACTERS
from bot.messages import GREY, VIOLET, plain, progress_bar, shorten
from bot.orders import clock
from bot.uploads import track_label
from engine.api import Analysis, Match, Report, Similar, Working
from storage import Heard, Track

CRATE_PAGE = 10
REPORT_NAME = "report.png"

_DETECTED = "detected"
_FROM_TAG = "🏷️"
"""Behind a value that the file's own tags hold."""


def crate_page(tracks: Sequence[Track], *, page: int, total: int) -> discord.Embed:
    pages = max(1, -(-total // CRATE_PAGE))
    if not total:
        text = "It is empty. `/crate add` puts tracks in, or right-click a message with audio → Apps → **Add to crate**."
    else:
        first = page * CRATE_PAGE
        text = "\n".join(
            f"{first + number}\\. **{plain(shorten(track_label(track), 80))}** · {_line(track)} · by <@{track.member_id}>"
            for number, track in enumerate(tracks, 1)
        )
        if any(track.heard is None for track in tracks):
            text += "\n\n*Not all of these have been listened to yet.*"
    embed = discord.Embed(title="The crate", description=text, colour=VIOLET)
    tagged = f" · {_FROM_TAG} from the file's own tags" if _FROM_TAG in text else ""
    embed.set_footer(text=f"{plural(total, 'track')} · page {page + 1} of {pages}{tagged}")
    return embed


def _line(track: Track) -> str:
    return " · ".join([*(_tempo_and_key(track.heard) if track.heard else []), _length(track.duration_s)])


def _tempo_and_key(heard: Heard) -> list[str]:
    tempo = "no beat" if heard.bpm is None else f"{heard.bpm:.1f} BPM{_mark(heard.bpm_source)}"
    key = "no clear key" if heard.camelot is None else f"{heard.camelot} ({heard.key_name}){_mark(heard.key_source)}"
    return [tempo, key]


def _mark(source: str | None) -> str:
    return "" if source in (None, _DETECTED) else f" {_FROM_TAG}"


# ---- cards


def listening_line(working: Working | None, *, number: int, of: int) -> str:
    """While several tracks are listened to, one after the other."""
    waiting = f" · {plural(working.waiting, 'other track')} before it" if working is not None and working.waiting else ""
    return f"{progress_bar(number / of)}  listening to {'it' if of == 1 else f'track {number + 1} of {of}'}{waiting}"


def card_embed(track: Track, analysis: Analysis, twins: Sequence[Track], picture: str) -> discord.Embed:
    """``twins``: tracks of the same crate that are the same recording. ``picture``: name of the attached card."""
    tempo, key = analysis.tempo, analysis.key
    facts = [
        "no beat" if tempo is None else f"**{tempo.bpm:.1f} BPM**{_said_by(tempo.source)}{'' if tempo.steady else ', not steady'}",
        "no clear key" if key is None else f"**{key.camelot}** {key.name}{_said_by(key.source)}",
        _length(analysis.duration_s),
    ]
    if analysis.lufs is not None:
        facts.append(f"{analysis.lufs:.1f} LUFS".replace("-", "−"))
    lines = [" · ".join(facts)]
    if twins:
        names = ", ".join(f"**{plain(shorten(track_label(twin), 80))}**" for twin in twins[:3])
        lines.append(f"♻️ The same recording as {names}{f' and {len(twins) - 3} more' if len(twins) > 3 else ''}.")
    lines += [f"⚠️ {warning}" for warning in _warnings(analysis)]
    # Ten cards share a message, and Discord takes 6,000 characters in all embeds of one.
    embed = discord.Embed(title=plain(shorten(track_label(track), 90)), description=shorten("\n".join(lines), 380), colour=VIOLET)
    embed.set_image(url=f"attachment://{picture}")
    return embed


def _length(seconds: float) -> str:
    """Rounded as the card does."""
    return clock(seconds if seconds < 59.5 else round(seconds))


def _said_by(source: str) -> str:
    return "" if source == _DETECTED else " (the file's own tag)" if source == "tag" else f" ({plain(source)})"


def _warnings(analysis: Analysis) -> list[str]:
    found = []
    if analysis.heard_s < analysis.duration_s - 1.0:
        found.append(f"It is long: this is about its first {clock(analysis.heard_s)}.")
    if analysis.clipped_share > 0.001:
        found.append(f"{analysis.clipped_share * 100:.1f} % of it is clipped: a cleaner copy would teach more.")
    if analysis.silence_s > 0.1 * analysis.duration_s:
        found.append(f"{clock(analysis.silence_s)} of it is silence.")
    return found


def card_description(track: Track, analysis: Analysis) -> str:
    """The picture in words, for who can't see it."""
    sections = ", ".join(f"{section.kind} from {clock(section.start_s)}" for section in analysis.sections)
    return shorten(f"Waveform of {track_label(track)} with bar lines. " + (f"Sections: {sections}." if sections else ""), 1000)


# ---- the report


def report_page(report: Report) -> discord.Embed:
    advice = "\n".join(f"• {plain(line)}" for line in report.advice)
    parts = ["\n".join(map(_report_line, report.text.strip().splitlines())), f"**What would make it better**\n{advice}" if advice else ""]
    if left := len(report.not_heard):
        parts.append(f"⚠️ {plural(left, 'track')} can't be listened to, and {'is' if left == 1 else 'are'} left out.")
    text = "\n\n".join(part for part in parts if part)
    embed = discord.Embed(title="The crate as a dataset", description=shorten(text, EMBED_DESCRIPTION_CHARACTERS), colour=VIOLET)
    embed.set_image(url=f"attachment://{REPORT_NAME}")
    embed.set_footer(text=plural(report.tracks, "track"))
    return embed


def _report_line(line: str) -> str:
    """``tempo     124 to 138 BPM``: a table for a terminal, which a phone would cut off."""
    head, gap, rest = line.partition("  ")
    return f"**{plain(head)}** {plain(rest)}" if gap and rest.strip() else plain(line)


def report_description(report: Report) -> str:
    """The picture in words."""
    return shorten(f"The crate as a dataset, drawn: tempo, keys, lengths. {report.text}", 1000)


# ---- tracks that fit


def similar_page(name: str, found: Similar, tracks: Mapping[str, Track]) -> discord.Embed:
    """``tracks``: the guild's own, by hash; what is not among them is not shown."""
    lines = _matches(found.matches, tracks)
    own = " · ".join([*([f"{found.bpm:.1f} BPM"] if found.bpm else ["no beat"]), found.camelot or "no clear key"])
    parts = [own]
    if lines:
        parts.append("\n".join(lines))
    elif nearest := _matches(found.nearest, tracks):
        looked = plural(found.compared, "track")
        parts.append(f"Nothing in the crate fits: {looked} looked at. What comes nearest:")
        parts.append("\n".join(nearest))
    else:
        parts.append("There is nothing else in the crate to put beside it. `/crate add` changes that.")
    if same := [tracks[sha256] for sha256 in found.same if sha256 in tracks]:
        parts.append(f"♻️ Left out as the same recording: {', '.join(plain(shorten(track_label(track), 80)) for track in same[:3])}.")
    if found.note:
        parts.append(f"⚠️ {found.note}")
    title = f"What goes with {plain(shorten(name, 120))}"
    return discord.Embed(
        title=title, description=shorten("\n\n".join(parts), EMBED_DESCRIPTION_CHARACTERS), colour=VIOLET if lines else GREY
    ).set_footer(text="Within ±6 % of its tempo, in a key that mixes; the closest in sound first")


def _matches(matches: Sequence[Match], tracks: Mapping[str, Track]) -> list[str]:
    known = [match for match in matches if match.sha256 in tracks]
    return [
        f"{number}\\. **{plain(shorten(track_label(tracks[match.sha256]), 80))}**\n{match.reason}" for number, match in enumerate(known, 1)
    ]


def searching_line(working: Working) -> str:
    return f"{progress_bar(working.done / working.of)}  listening to the crate: {working.done} of {plural(working.of, 'track')}"
