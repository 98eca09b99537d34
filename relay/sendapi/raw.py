"""POST /v1/send/raw: a finished message (message/rfc822) with its envelope in the query or in headers.

The bytes are kept as SMTP would keep them: lines end in CRLF, and a bare CR or LF is refused, not repaired.
"""

from __future__ import annotations

from typing import Annotated, get_args

from aiohttp import web
from pydantic import Field

from relay.base.names import Address, BadName, address, own_address
from relay.base.web import reject
from relay.base.web.models import Query, one_of
from relay.intake import Recipient, Submission
from relay.replies import INVALID_RECIPIENT, INVALID_SENDER, TOO_MANY_RECIPIENTS, Refused, Verdict
from relay.sendapi import mailboxes
from relay.sendapi.answers import Rejected
from relay.sendapi.authenticate import Caller
from relay.sendapi.headers import safe
from relay.sendapi.models import Category
from relay.sendapi.send import Draft, Sender

# The second for programs, generated ones among them, that know no other name for octets.
MESSAGE_KINDS = ("message/rfc822", "application/octet-stream")
FROM, TO = "X-Envelope-From", "X-Envelope-To"
# Before they are looked at; those that are named twice count once.
_MAX_NAMED = 1000


class RawQuery(Query):
    """Envelope and options of POST /v1/send/raw."""

    sender: str | None = Field(None, alias="from", description=f"Envelope sender, if not in {FROM}.")
    to: list[str] = Field(default_factory=list, description=f"Envelope recipients, one each, if not in {TO}.")
    category: Annotated[str, *one_of(get_args(Category))] | None = Field(None, description="Default: the API key's.")
    tag: list[Annotated[str, Field(min_length=1, max_length=128)]] = Field(
        default_factory=list, max_length=20, description="Come back in events.",
    )
    send_at: str | None = Field(None, description="RFC 3339 or Unix seconds; the past means now.")


HEADERS = tuple(
    {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": says}
    for name, says in (
        (FROM, "Envelope sender, if not in `from`; `<>` for the null sender, by a key with nullSender."),
        (TO, "Envelope recipients, separated by commas, if not in `to`."),
    )
)
"""Where the envelope may stand besides, as OpenAPI says it."""


async def raw_draft(sender: Sender, caller: Caller, request: web.Request, query: RawQuery, raw: bytes) -> Draft:
    """A finished message with its envelope, asked of policy. Raises Refused."""
    mail_from, to = _envelope(request, query, sender.services.config.submission.max_recipients)
    category, tags = query.category, [safe("tag", tag) for tag in query.tag]
    send_at = sender.moment(_moment(query.send_at))
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
        smtputf8=smtputf8, client_address=caller.address, tls=caller.tls, send_at=send_at, as_came=True,
    )
    return Draft(submission, rejected)


def _envelope(request: web.Request, query: RawQuery, most: int) -> tuple[Address | None, list[str]]:
    """The envelope from the query or from headers: one place for each half, never both. `<>` is the null sender."""
    senders, recipients = [] if query.sender is None else [query.sender], list(query.to)
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
