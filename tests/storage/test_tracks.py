"""The crate, settings and job times."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import GuildSettings, Heard, Store, Track
from storage.times import from_text, to_text


async def add(store: Store, guild_id: int = 1, name: str = "one", **changes: Any) -> Track:
    facts: dict[str, Any] = {
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "filename": f"{name}.mp3",
        "title": None,
        "artist": None,
        "duration_s": 300.0,
        "sample_rate": 44100,
        "channels": 2,
        "codec": "mp3",
        "size_bytes": 1000,
    }
    return await store.tracks.add(guild_id, 300, **facts | changes)


async def test_the_same_bytes_are_one_track(store: Store) -> None:
    first = await add(store)
    second = await add(store, filename="other name.mp3")
    assert first.created
    assert not second.created
    assert (first.id, first.filename) == (second.id, second.filename)
    assert await store.tracks.count(1) == 1
    assert (await add(store, guild_id=2)).created, "another guild's crate is another crate"


async def test_pages_newest_first(store: Store) -> None:
    added = [(await add(store, name=str(number))).id for number in range(5)]
    assert [track.id for track in await store.tracks.list(1, limit=2)] == added[:2:-1]
    assert [track.id for track in await store.tracks.list(1, limit=2, offset=4)] == added[:1]
    assert await store.tracks.list(1, limit=-1) == []


async def test_search_has_every_word_in_any_case_and_script(store: Store) -> None:
    umlaut = await add(store, name="1", artist="ÄTHER", title="Straße 50%")
    cyrillic = await add(store, name="2", artist="ЗВУК", title="Ночь")
    for text, found in [("äther", umlaut), ("strasse 50%", umlaut), ("ночь звук", cyrillic), ("1.mp3", umlaut)]:
        assert [track.id for track in await store.tracks.search(1, text)] == [found.id], text
    assert len(await store.tracks.search(1, "")) == 2
    assert await store.tracks.search(1, "%") == await store.tracks.search(1, "50%")
    assert await store.tracks.search(1, "äther ночь") == []
    assert await store.tracks.search(1, "' OR 1=1 --") == []
    assert len(await store.tracks.search(1, "", limit=1)) == 1


async def test_a_guild_sees_and_removes_only_its_own(store: Store) -> None:
    track = await add(store)
    assert await store.tracks.get(2, track.id) is None
    assert await store.tracks.search(2, "one") == []
    assert await store.tracks.list(2) == []
    assert not await store.tracks.remove(2, track.id)
    assert await store.tracks.get(1, track.id) == track.__class__(**{**_fields(track), "created": False})
    assert await store.tracks.remove(1, track.id)
    assert not await store.tracks.remove(1, track.id)


async def test_an_id_is_never_given_twice(store: Store) -> None:
    track = await add(store)
    await store.tracks.remove(1, track.id)
    assert (await add(store)).id != track.id


def _fields(track: Track) -> dict[str, Any]:
    return {name: getattr(track, name) for name in Track.__dataclass_fields__}


async def test_settings(store: Store) -> None:
    assert await store.guilds.settings(1) == GuildSettings(token="Alice_hash", checkpoint=None)
    assert await store.guilds.update(1, checkpoint="mine") == GuildSettings(token="Alice_hash", checkpoint="mine")
    assert await store.guilds.update(1, token="Bob_hash") == GuildSettings(token="Bob_hash", checkpoint="mine")
    assert (
        await store.guilds.update(1, checkpoint=None) == await store.guilds.settings(1) == GuildSettings(token="Bob_hash", checkpoint=None)
    )
    assert await store.guilds.settings(2) == GuildSettings()
    for token in ("", " ", "two words", "x" * 101, "line\n"):
        with pytest.raises(ValueError, match="one word"):
            await store.guilds.update(1, token=token)


async def test_jobs(store: Store) -> None:
    at = datetime(2024, 5, 1, 3, 0, tzinfo=UTC)
    assert await store.jobs.last_run("backup") is None
    await store.jobs.record_run("backup", at)
    await store.jobs.record_run("backup", at - timedelta(days=1))
    assert await store.jobs.last_run("backup") == at, "an older run does not push out a newer one"
    assert await store.jobs.last_run("sweep") is None


@given(st.datetimes(timezones=st.timezones()), st.datetimes(timezones=st.timezones()))
def test_times_keep_their_order_as_text(one: datetime, two: datetime) -> None:
    one, two = one.astimezone(UTC), two.astimezone(UTC)
    assert from_text(to_text(one)) == one
    assert (to_text(one) < to_text(two)) == (one < two)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        to_text(datetime(2024, 5, 1))


HEARD = Heard(
    version=1, bpm=128.02, bpm_source="detected", steady=True, key_name="A minor", camelot="8A", key_source="the file's tags", lufs=-8.1
)


async def test_what_was_heard_is_kept_with_its_source_and_goes_with_the_track(store: Store) -> None:
    track = await add(store)
    assert track.heard is None
    assert [unheard.id for unheard in await store.tracks.unheard()] == [track.id]
    assert await store.tracks.keep_heard(1, track.id, HEARD)
    for found in (
        await store.tracks.get(1, track.id),
        (await store.tracks.search(1, "one"))[0],
        await store.tracks.by_hash(1, track.sha256),
    ):
        assert found is not None and found.heard == HEARD
    assert (await add(store)).heard == HEARD, "added again, it is the same track"
    assert await store.tracks.unheard() == []
    assert await store.tracks.unheard(version=1) == []
    assert [old.id for old in await store.tracks.unheard(version=2)] == [track.id], "an engine that hears better hears it again"
    beatless = Heard(version=2)
    assert await store.tracks.keep_heard(1, track.id, beatless)
    assert (await store.tracks.list(1))[0].heard == beatless
    await store.tracks.remove(1, track.id)
    assert await store.database.all("SELECT * FROM analyses") == []


async def test_what_was_heard_is_written_for_a_guilds_own_tracks_only(store: Store) -> None:
    track = await add(store)
    assert not await store.tracks.keep_heard(2, track.id, HEARD)
    assert not await store.tracks.keep_heard(1, track.id + 1, HEARD)
    assert await store.tracks.by_hash(2, track.sha256) is None
    assert await store.tracks.hashes(2) == []


async def test_unheard_tracks_come_one_by_one(store: Store) -> None:
    ids = [(await add(store, guild_id=guild, name=str(guild))).id for guild in (1, 2, 3)]
    assert [track.id for track in await store.tracks.unheard(after=ids[0], limit=5)] == ids[1:]


async def test_the_engine_is_to_forget_what_the_last_crate_let_go(store: Store, queued: Any) -> None:
    here, there = await add(store, guild_id=1), await add(store, guild_id=2)
    await store.tracks.remove(1, here.id)
    assert await store.tracks.to_forget() == [], "another guild still has it"
    take = await queued(store, kind="continuation", track_sha256=there.sha256)
    await store.tracks.remove(2, there.id)
    assert await store.tracks.to_forget() == [], "a take under way still needs it"
    await store.takes.cancel(take.id)
    assert await store.tracks.to_forget() == [here.sha256]
    back = await add(store)
    assert await store.tracks.to_forget() == [], "it is back"
    await store.tracks.remove(1, back.id)
    await store.tracks.forgotten(back.sha256)
    assert await store.tracks.to_forget() == []
