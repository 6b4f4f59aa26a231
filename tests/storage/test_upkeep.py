"""Sweep, backup and check, as functions and as ``python -m storage``."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage import StorageError, Store, Take, open_store, upkeep
from storage.__main__ import main
from storage.check import check
from storage.database import FILE_NAME, connect

NOW = timedelta(0)


def make_old(store: Store) -> None:
    for path in store.blobs.files():
        os.utime(path, (0, 0))


def kinds(folder: Path) -> list[str]:
    return [finding.kind for finding in check(folder).findings]


def there(store: Store, take: Take) -> list[bool]:
    assert take.clip is not None
    return [store.blobs.path(sha256).exists() for sha256 in (take.clip.sha256, take.clip.delivery_sha256, take.clip.picture_sha256)]


async def add_track(store: Store, data: bytes, guild_id: int = 1) -> tuple[int, str]:
    sha256 = await store.blobs.put(data)
    facts: Any = {"title": None, "artist": None, "duration_s": 1.0, "sample_rate": 8000, "channels": 1, "codec": "mp3", "size_bytes": 1}
    return (await store.tracks.add(guild_id, 1, sha256=sha256, filename="a.mp3", **facts)).id, sha256


# ---- sweep


async def test_sweep_removes_what_no_row_names_when_it_is_old(store: Store, posted: Any) -> None:
    take = await posted(store)
    orphan = await store.blobs.put(b"orphan")
    (store.blobs.path(orphan).parent / ".new-0123").write_bytes(b"half")
    assert (await store.sweep()).files == 0, "what is being stored now gets its row in time"
    make_old(store)
    fresh = await store.blobs.put(b"fresh orphan")
    assert upkeep.sweep(store.folder, dry_run=True) == upkeep.Swept(files=2, bytes=10)
    assert (await store.sweep()).files == 2
    assert there(store, take) == [True, True, True]
    assert store.blobs.path(fresh).exists()
    assert not store.blobs.path(orphan).exists()


async def test_a_deleted_message_lets_go_of_its_clip(store: Store, posted: Any) -> None:
    take = await posted(store)
    await store.ratings.rate(take.id, 1, 5)
    await store.takes.mark_message_deleted(take.message_id)
    assert (await store.sweep(grace=NOW)).files == 3
    assert (await store.check()).findings == ()
    assert len(await store.ratings.history(take.id)) == 1


async def test_a_clip_kept_in_the_crate_outlives_its_message(store: Store, posted: Any) -> None:
    take = await posted(store)
    await add_track(store, await store.blobs.get(take.clip.sha256))
    await store.takes.mark_message_deleted(take.message_id)
    await store.sweep(grace=NOW)
    assert there(store, take) == [True, False, False]


async def test_a_removed_track_is_forgotten_but_not_under_a_running_take(store: Store, queued: Any) -> None:
    track_id, sha256 = await add_track(store, b"her track")
    other_id, _ = await add_track(store, b"her track", guild_id=2)
    take = await queued(store, kind="continuation", track_sha256=sha256, from_s=1.0, prompt_seconds=4.0)
    await store.tracks.remove(2, other_id)
    assert await store.tracks.remove(1, track_id)
    assert (await store.sweep(grace=NOW)).files == 0
    await store.takes.cancel(take.id)
    assert (await store.sweep(grace=NOW)).files == 1
    assert not store.blobs.path(sha256).exists()


async def test_an_attached_track_stays_as_long_as_the_clip_made_of_it(store: Store, posted: Any) -> None:
    sha256 = await store.blobs.put(b"attached")
    take = await posted(store, kind="continuation", track_sha256=sha256)
    await store.sweep(grace=NOW)
    assert store.blobs.path(sha256).exists()
    await store.takes.mark_message_deleted(take.message_id)
    await store.sweep(grace=NOW)
    assert not store.blobs.path(sha256).exists()


# ---- backup


async def test_backup_is_a_data_folder(store: Store, posted: Any) -> None:
    take = await posted(store)
    await store.ratings.rate(take.id, 1, 4)
    made = await store.backup()
    assert (made.blobs, made.linked, made.missing) == (3, True, ())
    assert sorted(path.name for path in made.folder.iterdir()) == ["blobs", FILE_NAME]
    await store.takes.mark_message_deleted(take.message_id)
    await store.sweep(grace=NOW)
    assert check(made.folder).good
    async with open_store(made.folder) as restored:
        assert await restored.blobs.get(take.clip.sha256) == f"flac {take.id}".encode()
        assert [rating.score for rating in await restored.ratings.for_take(take.id)] == [4]


async def test_only_the_newest_backups_are_kept(store: Store, posted: Any) -> None:
    await posted(store)
    (store.folder / "backups").mkdir()
    (store.folder / "backups" / "mine").mkdir()
    made = [await store.backup(keep=2) for _ in range(4)]
    assert upkeep.list_backups(store.folder) == [made[3].folder, made[2].folder]
    assert made[3].removed == (made[1].folder.name,)
    assert (store.folder / "backups" / "mine").is_dir(), "what is not ours is left alone"
    with pytest.raises(ValueError, match="at least one"):
        upkeep.backup(store.folder, keep=0)


async def test_copies_share_nothing_with_the_original(store: Store, posted: Any) -> None:
    take = await posted(store)
    made = upkeep.backup(store.folder, copy=True)
    assert not made.linked
    copy = upkeep.blobs_of(made.folder).path(take.clip.sha256)
    assert copy.stat().st_ino != store.blobs.path(take.clip.sha256).stat().st_ino
    assert check(made.folder).good


async def test_backup_while_writing(store: Store, posted: Any) -> None:
    """Each copy has whole transactions only: as many ratings as lines of history, and every blob that it names."""
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            take = await posted(store)
            await store.ratings.reconcile(take.id, {1: 1, 2: 2, 3: 3})

    writers = [asyncio.create_task(write()) for _ in range(3)]
    made = [await store.backup() for _ in range(4)]
    stop.set()
    await asyncio.gather(*writers)
    for backup in made:
        assert check(backup.folder).findings == ()
        with closing(connect(backup.folder / FILE_NAME)) as connection:
            ratings, events, takes = (
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("ratings", "rating_events", "takes")
            )
        assert ratings == events
        assert ratings % 3 == 0
        assert takes > 0 or backup is made[0]


async def test_a_damaged_database_pushes_out_no_good_backup(store: Store, posted: Any) -> None:
    for _ in range(20):
        await posted(store)
    good = await store.backup(keep=1)
    await asyncio.to_thread(damage, store.folder)
    with pytest.raises((StorageError, sqlite3.DatabaseError)):
        upkeep.backup(store.folder, keep=1)
    assert upkeep.list_backups(store.folder) == [good.folder]
    assert [path.name for path in (store.folder / "backups").iterdir()] == [good.folder.name]


def damage(folder: Path) -> None:
    """Overwrites the middle of the database file, as a failing disk would."""
    with closing(connect(folder / FILE_NAME)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = (folder / FILE_NAME).stat().st_size
    with (folder / FILE_NAME).open("rb+") as file:
        file.seek(size // 4)
        file.write(b"\xa5" * (size // 2))


# ---- check


async def test_check_finds_each_kind_of_damage_to_blobs(store: Store, posted: Any) -> None:
    take = await posted(store)
    assert (await store.check()).findings == ()
    clip = store.blobs.path(take.clip.sha256)
    await store.blobs.put(b"orphan")
    (clip.parent / ".new-0123").write_bytes(b"half")
    report = await store.check()
    assert report.good
    assert [finding.kind for finding in report.findings] == ["blob_unfinished", "blob_orphaned"]
    clip.write_bytes(b"flac other")
    assert kinds(store.folder)[0] == "blob_damaged"
    assert not check(store.folder).good
    clip.unlink()
    missing = check(store.folder).findings[0]
    assert missing.kind == "blob_missing"
    assert f"clip of take {take.id}" in missing.what
    assert "no backup" in missing.advice
    made = await store.backup()
    assert made.missing == (take.clip.sha256,)
    assert made.folder.name in check(store.folder).findings[0].advice


async def test_check_finds_broken_references(store: Store, posted: Any) -> None:
    take = await posted(store)
    with closing(connect(store.folder / FILE_NAME)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM messages WHERE message_id = ?", (take.message_id,))
    assert "foreign_key" in kinds(store.folder)


async def test_check_of_a_damaged_database(tmp_path: Path, posted: Any) -> None:
    async with open_store(tmp_path) as store:
        for _ in range(20):
            await posted(store)
        await store.backup()
    damage(tmp_path)
    report = check(tmp_path)
    assert not report.good
    assert report.findings[0].kind == "database"
    assert "newest backup is" in report.findings[0].advice
    (tmp_path / FILE_NAME).write_bytes(b"this is no database, but long enough to be read as one" * 100)
    assert not check(tmp_path).good


def test_check_of_no_data_folder(tmp_path: Path) -> None:
    (finding,) = check(tmp_path).findings
    assert "Is that the data folder?" in finding.what
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


async def test_check_of_newer_and_older_databases(tmp_path: Path) -> None:
    async with open_store(tmp_path):
        pass
    for number, words in ((999, "newer version"), (0, "start the bot once")):
        with closing(connect(tmp_path / FILE_NAME)) as connection:
            connection.execute(f"PRAGMA user_version = {number}")
        assert words in check(tmp_path).findings[0].what


# ---- the command line


async def test_commands(store: Store, posted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    take = await posted(store)
    data = ["--data", str(store.folder)]
    assert main(["check", *data]) == 0
    assert capsys.readouterr().out.endswith("all good.\n")
    assert main(["backup", *data, "--keep", "1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["good"]
    assert [str(path) for path in upkeep.list_backups(store.folder)] == [answer["folder"]]
    await store.blobs.put(b"orphan")
    assert main(["sweep", *data, "--grace-hours", "0", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("Would remove 1 files")
    assert main(["sweep", *data, "--grace-hours", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"good": True, "files": 1, "bytes": 6}
    store.blobs.path(take.clip.sha256).unlink()
    assert main(["check", *data]) == 1
    assert "WRONG" in capsys.readouterr().err
    assert main(["check", *data, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "blob_missing"
    assert main(["backup", *data]) == 1
    assert "run check" in capsys.readouterr().err
    shutil.rmtree(store.folder / "backups")


@pytest.mark.parametrize("command", ["check", "backup", "sweep"])
def test_commands_on_no_data_folder(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--data", str(tmp_path / "nothing")]) == 1
    assert "Is that the data folder?" in capsys.readouterr().err
