"""Making an account (`POST /enroll`), and a member's DID: its document, and another one of its own."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from enroll.accounts import Member, default_did, document
from enroll.api.schema import OPEN, SESSION, Paths, operation
from enroll.errors import not_found
from enroll.services import Services
from relay.base.web import answer
from relay.base.web.models import Strict, View, body, shown_at


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
        max_length=512, examples=["did:web:example.org"],
        description="A did:plc or did:web; null: the one this relay gives.",
    )


class MemberView(View):
    """An account as its owner sees it."""

    handle: str
    did: str
    email: str
    status: str
    reason: str
    created_at: str


def routes(services: Services) -> list[web.RouteDef]:
    """The routes of this page of the API."""
    identity = _Identity(services)
    return [
        web.post("/enroll", identity.enroll),
        web.put("/v1/did", identity.set_did),
        web.get("/m/{handle}/did.json", identity.document),
    ]


def openapi_paths() -> Paths:
    """Their description."""
    return {
        "/enroll": {
            "post": operation(
                "Make an account", security=OPEN, takes=EnrollRequest, gives=MemberView, status=201, errors=(403,)
            )
        },
        "/v1/did": {"put": operation("Use another DID", security=SESSION, takes=DidRequest, gives=MemberView)},
        "/m/{handle}/did.json": {
            "get": operation(
                "A member's DID document", security=OPEN, path={"handle": "string"},
                gives={"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            )
        },
    }


class _Identity:
    def __init__(self, services: Services) -> None:
        self._services, self._accounts = services, services.accounts

    async def enroll(self, request: web.Request) -> web.Response:
        address = self._services.gate.visitor(request)
        self._services.gate.own_page(request)
        asked = await body(EnrollRequest, request)
        member = await self._accounts.create(
            asked.handle, asked.email, asked.password, invite=asked.invite, address=address
        )
        return _shown(member).response(201)

    async def set_did(self, request: web.Request) -> web.Response:
        actor = await self._services.gate.actor(request, "manage", session_only=True)
        asked = await body(DidRequest, request)
        return _shown(await self._accounts.set_did(actor.member.id, asked.did)).response()

    async def document(self, request: web.Request) -> web.Response:
        self._services.gate.visitor(request)
        member = await self._accounts.get(request.match_info["handle"])
        did = default_did(self._services.config, member.handle)
        # A member who uses a DID of its own is not described by ours.
        if member.status == "deleted" or member.system or member.did != did:
            raise not_found()
        response = answer(document(self._services.config, did))
        # DID documents are public and read by other sites' programs too.
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cache-Control"] = "public, max-age=300"
        return response


def _shown(member: Member) -> MemberView:
    return MemberView(
        handle=member.handle, did=member.did, email=member.email, status=member.status, reason=member.reason,
        created_at=shown_at(member.created_at) or "",
    )
