"""`PUT /member/forward-to`: where a domain's replies and bounce reports go."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from enroll.api.schema import KEY_OR_SESSION, Paths, operation
from enroll.errors import not_found
from enroll.services import DomainServices, Services
from relay.base.web import answer
from relay.base.web.models import body


class ForwardTo(BaseModel):
    """What PUT /member/forward-to takes. This call's names are written with underscores."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    domain: str = Field(min_length=1, max_length=1024, examples=["example.org"])
    forward_to: str = Field(max_length=320, examples=["anna@example.net"], description="A mailbox; empty: none.")
    code: str | None = Field(None, max_length=40, description="The code that was sent to the mailbox.")


class ForwardToView(BaseModel):
    """Where reports and replies go, and the mailbox that has yet to repeat its code."""

    domain: str
    forward_to: str
    pending: str | None


def routes(services: Services, of_domains: DomainServices) -> list[web.RouteDef]:
    """The routes of this page of the API."""

    async def forward_to(request: web.Request) -> web.Response:
        actor = await services.gate.actor(request, "manage")
        asked = await body(ForwardTo, request)
        domain = await of_domains.domains.get(actor.member.id, asked.domain.strip())
        if not actor.may_use(domain.name):
            raise not_found("No such domain")
        domain = await of_domains.forwarding.set(actor.member.id, domain.name, asked.forward_to, asked.code)
        o = domain.options
        shown = ForwardToView(domain=domain.name, forward_to=o.forward_to, pending=domain.notes.forward_wanted or None)
        return answer(shown.model_dump(mode="json"), 202 if domain.notes.forward_wanted else 200)

    return [web.put("/member/forward-to", forward_to)]


def openapi_paths() -> Paths:
    """Their description."""
    return {
        "/member/forward-to": {
            "put": operation(
                "Set the mailbox for replies and bounce reports; a code sent to it confirms",
                security=KEY_OR_SESSION, takes=ForwardTo, gives=ForwardToView, errors=(404,),
                also={202: "The mailbox has been sent a code, which this call takes too."},
            )
        }
    }
