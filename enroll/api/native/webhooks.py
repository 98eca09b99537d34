"""`/v1/webhooks`: where events are posted, and the log of it."""

from __future__ import annotations

from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from enroll.api.schema import KEY_OR_SESSION, Paths, operation
from enroll.errors import EnrollError, not_found
from enroll.services import Services
from enroll.webhooks import STATES, Endpoint
from relay.base.storage.webhooks import DeliveryRow
from relay.base.web.models import Strict, View, body, done, moment, refuse_fields, shown_at, whole_number

_ID = {"id": "string"}


class NewWebhook(Strict):
    """What POST /v1/webhooks takes."""

    url: str = Field(
        min_length=1, max_length=2000, examples=["https://example.org/hook"],
        description="An https address that takes POST.",
    )
    types: list[str] = Field([], max_length=100, description="Only these types of event; none: all.")
    description: str = Field("", max_length=255, description="For its owner to know it by.")


class Replay(Strict):
    """What POST /v1/webhooks/{id}/replay takes: one of the two."""

    event: int | None = Field(None, ge=1, le=2**62, description="The id of one event.")
    since: str | None = Field(None, examples=["2026-05-01T00:00:00Z"], description="RFC 3339: every event since then.")


class WebhookView(View):
    """An endpoint as its owner sees it."""

    id: str
    url: str
    types: list[str]
    description: str
    state: Literal["live", "failing", "disabled"]
    reason: str
    failing_since: str | None
    two_secrets_until: str | None
    created_at: str | None


class MadeWebhook(WebhookView):
    """With its secret, which is shown this once."""

    secret: str


class WebhookList(View):
    """A member's endpoints."""

    webhooks: list[WebhookView]


class Testing(View):
    """The line of the log in which a test's outcome will stand."""

    delivery: int


class Replayed(View):
    """How many events are on their way again."""

    events: int


class DeliveryView(View):
    """One event's way to one endpoint."""

    id: int
    event: int | None
    type: str
    state: str = Field(json_schema_extra={"enum": list(STATES)})
    attempts: int
    status: int | None
    seconds: float
    says: str
    created_at: str | None
    tried_at: str | None
    next_at: str | None


class DeliveryLog(View):
    """A page of the log, newest first."""

    log: list[DeliveryView]
    cursor: str | None


def routes(services: Services) -> list[web.RouteDef]:
    """The routes of this page of the API."""
    hooks = _Webhooks(services)
    return [
        web.get("/v1/webhooks", hooks.list),
        web.post("/v1/webhooks", hooks.add),
        web.get("/v1/webhooks/{id}", hooks.get),
        web.delete("/v1/webhooks/{id}", hooks.remove),
        web.post("/v1/webhooks/{id}/rotate", hooks.rotate),
        web.post("/v1/webhooks/{id}/test", hooks.test),
        web.post("/v1/webhooks/{id}/replay", hooks.replay),
        web.post("/v1/webhooks/{id}/enable", hooks.enable),
        web.get("/v1/webhooks/{id}/log", hooks.log),
    ]


def openapi_paths() -> Paths:
    """Their description."""
    who = KEY_OR_SESSION
    one = "/v1/webhooks/{id}"
    pages: dict[str, dict[str, Any]] = {
        "cursor": {"type": "integer", "minimum": 1, "maximum": 10**15 - 1},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10**15 - 1},
        "state": {"type": "string", "enum": list(STATES)},
    }
    return {
        "/v1/webhooks": {
            "get": operation("List the webhooks", security=who, gives=WebhookList),
            "post": operation("Have events posted somewhere", security=who, takes=NewWebhook, gives=MadeWebhook,
                              status=201),
        },
        one: {
            "get": operation("Show a webhook", security=who, gives=WebhookView, path=_ID),
            "delete": operation("Delete a webhook", security=who, status=204, path=_ID),
        },
        f"{one}/rotate": {
            "post": operation(
                "Make a new secret; both sign for a while", security=who, gives=MadeWebhook, path=_ID
            )
        },
        f"{one}/test": {
            "post": operation("Post a test event", security=who, gives=Testing, status=202, path=_ID)
        },
        f"{one}/replay": {
            "post": operation(
                "Post again one event or those since a time", security=who, takes=Replay, gives=Replayed, status=202,
                path=_ID,
            )
        },
        f"{one}/enable": {
            "post": operation("Take up a disabled webhook again", security=who, gives=WebhookView, path=_ID)
        },
        f"{one}/log": {
            "get": operation("What was posted there", security=who, gives=DeliveryLog, path=_ID, query=pages)
        },
    }


class _Webhooks:
    def __init__(self, services: Services) -> None:
        self._services, self._webhooks = services, services.webhooks

    async def list(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "read")
        found = await self._webhooks.list(member_id)
        return WebhookList(webhooks=[WebhookView(**_shown(e)) for e in found]).response()

    async def get(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "read")
        return WebhookView(**_shown(await self._webhooks.get(member_id, _id(request)))).response()

    async def add(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "manage")
        asked = await body(NewWebhook, request)
        secret, made = await self._webhooks.add(
            member_id, asked.url, types=asked.types, description=asked.description
        )
        return MadeWebhook(secret=secret, **_shown(made)).response(201)

    async def remove(self, request: web.Request) -> web.Response:
        await self._webhooks.remove(await self._member(request, "manage"), _id(request))
        return done()

    async def rotate(self, request: web.Request) -> web.Response:
        secret, found = await self._webhooks.rotate(await self._member(request, "manage"), _id(request))
        return MadeWebhook(secret=secret, **_shown(found)).response()

    async def test(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "manage")
        return Testing(delivery=await self._webhooks.test(member_id, _id(request))).response(202)

    async def replay(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "manage")
        asked = await body(Replay, request)
        count = await self._webhooks.replay(
            member_id, _id(request), event_id=asked.event, since=moment("since", asked.since)
        )
        return Replayed(events=count).response(202)

    async def enable(self, request: web.Request) -> web.Response:
        found = await self._webhooks.enable(await self._member(request, "manage"), _id(request))
        return WebhookView(**_shown(found)).response()

    async def log(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "read")
        limit = min(whole_number(request, "limit") or self._services.config.http.page_size,
                    self._services.config.http.max_page_size)
        state = request.query.get("state")
        if state is not None and state not in STATES:
            refuse_fields([("state", f"one of {', '.join(STATES)}")])
        found = await self._webhooks.posted(
            member_id, _id(request), before=whole_number(request, "cursor"), state=state, limit=limit + 1
        )
        cursor = str(found[limit - 1].id) if len(found) > limit else None
        return DeliveryLog(log=[_line(row) for row in found[:limit]], cursor=cursor).response()

    async def _member(self, request: web.Request, scope: str) -> int:
        actor = await self._services.gate.actor(request, scope)
        if actor.login is not None and actor.login.domains is not None:
            # An endpoint gets every event of its member: more than such a key may see.
            raise EnrollError(403, "FORBIDDEN", "An API key limited to some domains can't use webhooks")
        return actor.member.id


def _id(request: web.Request) -> str:
    text = request.match_info["id"]
    if not (text.isascii() and text.isalnum() and len(text) <= 32):
        raise not_found("There is no such webhook")
    return text


def _shown(e: Endpoint) -> dict[str, Any]:
    return {
        "id": e.id, "url": e.url, "types": e.types, "description": e.description, "state": e.state,
        "reason": e.reason, "failing_since": shown_at(e.failing_since),
        "two_secrets_until": shown_at(e.two_secrets_until), "created_at": shown_at(e.created_at),
    }


def _line(row: DeliveryRow) -> DeliveryView:
    return DeliveryView(
        id=row.id, event=row.event_id, type=row.type, state=row.state, attempts=row.attempts, status=row.status,
        seconds=row.seconds, says=row.says, created_at=shown_at(row.created_at), tried_at=shown_at(row.tried_at),
        next_at=shown_at(row.next_at) if row.state == "waiting" else None,
    )
