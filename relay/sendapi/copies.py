"""One letter to several people, each of whom gets a message of its own and learns of nobody else: to all, or to none.

The questions are those of `send`, asked of the same policy for all recipients at once. The messages are written in one
transaction, together with what the caller wants to keep of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from relay.base import names
from relay.base.names import Address
from relay.base.storage import StorageFull, Tx
from relay.base.web.calls import Call
from relay.directory import DomainEntry
from relay.intake import Accepted, Built, Recipient, Submission, new_queue_id
from relay.replies import SUPPRESSED, Verdict
from relay.sendapi.answers import Rejected
from relay.sendapi.authenticate import Access, Caller, SendServices
from relay.sendapi.compose import compose
from relay.sendapi.headers import Named, safe
from relay.sendapi.models import Category, SendRequest
from relay.sendapi.send import Sender, parsed, uploaded
from relay.unsubscribe import Unsubscribe


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is to be sent. `placeholder`: words of the html in whose place each recipient finds where it unsubscribes,
    "" for none."""

    sender: Named
    to: Sequence[Named]
    reply_to: Sequence[Named]
    subject: str
    html: str
    category: Category
    metadata: dict[str, str] = field(default_factory=dict)
    placeholder: str = ""


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a letter: the domain that it goes out from, the recipient ids of those who get it, and why the
    others don't."""

    domain: DomainEntry
    accepted: dict[Address, int]
    rejected: list[Rejected]


Keep = Callable[[Tx, Posted], Awaitable[None]]
"""Writes what the caller keeps, in the accepting transaction; what it raises undoes all."""


class _Late(Exception):
    """Somebody was refused by the accepting transaction: at this place in the batch, and why."""

    def __init__(self, at: int, verdict: Verdict) -> None:
        super().__init__(at)
        self.at, self.verdict = at, verdict


class Copies:
    """Sends letters."""

    def __init__(self, services: SendServices, unsubscribe: Unsubscribe) -> None:
        self._services, self._unsubscribe = services, unsubscribe
        self._access = Access(services)
        self.sender = Sender(services, self._access)

    async def caller(self, request: web.Request, call: Call, token: str | None) -> Caller:
        """Whose API key it is that makes a call: `token`, where one was found. Raises Refused."""
        return await self._access.caller(request, call, token)

    async def body(self, request: web.Request) -> object:
        """The request's body, which holds a letter, as strict JSON. Raises Refused."""
        async with uploaded(self._services, request, "application/json") as raw:
            return await parsed(self._services, raw)

    async def send(self, caller: Caller, letter: Letter, keep: Keep) -> Posted:
        """Send it, and `keep`. Raises Refused for what refuses all of it, StorageError.

        Nobody left who may get it is no refusal: `keep` is called all the same.
        """
        _check(letter)
        sender = letter.sender.address
        domain = self.sender.domain(caller, sender)
        assert domain is not None
        rejected: list[Rejected] = []
        wanted = list(dict.fromkeys(one.address for one in letter.to))
        good = await self.sender.recipients(caller, domain, sender, wanted, letter.category, rejected)
        named = {one.address: one for one in reversed(letter.to)}
        with self._services.uploads.room(2 * len(letter.html) * len(good)):
            built = [await self._built(caller, letter, domain, named[address]) for address in good]
            return await self._sent(caller, domain, built, rejected, keep)

    async def _sent(
        self, caller: Caller, domain: DomainEntry, built: list[Built], rejected: list[Rejected], keep: Keep
    ) -> Posted:
        while True:
            try:
                return await self._written(domain, built, rejected, keep)
            except _Late as late:
                one = built[late.at]
                if late.verdict.reply is not SUPPRESSED:
                    self._access.refuse(late.verdict, caller.address, caller.login, **_asked(one))
                # Suppressed since it was asked: the others go without.
                text = one.submission.recipients[0].address.text
                why = self._access.recorded(late.verdict, caller.address, caller.login, **_asked(one))
                rejected.append((text, why))
                del built[late.at]

    async def _built(self, caller: Caller, letter: Letter, domain: DomainEntry, to: Named) -> Built:
        html, queue_id = letter.html, new_queue_id()
        if letter.placeholder:
            url = self._unsubscribe.url(
                domain.member_id, domain.id, names.canonical(to.address), letter.category, queue_id=queue_id
            )
            html = html.replace(letter.placeholder, url)
        request = SendRequest.model_validate({"to": [to.address.text], "subject": letter.subject, "html": html})
        limit = self._services.config.submission.max_message_bytes

        def work() -> bytes:
            return compose(
                request, sender=letter.sender, to=[to], cc=[], reply_to=letter.reply_to, limit=limit
            )

        raw = await asyncio.to_thread(work)
        shown = [letter.sender.address, to.address, *(one.address for one in letter.reply_to)]
        built = await self._services.intake.prepare(Submission(
            caller.login, domain, "http", letter.sender.address, [Recipient(to.address)], raw,
            category=letter.category, metadata=dict(letter.metadata) or None,
            smtputf8=any(address.smtputf8 for address in shown), client_address=caller.address, tls=caller.tls,
            queue_id=queue_id,
        ))
        if isinstance(built, Verdict):
            self._access.refuse(built, caller.address, caller.login, mailFrom=letter.sender.address.text)
        return built

    async def _written(
        self, domain: DomainEntry, built: list[Built], rejected: list[Rejected], keep: Keep
    ) -> Posted:
        posted = Posted(domain, {}, list(rejected))

        async def also(tx: Tx, accepted: Accepted) -> None:
            # With the last message everybody's id is known; after it come figures and events, which others wait for.
            posted.accepted.update(accepted.recipients)
            if len(posted.accepted) == len(built):
                await keep(tx, posted)

        async def write(tx: Tx) -> None:
            posted.accepted.clear()
            for one in built:
                one.submission.also = also
            for at, result in enumerate(await self._services.intake.write_all(tx, built)):
                if isinstance(result, Verdict):
                    raise _Late(at, result)
            if not built:
                await keep(tx, posted)

        try:
            await self._services.storage.write(write)
        except StorageFull as e:
            self._services.intake.found_full(e)
            raise
        self._services.intake.wake()
        return posted


def _check(letter: Letter) -> None:
    """No control in anything that becomes a header field, or comes back in events."""
    safe("subject", letter.subject)
    safe("sender", letter.sender.display)
    for where, listed in (("to", letter.to), ("replyTo", letter.reply_to)):
        for one in listed:
            safe(where, one.display)
    for key, value in letter.metadata.items():
        safe("metadata", key)
        safe("metadata", value)


def _asked(built: Built) -> dict[str, Any]:
    submission = built.submission
    return {
        "mailFrom": submission.mail_from.text if submission.mail_from else "",
        "recipients": [one.address.text for one in submission.recipients], "category": submission.category,
        "size": len(submission.raw),
    }
