"""What stands at a record's name, by one server: it fits, or this is the mistake. Pure.

Each kind of record judges its own values; here is what holds for all kinds: one record's value at another one's name,
and an alias that leads to somebody else's place in the relay's zone.

A missing record may have been put elsewhere, which says what the mistake is. `probes` lists the names to ask besides,
those that the kind of record knows among them; `explain` reads what was found there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from enroll.records import MISSING, Mistake, Record, foreign_alias, line, match_alias, shown
from relay.base import names
from relay.base.resolver import ServerAnswer


def judge(
    record: Record, values: Sequence[str], others: Sequence[Record] = (), further: Any = None
) -> Mistake | None:
    """None when `values` are as `record` wants them, else the mistake; code "missing" when none is meant as it.

    others: all records of the domain, to recognise one's value at another one's name. further: what was asked besides.
    """
    # A record may be nothing but its alias: a place that is kept for a later key.
    alias = record.type == "CNAME"
    mistake = match_alias(record, values) if alias else record.kind.match(record, values, further)
    if mistake is None or mistake.code == "second_record" or record.kind.recognises(values):
        return mistake
    for other in others:
        if other.name != record.name and other.type == record.type and other.value and other.value in values:
            return Mistake("swapped", f"The value found belongs at another name, {other.name}.", line(record))
    return mistake


def judge_answer(
    record: Record, answer: ServerAnswer, others: Sequence[Record] = (), further: Any = None
) -> Mistake | None:
    """`judge` for a server's answer, with the aliases that it followed."""
    mistake = judge(record, answer.values, others, further)
    # An alias to somebody else's place in the relay's zone explains whatever stands there.
    return mistake if mistake is None else foreign_alias(record, answer.cname) or mistake


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands at another name or type than the record's own; only names where something stands."""

    name: str
    type: str
    values: tuple[str, ...]


def probes(record: Record) -> list[tuple[str, str]]:
    """The (name, type) pairs worth asking when `record` is missing; at most ten."""
    asked = [(name, record.type) for name in (*_doubled(record), *record.kind.misplaced(record))]
    if record.type == "CNAME":
        asked += [(record.name, "A"), (record.name, "AAAA"), (record.name, "TXT")]
    return [pair for pair in dict.fromkeys(asked) if len(pair[0]) <= 253 and pair != (record.name, record.type)]


def explain(record: Record, seen: Iterable[Seen], dead_alias: str = "") -> Mistake:
    """The mistake behind a missing record. dead_alias: the end of an alias at its name that leads nowhere."""
    found = {(one.name, one.type): one.values for one in seen}
    for name in _doubled(record):
        if judge(record, found.get((name, record.type), ())) is None:
            return Mistake(
                "doubled_name",
                f"The record is at {name}: your provider has added the domain to the name once more.",
                f"Enter just “{name_to_enter(record, name)}” as the name.",
            )  # fmt: skip
    for name in record.kind.misplaced(record):
        if _holds(record, found.get((name, record.type), ())):
            return Mistake(
                "wrong_level", f"The record is at {name} instead of {record.name}.", line(record)
            )  # fmt: skip
    if record.type == "CNAME":
        texts = found.get((record.name, "TXT"), ())
        if any(text.strip('" ').rstrip(".").lower() == record.value.rstrip(".").lower() for text in texts):
            says = "The target has been entered as a TXT record; it has to be a CNAME."
            return Mistake("txt_instead_of_cname", says, line(record))
        addresses = [*found.get((record.name, "A"), ()), *found.get((record.name, "AAAA"), ())]
        if addresses:
            return Mistake(
                "proxied",
                f"There are addresses ({shown(addresses)}) instead of a CNAME, as when a provider's proxy is on.",
                f"Turn the proxy off for this record (“DNS only”), or enter: {line(record)}",
            )  # fmt: skip
    if dead_alias:
        says = f"A CNAME points to {dead_alias}, where there is no {record.type} record."
        return Mistake("dead_alias", says, line(record))
    # What the owner was asked to enter: of a record that may be an alias, the alias where that was chosen.
    return Mistake(MISSING, f"There is no {record.kind.noun or f'such {record.published.type} record'}.", line(record))


def name_to_enter(record: Record, doubled: str) -> str:
    """What the owner should have typed, when the provider adds the zone that it doubled."""
    zone = doubled.removeprefix(f"{record.name}.")
    return "@" if record.name == zone else record.name.removesuffix(f".{zone}")


def _holds(record: Record, values: tuple[str, ...]) -> bool:
    # Other records may stand at that name; the one meant must be among them.
    return any(judge(record, (value,)) is None for value in values)


def _doubled(record: Record) -> list[str]:
    zones = dict.fromkeys((record.domain, names.registrable(record.domain) or record.domain))
    return [f"{record.name}.{zone}" for zone in zones]
