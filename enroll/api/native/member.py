"""`PUT /member/forward-to`: where a domain's replies and bounce reports go."""

from __future__ import annotations

from aiohttp import web
from pydantic import AliasChoices, Field

from enroll.errors import not_found
from enroll.services import DomainServices
from enroll.sessions import Actor
from relay.base.web.calls import KEY_OR_SIGN_IN, Calls
from relay.base.web.models import Strict, View


class ForwardTo(Strict):
    """What PUT /member/forward-to takes."""

    domain: str = Field(min_length=1, max_length=1024, examples=["example.org"])
    # `forward_to` is its former name, taken until 1.0.
    forward_to: str = Field(
        validation_alias=AliasChoices("forwardTo", "forward_to"), max_length=320, examples=["anna@example.net"],
        description="A mailbox; empty: none.",
    )
    code: str | None = Field(None, max_length=40, description="The code that was sent to the mailbox.")


class ForwardToView(View):
    """Where reports and replies go, and the mailbox that has yet to repeat its code."""

    domain: str
    forward_to: str
    former: str = Field(
        alias="forward_to", description="The former name of `forwardTo`, until 1.0.", deprecated=True
    )
    pending: str | None


_calls = Calls("Domains", KEY_OR_SIGN_IN)


class Mailboxes:
    """The handler."""

    def __init__(self, of_domains: DomainServices) -> None:
        self._domains, self._forwarding = of_domains.domains, of_domains.forwarding

    @_calls.put(
        "/member/forward-to", "Set the mailbox for replies and bounce reports; a code sent to it confirms",
        also={202: "The mailbox has been sent a code, which this call takes too."}, errors=(404,), gives=ForwardToView,
    )
    async def forward_to(self, who: Actor, body: ForwardTo) -> web.Response:
        domain = await self._domains.get(who.member.id, body.domain.strip())
        if not who.may_use(domain.name):
            raise not_found("No such domain")
        domain = await self._forwarding.set(who.member.id, domain.name, body.forward_to, body.code)
        wanted = domain.notes.forward_wanted
        there = domain.options.forward_to
        shown = ForwardToView.model_validate(
            {"domain": domain.name, "forwardTo": there, "forward_to": there, "pending": wanted or None}
        )
        return shown.response(202 if wanted else 200)
