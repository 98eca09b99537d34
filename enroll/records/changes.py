"""What has to change in a zone so that a record is as it should be, and nothing else: pure.

What stands at a record's name goes in, a `Change` comes out, or the reason why the record is left to a person. What
may stand beside others is added; SPF and DMARC are merged by their kind's own `to_enter`; only names that were made for
a record of the relay's (a DKIM selector, a return path, a tracking host) are cleared for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from enroll.records.kinds import Dkim, Spf, match_alias
from enroll.records.record import Record, line_value, printable, quoted, shown
from enroll.records.spf_line import left_out

TTL = 3600


class Standing(NamedTuple):
    """What stands at one name: values by type. A CNAME is there under its type, with its target."""

    values: Mapping[str, tuple[str, ...]] = {}

    def of(self, type: str) -> tuple[str, ...]:
        """Those of one type."""
        return self.values.get(type, ())

    @property
    def alias(self) -> str:
        """Where a CNAME at the name leads, "" without one."""
        return next(iter(self.of("CNAME")), "")


class Change(NamedTuple):
    """`remove`, (type, value) pairs that stand at the record's name, goes; `record` is what comes, with its value."""

    record: Record
    remove: tuple[tuple[str, str], ...] = ()


class Left(NamedTuple):
    """A record that is left to a person, and why in a sentence."""

    record: Record
    says: str


def change(record: Record, there: Standing, further: Any = None) -> Change | Left | None:
    """What makes `record` (as its owner publishes it) right; None when it is. further: what its kind looked up."""
    if record.type == "CNAME":
        return _alias(record, there)
    if record.kind.merges:
        return _merged(record, there, further)
    values = there.of(record.type)
    if record.kind.match(record, values, further) is None:
        return None
    if isinstance(record.kind, Dkim):
        return Change(record, tuple((type, v) for type in ("CNAME", record.type) for v in there.of(type)))
    if there.alias:
        return Left(record, f"There is a CNAME to {shown([there.alias])} at this name: nothing can stand beside it.")
    if record.type == "MX" and values:
        return Left(record, f"Mail for the domain goes to {shown(values)}: change that yourself if you want it to.")
    return Change(record)


def _alias(record: Record, there: Standing) -> Change | Left | None:
    if there.alias and match_alias(record, [there.alias]) is None:
        return None
    # RFC 1034 §3.6.2: nothing stands beside a CNAME.
    others = {type: values for type, values in there.values.items() if values and type != "CNAME"}
    if isinstance(record.kind, Dkim) and others.keys() <= {"TXT"}:
        return Change(record, tuple((type, v) for type in ("CNAME", "TXT") for v in there.of(type)))
    if others:
        says = f"There are other records at this name ({', '.join(sorted(others))}): a CNAME can't stand beside them."
        return Left(record, says)
    return Change(record, tuple(("CNAME", target) for target in there.of("CNAME")))


def _merged(record: Record, there: Standing, further: Any) -> Change | Left | None:
    values = there.of(record.type)
    mistake = record.kind.match(record, values, further)
    if mistake is None:
        return None
    if there.alias:
        return Left(record, f"There is a CNAME to {shown([there.alias])} at this name: nothing can stand beside it.")
    value, note = record.kind.to_enter(record, values, further)
    old = [one for one in values if record.kind.recognises([one])]
    # Merged, never replaced: where a word of what stands there would be lost, or a record be chosen, people decide.
    lost = bool(left_out(old)) if isinstance(record.kind, Spf) else len(old) > 1
    if not value or value in old or lost:
        return Left(record, note if note and value not in old else f"{mistake.says} {mistake.fix}".strip())
    return Change(record._replace(value=value, note=note), tuple((record.type, one) for one in old))


def nsupdate(found: Iterable[Change | Left], *, ttl: int = TTL) -> str:
    """The lines that make the changes, for nsupdate (RFC 2136); what is left to people stands as a comment."""
    lines = []
    for one in found:
        name = f"{one.record.name}."
        if isinstance(one, Left):
            lines.append(f"; {name} {printable(one.says)}")
            continue
        lines += [f"update delete {name} {type} {_written(type, value)}" for type, value in one.remove]
        lines.append(f"update add {name} {ttl} {one.record.type} {line_value(one.record)}")
    return "".join(f"{line}\n" for line in [*lines, "send"]) if lines else ""


def _written(type: str, value: str) -> str:
    # As in a zone file.
    return quoted(value) if type == "TXT" and value.isascii() else printable(value)
