"""What stands at a record's name, by one server: it fits, or this is the mistake. Pure.

Each kind of record judges its own values; here is what holds for all kinds: one record's value at another one's name,
and an alias that leads to somebody else's place in the relay's zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enroll.records import Mistake, Record, foreign_alias, line, match_alias
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
