"""POST /v1/send: one message from JSON. Also the way that batch and raw go.

The questions are those of SMTP, asked of the same policy in the same order: sender, each recipient, then intake with
the whole message. A recipient refused by itself goes into `rejected`; what refuses the message refuses the request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import hdrs, web

from relay.base.clock import DAY
from relay.base.names import Address, BadName, Mailbox, single_mailbox
from relay.base.storage import Tx
from relay.base.web import reject
from relay.base.web.body import INLINE_BYTES, json_value, read_body
from relay.base.web.models import read, refuse_fields
from relay.directory import DomainEntry
from relay.intake import Accepted, Recipient, Submission
from relay.policy import paused_verdict
from relay.replies import (
    FROM_MISMATCH,
    INVALID_RECIPIENT,
    SUPPRESSED,
    TOO_MANY_RECIPIENTS,
    Refused,
    Verdict,
)
from relay.sendapi import mailboxes
from relay.sendapi.answers import Answer, Rejected, nothing_accepted, sent
from relay.sendapi.authenticate import Access, Caller, SendServices
from relay.sendapi.compose import compose
from relay.sendapi.headers import Named, safe
from relay.sendapi.idempotency import Slot
from relay.sendapi.models import SendRequest

# RFC 3339 §5.6, with the offset it demands.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_ONE_BY_ONE = frozenset({INVALID_RECIPIENT.name, SUPPRESSED.name})


@dataclass(slots=True)
class Draft:
    """A request that may be sent: the submission (its recipients may be none), and who was left out."""

    submission: Submission
    rejected: list[Rejected]


class Sender:
    """From a request's value to an answer.

    `asks` True makes drafts that are never sent: what policy refuses stays in, for preflight to tell of.
    """

    def __init__(self, services: SendServices, access: Access, *, asks: bool = False) -> None:
        self.services, self.access, self._asks = services, access, asks

    async def send(self, caller: Caller, value: object, slot: Slot | None = None) -> Answer:
        """One message of POST /v1/send. Raises Refused for what refuses all of it."""
        return await self.submit(caller, await self.draft(caller, value), slot)

    async def draft(self, caller: Caller, value: object) -> Draft:
        """Check, ask policy, compose; nothing is written. Raises Refused."""
        request = read(SendRequest, value)
        _check_said(request)
        send_at = self.moment(request.send_at)
        mailbox = self._sender(caller, request.sender)
        domain = None if self._asks else self.domain(caller, mailbox.address)
        named, rejected = self._named(request)
        to, cc, _ = named
        good = list(dict.fromkeys(one.address for group in named for one in group))
        if domain is not None:
            good = await self.recipients(caller, domain, mailbox.address, good, request.category, rejected)
        reply_to = [_mailbox("replyTo", text) for text in mailboxes.split(request.reply_to)]
        raw = await self._compose(request, Named(mailbox.display, mailbox.address), to, cc, reply_to)
        shown_addresses = [mailbox.address, *(one.address for one in [*to, *cc, *reply_to])]
        submission = Submission(
            caller.login, domain, "http", mailbox.address, [Recipient(address) for address in good], raw,
            category=request.category, tags=list(request.tags), metadata=dict(request.metadata) or None,
            smtputf8=any(address.smtputf8 for address in shown_addresses), client_address=caller.address,
            tls=caller.tls, send_at=send_at,
        )
        return Draft(submission, rejected)

    async def submit(self, caller: Caller, draft: Draft, slot: Slot | None = None) -> Answer:
        """Hand a draft to intake; with `slot`, the answer is kept in the message's own transaction."""
        submission, public_url = draft.submission, self.services.config.server.public_url
        if not submission.recipients:
            return nothing_accepted(draft.rejected, public_url)
        kept: list[Answer] = []

        async def also(tx: Tx, accepted: Accepted) -> None:
            answer = self.accepted(caller, draft, accepted)
            if slot is not None:
                await slot.keep(tx, answer)
            kept[:] = [answer]

        submission.also = also
        result = await self.services.intake.accept(submission)
        if isinstance(result, Accepted):
            return kept[0]
        return await self.not_accepted(caller, draft, result)

    def accepted(self, caller: Caller, draft: Draft, accepted: Accepted) -> Answer:
        """The 200 for a message that has been written."""
        late = [
            (text, self.access.recorded(verdict, caller.address, caller.login, **_asked(draft.submission)))
            for text, verdict in accepted.rejected
        ]
        public_url = self.services.config.server.public_url
        return sent(accepted, [*draft.rejected, *late], public_url, self.services.clock.now())

    async def not_accepted(self, caller: Caller, draft: Draft, verdict: Verdict) -> Answer:
        """The answer when the accepting transaction refused: all recipients suppressed since, or the message."""
        submission = draft.submission
        if verdict.reply is not SUPPRESSED:
            self.access.refuse(verdict, caller.address, caller.login, **_asked(submission))
        assert submission.login is not None
        rejected = list(draft.rejected)
        for recipient in submission.recipients:
            found = await self.services.policy.addressee(
                submission.login, recipient.address.text, category=submission.category
            )
            why = found if isinstance(found, Verdict) and found.reply is SUPPRESSED else verdict
            rejected.append(
                (recipient.address.text, self.access.recorded(why, caller.address, caller.login, **_asked(submission)))
            )
        return nothing_accepted(rejected, self.services.config.server.public_url)

    def domain(self, caller: Caller, address: Address | None) -> DomainEntry | None:
        """The sending domain, asked of policy; None for the null sender. Raises Refused (DOMAIN_MISMATCH,
        MEMBER_SUSPENDED, …)."""
        policy, login = self.services.policy, caller.login
        found = policy.sender(login, address.text) if address is not None else policy.null_sender(login)
        if isinstance(found, Verdict):
            self.access.refuse(found, caller.address, login, mailFrom=address.text if address is not None else "")
        return found

    async def recipients(
        self, caller: Caller, domain: DomainEntry | None, sender: Address | None, wanted: Sequence[Address],
        category: str | None, rejected: list[Rejected],
    ) -> list[Address]:
        """Those of `wanted` (distinct) that policy lets through; refused ones are added to `rejected`. `domain` and
        `sender` None: the null sender.

        Raises Refused for what refuses the whole: too many, or an allowance that not all of them fit in.
        """
        if (many := self.services.policy.many(len(wanted) + len(rejected), null=domain is None)) is not None:
            raise Refused(many)
        named = [address.text for address in wanted]
        asked = {"mailFrom": sender.text if sender else "", "recipients": named, "category": category}
        policy, good, out = self.services.policy, [], []
        for address in wanted:
            found = await policy.addressee(caller.login, address.text, category=category)
            if isinstance(found, Verdict) and found.reply.name in _ONE_BY_ONE:
                out.append((address.text, found))
            elif isinstance(found, Verdict):
                self.access.refuse(found, caller.address, caller.login, **asked)
            else:
                good.append(found)
        # The request is judged whole: the slot that is named is one at which all of it fits.
        if good and domain and (refused := await policy.allowance(domain, len(good))) is not None:
            self.access.refuse(refused, caller.address, caller.login, **asked)
        rejected += [(text, self.access.recorded(why, caller.address, caller.login, **asked)) for text, why in out]
        return good

    def moment(self, given: str | int | float | None) -> float | None:
        """sendAt in Unix seconds; None for now or the past. Raises Refused."""
        if given is None:
            return None
        if isinstance(given, str):
            if not _MOMENT.fullmatch(given):
                refuse_fields([("sendAt", "RFC 3339 with an offset (2026-05-01T14:05:30Z) or Unix seconds are needed")])
            try:
                at = datetime.fromisoformat(given.upper().replace(" ", "T")).timestamp()
            except (ValueError, OverflowError):
                refuse_fields([("sendAt", "no such time")])
        else:
            at = float(given)
        now, days = self.services.clock.now(), self.services.config.http.max_schedule_days
        if at > now + days * DAY:
            refuse_fields([("sendAt", f"at most {days} days ahead")])
        return at if at > now else None

    def _sender(self, caller: Caller, given: str | None) -> Mailbox:
        if given is None:
            # The domain that its owner made the default, else the only one that this key can send from.
            usable = self.services.directory.domains_of(caller.login)
            paused = self.services.directory.paused_domains(caller.login)
            chosen = [d for d in usable if d.options.default_sender]
            # Not from another one instead, where the one that would serve may not send just now.
            asleep = [] if chosen else [d for d in paused if d.default] or (paused if not usable else [])
            if len(asleep) == 1:
                self.access.refuse(paused_verdict(asleep[0]), caller.address, caller.login)
            usable = chosen or usable
            if len(usable) != 1:
                refuse_fields([("from", "required: there is no single default domain")])
            return Mailbox("", Address("noreply", usable[0].name))
        safe("from", given)
        try:
            return single_mailbox(mailboxes.quoted(given.strip()).encode())
        except BadName as e:
            verdict = Verdict(FROM_MISMATCH, saw=e.reason, member_id=caller.login.member_id)
            self.access.refuse(verdict, caller.address, caller.login)

    def _named(self, request: SendRequest) -> tuple[list[list[Named]], list[Rejected]]:
        """The readable mailboxes of to, cc and bcc, and the unreadable ones."""
        limit = self.services.config.submission.max_recipients
        rejected: list[Rejected] = []
        groups = []
        for where, listed in (("to", request.to), ("cc", request.cc), ("bcc", request.bcc)):
            texts = mailboxes.split(listed)
            if len(texts) > 10 * limit:
                raise Refused(TOO_MANY_RECIPIENTS, wanted=str(limit))
            group = []
            for text in texts:
                try:
                    group.append(mailboxes.read(where, text))
                except BadName as e:
                    rejected.append((text, Verdict(INVALID_RECIPIENT, saw=e.reason)))
            groups.append(group)
        if not any(groups) and not rejected:
            refuse_fields([("to", "at least one recipient is needed")])
        return groups, rejected

    async def _compose(
        self, request: SendRequest, sender: Named, to: list[Named], cc: list[Named], reply_to: list[Named]
    ) -> bytes:
        limit = self.services.config.submission.max_message_bytes

        def work() -> bytes:
            return compose(request, sender=sender, to=to, cc=cc, reply_to=reply_to, limit=limit)

        size = len(request.text or "") + len(request.html or "") + sum(len(a.content) for a in request.attachments)
        return work() if size <= INLINE_BYTES else await asyncio.to_thread(work)


@asynccontextmanager
async def uploaded(services: SendServices, request: web.Request, *kinds: str) -> AsyncIterator[bytes]:
    """The body of a request that carries a message, of one of these media types, held within this process's bound.
    Raises Refused."""
    if request.content_type.lower() not in kinds or hdrs.CONTENT_TYPE not in request.headers:
        reject(f"send Content-Type: {kinds[0]}")
    limit = services.config.http.max_body_bytes
    with services.uploads.room(min(limit, request.content_length or limit)):
        yield await read_body(request, limit)


async def parsed(services: SendServices, body: bytes) -> object:
    """A body as strict JSON, large ones in a thread. Raises Refused."""
    http = services.config.http
    if len(body) <= INLINE_BYTES:
        return json_value(body, depth=http.max_json_depth, values=http.max_json_values)
    return await asyncio.to_thread(json_value, body, depth=http.max_json_depth, values=http.max_json_values)


def _asked(submission: Submission) -> dict[str, Any]:
    return {
        "mailFrom": submission.mail_from.text if submission.mail_from else "",
        "recipients": [r.address.text for r in submission.recipients],
        "category": submission.category,
        "size": len(submission.raw),
    }


def _mailbox(where: str, text: str) -> Named:
    try:
        return mailboxes.read(where, text)
    except BadName as e:
        refuse_fields([(where, e.reason)])


def _check_said(request: SendRequest) -> None:
    """Tags and metadata come back in events and pages: no controls in them either."""
    for at, tag in enumerate(request.tags):
        safe(f"tags.{at}", tag)
    for key, value in request.metadata.items():
        safe("metadata", key)
        if isinstance(value, str):
            safe(f"metadata.{key}", value)
