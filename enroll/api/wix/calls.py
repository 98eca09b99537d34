"""The calls: what was asked, handed to the services, and their answer in this API's shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from aiohttp import web

from enroll.api.wix import requests, views
from enroll.api.wix.errors import DETAILS, DOMAINS, EMAILS
from enroll.api.wix.requests import Page
from enroll.domains import Domain
from enroll.errors import EnrollError, not_found
from enroll.senders import Sender, SenderEmail
from enroll.services import SenderServices
from enroll.sessions import Actor
from relay.base import names
from relay.base.web.calls import KEY_OR_SIGN_IN, Calls
from relay.replies import KEY_LIMITED


class _Numbered(Protocol):
    @property
    def number(self) -> int: ...


Item = TypeVar("Item", bound=_Numbered)


TAGS = (
    (EMAILS, "Addresses, proved by a code."),
    (DETAILS, "Names to send under; one is the default."),
    (DOMAINS, "The domains of those addresses, published as CNAMEs."),
)
_DOMAINS, _EMAILS = "/sending-domains/v1/sending-domains", "/sender-emails/v1/sender-emails"
_DETAILS = "/sender-details/v1/sender-details"
_emails, _details, _domains = (Calls(tag, KEY_OR_SIGN_IN, scope="manage") for tag, _ in TAGS)


class SenderCalls:
    """One method a call. A key limited to some domains sees only those."""

    def __init__(self, services: SenderServices) -> None:
        self._emails, self._details, self._sending = services.addresses, services.details, services.sending

    # -- sending domains -----------------------------------------------------------------------------------------

    @_domains.post(f"{_DOMAINS}/query", "Find sending domains", reads=True, takes=requests.QueryDomains)
    async def query_domains(self, who: Actor, request: web.Request) -> views.DomainPage:
        """Those that a filter names."""
        # Who has no sender details is told so whatever was asked: the next step is there, not in the query.
        await self._sending.need_details(who.member.id)
        query = await requests.query(request)
        domains, ids = requests.filtered(query)
        page = requests.page_of_query(query)
        found = await self._sending.find(who.member.id, names=domains, ids=ids)
        there = [d for d in found if d.id > page.after]
        shown = there[: page.limit]
        last = (shown[-1].id if shown else page.after) if len(there) > len(shown) else None
        kept = [self._domain(d) for d in shown if who.may_use(d.name)]
        return views.DomainPage(sending_domains=kept, paging_metadata=views.paging(len(kept), last))

    @_domains.get(f"{_DOMAINS}/{{id}}", "Show a sending domain")
    async def get_domain(self, who: Actor, id: str) -> views.OneDomain:
        """One of them."""
        domain = await self._sending.get(who.member.id, id.lower())
        return views.OneDomain(sending_domain=self._domain(self._allowed(who, domain)))

    @_domains.post(f"{_DOMAINS}/{{id}}/authenticate", "Look at a sending domain's DNS")
    async def authenticate(self, who: Actor, id: str) -> views.OneDomain:
        """A look at its DNS."""
        id = id.lower()
        self._allowed(who, await self._sending.get(who.member.id, id))
        return views.OneDomain(sending_domain=self._domain(await self._sending.authenticate(who.member.id, id)))

    def _domain(self, domain: Domain) -> views.DomainView:
        return views.domain_view(domain, self._sending.records(domain))

    @staticmethod
    def _allowed(who: Actor, domain: Domain) -> Domain:
        if not who.may_use(domain.name):
            raise not_found("No such sending domain")
        return domain

    # -- sender emails -------------------------------------------------------------------------------------------

    @_emails.get(_EMAILS, "List the sender emails", asks=requests.ListEmails)
    async def list_emails(self, who: Actor, request: web.Request) -> views.EmailPage:
        """A page of them."""
        page = requests.page_of_list(request)
        found = await self._emails.list(
            who.member.id, after=page.after, limit=page.limit + 1, address=request.query.get("emailAddress")
        )
        shown, last = _cut(found, page)
        kept = [views.email_view(e) for e in shown if who.may_use(e.domain)]
        return views.EmailPage(paging_metadata=views.paging(len(kept), last), sender_emails=kept)

    @_emails.get(f"{_EMAILS}/{{id}}", "Show a sender email")
    async def get_email(self, who: Actor, id: str) -> views.OneEmail:
        """One of them."""
        return self._email(await self._known(who, id))

    @_emails.post(_EMAILS, "Add a sender email")
    async def create_email(self, who: Actor, body: requests.CreateEmail) -> views.OneEmail:
        """A new one."""
        asked = body.sender_email
        may(who, asked.email_address)
        made = await self._emails.add(who.member.id, asked.email_address, asked.extended_fields)
        return self._email(made)

    @_emails.post(f"{_EMAILS}/get-or-create", "Find or add a sender email")
    async def get_or_create_email(self, who: Actor, body: requests.GetOrCreateEmail) -> views.OneEmail:
        """The one that is there, or a new one."""
        may(who, body.email_address)
        return self._email(await self._emails.add(who.member.id, body.email_address, even_known=True))

    @_emails.delete(f"{_EMAILS}/{{id}}", "Delete a sender email")
    async def delete_email(self, who: Actor, id: str) -> views.Nothing:
        """One gone."""
        await self._emails.remove(who.member.id, (await self._known(who, id)).id)
        return views.Nothing()

    @_emails.post(f"{_EMAILS}/{{id}}/send-verification-code", "Mail a verification code")
    async def send_code(self, who: Actor, id: str) -> views.Nothing:
        """A code on its way."""
        await self._emails.send_code(who.member.id, (await self._known(who, id)).id)
        return views.Nothing()

    @_emails.post(f"{_EMAILS}/{{id}}/verify", "Verify a sender email")
    async def verify_email(self, who: Actor, id: str, body: requests.VerifyEmail) -> views.Nothing:
        """The code brought back."""
        known = await self._known(who, id)
        await self._emails.verify(who.member.id, known.id, body.verification_code)
        return views.Nothing()

    async def _known(self, who: Actor, id: str) -> SenderEmail:
        found = await self._emails.get(who.member.id, id)
        if not who.may_use(found.domain):
            raise not_found("No such sender email")
        return found

    @staticmethod
    def _email(found: SenderEmail) -> views.OneEmail:
        return views.OneEmail(sender_email=views.email_view(found))

    # -- sender details ------------------------------------------------------------------------------------------

    @_details.get(_DETAILS, "List the sender details", asks=requests.ListDetails)
    async def list_details(self, who: Actor, request: web.Request) -> views.DetailsPage:
        """A page of them."""
        page = requests.page_of_list(request)
        found = await self._details.list(
            who.member.id, after=page.after, limit=page.limit + 1, address=request.query.get("fromEmailAddress")
        )
        shown, last = _cut(found, page)
        kept = [views.details_view(s) for s in shown if who.may_use(s.domain)]
        return views.DetailsPage(paging_metadata=views.paging(len(kept), last), sender_details=kept)

    @_details.get(f"{_DETAILS}/default", "Show the default sender")
    async def default_details(self, who: Actor) -> views.OneDetails:
        """The default."""
        found = await self._details.default(who.member.id)
        if not who.may_use(found.domain):
            raise not_found("No such sender details")
        return self._sender(found)

    @_details.get(f"{_DETAILS}/{{id}}", "Show sender details")
    async def get_details(self, who: Actor, id: str) -> views.OneDetails:
        """One of them."""
        return self._sender(await self._own(who, id))

    @_details.post(_DETAILS, "Add sender details")
    async def create_details(self, who: Actor, body: requests.CreateDetails) -> views.OneDetails:
        """New ones; the domain of their address enrolls itself."""
        asked = body.sender_details
        may(who, asked.from_email_address)
        made = await self._details.add(
            who.member.id, asked.from_name, asked.from_email_address, asked.extended_fields
        )
        return self._sender(made)

    @_details.patch(f"{_DETAILS}/{{id}}", "Change sender details")
    async def update_details(self, who: Actor, id: str, body: requests.UpdateDetails) -> views.OneDetails:
        """What is given, changed."""
        asked = body.sender_details
        if asked.from_email_address is not None:
            may(who, asked.from_email_address)
        made = await self._details.change(
            who.member.id, (await self._own(who, id)).id, name=asked.from_name,
            address=asked.from_email_address, data=asked.extended_fields,
        )
        return self._sender(made)

    @_details.delete(f"{_DETAILS}/{{id}}", "Delete sender details")
    async def delete_details(self, who: Actor, id: str) -> views.Nothing:
        """One gone."""
        await self._details.remove(who.member.id, (await self._own(who, id)).id)
        return views.Nothing()

    @_details.post(f"{_DETAILS}/{{id}}/mark-as-default", "Make a sender the default")
    async def mark_default(self, who: Actor, id: str) -> views.OneDetails:
        """Another default."""
        return self._sender(await self._details.make_default(who.member.id, (await self._own(who, id)).id))

    @_details.post(
        "/email-marketing/v1/sender-details/actual-from-address", "The address that mail really bears", reads=True
    )
    async def actual_from(self, who: Actor, body: requests.ActualFrom) -> views.ActualFromView:
        """What From will really be."""
        found = await self._sending.actual_from(who.member.id, body.from_address, may_use=who.may_use)
        return views.ActualFromView(actual_from_address=found)

    async def _own(self, who: Actor, id: str) -> Sender:
        found = await self._details.get(who.member.id, id)
        if not who.may_use(found.domain):
            raise not_found("No such sender details")
        return found

    @staticmethod
    def _sender(found: Sender) -> views.OneDetails:
        return views.OneDetails(sender_details=views.details_view(found))


def _cut(found: Sequence[Item], page: Page) -> tuple[Sequence[Item], int | None]:
    """(the page, the number behind which there are more, None for the end) of one entry too many."""
    shown = found[: page.limit]
    if len(found) <= page.limit:
        return shown, None
    return shown, shown[-1].number if shown else page.after


def may(actor: Actor, address: str) -> None:
    try:
        allowed = actor.may_use(names.address(address.strip()).domain)
    except names.BadName:
        allowed = True  # the service says what is wrong with it
    if not allowed:
        raise EnrollError(KEY_LIMITED, "This API key is limited to other domains")
