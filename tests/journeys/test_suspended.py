"""What a suspended member may still do, asked of every route there is: all that reads, nothing that changes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from enroll.api.octeth.calls import SenderDomains
from enroll.api.octeth.events import Events
from enroll.api.octeth.gateway import GatewayCredentials, GatewayDomains
from enroll.api.octeth.suppressions import SuppressionCalls
from enroll.api.wix.calls import SenderCalls
from enroll.api.wix.transmissions import TransmissionCalls
from relay.base.web.calls import declared
from tests.kit.api_fuzz import PASSWORD, RIGHT, patient
from tests.kit.storage import make_config
from tests.kit.whole import Whole, whole

# Not of a member's own things (the operator's, everybody's), or whose path is a token: what they answer has nothing to
# do with who asks.
ANYBODYS = re.compile(
    r"/(|(u|c|o|r|m|dns|operator|static|internal|\.well-known|enroll)(/.*)?|healthz|readyz|metrics|(openapi|docs).*|help"
    r"|account/set-password|api/v1/inbound-relay-domain-check)"
)
OCTETH = ("/api.php", "/api/v1/")
BY_BEARER = ("/api/v1/email", "/api/v1/events")
# A sign-in, an account of its own: not the member's.
STRANGERS = {"POST /v1/sessions", "POST /enroll", "POST /api/v1/user.login"}
COMMANDS = {
    reads: [made.__name__ for call, made in declared(SenderDomains) if call.reads == reads] for reads in (True, False)
}
"""The names of Octeth's calls, those that read and those that don't."""
BODIES = {
    "/sending-domains/v1/sending-domains/query": {"query": {"filter": {"domain": "example.test"}}},
    "/email-transmissions/v1/email-transmissions/query": {"query": {}},
    "/api/v1/emailgateway.getevents": {"StartFrom": 0, "RetrieveCount": 5},
    "/api/v1/suppression.check": {"EmailAddressesBulk": "ben@sink.test"},
    "/email-marketing/v1/sender-details/actual-from-address": {"fromAddress": "anna@example.test"},
}
Asked = tuple[str, str, dict[str, Any] | None]


class Place:
    """The whole application with a member who has something of everything: an API key, a sign-in, ids."""

    def __init__(self, at: Whole, http: aiohttp.ClientSession) -> None:
        self.at, self.http = at, http
        self.id = 0
        self.key = self.sign_in = ""
        self.ids: dict[str, str] = {}

    async def furnish(self) -> None:
        env, services = self.at.env, self.at.env.services
        member = await services.accounts.create("alice", "alice@mail.test", PASSWORD, by_operator=True)
        self.id = member.id
        self.key, key = await services.credentials.issue(member.id)
        self.sign_in, _ = await services.sessions.open(member.id, "127.0.0.1", "")
        await env.world.directory.refresh()
        await env.verified(await env.world.member("bob"), "bob.test")  # so that ids are not all alike
        domain = await env.verified(self, "example.test")  # type: ignore[arg-type]
        sent = await env.domains.send_test(member.id, domain.id, "you@sink.test", None)
        _, hook = await services.webhooks.add(member.id, "https://example.org/hook", types=[], description="")
        await env.world.suppressions.add(member.id, "ben@sink.test", "manual")
        await env.world.directory.refresh()
        self.ids = {
            "domains": str(domain.id), "keys": str(key.id), "webhooks": hook.id, "messages": sent.queue_id,
            "suppressions": "ben@sink.test", "sending-domains": domain.uuid, "user.senderdomain": str(domain.id),
        }
        for kind, body in (
            ("sender-emails", {"senderEmail": {"emailAddress": "anna@example.test"}}),
            ("sender-details", {"senderDetails": {"fromName": "Anna", "fromEmailAddress": "anna@example.test"}}),
        ):
            _, made = await self.ask("POST", f"/{kind}/v1/{kind}", body, self.key)
            self.ids[kind] = next(iter(made.values()))["id"]
        path = "/email-transmissions/v1/email-transmissions/send"
        _, made = await self.ask("POST", path, RIGHT[f"POST {path}"], self.key)
        self.ids["email-transmissions"] = made["emailTransmission"]["id"]

    def path(self, route: web.AbstractRoute) -> str:
        """The route's path with the ids of what there is."""
        assert route.resource is not None
        kinds = [part for part in route.resource.canonical.split("/") if part in self.ids]
        return re.sub(r"\{[^}]*\}", self.ids[kinds[-1]] if kinds else "x", route.resource.canonical)

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None, token: str, *, cookie: bool = False
    ) -> tuple[int, Any]:
        """(status, body) of a request with a key or a sign-in, where this API wants it to stand."""
        params = {}
        headers = {"Cookie": f"posthouse={token}"} if cookie else {"Authorization": f"Bearer {token}"}
        if path.startswith(OCTETH) and path not in BY_BEARER:
            by = "SessionID" if token == self.sign_in else "APIKey"
            params = {"DomainID": self.ids["user.senderdomain"], by: token}
            headers, body = {}, None if body is None else body | params
        async with self.http.request(
            method, self.at.url + path, json=body, params=params, headers=headers, allow_redirects=False
        ) as answer:
            shown = await (answer.json() if answer.content_type == "application/json" else answer.read())
            return answer.status, shown

    async def suspend(self) -> None:
        await self.at.env.world.change("members", self.id, status="suspended", reason="spam")
        await self.at.env.world.directory.refresh()

    def routes(self) -> Iterator[tuple[str, str]]:
        """(method, path) of everything that is a member's own."""
        for route in self.at.app.router.routes():
            assert route.resource is not None
            if not ANYBODYS.fullmatch(route.resource.canonical) and route.method not in ("HEAD", "OPTIONS"):
                yield route.method, self.path(route)

    def reads(self) -> list[Asked]:
        """Every request that only reads."""
        found: list[Asked] = [(m, p, None) for m, p in self.routes() if m == "GET" and p != "/api.php"]
        found += [("POST", "/api.php", {"Command": f"user.senderdomain.{c}"}) for c in COMMANDS[True]]
        found += [
            (call.method, call.path, BODIES.get(call.path, {}))
            for page in (
                SenderCalls, TransmissionCalls, SuppressionCalls, GatewayDomains, GatewayCredentials, Events
            ) for call, _ in declared(page)
            if call.reads and call.method != "GET"
        ]
        return [*found, ("POST", "/v1/preflight", RIGHT["POST /v1/preflight"])]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    config = make_config(tmp_path, **patient(), dns={"hosted_zone": "hosted.test"})
    async with whole(config) as at, aiohttp.ClientSession() as http:
        made = Place(at, http)
        await made.furnish()
        yield made


async def test_every_call_that_reads_answers_as_before(place: Place) -> None:
    async def all_of_them() -> dict[tuple[str, ...], int]:
        found = {}
        for method, path, body in place.reads():
            named = body.get("Command", "") if body else ""
            for by, token in (("key", place.key), ("sign-in", place.sign_in), ("cookie", place.sign_in)):
                status, _ = await place.ask(method, path, body, token, cookie=by == "cookie")
                found[method, path, named, by] = status
        return found

    before = await all_of_them()
    # What answers nobody would be no test.
    assert {what[:3] for what in before} == {what[:3] for what, status in before.items() if status == 200}
    await place.suspend()
    assert await all_of_them() == before
    status, shown = await place.ask("POST", "/v1/preflight", RIGHT["POST /v1/preflight"], place.key)
    refused = {gate["gate"]: gate["code"] for gate in shown["gates"] if gate["verdict"] == "refused"}
    assert (status, shown["ok"]) == (200, False)
    assert refused == {"login": "MEMBER_SUSPENDED", "sender": "MEMBER_SUSPENDED"}


async def test_no_call_that_changes_something_is_open_to_its_key(place: Place) -> None:
    await place.suspend()
    reads = {(method, path) for method, path, _ in place.reads()} - {("POST", "/api.php")}
    changes = [
        (method, path) for method, path in place.routes()
        if method != "GET" and (method, path) not in reads and not path.startswith("/account")
    ]
    assert len(changes) > 40
    for method, path in changes:
        body = {"Command": "user.senderdomain.verify"} if path == "/api.php" else {}
        status, shown = await place.ask(method, path, body, place.key)
        assert status == 403 or f"{method} {path}" in STRANGERS, (method, path, status, shown)
    for command in COMMANDS[False]:
        body = {"Command": f"user.senderdomain.{command}"}
        assert (await place.ask("POST", "/api.php", body, place.key))[0] == 403, command
