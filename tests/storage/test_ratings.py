"""Ratings: whatever is told in whatever order, the latest counts; results and export by category."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import Changes, NotFound, Store, open_store
from storage.export import COLUMNS, to_csv
from storage.ratings import pseudonym


async def scores(store: Store, take_id: str) -> dict[int, int]:
    return {rating.member_id: rating.score for rating in await store.ratings.for_take(take_id)}


async def test_the_latest_counts_and_nothing_is_counted_twice(store: Store, posted: Any) -> None:
    take = await posted(store)
    assert await store.ratings.rate(take.id, 1, 3)
    assert not await store.ratings.rate(take.id, 1, 3)
    assert await store.ratings.rate(take.id, 1, 5)
    assert await scores(store, take.id) == {1: 5}
    assert not await store.ratings.withdraw(take.id, 1, score=3), "the reaction that went is not the one that counts"
    assert await store.ratings.withdraw(take.id, 1, score=5)
    assert not await store.ratings.withdraw(take.id, 1)
    assert await scores(store, take.id) == {}
    assert [event.score for event in await store.ratings.history(take.id)] == [3, 5, None]


@pytest.mark.parametrize("score", [0, 6, -1])
async def test_off_the_scale(store: Store, posted: Any, score: int) -> None:
    take = await posted(store)
    await store.ratings.rate(take.id, 1, 2)
    with pytest.raises(ValueError, match="1 to 5"):
        await store.ratings.rate(take.id, 1, score)
    with pytest.raises(ValueError, match="1 to 5"):
        await store.ratings.reconcile(take.id, {2: 4, 3: score})
    assert await scores(store, take.id) == {1: 2}, "a reconcile that fails changes nothing"


async def test_only_clips_are_rated(store: Store, queued: Any) -> None:
    take = await queued(store)
    for take_id in (take.id, "nothing"):
        with pytest.raises(NotFound):
            await store.ratings.rate(take_id, 1, 3)
        with pytest.raises(NotFound):
            await store.ratings.reconcile(take_id, {1: 3})


async def test_reconcile_says_what_it_changed(store: Store, posted: Any) -> None:
    take = await posted(store)
    for member, score in {1: 1, 2: 2, 3: 3}.items():
        await store.ratings.rate(take.id, member, score)
    changes = await store.ratings.reconcile(take.id, {1: 1, 2: 5, 4: 4})
    assert changes == Changes(added={4: 4}, changed={2: (2, 5)}, withdrawn={3: 3})
    assert changes
    assert not await store.ratings.reconcile(take.id, {1: 1, 2: 5, 4: 4})
    assert [(event.member_id, event.score) for event in await store.ratings.history(take.id) if event.source == "reconcile"] == [
        (4, 4),
        (2, 5),
        (3, None),
    ]


async def test_many_members_at_once(store: Store, posted: Any) -> None:
    take = await posted(store)
    await asyncio.gather(*(store.ratings.rate(take.id, member, member % 5 + 1) for member in range(60)))
    assert await scores(store, take.id) == {member: member % 5 + 1 for member in range(60)}


# ---- any sequence equals a model


@pytest.fixture(scope="module")
def running_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Store]]:
    """One store for all examples; each makes its own take in it."""
    folder: Path = tmp_path_factory.mktemp("ratings")
    with asyncio.Runner() as runner:
        context = open_store(folder)
        store = runner.run(context.__aenter__())
        yield runner, store
        runner.run(context.__aexit__(None, None, None))


members = st.integers(1, 4)
step = st.one_of(
    st.tuples(st.just("rate"), members, st.integers(1, 5)),
    st.tuples(st.just("withdraw"), members, st.one_of(st.none(), st.integers(1, 5))),
    st.tuples(st.just("reconcile"), st.dictionaries(members, st.integers(1, 5)), st.none()),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, max_size=12))
def test_any_sequence_equals_a_model(running_store: tuple[asyncio.Runner, Store], posted: Any, steps: list[tuple[str, Any, Any]]) -> None:
    runner, store = running_store

    async def play() -> None:
        take = await posted(store)
        model: dict[int, int] = {}
        events = 0
        for name, who, score in steps:
            before = dict(model)
            if name == "rate":
                model[who] = score
                changed = await store.ratings.rate(take.id, who, score)
            elif name == "withdraw":
                if score is None or model.get(who) == score:
                    model.pop(who, None)
                changed = await store.ratings.withdraw(take.id, who, score)
            else:
                model = dict(who)
                changed = bool(await store.ratings.reconcile(take.id, who))
            assert changed == (model != before)
            events += sum(model.get(member) != before.get(member) for member in model.keys() | before.keys())
            assert await scores(store, take.id) == model
        history = await store.ratings.history(take.id)
        assert len(history) == events
        replayed = {event.member_id: event.score for event in history}
        assert {member: score for member, score in replayed.items() if score is not None} == model

    runner.run(play())


# ---- results


async def test_results_by_category(store: Store, posted: Any) -> None:
    takes = {
        "A": await posted(store, prompt="Alice_hash", checkpoint_kind="finetuned"),
        "B": await posted(store, prompt="Alice_hash", checkpoint_kind="base"),
        "C": await posted(store, prompt="Techno", checkpoint_kind="finetuned"),
        "D": await posted(store, prompt="techno", checkpoint_kind="base"),
        "other": await posted(store, prompt="bells"),
    }
    await posted(store, prompt="techno")  # nobody has rated this one
    await posted(store, guild_id=2, prompt="techno")
    for number, (category, take) in enumerate(takes.items(), start=1):
        assert take.category == category
        await store.ratings.rate(take.id, 10, number)
        await store.ratings.rate(take.id, 11, 5)
    results = await store.ratings.results(1)
    assert [(result.category, result.clips, result.ratings, result.members, result.mean) for result in results] == [
        ("A", 1, 2, 2, 3.0),
        ("B", 1, 2, 2, 3.5),
        ("C", 1, 2, 2, 4.0),
        ("D", 2, 2, 2, 4.5),
        ("other", 1, 2, 2, 5.0),
    ]
    assert all(result.low is None for result in results), "one rated clip says nothing about others"
    assert [(result.category, result.clips) for result in await store.ratings.results(2)] == [
        ("A", 0),
        ("B", 0),
        ("C", 0),
        ("D", 1),
        ("other", 0),
    ]
    assert {result.clips for result in await store.ratings.results(3)} == {0}


async def test_a_deleted_message_leaves_the_results_but_keeps_its_history(store: Store, posted: Any) -> None:
    stays = await posted(store, prompt="techno")
    goes = await posted(store, prompt="techno")
    for take, score in ((stays, 2), (goes, 5)):
        for member in (1, 2):
            await store.ratings.rate(take.id, member, score)
    both = (await store.ratings.results(1))[3]
    assert (both.clips, both.ratings, both.mean) == (2, 4, 3.5)
    assert both.low is not None
    await store.takes.mark_message_deleted(goes.message_id)
    one = (await store.ratings.results(1))[3]
    assert (one.clips, one.ratings, one.mean) == (1, 2, 2.0)
    assert {row.take_id for row in await store.ratings.export_rows(1)} == {stays.id}
    assert len(await store.ratings.history(goes.id)) == 2
    assert await scores(store, goes.id) == {1: 5, 2: 5}


async def test_export_is_private_and_stable(store: Store, posted: Any) -> None:
    here = await posted(store, guild_id=1)
    there = await posted(store, guild_id=2)
    at = datetime(2024, 5, 1, 20, 0, tzinfo=UTC)
    for take in (here, there):
        await store.ratings.rate(take.id, 424242424242424242, 4, at=at)
    (row,) = await store.ratings.export_rows(1)
    (other,) = await store.ratings.export_rows(2)
    assert (row.take_id, row.category, row.prompt, row.checkpoint, row.seed, row.score, row.rated_at) == (
        here.id,
        "D",
        "techno",
        "pocket",
        7,
        4,
        at,
    )
    assert row.member != other.member, "the same person in two guilds can't be matched"
    assert "4242" not in repr(row)
    assert await store.ratings.export_rows(1) == [row]
    assert await store.ratings.export_rows(3) == []


def test_a_pseudonym_needs_the_salt() -> None:
    assert pseudonym(b"a" * 16, 1) == pseudonym(b"a" * 16, 1) != pseudonym(b"b" * 16, 1)
    assert len({pseudonym(b"a" * 16, member) for member in range(1000)}) == 1000


async def test_csv(store: Store, posted: Any) -> None:
    take = await posted(store, prompt='=HYPERLINK("http://x"),\n"techno"')
    await store.ratings.rate(take.id, 1, 4)
    (row,) = await store.ratings.export_rows(1)
    text = to_csv([row, replace(row, prompt="ночь 🎛️")]).decode("utf-8-sig")
    header, first, second = csv.reader(io.StringIO(text, newline=""))
    assert tuple(header) == COLUMNS == ("take_id", "category", "prompt", "checkpoint", "strength", "seed", "score", "rated_at", "member")
    assert first[2] == "'" + row.prompt, "a spreadsheet does not run a prompt"
    assert second[2] == "ночь 🎛️"
    assert first[4:7] == ["", "7", "4"] and first[7] == row.rated_at.isoformat(timespec="seconds")
    assert to_csv([]).decode("utf-8-sig").strip() == ",".join(COLUMNS)
