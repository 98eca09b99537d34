"""`GET /api/v1/inbound-relay-domain-check`: whether mail for a domain is taken, asked by exchangers in front."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, Field

from enroll.api.octeth.requests import Parameters
from enroll.api.octeth.views import OPERATOR_KEY, Answer
from enroll.services import Services
from enroll.sessions import Actor
from relay.base.names import BadName, domain
from relay.base.web import raw_answer
from relay.base.web.calls import Calls

TAG = ("Relay check", "For mail exchangers in front of this relay.")
_DENIED = {"description": "It takes none.", "content": {"application/json": {"schema": {"const": {}}}}}
_calls = Calls(TAG[0], OPERATOR_KEY, scope="read", hands=("p",))


class Asked(BaseModel):
    """The query."""

    domain: str = Field("", description="A domain, or an address in it.", examples=["sl.example.org"])


class RelayAnswer(Answer):
    """It does, for this domain."""

    RelayDomain: str


class Denied(Answer):
    """It doesn't: what an exchanger reads of it is the status."""

    def response(self) -> web.Response:
        """Nothing, with the documented status."""
        return raw_answer("{}", 500)


class RelayCheck:
    """The call."""

    FAMILY = "inbound-relay-domain-"

    def __init__(self, services: Services) -> None:
        self._directory, self._own = services.directory, services.config.own_hosts

    @_calls.get(
        "/api/v1/inbound-relay-domain-check", "Ask whether mail for a domain is taken", asks=Asked, gives=RelayAnswer,
        responses={"500": _DENIED},
    )
    async def check(self, who: Actor, p: Parameters) -> Answer:
        """inbound-relay-domain-check"""
        try:
            name = domain(p.text("Domain").rpartition("@")[2])
        except BadName:
            return Denied()
        directory = self._directory
        taken = name in self._own or directory.is_return_path(name) or directory.forwarding(name) is not None
        return RelayAnswer(RelayDomain=name) if taken else Denied()
