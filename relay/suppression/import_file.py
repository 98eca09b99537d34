"""A file of addresses → its records with the line each begins on. Pure, one record at a time.

Takes CSV (comma, semicolon or tab; with or without a head), JSON (an array, an object that holds one, one object a
line) and a plain list of addresses. Promises never an exception: what can't be read is a fault with its line, and
ends the reading only where nothing after it can be trusted. What the fields mean is `import_formats`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from relay.suppression.export import COLUMNS, uncell

Record = dict[str, Any]
"""Field names in lower case, without anything but letters and digits; values as they came."""
Found = tuple[int, Record | str]
"""The line, and the record or what is wrong there."""

_ADDRESS = (
    "address", "email", "emailaddress", "recipient", "mail", "emailaddr", "subscriber", "contact", "contactemail",
)
_NAMED = re.compile(r"[^<>]*<([^<>\s]+@[^<>\s]+)>\s*")
_SEPARATOR = re.compile(r'\s*"?sep=([^\r\n"])"?[ \t]*(?:\r\n?|\n)', re.IGNORECASE)
_BLANK = re.compile(r"[ \t\r\n,]*")
_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN_LISTS = ("recipientemails", "emails", "addresses")
_MAX_FIELDS = 100
_OPEN = json.JSONDecoder()


def read(text: str) -> Iterator[Found]:
    """The records of a file."""
    text = text.removeprefix("\ufeff")
    return _json(text) if text.lstrip(" \t\r\n")[:1] in ("{", "[") else _csv(text)


def name(field: str) -> str:
    """A field's name, however it is written: `EmailAddress`, `email_address` and `Email Address` are one."""
    return "".join(c for c in field.lower() if c.isalnum())


def address_of(record: Record) -> str:
    """The address in a record, without a name around it (`Jane <jane@a.example>`); "" for none."""
    for field in _ADDRESS:
        value = record.get(field)
        if isinstance(value, str) and value:
            named = _NAMED.fullmatch(value)
            return named[1] if named is not None else value
    return ""


def _csv(text: str) -> Iterator[Found]:
    skipped = 0
    # Spreadsheet programs write and read the delimiter in a line of its own, above the head.
    said = _SEPARATOR.match(text)
    if said is not None:
        delimiter, text, skipped = said[1], text[said.end():], said[0].count("\n") or 1
    else:
        head = text.lstrip("\r\n").partition("\n")[0]
        delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
    columns: list[str] | None = None
    ours = False
    line = 1
    while True:
        line = skipped + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield line, "the CSV can't be read from here on: is a quotation mark not closed?"
            return
        if not any(c.strip() for c in cells) or (cells[0].lstrip()[:1] == "#" and "@" not in cells[0]):
            continue
        if columns is None:
            # A head has no address in it; Amazon's import files and plain lists have no head.
            if any("@" in c for c in cells):
                before = next(i for i, c in enumerate(cells) if "@" in c)
                columns = [*(f"before{i}" for i in range(before)), "address", "reason"]
            else:
                columns = [name(c) for c in cells[:_MAX_FIELDS]]
                if not set(columns).intersection(_ADDRESS):
                    yield line, 'no column holds addresses: name one of them "address"'
                    return
                ours = set(COLUMNS[:3]) <= set(columns)
                continue
        if ours:
            cells = [uncell(c) for c in cells]
        yield line, dict(zip(columns, cells, strict=False))


def _json(text: str) -> Iterator[Found]:
    at, counted, line = 0, 0, 1
    depth = 0  # inside how many things that hold records
    try:
        while True:
            gap = _BLANK.match(text, at)
            at = gap.end() if gap else at
            line, counted = line + text.count("\n", counted, at), at
            if at >= len(text):
                if depth:
                    yield line, "the JSON is incomplete"
                return
            if text[at] in "]}" and depth:
                at, depth = at + 1, depth - 1
                continue
            if text[at] == "[" and depth < 2:
                at, depth = at + 1, depth + 1
                continue
            if text[at] == "{":
                opened = _holder(text, at)
                if opened is not None:
                    at, depth = opened, depth + 2
                    continue
            elif text[at] == '"' and depth:
                after = _after_key(text, at)
                if after is not None:
                    at, deeper = _behind_key(text, after)
                    depth += deeper
                    continue
            value, at = _OPEN.raw_decode(text, at)
            found = _record(value)
            if found is not None:
                yield line, found
    except (ValueError, RecursionError):
        yield line, "the JSON can't be read from here on"


def _behind_key(text: str, at: int) -> tuple[int, int]:
    """Past the key that ends at `at`: into its list, one deeper, or behind any other value."""
    begins = _list(text, at, "")
    if begins is not None:
        return begins, 1
    # What stands beside the list: the address of the next page, a count.
    return _OPEN.raw_decode(text, at)[1], 0


def _holder(text: str, at: int) -> int | None:
    """Where the list in the object at `at` begins; None if the object is a record itself."""
    at += 1
    for _ in range(_MAX_FIELDS):
        gap = _BLANK.match(text, at)
        at = gap.end() if gap else at
        if text[at : at + 1] != '"':
            return None
        key, _ = _OPEN.raw_decode(text, at)
        after = _after_key(text, at)
        if after is None or name(key) in _ADDRESS:
            return None
        begins = _list(text, after, key)
        if begins is not None:
            return begins
        _, at = _OPEN.raw_decode(text, after)
    return None


def _list(text: str, at: int, key: str) -> int | None:
    """Where the first record stands in the list at `at`; None if there is none. Lists of words are mostly tags."""
    if text[at : at + 1] != "[":
        return None
    gap = _SPACE.match(text, at + 1)
    begins = gap.end() if gap else at + 1
    wanted = ("{", '"') if name(key) in _PLAIN_LISTS else ("{",)
    return begins if text[begins : begins + 1] in wanted else None


def _after_key(text: str, at: int) -> int | None:
    """Where the value begins whose key stands at `at`; None if no key stands there."""
    _, at = _OPEN.raw_decode(text, at)
    gap = _SPACE.match(text, at)
    at = gap.end() if gap else at
    if text[at : at + 1] != ":":
        return None
    gap = _SPACE.match(text, at + 1)
    return gap.end() if gap else at + 1


def _record(value: Any) -> Record | str | None:
    if isinstance(value, str):
        return {"address": value}
    if isinstance(value, dict):
        inner = list(value.values())
        if len(inner) == 1 and isinstance(inner[0], dict):  # one entry, looked up alone
            value = inner[0]
        if not value or (any(v == [] for v in inner) and not any(name(k) in _ADDRESS for k in value)):
            return None  # an empty list in its wrapping
        return {name(k): v for k, v in list(value.items())[:_MAX_FIELDS]}
    return "neither an address nor an object"
