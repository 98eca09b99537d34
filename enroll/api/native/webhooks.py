"""`/v1/webhooks`: where events are posted, and the log of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from enroll.errors import not_found
from enroll.services import Services
from enroll.sessions import Actor
from enroll.webhooks import STATES, Endpoint
from relay.base.storage.webhooks import DeliveryRow
from relay.base.web.calls import KEY_OR_SIGN_IN, Calls
from relay.base.web.models import Page, Strict, View, moment, one_of, shown_at


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


class LogPage(Page):
    """Which part of a log."""

    state: Annotated[str, *one_of(STATES)] | None = None


# An endpoint gets every event of its member: more than a key limited to some domains may see.
_calls = Calls("Webhooks", KEY_OR_SIGN_IN, limited=False)
_ONE = "/v1/webhooks/{id}"


class Hooks:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._config, self._webhooks = services.config, services.webhooks

    @_calls.get("/v1/webhooks", "List the webhooks")
    async def list(self, who: Actor) -> WebhookList:
        found = await self._webhooks.list(who.member.id)
        return WebhookList(webhooks=[WebhookView(**_shown(e)) for e in found])

    @_calls.post("/v1/webhooks", "Have events posted somewhere", status=201)
    async def add(self, who: Actor, body: NewWebhook) -> MadeWebhook:
        secret, made = await self._webhooks.add(
            who.member.id, body.url, types=body.types, description=body.description
        )
        return MadeWebhook(secret=secret, **_shown(made))

    @_calls.get(_ONE, "Show a webhook")
    async def get(self, who: Actor, id: str) -> WebhookView:
        return WebhookView(**_shown(await self._webhooks.get(who.member.id, _good(id))))

    @_calls.delete(_ONE, "Delete a webhook")
    async def remove(self, who: Actor, id: str) -> None:
        await self._webhooks.remove(who.member.id, _good(id))

    @_calls.post(f"{_ONE}/rotate", "Make a new secret; both sign for a while")
    async def rotate(self, who: Actor, id: str) -> MadeWebhook:
        secret, found = await self._webhooks.rotate(who.member.id, _good(id))
        return MadeWebhook(secret=secret, **_shown(found))

    @_calls.post(f"{_ONE}/test", "Post a test event", status=202)
    async def test(self, who: Actor, id: str) -> Testing:
        return Testing(delivery=await self._webhooks.test(who.member.id, _good(id)))

    @_calls.post(f"{_ONE}/replay", "Post again one event or those since a time", status=202)
    async def replay(self, who: Actor, id: str, body: Replay) -> Replayed:
        count = await self._webhooks.replay(
            who.member.id, _good(id), event_id=body.event, since=moment("since", body.since)
        )
        return Replayed(events=count)

    @_calls.post(f"{_ONE}/enable", "Take up a disabled webhook again")
    async def enable(self, who: Actor, id: str) -> WebhookView:
        return WebhookView(**_shown(await self._webhooks.enable(who.member.id, _good(id))))

    @_calls.get(f"{_ONE}/log", "What was posted there")
    async def log(self, who: Actor, id: str, query: LogPage) -> DeliveryLog:
        limit = query.size(self._config.http)
        found = await self._webhooks.posted(
            who.member.id, _good(id), before=query.cursor, state=query.state, limit=limit + 1
        )
        cursor = str(found[limit - 1].id) if len(found) > limit else None
        return DeliveryLog(log=[_line(row) for row in found[:limit]], cursor=cursor)


def _good(text: str) -> str:
    """An id from the path; whatever can't be one is not found."""
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
