"""Validation errors in the user's words: ``explain`` turns pydantic's list into one sentence that says what to change.

Used by the server for its 422 answers, by the command line, and by whoever builds a ``GenerateRequest`` from what a person typed.
No torch, no HTTP.
"""

from __future__ import annotations

import difflib
from typing import Any, get_args

from annotated_types import Ge, Le
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

NAMES = {
    "from_s": "from",
    "prompt_seconds": "prompt seconds",
    "guidance_scale": "guidance",
    "top_k": "top-k",
    "top_p": "top-p",
    "take_id": "take id",
    "bpm": "BPM",
}
UNITS = {"from_s": " seconds"}


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One sentence for a person. ``model`` is what was being validated: its bounds are quoted.

    >>> explain(error, GenerateRequest)
    'Seconds must be from 1 to 240, not 10000.'
    """
    problems = list(dict.fromkeys(_one(details, model) for details in error.errors(include_url=False)))
    sentence = "; ".join(problems[:3])
    return f"{sentence[:1].upper()}{sentence[1:]}{'' if sentence.endswith('?') else '.'}"


def _one(details: ErrorDetails, model: type[BaseModel]) -> str:  # noqa: PLR0911 - one kind of mistake a line
    place = [part for part in details["loc"] if isinstance(part, str)]
    field = place[-1] if place else ""
    name = NAMES.get(field, field.replace("_", " ")) or "the request"
    given = details.get("input")
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"there is no {field!r} to set{_closest(field, _owner(model, place))}"
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "less_than":
            return f"{name} must be {_bounds(model, place)}{UNITS.get(field, '')}, not {given}"
        case "finite_number":
            return f"{name} must be {_bounds(model, place)}{UNITS.get(field, '')}"
        case "string_too_long":
            return f"the {name} has {len(str(given)):,} characters and at most {context['max_length']:,} fit: shorten it"
        case "string_too_short":
            return f"the {name} is empty"
        case "string_pattern_mismatch" | "string_type":
            return f"{name} can't be {str(given)[:40]!r}{_description(model, place)}"
        case "literal_error":
            return f"{name} must be {context['expected']}, not {given!r}"
        case "float_parsing" | "float_type" | "int_parsing" | "int_type" | "int_from_float":
            return f"{name} must be a {'whole ' if details['type'].startswith('int') else ''}number, not {str(given)[:40]!r}"
        case "json_invalid" | "string_unicode":
            return "the request is not valid JSON in UTF-8"
        case "model_type" | "model_attributes_type":
            return f"{name} must be a JSON object"
        case "value_error":
            return str(context.get("error", details["msg"]))
    return f"{name}: {details['msg'].lower()}"


def _owner(model: type[BaseModel], place: list[str]) -> type[BaseModel]:
    """The (nested) model that the last name of ``place`` belongs to."""
    for part in place[:-1]:
        info = model.model_fields.get(part)
        inner = [kind for kind in (info.annotation, *get_args(info.annotation)) if isinstance(kind, type)] if info else []
        model = next((kind for kind in inner if issubclass(kind, BaseModel)), model)
    return model


def _bounds(model: type[BaseModel], place: list[str]) -> str:
    info = _owner(model, place).model_fields.get(place[-1]) if place else None
    low = next((bound.ge for bound in info.metadata if isinstance(bound, Ge)), None) if info else None
    high = next((bound.le for bound in info.metadata if isinstance(bound, Le)), None) if info else None
    if low is not None and high is not None:
        return f"from {low:g} to {high:.10g}"
    if low is not None:
        return f"at least {low:g}"
    return f"at most {high:.10g}" if high is not None else "an ordinary number"


def _description(model: type[BaseModel], place: list[str]) -> str:
    info = _owner(model, place).model_fields.get(place[-1]) if place else None
    return f": {info.description.rstrip('.')}" if info and info.description else ""


def _closest(field: str, model: type[BaseModel]) -> str:
    near = difflib.get_close_matches(field, model.model_fields, n=1)
    return f"; is {near[0]!r} meant?" if near else ""
