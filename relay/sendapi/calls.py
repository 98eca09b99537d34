"""The calls of the send API, declared: send, raw, batch, preflight. Only an API key makes them, with scope `send`.

Preflight takes the body of send, gives every check's answer and sends nothing. The checks are made by the same calls as
sending; one that refuses doesn't hide what can be said of the others.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from relay.base.web.calls import KEY, Calls, routes
from relay.base.web.models import Query
from relay.base.web.schema import json_of, named, schema_of
from relay.intake import RECEIVERS, Check, Receiver, Receivers
from relay.replies import DOMAIN_RESTS, FROM_MISMATCH, NO_RECIPIENTS, Refused, Verdict
from relay.sendapi import models
from relay.sendapi.answers import Answer
from relay.sendapi.authenticate import Access, Caller, SendServices
from relay.sendapi.batch import send_batch
from relay.sendapi.idempotency import HEADER, MAX_KEY, Slot, once
from relay.sendapi.models import BatchRequest, CheckAnswer, SendRequest
from relay.sendapi.raw import HEADERS, MESSAGE_KINDS, RawQuery, raw_draft
from relay.sendapi.send import Sender, parsed, uploaded


class PreflightQuery(Query):
    """What POST /v1/preflight checks besides."""

    receivers: list[Receiver] = Field(
        default_factory=list, alias="for", max_length=len(RECEIVERS),
        description="The published rules of these receivers too, each a check `receiver` that never refuses.",
    )


async def ask_all(sender: Sender, caller: Caller, value: object, query: PreflightQuery) -> list[CheckAnswer]:
    """Every check, in the order in which a message meets them. Raises Refused for bad requests."""
    services, login = sender.services, caller.login
    public_url = services.config.server.public_url
    stopped = services.directory.recheck(login)
    checks = [Check("login", stopped, {"handle": login.handle, "did": login.did, "scopes": sorted(login.scopes)})]
    try:
        draft = await sender.draft(caller, value)
    except Refused as e:
        if e.verdict.reply not in (FROM_MISMATCH, DOMAIN_RESTS):
            raise
        checks.append(Check("from" if e.verdict.reply is FROM_MISMATCH else "sender", e.verdict))
        return [_of(check, public_url) for check in checks]
    checks += [Check("recipient", verdict, {"recipient": text}) for text, verdict in draft.rejected]
    wanted = Receivers(tuple(dict.fromkeys(query.receivers)), services.resolver) if query.receivers else None
    checks += await services.intake.preflight(draft.submission, wanted)
    named = [check for check in checks if check.name == "recipient"]
    if named and all(check.verdict is not None for check in named):
        checks.append(Check("recipients", Verdict(NO_RECIPIENTS), {"recipients": len(named)}))
    return [_of(check, public_url) for check in checks]


def _of(check: Check, public_url: str) -> CheckAnswer:
    """`passed`, `advice` or `refused`, what the check looked at, and the refusal that sending would get."""
    verdict = check.verdict
    answer: CheckAnswer = {
        "gate": check.name, "verdict": "refused" if verdict else ("advice" if check.advice else "passed"),
        "evidence": check.evidence,
    }
    if check.advice:
        answer["advice"] = check.advice
    if verdict is not None:
        said = verdict.json(public_url)
        answer |= {"error": said["error"], "code": said["code"], "detail": said["detail"], "status": verdict.reply.http}
    return answer


TAGS = (("Sending", "Hand messages over. A 200 means: written to disk, signed, in the queue."),)
_AGAIN = {
    "Idempotent-Replayed": "`true`, where this is the answer of an earlier request with the same key, or all of the "
    "message had been taken before (`send/raw`).",
}
_SENT = _AGAIN | {
    "RateLimit-Policy": "What the domain's warming tier lets out, in recipients: `\"hour\";q=50;w=3600`, and by day. "
    "Absent where there is no limit.",
    "RateLimit": "What is left after this message, and the seconds until more is: `\"hour\";r=12;t=340`, and by day. "
    "Of a batch: for that sender domain which has the least left.",
}
_KEY = {
    "name": HEADER, "in": "header", "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$"},
    "description": "A repeat within 24 hours gets the first answer again, and sends nothing again.",
}
_NOBODY: dict[str, Any] = {
    "422": {
        "description": "Refused as a whole; or `NOTHING_ACCEPTED`: each recipient by itself, for the reason in "
        "`rejected`.",
        "content": json_of({
            "anyOf": [
                {"$ref": "#/components/schemas/Error"}, schema_of(models.NothingAccepted, "serialization"),
            ]
        }),
    }
}
_OCTETS = {"type": "string", "format": "binary"}
_ONE, _MANY = ({"$ref": f"#/components/schemas/{model.__name__}"} for model in (SendRequest, BatchRequest))

_calls = Calls("Sending", KEY, scope="send", errors=(409, 413, 422, 507))


class Sending:
    """The handlers."""

    def __init__(self, services: SendServices) -> None:
        self._services, self._sender = services, Sender(services, Access(services))
        self._asks = Sender(services, Access(services, records=False), asks=True)

    @_calls.post(
        "/v1/send", "Send one message", takes=_ONE, gives=models.Sent, takes_headers=(_KEY,), headers=_SENT,
        responses=_NOBODY,
    )
    async def send(self, who: Caller, request: web.Request) -> web.Response:
        async with uploaded(self._services, request, "application/json") as body:

            async def work(slot: Slot | None) -> Answer:
                return await self._sender.send(who, await parsed(self._services, body), slot)

            return (await once(self._services, request, who, body, work)).response()

    @_calls.post(
        "/v1/send/raw", "Send a finished message", body_as=dict.fromkeys(MESSAGE_KINDS, _OCTETS),
        gives=models.Sent, takes_headers=(*HEADERS, _KEY), headers=_SENT, responses=_NOBODY,
        description="The body is the message as it leaves (RFC 5322), its lines ending in CRLF; the envelope stands in "
        "the query or in headers.",
    )
    async def raw(self, who: Caller, request: web.Request, query: RawQuery) -> web.Response:
        async with uploaded(self._services, request, *MESSAGE_KINDS) as body:

            async def work(slot: Slot | None) -> Answer:
                return await self._sender.submit(who, await raw_draft(self._sender, who, request, query, body), slot)

            return (await once(self._services, request, who, body, work)).response()

    @_calls.post(
        "/v1/send/batch", "Send many messages, a result each", takes=_MANY, gives=models.BatchSent,
        takes_headers=(_KEY,), headers=_SENT,
    )
    async def batch(self, who: Caller, request: web.Request) -> web.Response:
        async with uploaded(self._services, request, "application/json") as body:

            async def work(slot: Slot | None) -> Answer:
                return await send_batch(self._sender, who, await parsed(self._services, body), slot)

            return (await once(self._services, request, who, body, work)).response()

    # A suspended member may ask what it would be told.
    @_calls.post("/v1/preflight", "Make every check, send nothing", takes=_ONE, scope="send", reads=True)
    async def preflight(
        self, who: Caller, request: web.Request, query: PreflightQuery
    ) -> models.Preflight:
        async with uploaded(self._services, request, "application/json") as body:
            checks = await ask_all(self._asks, who, await parsed(self._services, body), query)
        return {"ok": all(check["verdict"] != "refused" for check in checks), "gates": checks}


def send_routes(services: SendServices) -> list[web.RouteDef]:
    """The routes, wired to `services`."""
    return routes(Sending(services), Access(services).caller)


def schemas() -> dict[str, Any]:
    """The large requests as the document's components, because several operations take them."""
    found = named((SendRequest, BatchRequest))
    # Each is judged by itself, so a wrong one doesn't refuse the request.
    found["BatchRequest"]["properties"]["messages"]["items"] = {"type": "object", "additionalProperties": True}
    return found
