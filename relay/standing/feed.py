"""Events in, counts and sightings out. Pure.

A bounce for which the other side blames the relay (a blocklist, its reverse name, TLS, its rate) is excused: it counts
for nothing. Such words, in a bounce, a deferral or a report, are sightings of an incident of the relay's own.
Greylisting blames nobody: it is excused, too, but no incident.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from relay.base.events import BOUNCED
from relay.base.storage.standing import Counted, Failed, slice_of
from relay.diagnosis import classify

INCIDENTS = {
    "reputation": "Other hosts distrust this relay's address: a blocklist, or its DNS.",
    "rate": "Other hosts find that too much mail comes from this relay.",
    "tls": "Other hosts want a TLS that this relay didn't bring about.",
}
CURES = {
    "reputation": "posthouse doctor looks at PTR, HELO and SPF; ask the list that the reply names to take you off, "
    "after what got you on it has stopped.",
    "rate": "Wait: deliveries to that host are slowed down by themselves. If it goes on, send from more addresses.",
    "tls": "Mail to these hosts waits: they refused because TLS with them came to nothing, or was not tried. posthouse "
    "doctor looks at the certificate; the reply says what the host wants.",
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


def read(failed: Iterable[Failed], keep: int) -> tuple[Counted, list[Sighting]]:
    """Counts of the bounces that count, and sightings with at most `keep` examples each."""
    counted: Counted = {}
    seen: dict[str, Sighting] = {}
    known: dict[str, tuple[str, bool]] = {}  # a wave says the same to everybody
    for event in failed:
        kind, own = _blame(event, known)
        if event.type == BOUNCED and event.counts:
            what = "excused" if own else "late" if event.data.get("late") else "bounced"
            fields = counted.setdefault((event.member_id, slice_of(event.at)), {})
            fields[what] = fields.get(what, 0) + 1
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
    return counted, list(seen.values())


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
