"""`/v1/keys`: a member's API keys. A sign-in is needed: a stolen key can't make itself a second one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from enroll.api_keys import Key
from enroll.services import Services
from enroll.sessions import Actor
from relay.base.web.calls import SIGN_IN, Calls
from relay.base.web.models import Strict, View, moment, shown_at


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
    smtp_user: str | None = Field(
        None, description="A user name of its own, taken over SMTP beside the handle and the DID: 3 to 64 letters, "
        "digits, dots, hyphens and underscores.",
    )


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
    smtp_user: str | None
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


# A suspended member may need just this: to end a key that somebody else got hold of.
_calls = Calls("API keys", SIGN_IN, suspended=True)


class Keys:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._clock, self._credentials = services.clock, services.credentials

    @_calls.get("/v1/keys", "List the API keys")
    async def list(self, who: Actor) -> KeyList:
        return KeyList(keys=[key_view(k, self._clock.now()) for k in await self._credentials.list(who.member.id)])

    @_calls.post("/v1/keys", "Issue an API key", status=201)
    async def issue(self, who: Actor, body: NewKey) -> IssuedView:
        text, key = await self._credentials.issue(
            who.member.id, description=body.description, scopes=body.scopes, domains=body.domains,
            networks=body.networks, default_category=body.default_category, null_sender=body.null_sender,
            expires_at=moment("expiresAt", body.expires_at), smtp_user=body.smtp_user,
        )
        return IssuedView(key=text, **_shown(key, self._clock.now()))

    @_calls.get("/v1/keys/{id}", "Show an API key")
    async def get(self, who: Actor, id: int) -> KeyView:
        return key_view(await self._credentials.get(who.member.id, id), self._clock.now())

    @_calls.delete("/v1/keys/{id}", "Revoke an API key")
    async def revoke(self, who: Actor, id: int) -> None:
        await self._credentials.revoke(who.member.id, id)

    @_calls.post("/v1/keys/{id}/regenerate", "Replace an API key; the old one ends at once", status=201)
    async def regenerate(self, who: Actor, id: int) -> IssuedView:
        text, key = await self._credentials.regenerate(who.member.id, id)
        return IssuedView(key=text, **_shown(key, self._clock.now()))


def key_view(key: Key, now: float) -> KeyView:
    """A key as it is shown."""
    return KeyView(**_shown(key, now))


def _shown(key: Key, now: float) -> dict[str, Any]:
    return {
        "id": key.id, "public_id": key.public_id, "description": key.description, "scopes": key.scopes,
        "domains": key.domains, "networks": key.networks, "default_category": key.default_category,
        "null_sender": key.null_sender, "smtp_user": key.smtp_user, "state": key.state(now),
        "created_at": shown_at(key.created_at), "expires_at": shown_at(key.expires_at),
        "last_used_at": shown_at(key.last_used_at), "revoked_at": shown_at(key.revoked_at),
    }
