"""A relay with a zone of its own, this API on a real port, and a client that reads what its clients read."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from email import message_from_bytes
from io import BytesIO
from json import dumps
from typing import Any

import aiohttp
import pytest

import enroll.app as enrollment
from relay.base.config import Config
from relay.base.web import Listener, application
from relay.sendapi import Copies, SendServices
from tests.kit.enrolling import Enrolling
from tests.kit.hosting import Hosting, hosting
from tests.kit.world import MemberAt

DOMAINS, EMAILS = "/sending-domains/v1/sending-domains", "/sender-emails/v1/sender-emails"
DETAILS, ACTUAL = "/sender-details/v1/sender-details", "/email-marketing/v1/sender-details/actual-from-address"


class Client:
    """A member's program."""

    def __init__(self, env: Hosting, url: str, http: aiohttp.ClientSession) -> None:
        self.env, self.url, self.http = env, url, http
        self.alice: MemberAt
        self.bob: MemberAt

    @property
    def relay(self) -> Enrolling:
        return self.env.relay

    async def ask(
        self, method: str, path: str, json: Any = None, *, by: MemberAt | None = None, key: str | None = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": (by or self.alice).key if key is None else key}
        if not headers["Authorization"]:
            headers = {}
        body = None if json is None else BytesIO(dumps(json).encode())
        if body is not None:
            headers["Content-Type"] = "application/json"
        async with self.http.request(method, self.url + path, data=body, headers=headers) as response:
            return response.status, await response.json()

    async def good(self, method: str, path: str, json: Any = None, **more: Any) -> Any:
        status, body = await self.ask(method, path, json, **more)
        assert status == 200, body
        return body

    async def refused(self, method: str, path: str, json: Any = None, **more: Any) -> tuple[int, str, Any]:
        """(status, application code, its data) of a refusal in the envelope."""
        status, body = await self.ask(method, path, json, **more)
        assert status >= 400, body
        assert set(body) == {"message", "details"}
        wrong = body["details"]["applicationError"]
        assert set(wrong) == {"code", "description", "data"}
        return status, wrong["code"], wrong["data"]

    async def violated(self, method: str, path: str, json: Any = None, **more: Any) -> list[str]:
        """The fields of a validation error."""
        status, body = await self.ask(method, path, json, **more)
        assert status == 400, body
        return [v["field"] for v in body["details"]["validationError"]["fieldViolations"]]

    async def email(self, address: str, **more: Any) -> dict[str, Any]:
        body = {"senderEmail": {"emailAddress": address}}
        return (await self.good("POST", EMAILS, body, **more))["senderEmail"]

    async def code(self, address: str) -> str:
        """The code in the newest letter to an address."""
        raw = (await self.relay.mail_to(address))[-1]
        text = message_from_bytes(raw).get_payload(decode=True).decode().replace("\r\n", "\n")
        found = re.search(r"^ {4}(\d{6})$", text, re.MULTILINE)
        assert found, text
        return found[1]

    async def verified(self, address: str, **more: Any) -> dict[str, Any]:
        made = await self.email(address, **more)
        if not made["verified"]:
            await self.good("POST", f"{EMAILS}/{made['id']}/send-verification-code", **more)
            body = {"verificationCode": await self.code(made["emailAddress"])}
            await self.good("POST", f"{EMAILS}/{made['id']}/verify", body, **more)
        return made

    async def details(self, address: str, name: str = "Alice", **more: Any) -> dict[str, Any]:
        body = {"senderDetails": {"fromName": name, "fromEmailAddress": address}}
        return (await self.good("POST", DETAILS, body, **more))["senderDetails"]

    async def domain(self, name: str) -> dict[str, Any]:
        """The one sending domain of a name, once its keys are made."""
        await self.relay.services.settled()
        body = await self.good("POST", f"{DOMAINS}/query", {"query": {"filter": {"domain": name}}})
        (found,) = body["sendingDomains"]
        return found

    async def later(self, seconds: float) -> None:
        """Time goes by, in which the relay has looked into its tables."""
        self.relay.clock.move(seconds)
        await self.relay.world.directory.refresh()

    def publish(self, domain: dict[str, Any]) -> None:
        """Every record as a CNAME, from its host name and value alone."""
        for record in domain["dnsRecords"]:
            self.relay.zone(domain["domain"]).add(record["hostName"], "CNAME", record["value"] + ".")

    async def authenticated(self, address: str) -> dict[str, Any]:
        """The sending domain of an address, published and authenticated."""
        await self.verified(address)
        await self.details(address)
        domain = await self.domain(address.partition("@")[2])
        self.publish(domain)
        await self.env.hosted.refresh()
        return (await self.good("POST", f"{DOMAINS}/{domain['id']}/authenticate"))["sendingDomain"]


def sending(relay: Enrolling) -> SendServices:
    r = relay.world
    return SendServices(
        config=r.config, clock=r.clock, storage=r.storage, directory=r.directory, policy=r.policy, intake=r.intake,
        refusals=r.refusals,
    )


@pytest.fixture
async def wix(sqlite_config: Config, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """The client; parametrised indirectly with keys of `[senders]`, and with other sections by their names."""
    params = getattr(request, "param", {})
    updates = {"senders": {k: v for k, v in params.items() if not isinstance(v, dict)}}
    updates |= {k: v for k, v in params.items() if isinstance(v, dict)}
    sections = {name: getattr(sqlite_config, name).model_copy(update=update) for name, update in updates.items()}
    async with hosting(sqlite_config.model_copy(update=sections)) as env:
        relay = env.relay
        app = application(
            env.config, relay.clock, relay.storage,
            routes=enrollment.routes(relay.services, copies=Copies(sending(relay), relay.world.unsubscribe)),
            translate=[enrollment.translate],
        )
        listener = Listener(app, env.config, ["127.0.0.1:0"])
        await listener.start()
        try:
            async with aiohttp.ClientSession() as http:
                client = Client(env, f"http://127.0.0.1:{listener.ports[0]}", http)
                client.alice, client.bob = await relay.member("alice"), await relay.member("bob")
                yield client
        finally:
            await listener.stop()
