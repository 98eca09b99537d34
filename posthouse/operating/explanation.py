"""Everything about one message, for the operator: who sent it, why it was accepted, what became of it, what is next.

For `posthouse explain` and the operator's pages. What a member is told of its own message is `enroll.pages.messages`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from enroll.api.native.messages import message_view
from enroll.errors import not_found
from enroll.pages.figures import HAPPENED, tls_in_words, what_next
from posthouse.operating.sites import in_words
from posthouse.wiring import Core
from relay.base import names
from relay.base.clock import iso
from relay.base.events import AFTERWARDS, REPEATED, Event
from relay.base.storage import Tx, events, operator_queries, reports, sites
from relay.base.storage.operator_queries import Admission
from relay.base.storage.reports import AttemptRow, DetailRow, MessageRow
from relay.replies import Refused

_CAME_BY = {
    "smtp": "over SMTP", "http": "over the HTTP API", "own": "written by the relay itself",
    "forward": "forwarded incoming mail",
}
CONCLUSIONS = {
    "delivered": "delivered: the server took responsibility",
    "later": "temporary: it will be tried again",
    "never": "permanent: it will not be tried again",
}
_SHOWN = 20


@dataclass(frozen=True)
class Explanation:
    """`story`: how it came in, a sentence a line; `recipients`: each recipient's facts; `retries`: the schedule, ""
    where nothing waits; `data`: all of it for programs."""

    message: MessageRow
    story: list[str]
    recipients: list[dict[str, Any]]
    retries: str
    data: dict[str, Any]


async def explain(core: Core, message: str) -> Explanation:
    """By queue id, recipient number or Message-ID. Raises EnrollError 404."""
    async with core.storage.read() as tx:
        found = await _admission(tx, message)
        if found is None:
            raise not_found(f"{message}: no such message (the log keeps {core.config.retention.log_days:g} days)")
        detail = await reports.message(tx, found.member_id, queue_id=found.queue_id)
        troubles = await _troubles(tx, detail[1] if detail else [], core.clock.now())
        happened = await events.timeline(tx, found.message_id)
    if detail is None:
        raise not_found(f"{message}: no such message")
    row, recipients, tries = detail
    admitted, now = await _admitted(core, found, row), core.clock.now()
    each = [
        _recipient(
            r, [t for t in tries if t.recipient_id == r.id], [e for e in happened if e.recipient_id == r.id], now
        ) | {"site": troubles.get(r.id, "")}
        for r in recipients
    ]
    # As `GET /v1/messages/{id}` shows it, with what only the operator is told.
    data: dict[str, Any] = {**message_view(row, recipients, tries, happened), "admitted": admitted}
    data["recipients"] = [
        {**shown, "next": r["next"], "site": r["site"], "conclusions": [t["conclusion"] for t in r["attempts"]]}
        for shown, r in zip(data["recipients"], each, strict=True)
    ]
    story = _story(row, admitted)
    if again := [e for e in happened if e.type == REPEATED]:
        story.append(f"Submitted again {len(again)} times, last {iso(again[-1].at)}: nobody receives it twice.")
    waits = any(r["state"] in ("queued", "deferred") for r in each)
    return Explanation(row, story, each, _schedule(core) if waits else "", data)


def _schedule(core: Core) -> str:
    d = core.config.delivery
    return (
        f"Retries: after {', '.join(f'{s:g} s' for s in d.schedule_seconds)}, then every {d.schedule_seconds[-1]:g} s, "
        f"until {d.max_age_seconds / 86400:g} days have passed."
    )


async def _admission(tx: Tx, message: str) -> Admission | None:
    if "@" in message:
        wanted = message.strip()
        bare = wanted.removeprefix("<").removesuffix(">")
        return (
            await operator_queries.admission(tx, header_id=f"<{bare}>")
            or await operator_queries.admission(tx, header_id=bare)
        )
    if message.isascii() and message.isdigit() and len(message) < 16:
        return await operator_queries.admission(tx, recipient_id=int(message))
    return await operator_queries.admission(tx, queue_id=message.lower())


async def _admitted(core: Core, found: Admission, row: MessageRow) -> dict[str, Any]:
    member = core.directory.member(found.member_id)
    key = None
    if found.key_id is not None:
        try:
            key = f"ph_{(await core.enroll.credentials.get(found.member_id, found.key_id)).public_id}_…"
        except Refused:
            key = f"key {found.key_id}"
    return {
        "member": member.handle if member else f"member {found.member_id}", "key": key, "domain": row.domain,
        "door": row.door, "category": row.category, "return_path": found.return_path,
    }


def _recipient(r: DetailRow, tries: list[AttemptRow], happened: list[Event], now: float) -> dict[str, Any]:
    return {
        "number": r.id, "to": r.address, "state": r.state, "held": r.held, "next": _next(r, tries, happened, now),
        "next_at": iso(r.next_at) if r.state in ("queued", "deferred") else None,
        "gives_up_at": iso(r.expires_at) if r.state in ("queued", "deferred") else None,
        "settled_at": iso(r.settled_at) if r.settled_at else None,
        "attempts": [
            {
                "at": iso(t.at), "host": t.host, "ip": t.ip, "tls": t.tls, "stage": t.stage, "code": t.code,
                "tls_policy": t.tls_policy, "tls_cipher": t.tls_cipher, "tls_verdict": t.tls_verdict,
                "tls_says": tls_in_words(t), "enhanced": t.enhanced, "reply": t.says,
                "seconds": round(t.seconds, 3), "kind": t.kind,
                "conclusion": CONCLUSIONS.get(t.kind, t.kind),
            }
            for t in tries
        ],
        "afterwards": [{"at": iso(e.at), "type": e.type, **e.data} for e in happened if e.type in AFTERWARDS],
        "report_sent_to": r.report_sent_to,
    }


def _next(r: DetailRow, tries: list[AttemptRow], happened: list[Event], now: float) -> str:
    if r.state in ("sent", "bounced"):
        return what_next(r, tries, happened).says
    if r.state == "suppressed":
        return f"Nothing: {r.says or 'the address was on the suppression list'}."
    if r.state == "cancelled":
        return f"Nothing: {r.says or 'cancelled'}."
    if r.held:
        return "Nothing until it is released: posthouse queue release " + str(r.id)
    when = "as soon as a worker is free" if r.next_at <= now else f"at {iso(r.next_at)}"
    return f"It will be tried {when}; given up at {iso(r.expires_at)}."


async def _troubles(tx: Tx, recipients: list[DetailRow], now: float) -> dict[int, str]:
    """Of open recipients, by number: why mail to their receiving site waits."""
    domains: dict[int, str] = {}
    for r in recipients:
        if r.state in ("queued", "deferred"):
            with contextlib.suppress(names.BadName):
                domains[r.id] = names.address(r.address).domain
    served = await sites.serving(tx, set(domains.values()))
    rows = {s.name: s for s in await sites.listing(tx, len(served) or 1, set(served.values()))}
    return {
        number: in_words(rows[site], now)
        for number, domain in domains.items()
        if (site := served.get(domain)) in rows
    }


def _story(m: MessageRow, admitted: dict[str, Any]) -> list[str]:
    lines = [
        f"Message {m.queue_id}  {m.header_id}",
        f"  “{m.subject}”, {m.size} octets, from {m.header_from or '(no sender)'}",
        f"Who sent it: {admitted['member']}, {_CAME_BY.get(m.door, m.door)}, at {iso(m.received_at)}"
        + (f", with key {admitted['key']}" if admitted["key"] else ""),
    ]
    if m.door == "own":
        lines.append("Why it was accepted: the relay's own mail needs no key and is exempt from warming.")
    elif m.door == "forward":
        lines.append(f"Why it was accepted: {admitted['domain'] or 'its domain'} forwards its mail to this address.")
    else:
        lines.append(
            f"Why it was accepted: {admitted['domain'] or 'its domain'} was a verified domain of this member, the From "
            f"address lies in it, the warming allowance had room, and no recipient was suppressed "
            f"(category {m.category})."
        )
    path = admitted["return_path"] or "<>"
    return [*lines, f"Envelope sender: {m.mail_from or '<> (null sender)'}; return path at {path}"]


def lines(r: dict[str, Any]) -> list[str]:
    """A recipient for people, a fact a line."""
    lines = [f"To {r['to']} (number {r['number']}): {r['state']}{', held' if r['held'] else ''}"]
    for n, t in enumerate(r["attempts"], 1):
        where = f"{t['host']} [{t['ip']}]" if t["ip"] else t["host"] or "no host"
        lines.append(f"  {n}. {t['at']}  {where}, {t['tls_says']}, stage {t['stage']}, {t['seconds']} s")
        lines.append(f"     reply: {t['reply'] or '(nothing)'}")
        lines.append(f"     conclusion: {t['conclusion']}")
    if not r["attempts"]:
        lines.append("  not tried yet")
    did, often = r["afterwards"], ("opened", "clicked")
    shown = [e for e in did if e["type"] not in often] + [e for e in did if e["type"] in often][:_SHOWN]
    lines += [f"  {e['at']}  {in_a_line(e)}" for e in sorted(shown, key=lambda e: e["at"])]
    if len(did) > len(shown):
        lines.append(f"  and {len(did) - len(shown)} more opens and clicks (--json has more of them)")
    if r["site"]:
        lines.append(f"  waits: {r['site']}")
    lines.append(f"  next: {r['next']}")
    return lines


def in_a_line(e: dict[str, Any]) -> str:
    """What the recipient did, on one line."""
    what = HAPPENED[e["type"]]
    if e["type"] == "complained":
        vouched = e.get("vouchedBy")
        what += f" ({e.get('feedback')}), " + (f"vouched for by {vouched}" if vouched else "nobody vouched for it")
    elif e["type"] == "unsubscribed":
        what += f" ({e.get('by')})"
    elif e["type"] == "clicked":
        what += f": {e.get('url')}"
    return what + (f" (automated: {e['machine']})" if e.get("machine") else "")
