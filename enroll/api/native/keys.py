"""`/v1/keys`: a member's API keys. A sign-in is needed: a stolen key can't make itself a second one."""

from __future__ import annotations

from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from enroll.api.schema import SESSION, Paths, operation
from enroll.api_keys import Key
from enroll.services import Services
from relay.base.web.models import Strict, View, body, done, moment, path_id, shown_at

_ID = {"id": "integer"}


class NewKey(Strict):
    """What POST /v1/keys takes."""

    description: str = Field("", max_length=255, examples=["the shop"], description="For its owner to know it by.")
    scopes: list[Literal["send", "read", "manage"]] | None = Field(
        None, min_length=1, examples=[["send"]], description="Default: all."
    )
    domains: list[str] | None = Field(None, min_length=1, description="Only these enrolled domains.")
    networks: list[str] | None = Field(None, min_length=1, description="Only from these networks (CIDR).")
    default_category: str = Field("bulk", description="The category of mail that names none.")
    null_sender: bool = Field(
        False, description="It may say MAIL FROM:<>, for the bounces and automatic answers of a mail server."
    )
    expires_at: str | None = Field(None, description="RFC 3339; default: never.")


class KeyView(View):
    """A key as its owner sees it."""

    id: int
    public_id: str
    description: str
    scopes: list[str]
    domains: list[str] | None
    networks: list[str] | None
    default_category: str
    null_sender: bool
    state: Literal["live", "expired", "revoked"]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class IssuedView(KeyView):
    """A key just made, with its text: it is shown this once."""

    key: str


class KeyList(View):
    """A member's keys, live ones first."""

    keys: list[KeyView]


def routes(services: Services) -> list[web.RouteDef]:
    """The routes of this page of the API."""
    keys = _Keys(services)
    return [
        web.get("/v1/keys", keys.list),
        web.post("/v1/keys", keys.issue),
        web.get("/v1/keys/{id}", keys.get),
        web.delete("/v1/keys/{id}", keys.revoke),
        web.post("/v1/keys/{id}/regenerate", keys.regenerate),
    ]


def openapi_paths() -> Paths:
    """Their description."""
    return {
        "/v1/keys": {
            "get": operation("List the API keys", security=SESSION, gives=KeyList),
            "post": operation("Issue an API key", security=SESSION, takes=NewKey, gives=IssuedView, status=201),
        },
        "/v1/keys/{id}": {
            "get": operation("Show an API key", security=SESSION, gives=KeyView, path=_ID),
            "delete": operation("Revoke an API key", security=SESSION, status=204, path=_ID),
        },
        "/v1/keys/{id}/regenerate": {
            "post": operation(
                "Replace an API key; the old one ends at once", security=SESSION, gives=IssuedView, status=201, path=_ID
            )
        },
    }


class _Keys:
    def __init__(self, services: Services) -> None:
        self._services, self._credentials = services, services.credentials

    async def list(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "read")
        found = await self._credentials.list(member_id)
        return KeyList(keys=[KeyView(**self._shown(k)) for k in found]).response()

    async def get(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "read")
        return KeyView(**self._shown(await self._credentials.get(member_id, path_id(request)))).response()

    async def issue(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "manage")
        asked = await body(NewKey, request)
        text, key = await self._credentials.issue(
            member_id, description=asked.description, scopes=asked.scopes, domains=asked.domains,
            networks=asked.networks, default_category=asked.default_category, null_sender=asked.null_sender,
            expires_at=moment("expiresAt", asked.expires_at),
        )
        return IssuedView(key=text, **self._shown(key)).response(201)

    async def revoke(self, request: web.Request) -> web.Response:
        await self._credentials.revoke(await self._member(request, "manage"), path_id(request))
        return done()

    async def regenerate(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "manage")
        text, key = await self._credentials.regenerate(member_id, path_id(request))
        return IssuedView(key=text, **self._shown(key)).response(201)

    async def _member(self, request: web.Request, scope: str) -> int:
        # A suspended member may need just this: to end a key that somebody else got hold of.
        actor = await self._services.gate.actor(request, scope, session_only=True, even_suspended=True)
        return actor.member.id

    def _shown(self, key: Key) -> dict[str, Any]:
        return {
            "id": key.id,
            "public_id": key.public_id,
            "description": key.description,
            "scopes": key.scopes,
            "domains": key.domains,
            "networks": key.networks,
            "default_category": key.default_category,
            "null_sender": key.null_sender,
            "state": key.state(self._services.clock.now()),
            "created_at": shown_at(key.created_at),
            "expires_at": shown_at(key.expires_at),
            "last_used_at": shown_at(key.last_used_at),
            "revoked_at": shown_at(key.revoked_at),
        }
