"""Ratings as a CSV file, for a spreadsheet or a statistician. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, fields
from datetime import datetime

from storage.ratings import ExportRow

COLUMNS = tuple(field.name for field in fields(ExportRow))


def to_csv(rows: Iterable[ExportRow]) -> bytes:
    """UTF-8 with a byte-order mark (without it Excel guesses another encoding), one line a rating, ``rated_at`` in ISO form, UTC.

    Text that a spreadsheet would run as a formula gets an apostrophe before it (OWASP, "CSV Injection"): prompts are members' words.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(value) for value in astuple(row)])
    return out.getvalue().encode("utf-8-sig")


def _cell(value: object) -> str:
    text = "" if value is None else value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
