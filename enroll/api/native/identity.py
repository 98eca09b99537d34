"""Making an account (`POST /enroll`), and a member's DID: its document, and another one of its own."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field, model_validator

from enroll.accounts import Member, document
from enroll.accounts.resolution import WELL_KNOWN
from enroll.errors import not_found
from enroll.services import Services
from enroll.sessions import Actor
from relay.base.web import answer
from relay.base.web.calls import OPEN, SIGN_IN, Calls
from relay.base.web.models import Strict, View, shown_at


class EnrollRequest(Strict):
    """What POST /enroll takes as JSON."""

    handle: str = Field(
        min_length=2, max_length=253, examples=["anna"], description="Letters, digits, dots, hyphens; or a domain name."
    )
    email: str = Field(min_length=3, max_length=320, examples=["anna@example.net"])
    password: str = Field(min_length=1, max_length=1024)
    invite: str | None = Field(None, max_length=200, description="A code from the operator, where one is needed.")


class DidRequest(Strict):
    """What PUT /v1/did takes."""

    did: str | None = Field(
        None, max_length=512, examples=["did:web:example.org"],
        description="A did:plc or did:web, proved; null: the one this relay gives.",
    )
    handle: str | None = Field(
        None, max_length=253, examples=["example.org"], description="Instead: a handle, for the DID that it names."
    )

    @model_validator(mode="after")
    def _says_one(self) -> DidRequest:
        if len(self.model_fields_set) != 1:
            raise ValueError("did or handle is needed, one of them")
        return self


class MemberView(View):
    """An account as its owner sees it."""

    handle: str
    did: str
    email: str
    status: str
    reason: str
    created_at: str


_calls = Calls("Account", SIGN_IN)
# What identities say is public, and read by other sites' programs too.
_PUBLIC = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=300"}


class Identity:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._config, self._authenticator, self._accounts = services.config, services.authenticator, services.accounts
        self._own_dids = services.own_dids

    @_calls.post("/enroll", "Make an account", access=OPEN, status=201, errors=(403,))
    async def enroll(self, who: str, request: web.Request, body: EnrollRequest) -> MemberView:
        self._authenticator.own_page(request)
        member = await self._accounts.create(
            body.handle, body.email, body.password, invite=body.invite, address=who
        )
        return member_view(member)

    @_calls.put("/v1/did", "Use another DID")
    async def set_did(self, who: Actor, body: DidRequest) -> MemberView:
        if body.handle is not None:
            return member_view(await self._own_dids.use_of_handle(who.member.id, body.handle))
        if body.did is not None:
            return member_view(await self._own_dids.use(who.member.id, body.did))
        return member_view(await self._accounts.set_did(who.member.id, None))

    @_calls.get(
        "/m/{handle}/did.json", "A member's DID document", access=OPEN,
        gives={"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
    )
    async def document(self, handle: str) -> web.Response:
        did, handles = await self._own_dids.handles_of(handle)
        response = answer(document(self._config, did, handles))
        response.headers.update(_PUBLIC)
        return response

    @_calls.get(
        WELL_KNOWN, "The DID of a hosted handle", access=OPEN, gives_as={"text/plain": {"type": "string"}},
        errors=(404,), description="The handle is the host name of the request.",
    )
    async def hosted(self, request: web.Request) -> web.Response:
        did = await self._own_dids.hosted(request.url.host or "")
        if did is None:
            raise not_found("No handle of this relay")
        return web.Response(text=did, headers=_PUBLIC)


def member_view(member: Member) -> MemberView:
    """An account as it is shown."""
    return MemberView(
        handle=member.handle, did=member.did, email=member.email, status=member.status, reason=member.reason,
        created_at=shown_at(member.created_at) or "",
    )
