"""Zone-file lines (RFC 1035 §5.1) for records, for pasting into another server.

Promises lines that BIND reads back to the same records. Pure; used for exports and shown to owners.
"""

from collections.abc import Iterable
from typing import Protocol

from relay.base.keys import zone_strings


class Line(Protocol):
    """What a line needs: a full name without trailing dot, a type, and a value (TXT as plain text)."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def value(self) -> str: ...


def zone_text(records: Iterable[Line], *, ttl: int = 3600) -> str:
    """One line a record, names absolute; a record's own `ttl` goes before the one given. Ends with a line end.

    TXT values are ASCII (UnicodeEncodeError) and split into strings of 255 octets.
    """
    return "".join(
        f"{_absolute(record.name)} {getattr(record, 'ttl', ttl)} IN {record.type} {_value(record)}\n"
        for record in records
    )


def quoted(text: str) -> str:
    """A TXT value as quoted strings of at most 255 octets each."""
    return " ".join(f'"{_escaped(part)}"' for part in zone_strings(text))


def _value(record: Line) -> str:
    if record.type == "TXT":
        return quoted(record.value)
    if record.type == "MX":
        preference, _, host = record.value.partition(" ")
        return f"{preference} {_absolute(host.strip())}"
    return _absolute(record.value) if record.type in ("CNAME", "NS", "PTR") else record.value


def _absolute(name: str) -> str:
    return name if name.endswith(".") else name + "."


def _escaped(text: str) -> str:
    # RFC 1035 §5.1: a quote and a backslash are escaped, what does not print is \DDD.
    return "".join(
        "\\" + char if char in '"\\' else char if " " <= char <= "~" else f"\\{ord(char):03d}" for char in text
    )
