"""Zone-file lines (RFC 1035 §5.1) for what a zone serves, for pasting into another server.

Promises lines that BIND reads back to the same records. Pure.
"""

import re
from collections.abc import Iterable

from enroll.records import quoted
from enroll.zone.data import Zone, ZoneRecord

# RFC 1035 §3.3.13: the name of the server, the mailbox, the serial.
_SOA = re.compile(r"\S+ \d+ IN SOA \S+ \S+ (\d+) ")


def zone_text(records: Zone | Iterable[ZoneRecord]) -> str:
    """One line a record, names absolute, TXT (ASCII, else UnicodeEncodeError) in strings of 255 octets."""
    listed = records.records() if isinstance(records, Zone) else records
    return "".join(f"{_dot(one.name)} {one.ttl} IN {one.type} {_value(one)}\n" for one in listed)


def serial_of(text: str) -> int | None:
    """The serial of a zone file written here: its first line is the SOA. None: something else."""
    found = _SOA.match(text)
    return None if found is None else int(found[1])


def _value(record: ZoneRecord) -> str:
    if record.type == "TXT":
        return quoted(record.value)
    if record.type == "MX":
        preference, _, host = record.value.partition(" ")
        return f"{preference} {_dot(host.strip())}"
    return _dot(record.value) if record.type in ("CNAME", "NS", "PTR") else record.value


def _dot(name: str) -> str:
    return name if name.endswith(".") else name + "."
