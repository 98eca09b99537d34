"""Weighing what servers say about a record: true, false with the mistake, or could not be asked.

The rule of proof: every authoritative server that can be reached has the record. Servers that fail count for
nothing; when all fail, nothing is known and nothing is claimed. The resolvers' view is a second look: it tells
whether the rest of the world sees the record yet, and never proves or disproves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from enroll.dns_check.match import MISSING, Mistake, foreign_alias, judge, line, printable, shown
from enroll.dns_check.misplaced import Seen, explain
from enroll.records import Purpose, Record
from relay.base.resolver import Answer, Nothing, Result, ServerAnswer

__all__ = ["Finding", "Observation", "Seen", "compare", "needs_probes"]

_MAX_VALUES = 10
_MAX_CHARS = 600
_ASK_AGAIN_SECONDS = 60
_SPREADING_SECONDS = 300

_FAILED: dict[Purpose, str] = {
    "ownership": "Domain ownership verification failed",
    "dkim_rsa": "DKIM not yet verified (RSA key)",
    "dkim_ed25519": "DKIM not yet verified (Ed25519 key)",
    "spf": "SPF is not as recommended",
    "dmarc": "DMARC is not as recommended",
    "return_path": "Return path not yet verified",
    "former_return_path": "The return path in use is gone",
    "tracking": "Tracking name not yet verified",
    "mx": "Reply forwarding not yet verified",
}


@dataclass(frozen=True, slots=True)
class Observation:
    """What was heard about one record.

    servers: each authoritative server's answer. resolvers: the configured resolvers' answer, None if not asked.
    elsewhere: what stands at the names of `probes`.
    """

    servers: tuple[ServerAnswer, ...] = ()
    resolvers: Result | None = None
    elsewhere: tuple[Seen, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one record.

    ok: True, False, or None when it could not be asked. found: the values seen at its name. mistake: the machine's
    word for what is wrong. says: what was found, in a sentence. fix: the corrected line or what to do.
    servers: each answer, values shortened. retry_after_seconds: when asking again can show something new.
    """

    purpose: Purpose
    name: str
    ok: bool | None
    found: list[str]
    mistake: str | None
    says: str
    fix: str
    servers: list[ServerAnswer] = field(default_factory=list)
    retry_after_seconds: int | None = None


def compare(records: Sequence[Record], observations: Sequence[Observation]) -> list[Finding]:
    """One finding for each record, in order; `observations` are in that order too (ValueError if not as many)."""
    return [_finding(one, seen, records) for one, seen in zip(records, observations, strict=True)]


def needs_probes(record: Record, servers: Sequence[ServerAnswer]) -> bool:
    """True when some server could be asked and none has what `record` wants: it may stand elsewhere."""
    facts = _facts(servers)
    return bool(facts) and all(judge(record, one.values) is not None for one in facts)


def _finding(record: Record, seen: Observation, records: Sequence[Record]) -> Finding:
    servers = [_shortened(one) for one in seen.servers]
    facts = _facts(seen.servers)
    if not facts:
        return _unknown(record, seen, servers)
    found = _shortened_values([value for one in facts for value in one.values])
    mistakes = [_mistake(record, one, records) for one in facts]
    wrong = [mistake for mistake in mistakes if mistake is not None]
    if not wrong:
        says, retry = _seen_by_others(record, seen, facts)
        return Finding(
            purpose=record.purpose, name=record.name, ok=True, found=found, mistake=None, says=says, fix="",
            servers=servers, retry_after_seconds=retry,
        )
    if len(wrong) < len(facts):
        mistake, retry = _spreading(facts, mistakes), _SPREADING_SECONDS
        return _false(record, found, mistake, servers, retry)
    mistake = next((one for one in wrong if one.code != MISSING), None) or explain(
        record, seen.elsewhere, next((one.cname[-1] for one in facts if one.cname and not one.values), "")
    )
    return _false(record, found, mistake, servers, _no_expires(facts))


def _false(
    record: Record, found: list[str], mistake: Mistake, servers: list[ServerAnswer], retry: int | None
) -> Finding:
    says = f"{_FAILED[record.purpose]}: {mistake.says}"
    return Finding(
        purpose=record.purpose, name=record.name, ok=False, found=found, mistake=mistake.code, says=says,
        fix=mistake.fix, servers=servers, retry_after_seconds=retry,
    )


def _unknown(record: Record, seen: Observation, servers: list[ServerAnswer]) -> Finding:
    reasons = ", ".join(dict.fromkeys(one.reason or one.state for one in seen.servers)) or "no time was left"
    says = f"The domain's name servers could not be asked ({reasons}); nothing changes until they answer."
    found: list[str] = []
    if isinstance(seen.resolvers, Answer):
        found = _shortened_values(_values(seen.resolvers))
        says += " Resolvers still know: " + shown(found) + "."
    loop = "alias_loop" if any(one.reason == "alias loop" for one in seen.servers) else None
    fix = f"The alias at this name leads back to itself. Enter: {line(record)}" if loop else ""
    return Finding(
        purpose=record.purpose, name=record.name, ok=None, found=found, mistake=loop, says=says, fix=fix,
        servers=servers, retry_after_seconds=_ASK_AGAIN_SECONDS,
    )


def _mistake(record: Record, one: ServerAnswer, records: Sequence[Record]) -> Mistake | None:
    mistake = judge(record, one.values, records)
    # An alias to somebody else's place in the relay's zone explains whatever stands there.
    return mistake if mistake is None else foreign_alias(record, one.cname) or mistake


def _seen_by_others(record: Record, seen: Observation, facts: Sequence[ServerAnswer]) -> tuple[str, int | None]:
    by = next((f", by CNAME to {printable(one.cname[-1])}" for one in facts if one.cname), "")
    says = f"Found at {'the name server' if len(facts) == 1 else f'all {len(facts)} name servers'} asked{by}."
    other = seen.resolvers
    if isinstance(other, Answer) and judge(record, _values(other)) is not None:
        wait = other.ttl
    elif isinstance(other, Nothing):
        wait = other.negative_ttl
    else:
        return says, None
    return f"{says} Resolvers may go on seeing the former state for up to {wait} seconds.", wait


def _spreading(
    facts: Sequence[ServerAnswer], mistakes: Sequence[Mistake | None]
) -> Mistake:
    without = dict.fromkeys(
        one.server or one.ip for one, mistake in zip(facts, mistakes, strict=True) if mistake is not None
    )
    have = sum(1 for mistake in mistakes if mistake is None)
    return Mistake(
        "propagating",
        f"{have} of {len(facts)} answers have the record; not yet at {', '.join(without)}.",
        "Wait until all name servers have it; if one never does, ask your DNS provider about that server.",
    )


def _no_expires(facts: Sequence[ServerAnswer]) -> int | None:
    # RFC 2308 §5: resolvers may repeat a "no" for so long after the record is published.
    return max((one.negative_until_seconds for one in facts if one.negative_until_seconds is not None), default=None)


def _facts(servers: Sequence[ServerAnswer]) -> list[ServerAnswer]:
    return [one for one in servers if one.state in ("present", "absent")]


def _values(answer: Answer) -> list[str]:
    return [one if isinstance(one, str) else f"{one[0]} {one[1]}" for one in answer.records]


def _shortened_values(values: Sequence[str]) -> list[str]:
    kept = list(dict.fromkeys(values))[:_MAX_VALUES]
    return [printable(value[:_MAX_CHARS]) + ("…" if len(value) > _MAX_CHARS else "") for value in kept]


def _shortened(one: ServerAnswer) -> ServerAnswer:
    return replace(one, values=tuple(_shortened_values(one.values)), cname=one.cname[:_MAX_VALUES])
