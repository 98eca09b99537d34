"""POST /v1/send/raw: a finished message (message/rfc822) with its envelope in the query or in headers.

The bytes are kept as SMTP would keep them: lines end in CRLF, and a bare CR or LF is refused, not repaired.
"""

from __future__ import annotations

from typing import get_args

from aiohttp import web

from relay.base.names import Address, BadName, address, own_address
from relay.base.web import reject
from relay.intake import Recipient, Submission
from relay.replies import INVALID_RECIPIENT, INVALID_SENDER, TOO_MANY_RECIPIENTS, Refused, Verdict
from relay.sendapi import mailboxes
from relay.sendapi.answers import Answer, Rejected
from relay.sendapi.authenticate import Caller, query
from relay.sendapi.headers import safe
from relay.sendapi.idempotency import Slot, once
from relay.sendapi.models import Category
from relay.sendapi.send import Draft, Sender, uploaded

FROM, TO = "X-Envelope-From", "X-Envelope-To"
# Before they are looked at; those that are named twice count once.
_MAX_NAMED = 1000


def raw_route(sender: Sender) -> web.RouteDef:
    """POST /v1/send/raw."""

    async def send_raw(request: web.Request) -> web.Response:
        caller = sender.door.caller(request, "send")
        async with uploaded(sender.services, request, "message/rfc822") as body:

            async def work(slot: Slot | None) -> Answer:
                return await sender.submit(caller, await _draft(sender, caller, request, body), slot)

            return (await once(sender.services, request, caller, body, work)).response()

    return web.post("/v1/send/raw", send_raw)


async def _draft(sender: Sender, caller: Caller, request: web.Request, raw: bytes) -> Draft:
    given = query(request, "from", "category", "sendAt", many=("to", "tag"))
    mail_from, to = _envelope(request, given, sender.services.config.submission.max_recipients)
    category = given.get("category")
    if category is not None and category not in get_args(Category):
        reject("category: not a category", field="category")
    tags = [safe("tag", tag) for tag in request.query.getall("tag", [])]
    if len(tags) > 20 or any(not 0 < len(tag) <= 128 for tag in tags):
        reject("tag: at most 20 of 1 to 128 characters", field="tag")
    send_at = sender.moment(_moment(given.get("sendAt")))
    domain = sender.domain(caller, mail_from)
    rejected: list[Rejected] = []
    wanted: dict[Address, None] = {}
    for text in to:
        try:
            wanted[address(text)] = None
        except BadName as e:
            rejected.append((text, Verdict(INVALID_RECIPIENT, saw=e.reason)))
    good = await sender.recipients(caller, domain, mail_from, list(wanted), category, rejected)
    # RFC 6532 §3: raw UTF-8 in the header needs SMTPUTF8 on the way (RFC 6531 §3.4).
    smtputf8 = not _head(raw).isascii() or (mail_from is not None and mail_from.smtputf8)
    submission = Submission(
        caller.login, domain, "http", mail_from, [Recipient(one) for one in good], raw, category=category, tags=tags,
        smtputf8=smtputf8, client_address=caller.address, tls=caller.tls, send_at=send_at,
    )
    return Draft(submission, rejected)


def _envelope(request: web.Request, given: dict[str, str], most: int) -> tuple[Address | None, list[str]]:
    """The envelope from the query or from headers: one place for each half, never both. `<>` is the null sender."""
    senders = [given["from"]] if "from" in given else []
    recipients = request.query.getall("to", [])
    for field, found, header in (("from", senders, FROM), ("to", recipients, TO)):
        named = mailboxes.split(request.headers.getall(header, []))
        if named and found:
            reject(f"{field}: stands in the query and in {header}", field=field)
        found += [item for item in named if item]
        if not found:
            reject(f"{field}: required, in the query or as {header}", field=field)
    if len(senders) > 1:
        reject("from: exactly one envelope sender is needed", field="from")
    if len(recipients) > _MAX_NAMED:
        raise Refused(TOO_MANY_RECIPIENTS, wanted=str(most))
    if senders[0].strip() == "<>":
        return None, recipients
    try:
        return own_address(senders[0].strip()), recipients
    except BadName as e:
        raise Refused(INVALID_SENDER, saw=e.reason) from None


def _moment(text: str | None) -> str | float | None:
    if text is None:
        return None
    try:
        return float(text) if text.replace(".", "", 1).isdigit() and text.isascii() and len(text) < 18 else text
    except ValueError:
        return text


def _head(raw: bytes) -> bytes:
    end = raw.find(b"\r\n\r\n")
    return raw if end < 0 else raw[:end]
