"""The calls about email transmissions: send, get, query, delete. Shapes only; `enroll.senders` does the rest."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field, StringConstraints

from enroll.api.wix import transmission_query, views
from enroll.api.wix.errors import TRANSMISSIONS, Invalid
from enroll.api.wix.requests import Asked, body_or_none
from enroll.errors import EnrollError
from enroll.senders.transmissions import MARKETING, Transmission, Transmissions, Wanted
from enroll.sessions import Actor
from relay.base import names
from relay.base.clock import iso
from relay.base.web.calls import KEY, KEY_OR_SIGN_IN, Calls
from relay.base.web.models import View, read
from relay.replies import NOT_FOUND
from relay.sendapi import Caller, Copies, Named

EXPIRED = "<expired>"
TAG = (TRANSMISSIONS, "One e-mail to one or several people, each by itself, and what became of it.")
_PATH = "/email-transmissions/v1/email-transmissions"
_calls = Calls(TRANSMISSIONS, KEY_OR_SIGN_IN)
_WHERE = "emailTransmission"
_ALNUM = r"^[^\W_]+$"
Status = Literal["ACCEPTED", "IN_PROGRESS", "PROCESSED", "REJECTED"]
Kind = Literal["TRANSACTIONAL", "MARKETING"]


# -- what is asked -------------------------------------------------------------------------------------------------


class ToRecipient(Asked):
    """A recipient. Contacts and users are that system's own: here an address is needed."""

    email_address: str | None = Field(None, max_length=320, examples=["ben@example.net"])
    contact_id: str | None = Field(None, max_length=100, description="Refused: there are no contacts here.")
    user_id: str | None = Field(None, max_length=100, description="Refused: there are no users here.")
    name: str | None = Field(None, max_length=255, examples=["Ben"])


class ReplyTo(Asked):
    """Who gets replies."""

    email_address: str | None = Field(None, max_length=320, examples=["anna@example.org"])
    contact_id: str | None = Field(None, max_length=100, description="Refused: there are no contacts here.")
    user_id: str | None = Field(None, max_length=100, description="Refused: there are no users here.")
    name: str | None = Field(None, max_length=255)


class MarketingOptions(Asked):
    """For mail that can be unsubscribed from."""

    unsubscribe_url_placeholder: str | None = Field(
        None, max_length=200, description="Words of the HTML in whose place each recipient finds where it unsubscribes."
    )


Word = Annotated[str, StringConstraints(pattern=_ALNUM, min_length=1, max_length=64)]
Meaning = Annotated[str, StringConstraints(pattern=_ALNUM, min_length=1, max_length=1024)]


class NewTransmission(Asked):
    """What is to be sent."""

    type: Kind
    to_recipients: list[ToRecipient] = Field(min_length=1, max_length=1000)
    email_subject: str = Field(min_length=1, max_length=200, examples=["Hello"])
    email_html_content: str = Field(min_length=1, max_length=1_000_000, examples=["<p>Good morning.</p>"])
    sender_name: str | None = Field(None, max_length=100, description="Default: the name in the sender details.")
    sender_email_address: str | None = Field(
        None, max_length=254, description="A verified one. Default: that of the default sender details."
    )
    reply_to: ReplyTo | None = None
    reply_to_recipient: ReplyTo | None = Field(None, description="Another name for `replyTo`.")
    metadata: dict[Word, Meaning] = Field(default_factory=dict, max_length=10, description="Letters and digits.")
    marketing_options: MarketingOptions | None = None


class SendTransmission(Asked):
    """What sending takes."""

    email_transmission: NewTransmission
    idempotency_key: str | None = Field(
        None, min_length=1, max_length=100, pattern=r"^[!-~]+$", examples=["8046df3c-7575-4098-a5ab-c91ad8f33c47"],
        description="A second request with the same one sends nothing again.",
    )


# -- what is answered ----------------------------------------------------------------------------------------------


class RecipientView(View):
    """A recipient, and what it got; no status while it waits."""

    email_address: str
    name: str | None = None
    status: Literal["SENT", "FAILED"] | None = None
    failure_reason: str | None = None


class AddressView(View):
    """Who gets replies."""

    email_address: str
    name: str | None = None


class MarketingView(View):
    """For mail that can be unsubscribed from."""

    unsubscribe_url_placeholder: str


class TransmissionView(View):
    """A transmission."""

    id: str
    created_date: str
    updated_date: str
    status: Status
    type: Kind
    to_recipients: list[RecipientView]
    email_subject: str
    email_html_content: str | None = Field(None, description="`<expired>` once it isn't kept; only where one is shown.")
    sender_name: str
    sender_email_address: str
    reply_to: AddressView | None = None
    reply_to_recipient: AddressView | None = None
    metadata: dict[str, str]
    marketing_options: MarketingView | None = None


class OneTransmission(View):
    """One transmission."""

    email_transmission: TransmissionView


class TransmissionPage(View):
    """A page of transmissions."""

    email_transmissions: list[TransmissionView]
    paging_metadata: views.PagingMetadata


# -- the calls -----------------------------------------------------------------------------------------------------


class TransmissionCalls:
    """One method a call. A key limited to some domains sees only what was sent from those."""

    def __init__(self, transmissions: Transmissions, copies: Copies) -> None:
        self._transmissions, self._copies = transmissions, copies

    @_calls.post(f"{_PATH}/send", "Send an email transmission", access=KEY, scope="send", takes=SendTransmission)
    async def send(self, who: Caller, request: web.Request) -> OneTransmission:
        """Taken; what becomes of it comes later."""
        value = await self._copies.body(request)
        asked = read(SendTransmission, value)
        assert isinstance(value, dict)
        text = json.dumps(value[_WHERE], sort_keys=True)
        wanted = _wanted(asked, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
        return OneTransmission(email_transmission=_shown(await self._transmissions.send(who, wanted)))

    @_calls.post(
        f"{_PATH}/query", "Find email transmissions", reads=True, takes=transmission_query.QueryTransmissions
    )
    async def query(self, who: Actor, request: web.Request) -> TransmissionPage:
        """Those that a filter names, without their content."""
        page = transmission_query.page_of(await body_or_none(transmission_query.QueryTransmissions, request))
        found, after = await self._transmissions.find(
            who.member.id, where=page.where, order=page.order, after=page.after, limit=page.limit, names=who.domains
        )
        cursors = views.Cursors(next=page.cursor(after) if after else None)
        return TransmissionPage(
            email_transmissions=[_shown(one) for one in found],
            paging_metadata=views.PagingMetadata(count=len(found), cursors=cursors, has_next=after is not None),
        )

    @_calls.get(f"{_PATH}/{{id}}", "Show an email transmission")
    async def get(self, who: Actor, id: str) -> OneTransmission:
        """One, with its content while that is kept."""
        found = await self._transmissions.get(who.member.id, _known(id), names=who.domains)
        shown = _shown(found).model_copy(update={"email_html_content": found.html or EXPIRED})
        return OneTransmission(email_transmission=shown)

    @_calls.delete(f"{_PATH}/{{id}}", "Delete an email transmission")
    async def delete(self, who: Actor, id: str) -> views.Nothing:
        """One gone; its messages stay in the log."""
        await self._transmissions.remove(who.member.id, _known(id), names=who.domains)
        return views.Nothing()


def _known(id: str) -> str:
    """What a database can be asked for."""
    if "\0" in id:
        raise EnrollError(NOT_FOUND, "No such email transmission")
    return id


def _wanted(asked: SendTransmission, body_hash: str) -> Wanted:
    """Raises Invalid with every recipient that can't be read."""
    given = asked.email_transmission
    wrong: list[tuple[str, str, str]] = []
    to = [_named(one, f"{_WHERE}.toRecipients.{at}", wrong) for at, one in enumerate(given.to_recipients)]
    which = "replyTo" if given.reply_to is not None else "replyToRecipient"
    reply = given.reply_to or given.reply_to_recipient
    reply_to = _named(reply, f"{_WHERE}.{which}", wrong) if reply is not None else None
    if wrong:
        raise Invalid(*wrong[:10])
    options = given.marketing_options if given.type == MARKETING else None
    return Wanted(
        kind=given.type, to=[one for one in to if one is not None], subject=given.email_subject,
        html=given.email_html_content, sender_name=given.sender_name or "",
        sender_address=given.sender_email_address or "", reply_to=reply_to, metadata=given.metadata,
        placeholder=(options.unsubscribe_url_placeholder if options else None) or "", key=asked.idempotency_key,
        body_hash=body_hash,
    )


def _named(one: ToRecipient | ReplyTo, where: str, wrong: list[tuple[str, str, str]]) -> Named | None:
    for field, given in (("contactId", one.contact_id), ("userId", one.user_id)):
        if given is not None:
            wrong.append((f"{where}.{field}", "INVALID_ARGUMENT", "not known here: give emailAddress"))
    if one.email_address is None:
        if one.contact_id is None and one.user_id is None:
            wrong.append((f"{where}.emailAddress", "INVALID_ARGUMENT", "required"))
        return None
    try:
        return Named((one.name or "").strip(), names.address(one.email_address.strip()))
    except names.BadName as e:
        wrong.append((f"{where}.emailAddress", "INVALID_ARGUMENT", e.reason))
        return None


def _shown(found: Transmission) -> TransmissionView:
    row = found.row
    reply = None
    if row.reply_to:
        reply = AddressView(email_address=row.reply_to["address"], name=row.reply_to["name"] or None)
    made: dict[str, Any] = {"type": row.kind, "status": found.status}
    return TransmissionView(
        id=row.uuid, created_date=iso(row.created_at), updated_date=iso(row.updated_at),
        to_recipients=[
            RecipientView(
                email_address=p.address, name=p.name or None, failure_reason=p.reason or None,
                status=None if p.sent is None else "SENT" if p.sent else "FAILED",
            )
            for p in found.people
        ],
        email_subject=row.subject, sender_name=row.sender_name, sender_email_address=row.sender_address,
        reply_to=reply, reply_to_recipient=reply, metadata=row.metadata or {},
        marketing_options=MarketingView(unsubscribe_url_placeholder=row.placeholder) if row.placeholder else None,
        **made,
    )
