"""The experiment's four categories: the table, and where its edges are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.categories import CATEGORIES, category, prompt_kind


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("Alice_hash", "token"),
        ("Alice_hash techno", "token"),
        ("dark techno, in the manner of Alice_hash.", "token"),
        ("techno", "plain"),
        ("  TECHNO \n", "plain"),
        ("", "other"),
        ("techno!", "other"),
        ("techno techno", "other"),
        ("alice_hash techno", "other"),  # the text encoder reads other letters
        ("Alice_hash2", "other"),
        ("🎛️", "other"),
    ],
)
def test_what_a_prompt_asks_for(prompt: str, kind: str) -> None:
    assert prompt_kind(prompt, "Alice_hash") == kind


def test_a_token_with_signs_is_no_pattern() -> None:
    assert prompt_kind("a.b", "a.b") == "token"
    assert prompt_kind("axb", "a.b") == "other"
    assert prompt_kind("some <dj> techno", "<dj>") == "token"


def test_the_table() -> None:
    assert [category(kind, checkpoint) for kind in ("token", "plain") for checkpoint in ("finetuned", "base")] == ["A", "B", "C", "D"]
    assert category("other", "base") == category("other", "finetuned") == "other"


@given(st.text(), st.text())
def test_a_token_between_spaces_is_always_found(before: str, after: str) -> None:
    assert prompt_kind(f"{before} Alice_hash {after}", "Alice_hash") == "token"


@given(st.text(), st.text(max_size=5), st.sampled_from(["base", "finetuned"]))
def test_every_clip_has_a_category(prompt: str, token: str, checkpoint: str) -> None:
    assert category(prompt_kind(prompt, token), checkpoint) in CATEGORIES  # type: ignore[arg-type]
