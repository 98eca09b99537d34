"""Weighing what servers say about a record: true, false with the mistake, or could not be asked.

The rule of proof: every authoritative server that can be reached has the record. Servers that fail count for
nothing; when all fail, nothing is known and nothing is claimed. The resolvers' view is a second look: it tells
whether the rest of the world sees the record yet, and never proves or disproves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from enroll.dns_check.match import Seen, explain, judge, judge_answer
from enroll.records import MISSING, Mistake, Record, line, printable, shown
from relay.base.resolver import Answer, Nothing, Result, ServerAnswer

__all__ = ["Finding", "Observation", "Seen", "compare", "needs_probes"]

_MAX_VALUES = 10
_MAX_CHARS = 600
_ASK_AGAIN_SECONDS = 60
_SPREADING_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Observation:
    """What was heard about one record.

    servers: each authoritative server's answer. resolvers: the configured resolvers' answer, None if not asked.
    elsewhere: what stands at the names of `probes`. further: what the kind of record asked besides.
    """

    servers: tuple[ServerAnswer, ...] = ()
    resolvers: Result | None = None
    elsewhere: tuple[Seen, ...] = ()
    further: Any = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one record.

    ok: True, False, or None when it could not be asked. found: the values seen at its name. mistake: the machine's
    word for what is wrong. says: what was found, in a sentence. fix: the corrected line or what to do.
    servers: each answer, values shortened. retry_after_seconds: when asking again can show something new.
    enter, note: of a kind that merges, the value to enter as things stand and what to know before; else "".
    """

    purpose: str
    name: str
    ok: bool | None
    found: list[str]
    mistake: str | None
    says: str
    fix: str
    servers: list[ServerAnswer] = field(default_factory=list)
    retry_after_seconds: int | None = None
    enter: str = ""
    note: str = ""


def compare(records: Sequence[Record], observations: Sequence[Observation]) -> list[Finding]:
    """One finding for each record, in order; `observations` are in that order too (ValueError if not as many)."""
    return [_finding(one, seen, records) for one, seen in zip(records, observations, strict=True)]


def needs_probes(record: Record, servers: Sequence[ServerAnswer], further: Any = None) -> bool:
    """True when some server could be asked and none has what `record` wants: it may stand elsewhere."""
    known = facts(servers)
    return bool(known) and all(judge(record, one.values, further=further) is not None for one in known)


def facts(servers: Sequence[ServerAnswer]) -> list[ServerAnswer]:
    """The answers of those that could be asked."""
    return [one for one in servers if one.state in ("present", "absent")]


def _finding(record: Record, seen: Observation, records: Sequence[Record]) -> Finding:
    found = _judged(record, seen, records)
    known = facts(seen.servers)
    if not record.kind.merges or not known or record.kind.unsure(record, seen.further):
        return found
    values = list(dict.fromkeys(value for one in known for value in one.values))
    enter, note = record.kind.to_enter(record, values, seen.further)
    return replace(found, enter=enter, note=note)


def _judged(record: Record, seen: Observation, records: Sequence[Record]) -> Finding:
    servers = [_shortened(one) for one in seen.servers]
    known = facts(seen.servers)
    if not known:
        return _unknown(record, seen, servers)
    found = _shortened_values([value for one in known for value in one.values])
    mistakes = [judge_answer(record, one, records, seen.further) for one in known]
    wrong = [mistake for mistake in mistakes if mistake is not None]
    if not wrong:
        says, retry = _seen_by_others(record, seen, known)
        return Finding(
            purpose=record.purpose, name=record.name, ok=True, found=found, mistake=None, says=says, fix="",
            servers=servers, retry_after_seconds=retry,
        )
    if record.kind.unsure(record, seen.further) and all(one.code == MISSING for one in wrong):
        says = "There is no record, and the domains above could not be asked; nothing changes until they answer."
        return Finding(
            purpose=record.purpose, name=record.name, ok=None, found=found, mistake=None, says=says, fix="",
            servers=servers, retry_after_seconds=_ASK_AGAIN_SECONDS,
        )
    if len(wrong) < len(known):
        mistake, retry = _spreading(known, mistakes), _SPREADING_SECONDS
        return _false(record, found, mistake, servers, retry)
    mistake = next((one for one in wrong if one.code != MISSING), None) or explain(
        record, seen.elsewhere, next((one.cname[-1] for one in known if one.cname and not one.values), "")
    )
    return _false(record, found, mistake, servers, _no_expires(known))


def _false(
    record: Record, found: list[str], mistake: Mistake, servers: list[ServerAnswer], retry: int | None
) -> Finding:
    says = f"{record.kind.failed}: {mistake.says}"
    return Finding(
        purpose=record.purpose, name=record.name, ok=False, found=found, mistake=mistake.code, says=says,
        fix=mistake.fix, servers=servers, retry_after_seconds=retry,
    )


def _unknown(record: Record, seen: Observation, servers: list[ServerAnswer]) -> Finding:
    reasons = ", ".join(dict.fromkeys(one.reason or one.state for one in seen.servers)) or "out of time"
    says = f"The domain's name servers could not be asked ({reasons}); nothing changes until they answer."
    found: list[str] = []
    if isinstance(seen.resolvers, Answer):
        found = _shortened_values(_values(seen.resolvers))
        says += " Resolvers still have: " + shown(found) + "."
    loop = "alias_loop" if any(one.reason == "alias loop" for one in seen.servers) else None
    fix = f"The CNAME at this name points back to itself. Enter: {line(record)}" if loop else ""
    return Finding(
        purpose=record.purpose, name=record.name, ok=None, found=found, mistake=loop, says=says, fix=fix,
        servers=servers, retry_after_seconds=_ASK_AGAIN_SECONDS,
    )


def _seen_by_others(record: Record, seen: Observation, known: Sequence[ServerAnswer]) -> tuple[str, int | None]:
    by = next((f", by CNAME to {printable(one.cname[-1])}" for one in known if one.cname), "")
    says = f"Found at {'the name server' if len(known) == 1 else f'all {len(known)} name servers'} asked{by}."
    remark = next((said for one in known if (said := record.kind.remark(record, one.values, seen.further))), "")
    if remark:
        return remark, None
    other = seen.resolvers
    if isinstance(other, Answer) and judge(record, _values(other), further=seen.further) is not None:
        wait = other.ttl
    elif isinstance(other, Nothing):
        wait = other.negative_ttl
    else:
        return says, None
    return f"{says} Resolvers may still see the previous state for up to {wait} seconds.", wait


def _spreading(known: Sequence[ServerAnswer], mistakes: Sequence[Mistake | None]) -> Mistake:
    without = dict.fromkeys(
        one.server or one.ip for one, mistake in zip(known, mistakes, strict=True) if mistake is not None
    )
    have = sum(1 for mistake in mistakes if mistake is None)
    return Mistake(
        "propagating",
        f"{have} of {len(known)} name servers have the record; it is not yet at {', '.join(without)}.",
        "Wait until all name servers have it; if one never gets it, ask your DNS provider about that server.",
    )


def _no_expires(known: Sequence[ServerAnswer]) -> int | None:
    # RFC 2308 §5: resolvers may repeat a "no" for so long after the record is published.
    return max((one.negative_until_seconds for one in known if one.negative_until_seconds is not None), default=None)


def _values(answer: Answer) -> list[str]:
    return [one if isinstance(one, str) else f"{one[0]} {one[1]}" for one in answer.records]


def _shortened_values(values: Sequence[str]) -> list[str]:
    kept = list(dict.fromkeys(values))[:_MAX_VALUES]
    return [printable(value[:_MAX_CHARS]) + ("…" if len(value) > _MAX_CHARS else "") for value in kept]


def _shortened(one: ServerAnswer) -> ServerAnswer:
    return replace(one, values=tuple(_shortened_values(one.values)), cname=one.cname[:_MAX_VALUES])
