"""Events in; counts, who failed, and sightings out. Pure.

A bounce for which the other side blames the relay (a blocklist, its reverse name, TLS, its rate) is excused: it counts
for nothing. Such words, in a bounce, a deferral or a report, are sightings of an incident of the relay's own.
Greylisting blames nobody: it is excused, too, but no incident.

What came in from outside, a complaint or a late bounce, counts only where its event says who vouched for it
(`vouchedBy`, `relay.inbound.vouching`): nobody else's word judges a member. Such a bounce leaves its recipient
counted as delivered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from relay.base.events import BOUNCED, COMPLAINED
from relay.base.storage.standing import Counted, Failed, Kind, slice_of
from relay.bounces.classify import classify

INCIDENTS = {
    "reputation": "Other hosts distrust this relay's address: a blocklist, or its DNS.",
    "rate": "Other hosts find that too much mail comes from this relay.",
    "tls": "Other hosts require TLS that this relay could not establish.",
    "blocklist": "An address of this relay stands in a DNS blocklist.",
}
CURES = {
    "reputation": "posthouse doctor checks PTR, HELO and SPF; once the cause has stopped, ask the blocklist named in "
    "the reply to delist you.",
    "blocklist": "Find and stop what got it listed, then ask to be taken off at the page that the example names.",
    "rate": "Wait: deliveries to that host are slowed down automatically. If it continues, send from more IPs.",
    "tls": "Mail to these hosts is waiting: they refused it because TLS failed or was not used. posthouse doctor "
    "checks the certificate; the reply says what the host wants.",
}
_REPLY = re.compile(r"[245]\d\d[ -]")
_TEXT_MAX = 300


@dataclass(slots=True)
class Sighting:
    """What one batch of events says of one kind of incident."""

    kind: str
    seen_at: float
    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Seen:
    """A recipient that failed, by its address, in the slice that begins at `at`."""

    member_id: int
    kind: Kind
    address: str
    at: float


def read(failed: Iterable[Failed], keep: int) -> tuple[Counted, list[Seen], list[Sighting]]:
    """Counts of the bounces that count, who failed, and sightings with at most `keep` examples each."""
    counted: Counted = {}
    who: list[Seen] = []
    seen: dict[str, Sighting] = {}
    known: dict[str, tuple[str, bool]] = {}  # a wave says the same to everybody
    for event in failed:
        kind, own = _blame(event, known)
        how = _how(event, own) if event.counts else ""
        at = slice_of(event.at)
        if how and event.type == BOUNCED:
            what = how if how in ("excused", "late") else "bounced"
            fields = counted.setdefault((event.member_id, at), {})
            fields[what] = fields.get(what, 0) + 1
        if how and how != "excused":
            who.append(Seen(event.member_id, how, event.address, at))
        if own and kind in INCIDENTS and _theirs(event):
            one = seen.setdefault(kind, Sighting(kind, event.at))
            one.count += 1
            one.seen_at = max(one.seen_at, event.at)
            if len(one.examples) < keep:
                one.examples.append(
                    {
                        "at": event.at, "host": str(event.data.get("host", ""))[:253],
                        "recipient": str(event.data.get("recipient", ""))[:320],
                        "reply": str(event.data.get("reply", ""))[:_TEXT_MAX],
                    }
                )
    return counted, who, list(seen.values())


def _how(event: Failed, own: bool) -> Kind | Literal["excused", ""]:
    """How the recipient failed; "" for what counts for nothing."""
    outside = event.type == COMPLAINED or bool(event.data.get("late"))
    if event.type not in (BOUNCED, COMPLAINED) or (outside and not event.data.get("vouchedBy")):
        return ""
    if event.type == COMPLAINED:
        return "complaint"
    if own:
        return "excused"
    if outside:
        return "late"
    return "refused" if str(event.data.get("reply", "")).startswith("5") and _theirs(event) else "failed"


def _blame(event: Failed, known: dict[str, tuple[str, bool]]) -> tuple[str, bool]:
    """(class, whether the relay itself is blamed)."""
    data = event.data
    if "ownFault" in data:
        return str(data.get("class", "")), bool(data["ownFault"])
    text = str(data.get("reply", ""))
    if not _REPLY.match(text):
        return "", False
    if text not in known:
        why = classify("", text)
        known[text] = why.class_, why.own_fault
    return known[text]


def _theirs(event: Failed) -> bool:
    """Whether a host said it, and not we ourselves, of a connection that came to nothing."""
    return bool(event.data.get("late")) or _REPLY.match(str(event.data.get("reply", ""))) is not None
