"""The pure parts: file names, options and forms, commands' rules, message payloads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from simcord.backend.errors import BackendError

from bot.rehearsal.backend import RehearsalBackend
from bot.rehearsal.cdn import Cdn, avatar_svg, media_type, safe_filename
from bot.rehearsal.command_rules import check_commands, check_suggestions
from bot.rehearsal.options import FieldError, Form, find_leaf, nest
from bot.rehearsal.wire import hide_used_attachments, with_base_url, with_local_urls
from bot.rehearsal.world import INVITE_PERMISSIONS, roles_json, seed


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Set 1: live.mp3", "Set_1_live.mp3"),
        ("../../etc/passwd", "passwd"),
        ("C:\\music\\a.wav", "a.wav"),
        ("Nachtmusik – Größe.flac", "Nachtmusik_Größe.flac"),
        (".htaccess", "htaccess"),
        ("a\x00b\n.mp3", "a_b_.mp3"),
        ("", "file"),
        ("///", "file"),
        ("x" * 500 + ".mp3", "x" * 120 + ".mp3"),
    ],
)
def test_file_names_are_made_harmless_and_keep_their_ending(given: str, kept: str) -> None:
    assert safe_filename(given) == kept


def test_media_types_are_those_of_a_fixed_list() -> None:
    assert [media_type(name) for name in ("a.MP3", "a.flac", "a.html", "a.svg", "mp3")] == [
        "audio/mpeg",
        "audio/flac",
        "application/octet-stream",
        "application/octet-stream",
        "audio/mpeg",
    ]


def test_avatars_show_initials_and_escape_names() -> None:
    assert ">AB<" in avatar_svg("alice bob", "#fff")
    assert "<script" not in avatar_svg("<script>", '"><script>')


def test_what_an_embed_or_component_shows_is_no_attachment() -> None:
    files = [{"id": str(n), "filename": f"{n}", "url": f"http://x/cdn/{n}"} for n in range(4)]
    message = {
        "attachments": files,
        "embeds": [{"image": {"url": "http://x/cdn/0"}}],
        "components": [
            {"type": 17, "components": [{"type": 13, "file": {"url": "http://x/cdn/1"}}]},
            {"type": 12, "items": [{"media": {"url": "http://x/cdn/2"}}]},
        ],
        "referenced_message": {"attachments": files, "embeds": [], "components": []},
    }
    shown = hide_used_attachments(message)
    assert [a["id"] for a in shown["attachments"]] == ["3"]
    assert len(shown["referenced_message"]["attachments"]) == 4
    assert len(message["attachments"]) == 4  # the world's own message is left as it is


def test_urls_become_local_and_move_with_the_server() -> None:
    payload = {"attachments": [{"url": "http://a:1/cdn/x", "proxy_url": "http://a:1/cdn/x"}], "content": "http://a:1/cdn/x"}
    assert with_local_urls(payload, "http://a:1") == {
        "attachments": [{"url": "/cdn/x", "proxy_url": "/cdn/x"}],
        "content": "http://a:1/cdn/x",
    }
    with_base_url(payload, "http://a:1", "http://b:2")
    assert payload["attachments"][0]["url"] == "http://b:2/cdn/x"
    with_base_url(payload, "http://b", "http://c")  # http://b:2 is another server than http://b
    assert payload["attachments"][0]["url"] == "http://b:2/cdn/x"


TITLE = {"type": 3, "name": "title", "description": "d", "required": True}
CRATE = {"name": "crate", "description": "d", "options": [{"type": 1, "name": "add", "description": "d", "options": [TITLE]}]}


def test_subcommands_are_found_and_nested() -> None:
    assert find_leaf(CRATE, ["crate", "add"])["name"] == "add"
    with pytest.raises(FieldError, match="/crate remove is no command"):
        find_leaf(CRATE, ["crate", "remove"])
    with pytest.raises(FieldError, match="/crate is not complete"):
        find_leaf(CRATE, ["crate"])
    assert nest(CRATE, ["crate", "add"], [{"name": "title"}]) == [{"name": "add", "type": 1, "options": [{"name": "title"}]}]


def test_numbers_may_be_typed(tmp_path: Path) -> None:
    form = Form(RehearsalBackend(Cdn(tmp_path)), lambda _upload_id: {})
    leaf = {
        "name": "x",
        "options": [
            {"name": "seconds", "type": 10, "min_value": 1},
            {"name": "takes", "type": 4, "min_value": 1, "max_value": 4},
            {"name": "loud", "type": 5},
            {"name": "mood", "type": 3, "choices": [{"name": "Dark", "value": "dark"}], "max_length": 10},
        ],
    }
    built = form.options(leaf, {"seconds": "2,5", "takes": "3", "loud": True, "mood": "dark"})
    assert [option["value"] for option in built] == [2.5, 3, True, "dark"]
    assert form.options(leaf, {"takes": 2.0})[0]["value"] == 2
    assert form.options(leaf, {"takes": "", "seconds": None}) == []
    for wrong, words in (
        ({"seconds": "soon"}, "is a number"),
        ({"seconds": 0}, "at least 1"),
        ({"takes": "2.5"}, "is a whole number"),
        ({"takes": 9}, "between 1 and 4"),
        ({"mood": "bright"}, "choices that are offered"),
        ({"loud": "yes"}, "cannot be sent like this"),
    ):
        with pytest.raises(FieldError, match=words):
            form.options(leaf, wrong)
        assert form.options(leaf, wrong, partial=True) == []


def test_a_role_is_resolved(tmp_path: Path) -> None:
    backend = RehearsalBackend(Cdn(tmp_path))
    seed(backend)
    roles = {role["name"]: role["id"] for role in roles_json(backend)}
    assert set(roles) == {"Moderator", "DJ"}, "neither everyone nor the bot's own"
    form = Form(backend, lambda _upload_id: {})
    leaf = {"name": "x", "options": [{"name": "role", "type": 8}]}
    assert form.options(leaf, {"role": roles["DJ"]}) == [{"name": "role", "type": 8, "value": roles["DJ"]}]
    assert form.resolved["roles"][roles["DJ"]]["name"] == "DJ"
    with pytest.raises(FieldError, match="no such role"):
        form.options(leaf, {"role": "1"})


def command(**changes: Any) -> dict[str, Any]:
    return {"name": "make", "type": 1, "description": "d", "options": [], **changes}


@pytest.mark.parametrize(
    ("commands", "rule"),
    [
        ([command(name="Make")], "name is not allowed"),
        ([command(name="make clip")], "name is not allowed"),
        ([command(description="")], "1 to 100 characters"),
        ([command(description="x" * 101)], "1 to 100 characters"),
        ([command(), command()], "the same name"),
        ([command(name=f"c{n}") for n in range(101)], "at most 100"),
        ([command(name=f"c{n}", type=3, description="") for n in range(16)], "at most 15"),
        ([command(type=3, description="d")], "no description"),
        ([command(options=[{"type": 3, "name": f"o{n}", "description": "d"} for n in range(26)])], "at most 25 options"),
        ([command(options=[{"type": 3, "name": "a", "description": "d"}, TITLE])], "comes first"),
        (
            [command(options=[{"type": 3, "name": "a", "description": "d", "choices": [{"name": "x" * 101, "value": "x"}]}])],
            "choice's name",
        ),
    ],
)
def test_commands_that_discord_would_refuse(commands: list[dict[str, Any]], rule: str) -> None:
    with pytest.raises(BackendError, match=rule):
        check_commands(commands)


def test_commands_and_suggestions_that_are_fine() -> None:
    check_commands([command(), CRATE, command(name="Peek at it", type=3, description="")])
    check_suggestions([{"name": "x" * 100, "value": "y" * 100}] * 25)
    with pytest.raises(BackendError, match="at most 25"):
        check_suggestions([{"name": "x", "value": "y"}] * 26)


def test_the_bot_has_exactly_the_rights_that_its_invite_asks_for() -> None:
    readme = Path(__file__).resolve().parents[3] / "README.md"
    asked = re.search(r"permissions=(\d+)", readme.read_text(encoding="utf-8"))
    assert asked is not None and int(asked[1]) == INVITE_PERMISSIONS.value
