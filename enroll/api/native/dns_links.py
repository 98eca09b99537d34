"""`/v1/domains/{id}/dns-links`: links to a domain's records, for whoever runs its DNS."""

from __future__ import annotations

from pydantic import Field

from enroll.domains import DnsLink, Domain
from enroll.errors import not_found
from enroll.services import DomainServices
from enroll.sessions import Actor
from relay.base.web.calls import KEY_OR_SIGN_IN, Calls
from relay.base.web.models import Strict, View, shown_at


class NewLink(Strict):
    """What POST takes."""

    mail_to: str = Field(
        "", max_length=320, examples=["dns@example.org"], description="An address to mail the link to; empty: none.",
    )


class LinkView(View):
    """A link. Whoever has it sees the records of this one domain, and may have them looked for."""

    id: int
    url: str
    mailed_to: str
    created_at: str
    expires_at: str
    told_at: str | None = Field(description="When the domain's owner was told that every record is there.")


class LinkList(View):
    """A domain's links that can be used, oldest first."""

    links: list[LinkView]


_calls = Calls("Domains", KEY_OR_SIGN_IN)
_LINKS = "/v1/domains/{id}/dns-links"


class DnsLinks:
    """The handlers."""

    def __init__(self, services: DomainServices) -> None:
        self._domains, self._handoff = services.domains, services.handoff

    @_calls.get(_LINKS, "List the links to a domain's records", scope="manage")
    async def list(self, who: Actor, id: str) -> LinkList:
        domain = await self._one(who, id)
        return LinkList(links=[link_view(one) for one in await self._handoff.list(who.member.id, domain.id)])

    @_calls.post(_LINKS, "Make a link to a domain's records for whoever runs its DNS", status=201)
    async def create(self, who: Actor, id: str, body: NewLink) -> LinkView:
        domain = await self._one(who, id)
        return link_view(await self._handoff.create(who.member.id, domain.id, body.mail_to))

    @_calls.delete(_LINKS + "/{link}", "End such a link")
    async def revoke(self, who: Actor, id: str, link: int) -> None:
        await self._handoff.revoke(who.member.id, (await self._one(who, id)).id, link)

    async def _one(self, who: Actor, named: str) -> Domain:
        domain = await self._domains.get(who.member.id, named)
        if not who.may_use(domain.name):
            raise not_found("No such domain")
        return domain


def link_view(link: DnsLink) -> LinkView:
    """A link as it is shown."""
    return LinkView(
        id=link.id, url=link.url, mailed_to=link.mailed_to, created_at=shown_at(link.created_at) or "",
        expires_at=shown_at(link.expires_at) or "", told_at=shown_at(link.told_at),
    )
