"""explain: everything about one message, in plain words."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.shell import NOT_FOUND, OK, Failure, Shell, command

if TYPE_CHECKING:
    from posthouse.wiring import Core
    from relay.base.events import Event
    from relay.base.storage.operator_queries import Admission
    from relay.base.storage.reports import AttemptRow, DetailRow, MessageRow

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


def register(app: typer.Typer) -> None:
    """Put the command in."""
    command(app, "explain")(explain)


async def explain(
    shell: Shell,
    message: Annotated[str, typer.Argument(help="Queue id, recipient number, or Message-ID.")],
) -> int:
    """Show everything about a message: who sent it, why it was accepted, what became of it, what happens next."""
    from enroll.api.native.messages import message_view
    from relay.base.events import REPEATED
    from relay.base.storage import events, reports

    async with shell.core() as core:
        async with core.storage.read() as tx:
            found = await _admission(tx, message)
            if found is None:
                raise Failure(NOT_FOUND, f"{message}: no such message (the log keeps "
                              f"{core.config.retention.log_days:g} days)")
            detail = await reports.message(tx, found.member_id, queue_id=found.queue_id)
            troubles = await _troubles(tx, detail[1] if detail else [], core.clock.now())
            happened = await events.timeline(tx, found.message_id)
        if detail is None:
            raise Failure(NOT_FOUND, f"{message}: no such message")
        row, recipients, tries = detail
        admitted = await _admitted(core, found, row)
        now = core.clock.now()
        d = core.config.delivery

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

    def people() -> None:
        shell.say("\n".join(_story(row, admitted)))
        if again := [e for e in happened if e.type == REPEATED]:
            shell.say(f"Submitted again {len(again)} times, last {_at(again[-1].at)}: nobody receives it twice.")
        for r in each:
            shell.say("")
            shell.say("\n".join(_lines(r)))
        if any(r["state"] in ("queued", "deferred") for r in each):
            shell.say(f"\nRetries: after {', '.join(f'{s:g} s' for s in d.schedule_seconds)}, then every "
                      f"{d.schedule_seconds[-1]:g} s, until {d.max_age_seconds / 86400:g} days have passed.")

    shell.answer(data, people)
    return OK


async def _admission(tx: Any, message: str) -> Admission | None:
    from relay.base.storage import operator_queries

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
    from relay.replies import Refused

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


def _at(at: float) -> str:
    from relay.base.clock import iso

    return iso(at)


def _recipient(r: DetailRow, tries: list[AttemptRow], happened: list[Event], now: float) -> dict[str, Any]:
    from enroll.pages.figures import tls_in_words
    from relay.base.events import AFTERWARDS

    return {
        "number": r.id, "to": r.address, "state": r.state, "held": r.held, "next": _next(r, tries, happened, now),
        "next_at": _at(r.next_at) if r.state in ("queued", "deferred") else None,
        "gives_up_at": _at(r.expires_at) if r.state in ("queued", "deferred") else None,
        "settled_at": _at(r.settled_at) if r.settled_at else None,
        "attempts": [
            {
                "at": _at(t.at), "host": t.host, "ip": t.ip, "tls": t.tls, "stage": t.stage, "code": t.code,
                "tls_policy": t.tls_policy, "tls_cipher": t.tls_cipher, "tls_verdict": t.tls_verdict,
                "tls_says": tls_in_words(t), "enhanced": t.enhanced, "reply": t.says,
                "seconds": round(t.seconds, 3), "kind": t.kind,
                "conclusion": CONCLUSIONS.get(t.kind, t.kind),
            }
            for t in tries
        ],
        "afterwards": [{"at": _at(e.at), "type": e.type, **e.data} for e in happened if e.type in AFTERWARDS],
        "report_sent_to": r.report_sent_to,
    }


def _next(r: DetailRow, tries: list[AttemptRow], happened: list[Event], now: float) -> str:
    from enroll.pages.figures import what_next

    if r.state in ("sent", "bounced"):
        return what_next(r, tries, happened).says
    if r.state == "suppressed":
        return f"Nothing: {r.says or 'the address was on the suppression list'}."
    if r.state == "cancelled":
        return f"Nothing: {r.says or 'cancelled'}."
    if r.held:
        return "Nothing until it is released: posthouse queue release " + str(r.id)
    when = "as soon as a worker is free" if r.next_at <= now else f"at {_at(r.next_at)}"
    return f"It will be tried {when}; given up at {_at(r.expires_at)}."


async def _troubles(tx: Any, recipients: list[DetailRow], now: float) -> dict[int, str]:
    """Of open recipients, by number: why mail to their receiving site waits."""
    from posthouse.cli.sites import in_words
    from relay.base import names
    from relay.base.storage import sites

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
        f"Who sent it: {admitted['member']}, {_CAME_BY.get(m.door, m.door)}, at {_at(m.received_at)}"
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


def _lines(r: dict[str, Any]) -> list[str]:
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
    lines += [f"  {e['at']}  {_did(e)}" for e in sorted(shown, key=lambda e: e["at"])]
    if len(did) > len(shown):
        lines.append(f"  and {len(did) - len(shown)} more opens and clicks (--json has more of them)")
    if r["site"]:
        lines.append(f"  waits: {r['site']}")
    lines.append(f"  next: {r['next']}")
    return lines


def _did(e: dict[str, Any]) -> str:
    """What the recipient did, on one line."""
    from enroll.pages.figures import HAPPENED

    what = HAPPENED[e["type"]]
    if e["type"] == "complained":
        vouched = e.get("vouchedBy")
        what += f" ({e.get('feedback')}), " + (f"vouched for by {vouched}" if vouched else "nobody vouched for it")
    elif e["type"] == "unsubscribed":
        what += f" ({e.get('by')})"
    elif e["type"] == "clicked":
        what += f": {e.get('url')}"
    return what + (f" (automated: {e['machine']})" if e.get("machine") else "")
