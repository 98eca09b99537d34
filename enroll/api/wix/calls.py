"""The calls: what was asked, handed to the services, and their answer in this API's shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from aiohttp import web

from enroll.api.wix import requests, views
from enroll.api.wix.requests import Page
from enroll.domains import Domain
from enroll.errors import EnrollError, not_found
from enroll.senders import Sender, SenderEmail
from enroll.services import SenderServices
from enroll.sessions import Actor
from relay.base import names
from relay.base.web.models import View, body


class _Numbered(Protocol):
    @property
    def number(self) -> int: ...


Item = TypeVar("Item", bound=_Numbered)


class Calls:
    """One method a call: (who asks, the request) → the answer's body. A key limited to some domains sees only those."""

    def __init__(self, services: SenderServices) -> None:
        self._emails, self._details, self._sending = services.addresses, services.details, services.sending

    # -- sending domains -----------------------------------------------------------------------------------------

    async def query_domains(self, actor: Actor, request: web.Request) -> View:
        """Those that a filter names."""
        # Who has no sender details is told so whatever was asked: the next step is there, not in the query.
        await self._sending.need_details(actor.member.id)
        query = await requests.query(request)
        domains, ids = requests.filtered(query)
        page = requests.page_of_query(query)
        found = await self._sending.find(actor.member.id, names=domains, ids=ids)
        there = [d for d in found if d.id > page.after]
        shown = there[: page.limit]
        last = (shown[-1].id if shown else page.after) if len(there) > len(shown) else None
        kept = [self._domain(d) for d in shown if actor.may_use(d.name)]
        return views.DomainPage(sending_domains=kept, paging_metadata=views.paging(len(kept), last))

    async def get_domain(self, actor: Actor, request: web.Request) -> View:
        """One of them."""
        domain = await self._sending.get(actor.member.id, request.match_info["id"].lower())
        return views.OneDomain(sending_domain=self._domain(self._allowed(actor, domain)))

    async def authenticate(self, actor: Actor, request: web.Request) -> View:
        """A look at its DNS."""
        id = request.match_info["id"].lower()
        self._allowed(actor, await self._sending.get(actor.member.id, id))
        return views.OneDomain(sending_domain=self._domain(await self._sending.authenticate(actor.member.id, id)))

    def _domain(self, domain: Domain) -> views.DomainView:
        return views.domain_view(domain, self._sending.records(domain))

    @staticmethod
    def _allowed(actor: Actor, domain: Domain) -> Domain:
        if not actor.may_use(domain.name):
            raise not_found("No such sending domain")
        return domain

    # -- sender emails -------------------------------------------------------------------------------------------

    async def list_emails(self, actor: Actor, request: web.Request) -> View:
        """A page of them."""
        page = requests.page_of_list(request)
        found = await self._emails.list(
            actor.member.id, after=page.after, limit=page.limit + 1, address=request.query.get("emailAddress")
        )
        shown, last = _cut(found, page)
        kept = [views.email_view(e) for e in shown if actor.may_use(e.domain)]
        return views.EmailPage(paging_metadata=views.paging(len(kept), last), sender_emails=kept)

    async def get_email(self, actor: Actor, request: web.Request) -> View:
        """One of them."""
        return self._email(await self._known(actor, request))

    async def create_email(self, actor: Actor, request: web.Request) -> View:
        """A new one."""
        asked = (await body(requests.CreateEmail, request)).sender_email
        _may(actor, asked.email_address)
        made = await self._emails.add(actor.member.id, asked.email_address, asked.extended_fields)
        return self._email(made)

    async def get_or_create_email(self, actor: Actor, request: web.Request) -> View:
        """The one that is there, or a new one."""
        asked = await body(requests.GetOrCreateEmail, request)
        _may(actor, asked.email_address)
        return self._email(await self._emails.add(actor.member.id, asked.email_address, even_known=True))

    async def delete_email(self, actor: Actor, request: web.Request) -> View:
        """One gone."""
        await self._emails.remove(actor.member.id, (await self._known(actor, request)).id)
        return views.Nothing()

    async def send_code(self, actor: Actor, request: web.Request) -> View:
        """A code on its way."""
        await self._emails.send_code(actor.member.id, (await self._known(actor, request)).id)
        return views.Nothing()

    async def verify_email(self, actor: Actor, request: web.Request) -> View:
        """The code brought back."""
        asked = await body(requests.VerifyEmail, request)
        known = await self._known(actor, request)
        await self._emails.verify(actor.member.id, known.id, asked.verification_code)
        return views.Nothing()

    async def _known(self, actor: Actor, request: web.Request) -> SenderEmail:
        found = await self._emails.get(actor.member.id, request.match_info["id"])
        if not actor.may_use(found.domain):
            raise not_found("No such sender email")
        return found

    @staticmethod
    def _email(found: SenderEmail) -> View:
        return views.OneEmail(sender_email=views.email_view(found))

    # -- sender details ------------------------------------------------------------------------------------------

    async def list_details(self, actor: Actor, request: web.Request) -> View:
        """A page of them."""
        page = requests.page_of_list(request)
        found = await self._details.list(
            actor.member.id, after=page.after, limit=page.limit + 1, address=request.query.get("fromEmailAddress")
        )
        shown, last = _cut(found, page)
        kept = [views.details_view(s) for s in shown if actor.may_use(s.domain)]
        return views.DetailsPage(paging_metadata=views.paging(len(kept), last), sender_details=kept)

    async def get_details(self, actor: Actor, request: web.Request) -> View:
        """One of them."""
        return self._sender(await self._own(actor, request))

    async def create_details(self, actor: Actor, request: web.Request) -> View:
        """New ones; the domain of their address enrolls itself."""
        asked = (await body(requests.CreateDetails, request)).sender_details
        _may(actor, asked.from_email_address)
        made = await self._details.add(
            actor.member.id, asked.from_name, asked.from_email_address, asked.extended_fields
        )
        return self._sender(made)

    async def update_details(self, actor: Actor, request: web.Request) -> View:
        """What is given, changed."""
        asked = (await body(requests.UpdateDetails, request)).sender_details
        if asked.from_email_address is not None:
            _may(actor, asked.from_email_address)
        made = await self._details.change(
            actor.member.id, (await self._own(actor, request)).id, name=asked.from_name,
            address=asked.from_email_address, data=asked.extended_fields,
        )
        return self._sender(made)

    async def delete_details(self, actor: Actor, request: web.Request) -> View:
        """One gone."""
        await self._details.remove(actor.member.id, (await self._own(actor, request)).id)
        return views.Nothing()

    async def default_details(self, actor: Actor, request: web.Request) -> View:
        """The default."""
        found = await self._details.default(actor.member.id)
        if not actor.may_use(found.domain):
            raise not_found("No such sender details")
        return self._sender(found)

    async def mark_default(self, actor: Actor, request: web.Request) -> View:
        """Another default."""
        return self._sender(await self._details.make_default(actor.member.id, (await self._own(actor, request)).id))

    async def actual_from(self, actor: Actor, request: web.Request) -> View:
        """What From will really be."""
        asked = await body(requests.ActualFrom, request)
        found = await self._sending.actual_from(actor.member.id, asked.from_address, may_use=actor.may_use)
        return views.ActualFromView(actual_from_address=found)

    async def _own(self, actor: Actor, request: web.Request) -> Sender:
        found = await self._details.get(actor.member.id, request.match_info["id"])
        if not actor.may_use(found.domain):
            raise not_found("No such sender details")
        return found

    @staticmethod
    def _sender(found: Sender) -> View:
        return views.OneDetails(sender_details=views.details_view(found))


def _cut(found: Sequence[Item], page: Page) -> tuple[Sequence[Item], int | None]:
    """(the page, the number behind which there are more, None for the end) of one entry too many."""
    shown = found[: page.limit]
    if len(found) <= page.limit:
        return shown, None
    return shown, shown[-1].number if shown else page.after


def _may(actor: Actor, address: str) -> None:
    try:
        allowed = actor.may_use(names.address(address.strip()).domain)
    except names.BadName:
        allowed = True  # the service says what is wrong with it
    if not allowed:
        raise EnrollError(403, "FORBIDDEN", "This API key is limited to other domains")
