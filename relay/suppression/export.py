"""A list as a file: CSV or JSON, made so that reading it back gives the same list.

A spreadsheet runs a cell that begins like a formula. Such a cell gets an apostrophe in front (as does one that begins
with an apostrophe), and reading our own CSV takes exactly that one off again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable

from relay.base.clock import iso
from relay.base.storage.suppressions import Suppression

COLUMNS = ("address", "reason", "since", "detail", "categories")
FORMATS = {"csv": "text/csv", "json": "application/json"}
_RUNS = ("=", "+", "-", "@", "\t", "\r", "'")


def cell(text: str) -> str:
    """`text` as a CSV cell that no spreadsheet runs."""
    return "'" + text if text.startswith(_RUNS) else text


def uncell(text: str) -> str:
    """The text that `cell` was given."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(_RUNS) else text


def fields(entry: Suppression) -> dict[str, str]:
    """An entry as people and programs see it; the time in whole seconds."""
    return {
        "address": entry.original, "reason": entry.reason, "since": iso(entry.created_at), "detail": entry.detail,
        "categories": entry.categories,
    }


def begin(form: str) -> str:
    """What stands before the first entry."""
    return ",".join(COLUMNS) + "\r\n" if form == "csv" else "["


def part(form: str, entries: Iterable[Suppression], *, first: bool) -> str:
    """Some entries, in order; `first` if nothing came before them. RFC 4180 §2 for CSV."""
    if form == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerows([cell(v) for v in fields(e).values()] for e in entries)
        return out.getvalue()
    lines = ",\n".join(json.dumps(fields(e), ensure_ascii=False) for e in entries)
    return ("\n" if first else ",\n") + lines if lines else ""


def end(form: str) -> str:
    """What stands after the last entry."""
    return "" if form == "csv" else "\n]\n"
