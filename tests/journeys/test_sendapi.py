"""The HTTP door as a member meets it: a real server, real policy and intake, a real database."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from sqlalchemy import update
from yarl import URL

import enroll.app as enrollment
from enroll.api.native import Mail
from enroll.services import Services
from relay.base.clock import DAY, iso, utc_day
from relay.base.events import Event
from relay.base.storage import Tx, events, mail, reports, stats, versions
from relay.base.storage.sqlite_driver import InlineConnection
from relay.base.storage.tables import dkim_keys
from relay.base.web import Listener, application
from relay.base.web.calls import operations
from relay.base.web.schema import document, document_route
from relay.bounces.parse import Report
from relay.bounces.record import Records
from relay.outcome import Outcome
from relay.replies import QUEUE_FULL, UNAVAILABLE, Verdict
from relay.sendapi import Sending, SendServices, schemas, send_routes
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, World, letter


@dataclass
class Api:
    """The running API with one member behind it."""

    world: World
    http: ClientSession
    base: str
    alice: MemberAt
    services: SendServices
    members: Services

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, Any]:
        status, text, _ = await self.full(method, path, body, key=key, headers=headers, raw=raw)
        return status, json.loads(text)

    async def full(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, str, Any]:
        sent = {"Authorization": f"Bearer {self.alice.key if key is None else key}"} | (headers or {})
        if key == "":
            del sent["Authorization"]
        if body is not None:
            raw = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        async with self.http.request(method, URL(self.base + path, encoded=True), data=raw, headers=sent) as response:
            return response.status, await response.text(), response.headers

    async def raw_of(self, message_id: int) -> bytes:
        """The octets that would leave for a recipient."""
        async with self.world.storage.read() as tx:
            found = await mail.bytes_of(tx, [(message_id, await self._message(message_id))])
        return b"".join(found[message_id])

    async def _message(self, recipient_id: int) -> int:
        ready = await self.world.queue.claim(100, {})
        for r in ready:
            await self.world.queue.release(r.due)
        return next(r.due.message_id for r in ready if r.due.id == recipient_id)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    config = make_config(tmp_path, submission={"max_recipients": 10, "max_message_bytes": 300_000})
    world = await World.make(config)
    services = SendServices(
        config=config,
        clock=world.clock,
        storage=world.storage,
        directory=world.directory,
        policy=world.policy,
        intake=world.intake,
        refusals=world.refusals,
    )
    described = document(
        [{"paths": operations([Sending]), "components": {"schemas": schemas()}}], public_url=config.server.public_url,
        version="1",
    )
    reported = document_route(lambda: described, "/openapi.json")
    members = world.core.enroll
    app = application(
        config, world.clock, world.storage, translate=[enrollment.translate],
        routes=[*send_routes(services), *enrollment.routes(members, Mail(world.queue, world.handoff)), reported],
    )
    listener = Listener(app, config, ["127.0.0.1:0"])
    await listener.start()
    alice = await world.member("alice")
    await world.domain(alice, "example.test")
    async with ClientSession() as http:
        yield Api(world, http, f"http://127.0.0.1:{listener.ports[0]}", alice, services, members)
    await listener.stop()
    await world.close()


async def later(api: Api, seconds: float) -> None:
    """Time passes."""
    api.world.clock.move(seconds)  # type: ignore[attr-defined]
    await api.world.directory.refresh()


def message(**more: Any) -> dict[str, Any]:
    made = {"from": "News <news@example.test>", "to": "bob@sink.test", "subject": "Hello", "text": "Hi"} | more
    return {k: v for k, v in made.items() if v is not ...}


async def suppress(api: Api, address: str, reason: str = "unsubscribe") -> None:
    await api.world.suppressions.add(api.alice.id, address, reason)


async def test_a_message_is_accepted_signed_and_on_disk(api: Api) -> None:
    status, got = await api.ask(
        "POST",
        "/v1/send",
        message(
            to=["Bob <bob@sink.test>", "BOB@sink.test", "bob@SINK.test"], cc="carol@sink.test", bcc=["dan@sink.test"]
        ),
    )
    assert status == 200
    assert set(got) == {"accepted", "rejected", "id"}
    assert [a["recipient"] for a in got["accepted"]] == [
        "bob@sink.test",
        "BOB@sink.test",
        "carol@sink.test",
        "dan@sink.test",
    ]
    assert all(isinstance(a["messageId"], int) for a in got["accepted"])
    assert len({a["messageId"] for a in got["accepted"]}) == 4
    raw = await api.raw_of(got["accepted"][0]["messageId"])
    read = email.message_from_bytes(raw)
    assert raw.count(b"DKIM-Signature:") == 2
    assert (read["From"], read["Cc"]) == ("News <news@example.test>", "carol@sink.test")
    assert b"dan@" not in raw


async def test_the_door_speaks_of_credentials_as_smtp_does(api: Api) -> None:
    body = message()
    assert (await api.ask("POST", "/v1/send", body, key=""))[1]["code"] == "AUTH_REQUIRED"
    status, text, headers = await api.full("POST", "/v1/send", body, key=api.alice.key[:-1] + "x")
    assert (status, json.loads(text)["code"]) == (401, "AUTH_FAILED")
    assert "Bearer" in headers["WWW-Authenticate"]
    for name in ("X-Posthouse-DID", "X-Atmos-DID"):
        assert (await api.ask("POST", "/v1/send", body, headers={name: "nonsense"}))[1]["code"] == "INVALID_DID"
        assert (await api.ask("POST", "/v1/send", body, headers={name: "did:web:x.test"}))[0] == 401
        assert (await api.ask("POST", "/v1/send", body, headers={name: api.alice.did.upper()}))[0] == 200
    assert (await api.ask("POST", "/v1/send?did=did:plc:short", body))[1]["code"] == "INVALID_DID"
    both = {"X-Posthouse-DID": api.alice.did, "X-Atmos-DID": "did:web:x.test"}
    assert (await api.ask("POST", "/v1/send", body, headers=both))[1]["code"] == "INVALID_DID"
    await api.world.change("api_keys", api.alice.key_id, scopes=["read"])
    await api.world.directory.refresh()
    assert (await api.ask("POST", "/v1/send", body))[1]["code"] == "FORBIDDEN"


async def test_a_stranger_uploads_nothing(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.base.rpartition(":")[2]))
    writer.write(
        b"POST /v1/send HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n"
    )
    assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_suspended_member_sends_nothing_but_sees_why(api: Api) -> None:
    await api.world.change("members", api.alice.id, status="suspended", reason="too many complaints")
    await api.world.directory.refresh()
    status, got = await api.ask("POST", "/v1/send", message())
    assert (status, got["code"]) == (403, "MEMBER_SUSPENDED")
    assert "too many complaints" in got["error"]
    assert got["detail"]["url"].endswith("/r/" + got["detail"]["reference"])
    for path in ("/member/status", "/member/deliverability"):
        assert (await api.ask("GET", path))[1]["status"] == "suspended"
    assert (await api.ask("GET", "/member/status"))[1]["domains"] != []
    status, got = await api.ask("GET", "/v1/standing")
    assert (status, got["stage"], got["reason"]) == (200, "suspended", "too many complaints")
    assert got["bounces"] == {
        "count": 0, "of": 0, "share": 0.0, "lowerBound": 0.0, "noticeAt": 0.025, "slowAt": 0.0375, "suspendAt": 0.05,
        "domains": 0, "domainsNeeded": 3, "refused": 0, "refusedNeeded": 50, "left": 50,
    }


@pytest.mark.parametrize(
    ("sender", "code"),
    [
        ("x@other.test", "DOMAIN_MISMATCH"),
        ("x@sub.example.test", "DOMAIN_MISMATCH"),
        ("x@test", "DOMAIN_MISMATCH"),
        ("a@example.test, b@example.test", "FROM_MISMATCH"),
        ("nonsense", "FROM_MISMATCH"),
        ('"x@other.test" <a@example.test>', "FROM_MISMATCH"),
        ("a@example.test <x@other.test>", "FROM_MISMATCH"),
        ("List: a@example.test;", "FROM_MISMATCH"),
        ("", "FROM_MISMATCH"),
    ],
)
async def test_only_ones_own_verified_domains_may_be_named(api: Api, sender: str, code: str) -> None:
    status, got = await api.ask("POST", "/v1/send", message(**{"from": sender}))
    assert (status, got["code"]) == (403, code)
    assert got["detail"]["reference"]
    assert (await api.ask("POST", "/v1/send", message(**{"from": "A <a@EXAMPLE.test>"})))[0] == 200


async def test_without_a_sender_the_only_domain_serves(api: Api) -> None:
    status, got = await api.ask("POST", "/v1/send", message(**{"from": ...}))
    assert status == 200
    _, reported = await api.ask("GET", f"/v1/messages/{got['id']}")
    assert reported["from"] == "noreply@example.test"
    await api.world.domain(api.alice, "second.test")
    status, got = await api.ask("POST", "/v1/send", message(**{"from": ...}))
    assert (status, got["code"], got["detail"]["field"]) == (400, "INVALID_REQUEST", "from")
    third = await api.world.domain(api.alice, "third.test")
    await api.world.change("domains", third, options={"default_sender": True})
    await api.world.directory.refresh()
    status, got = await api.ask("POST", "/v1/send", message(**{"from": ...}))
    _, reported = await api.ask("GET", f"/v1/messages/{got['id']}")
    assert (status, reported["from"]) == (200, "noreply@third.test")


async def test_a_default_domain_that_may_not_send_is_not_replaced_by_another(api: Api) -> None:
    without = message(**{"from": ...})
    second = await api.world.domain(api.alice, "second.test")
    await api.world.change("domains", second, options={"default_sender": True}, state="disabled")
    await api.world.directory.refresh()
    for path in ("/v1/send", "/v1/preflight"):
        status, got = await api.ask("POST", path, without)
        reported = got if path == "/v1/send" else got["gates"][-1]
        assert (reported["code"], reported["detail"]["rule"]) == ("DOMAIN_MISMATCH", "domain_rests")
        assert reported["error"] == "From address not allowed: second.test is yours, paused by you"
    assert (status, got["ok"]) == (200, False)
    # With a From, the others go out as ever.
    assert (await api.ask("POST", "/v1/send", message()))[0] == 200
    # Where the only domain rests, that is said, and not that there is none.
    [first] = [d.id for d in api.world.directory.domains_of_member(api.alice.id)]
    await api.world.change("domains", second, options={}, state="deleted")
    await api.world.change("domains", first, state="suspended", reason="told so")
    await api.world.directory.refresh()
    status, got = await api.ask("POST", "/v1/send", without)
    assert (status, got["error"]) == (
        403, "From address not allowed: example.test is yours, suspended by the operator: told so"
    )
    # A raw message, and a batch for each of its own, likewise.
    status, got = await api.ask(
        "POST", "/v1/send/raw?from=a@example.test&to=b@sink.test", raw=letter(), headers=RFC822
    )
    assert (status, got["detail"]["rule"], got["detail"]["state"]) == (403, "domain_rests", "suspended")
    _, got = await api.ask("POST", "/v1/send/batch", {"messages": [message()]})
    assert [r["detail"]["rule"] for r in got["results"]] == ["domain_rests"]


async def test_recipients_are_refused_one_by_one(api: Api) -> None:
    await suppress(api, "gone@sink.test")
    to = ["bob@sink.test", "gone@sink.test", "nonsense", "a b@sink.test", "x@[127.0.0.1]", "Gone <GONE+tag@Sink.Test>"]
    status, got = await api.ask("POST", "/v1/send", message(to=to))
    assert status == 200
    assert [a["recipient"] for a in got["accepted"]] == ["bob@sink.test"]
    assert sorted((r["recipient"], r["code"]) for r in got["rejected"]) == [
        ("GONE+tag@sink.test", "SUPPRESSED"),
        ("a b@sink.test", "INVALID_RECIPIENT"),
        ("gone@sink.test", "SUPPRESSED"),
        ("nonsense", "INVALID_RECIPIENT"),
        ("x@[127.0.0.1]", "INVALID_RECIPIENT"),
    ]
    assert all(r["reason"] for r in got["rejected"])
    status, got = await api.ask("POST", "/v1/send", message(to="gone@sink.test"))
    assert (status, got["code"], got["accepted"], got["id"]) == (422, "NOTHING_ACCEPTED", [], None)
    assert [(r["recipient"], r["code"]) for r in got["rejected"]] == [("gone@sink.test", "SUPPRESSED")]


@pytest.mark.parametrize("way", ["json", "raw"])
async def test_where_nobody_was_accepted_nothing_is_a_success(api: Api, way: str) -> None:
    await suppress(api, "gone@sink.test")
    people = ["nonsense", "gone@sink.test", "x@[127.0.0.1]"]
    headers = {"Idempotency-Key": "nobody"}

    async def ask(to: list[str]) -> tuple[int, str, dict[str, str]]:
        if way == "json":
            return await api.full("POST", "/v1/send", message(to=to), headers=headers)
        envelope = {"X-Envelope-From": "a@example.test", "X-Envelope-To": ",".join(to)}
        return await api.full("POST", "/v1/send/raw", raw=letter(), headers=headers | RFC822 | envelope)

    status, text, sent = await ask(people)
    got = json.loads(text)
    assert (status, got["code"], got["error"]) == (422, "NOTHING_ACCEPTED", "No valid recipients")
    assert {r["recipient"]: r["code"] for r in got["rejected"]} == {
        "nonsense": "INVALID_RECIPIENT", "gone@sink.test": "SUPPRESSED", "x@[127.0.0.1]": "INVALID_RECIPIENT",
    }
    assert "Retry-After" not in sent
    # It is an answer like any other: a repeat hears it again, even though the address may be written to by now.
    await api.world.suppressions.remove(api.alice.id, "gone@sink.test")
    assert (await ask(people))[:2] == (status, text)
    assert (await ask([*people, "bob@sink.test"]))[0] == 409
    headers["Idempotency-Key"] = "again"
    status, text, _ = await ask(people)
    assert (status, [a["recipient"] for a in json.loads(text)["accepted"]]) == (200, ["gone@sink.test"])


LONG = "reply+000c89caea14b0bf53caf17fd0c9c67fce378f51fd1af05492cf000000011292f3d892a169ce07601530@sink.test"
ODD = [
    LONG, "x" * 244 + "@sink.test", "john..doe@sink.test", "taro.@sink.test", '"lee, ann"@sink.test', "a@sand_box.test",
]


async def test_addresses_of_others_are_taken_as_their_hosts_have_them(api: Api) -> None:
    shown = message(to=[LONG, f"Doe <{ODD[2]}>"], cc=[ODD[4], ODD[5]], bcc=[ODD[1], ODD[3]], replyTo=ODD[2])
    _, single = await api.ask("POST", "/v1/send", shown)
    _, batch = await api.ask("POST", "/v1/send/batch", {"messages": [shown]})
    envelope = {"X-Envelope-From": "news@example.test", "X-Envelope-To": ", ".join(ODD)}
    _, raw = await api.ask("POST", "/v1/send/raw", raw=letter(), headers=RFC822 | envelope)
    query = "&".join(f"to={quote(to)}" for to in ODD)
    _, named = await api.ask("POST", f"/v1/send/raw?from=news@example.test&{query}", raw=letter(), headers=RFC822)
    _, asked = await api.ask("POST", "/v1/preflight", shown)
    for got in (single, *batch["results"], raw, named):
        assert got["rejected"] == []
        assert {one["recipient"] for one in got["accepted"]} == set(ODD)
    assert asked["ok"] is True
    # A header has them so that every program reads the same: RFC 5322 §3.4.1 wants quotes around odd dots.
    sent = email.message_from_bytes(await api.raw_of(single["accepted"][0]["messageId"]))
    assert re.sub(r"\s+", " ", sent["To"]) == f'{LONG}, Doe <"john..doe"@sink.test>'
    assert (sent["Cc"], sent["Reply-To"]) == ('"lee, ann"@sink.test, a@sand_box.test', '"john..doe"@sink.test')
    for to in ODD:
        _, found = await api.ask("GET", f"/v1/messages?recipient={quote(to)}")
        assert {one["recipient"] for one in found["messages"]} == {to}
    # As a member's own sender they are not taken.
    status, got = await api.ask("POST", "/v1/send", message(**{"from": "ne..ws@example.test"}))
    assert (status, got["code"]) == (403, "FROM_MISMATCH")
    path = "/v1/send/raw?from=ne..ws@example.test&to=b@sink.test"
    assert (await api.ask("POST", path, raw=letter(), headers=RFC822))[0] == 422


async def test_a_login_link_passes_an_unsubscribe_but_no_complaint(api: Api) -> None:
    await suppress(api, "left@sink.test")
    await suppress(api, "angry@sink.test", "complaint")
    to = ["left@sink.test", "angry@sink.test"]
    _, got = await api.ask("POST", "/v1/send", message(to=to, category="login-link"))
    assert [a["recipient"] for a in got["accepted"]] == ["left@sink.test"]
    status, got = await api.ask("POST", "/v1/send", message(to=to, category="transactional"))
    assert (status, got["accepted"], len(got["rejected"])) == (422, [], 2)


async def test_bulk_gets_unsubscribe_headers_and_transactional_none(api: Api) -> None:
    for category, there in (("bulk", True), (..., True), ("transactional", False), ("mfa-otp", False)):
        _, got = await api.ask("POST", "/v1/send", message(category=category))
        raw = await api.raw_of(got["accepted"][0]["messageId"])
        assert (b"List-Unsubscribe-Post:" in raw) is there, category


@pytest.mark.parametrize("name", [
    "ACME, Inc.", "Jane Doe (@jdoe)", "news@example.test", "Jürgen (ACME)", "[ACME] Sales; Support:", "Jane\\",
    "Jane \\\"", "x (y", "Ann via news@example.test, Inc.", "'Ann'", "@",
])  # fmt: skip
async def test_a_senders_name_needs_no_quotation_marks_in_json(api: Api, name: str) -> None:
    given = name if '"' not in name else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    status, got = await api.ask("POST", "/v1/send", message(**{"from": f"{given} <news@example.test>"}))
    assert status == 200, got
    sent = email.message_from_bytes(await api.raw_of(got["accepted"][0]["messageId"]), policy=email.policy.default)
    [sender] = sent["From"].addresses
    assert (sender.display_name, sender.addr_spec) == (name, "news@example.test")


@pytest.mark.parametrize("given", [
    "ceo@bank.test <news@example.test>", "Ann, ceo@bank.test <news@example.test>",
    "Ann <news@example.test>, Bob <more@example.test>", "news@example.test, more@example.test",
    "<ceo@bank.test> <news@example.test>", "Ann: news@example.test;", "=?utf-8?q?ceo=40bank.test?= <news@example.test>",
    '"Ann" <ceo@bank.test> <news@example.test>',
])  # fmt: skip
async def test_what_shows_two_senders_is_refused_in_json_as_in_a_header(api: Api, given: str) -> None:
    status, got = await api.ask("POST", "/v1/send", message(**{"from": given}))
    assert (status, got["code"]) == (403, "FROM_MISMATCH")


async def test_limits_refuse_the_whole_request(api: Api) -> None:
    many = [f"r{i}@sink.test" for i in range(11)]
    status, got = await api.ask("POST", "/v1/send", message(to=many[:6], bcc=many[6:]))
    assert (status, got["code"], got["detail"]["wanted"]) == (422, "TOO_MANY_RECIPIENTS", "10")
    # However many are named, the number that fits is said.
    named = {"Content-Type": "message/rfc822", "X-Envelope-To": ",".join(["a@s.t"] * 1001)}
    status, got = await api.ask("POST", "/v1/send/raw?from=news@example.test", raw=letter(), headers=named)
    assert (status, got["code"], got["detail"]["wanted"]) == (422, "TOO_MANY_RECIPIENTS", "10")
    status, got = await api.ask("POST", "/v1/send", message(text="x" * 400_000))
    assert (status, got["code"]) == (413, "TOO_LARGE")
    file = base64.b64encode(b"x" * 280_000).decode()
    status, got = await api.ask("POST", "/v1/send", message(attachments=[{"filename": "f", "content": file}]))
    assert (status, got["code"]) == (413, "TOO_LARGE")


async def test_warming_is_429_for_the_whole_and_says_when(api: Api) -> None:
    await api.world.domain(api.alice, "young.test", tier="week 1")
    body = message(**{"from": "a@young.test", "to": [f"r{i}@sink.test" for i in range(3)]})
    assert (await api.ask("POST", "/v1/send", body))[0] == 200
    await later(api, 600)
    status, text, headers = await api.full("POST", "/v1/send", body)
    got = json.loads(text)
    assert (status, got["code"]) == (429, "RATE_LIMITED")
    assert headers["Retry-After"] == "3000"
    assert got["detail"]["tier"] == "week 1"
    slot = iso(api.world.clock.now() + 3000)
    assert (got["detail"]["nextSlot"], got["detail"]["passesAt"]) == (slot, slot)
    assert got["error"].endswith(f", next slot {slot}")
    _, reported = await api.ask("GET", "/member/status")
    young = next(d for d in reported["domains"] if d["domain"] == "young.test")
    assert young["hour"] == {"limit": 5, "used": 3, "left": 2}
    # What was refused spent nothing: the two that are left still go.
    assert (await api.ask("POST", "/v1/send", body | {"to": ["a@sink.test", "b@sink.test"]}))[0] == 200
    assert (await api.ask("POST", "/v1/send", body | {"to": "c@sink.test"}))[0] == 429


async def test_sending_tells_what_is_left(api: Api) -> None:
    """draft-ietf-httpapi-ratelimit-headers: lists of strings with parameters, in recipients."""
    policy = '"hour";q=5;w=3600, "day";q=20;w=86400'
    [first] = api.world.directory.domains_of_member(api.alice.id)
    await api.world.change("domains", first.id, tier="week 1")
    await api.world.directory.refresh()
    for left, path, more in ((4, "/v1/send", {}), (3, "/v1/send/raw?from=a@example.test&to=b@sink.test", RFC822)):
        body = message() if path == "/v1/send" else None
        raw = None if body else letter()
        status, _, headers = await api.full("POST", path, body, headers=dict(more), raw=raw)
        assert (status, headers["RateLimit-Policy"]) == (200, policy)
        assert headers["RateLimit"] == f'"hour";r={left};t=3600, "day";r={left + 15};t=86400'
    await later(api, 600)
    many = [f"b{i}@sink.test" for i in range(4)]
    status, _, headers = await api.full("POST", "/v1/send", message(to=many))
    assert (status, headers["RateLimit-Policy"]) == (429, policy)
    wait = headers["Retry-After"]
    assert headers["RateLimit"] == f'"hour";r=3;t={wait}, "day";r=18;t={wait}'
    _, _, headers = await api.full("POST", "/v1/send", message(to=many[:3]))
    assert headers["RateLimit"] == '"hour";r=0;t=3000, "day";r=15;t=85800'


async def test_a_batch_tells_what_is_left_of_the_tier_that_has_least(api: Api) -> None:
    await api.world.domain(api.alice, "young.test", tier="week 1")
    await api.world.domain(api.alice, "older.test", tier="week 2")
    await api.world.directory.refresh()
    letters = [message(**{"from": f"a@{name}"}) for name in ("young.test", "older.test")]
    _, _, headers = await api.full("POST", "/v1/send/batch", {"messages": letters})
    assert headers["RateLimit"].startswith('"hour";r=4;')
    assert headers["RateLimit-Policy"] == '"hour";q=5;w=3600, "day";q=20;w=86400'
    _, _, headers = await api.full("POST", "/v1/send/batch", {"messages": [message()]})
    assert "RateLimit" not in headers, "no limit"


async def test_what_never_fits_the_tier_is_no_matter_of_waiting(api: Api) -> None:
    await api.world.domain(api.alice, "young.test", tier="week 1")
    await suppress(api, "gone@sink.test")
    body = message(**{"from": "a@young.test", "to": [f"r{i}@sink.test" for i in range(6)]})
    for used in (False, True):
        status, text, headers = await api.full("POST", "/v1/send", body)
        got = json.loads(text)
        assert (status, got["code"], got["detail"]["fits"]) == (422, "TOO_MANY_RECIPIENTS", 5), used
        assert 'warming tier "week 1" takes at most 5 a message' in got["error"]
        assert "Retry-After" not in headers
        if not used:
            five = body | {"to": [*body["to"][:5], "gone@sink.test", "nonsense"]}
            # Who gets nothing counts for nothing.
            assert (await api.ask("POST", "/v1/send", five))[0] == 200
    # All of it fits once there is room, so it is a matter of waiting.
    assert (await api.ask("POST", "/v1/send", five))[0] == 429
    _, got = await api.ask("POST", "/v1/send/batch", {"messages": [body, five]})
    assert [r["status"] for r in got["results"]] == [422, 429]
    _, got = await api.ask("POST", "/v1/preflight", body)
    assert [(g["gate"], g["status"]) for g in got["gates"] if g["verdict"] == "refused"] == [("warming", 422)]


@pytest.mark.parametrize(("verdict", "status"), [(Verdict(QUEUE_FULL), 503), (Verdict(UNAVAILABLE), 503)])
async def test_our_own_troubles_ask_to_come_back(
    api: Api, verdict: Verdict, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> Verdict:
        return verdict

    with monkeypatch.context() as patched:
        patched.setattr(api.world.intake, "accept", full)
        got, text, headers = await api.full("POST", "/v1/send", message(), headers={"Idempotency-Key": "k"})
        assert (got, json.loads(text)["code"]) == (status, verdict.reply.code)
        assert int(headers["Retry-After"]) > 0
    # The key is free: the same request goes through now.
    assert (await api.ask("POST", "/v1/send", message(), headers={"Idempotency-Key": "k"}))[0] == 200


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"x"', 400),
        (b"{", 400),
        (b'{"to":"a","to":"b"}', 400),
        (b"[" * 100_000, 400),
        (b'{"subject":NaN}', 400),
        (b'{"subject":"\\ud800"}', 400),
        (b'{"from":"a@example.test","bogus":1}', 400),
        (b"\xff", 400),
    ],
)
async def test_a_malformed_body_is_named_and_never_a_crash(api: Api, raw: bytes, status: int) -> None:
    for path in ("/v1/send", "/v1/send/batch", "/v1/preflight"):
        got, reported = await api.ask("POST", path, raw=raw, headers={"Content-Type": "application/json"})
        assert (got, reported["code"]) == (status, "INVALID_REQUEST")


async def test_injection_never_reaches_a_header(api: Api) -> None:
    evil = "x\r\nBcc: evil@evil.test"
    for more in (
        {"subject": evil},
        {"from": f"{evil} <a@example.test>"},
        {"to": f"{evil} <b@sink.test>"},
        {"tags": [evil]},
        {"metadata": {"k": evil}},
        {"metadata": {evil: "v"}},
        {"headers": {"X-A": evil}},
        {"replyTo": evil},
        {"to": "bob@sink.test\r\nRCPT TO:<e@evil.test>"},
    ):
        status, got = await api.ask("POST", "/v1/send", message(**more))
        assert (status, got["code"]) == (422, "INVALID_MESSAGE"), more


# -- scheduling --------------------------------------------------------------------------------------------------


async def test_a_scheduled_message_waits_and_can_be_cancelled(api: Api) -> None:
    at = api.world.clock.now() + DAY
    for send_at in (at, iso(at), iso(at).replace("Z", "+00:00")):
        status, got = await api.ask("POST", "/v1/send", message(sendAt=send_at))
        assert status == 200
        _, reported = await api.ask("GET", f"/v1/messages/{got['id']}")
        assert (reported["recipients"][0]["status"], reported["recipients"][0]["nextAttemptAt"]) == ("queued", iso(at))
        status, reported = await api.ask("POST", f"/v1/messages/{got['id']}/cancel")
        assert (status, reported["recipients"][0]["status"]) == (200, "cancelled")
        status, reported = await api.ask("POST", f"/v1/messages/{got['id']}/cancel")
        assert (status, reported["code"]) == (409, "CONFLICT")


async def test_a_scheduled_message_that_is_sent_sooner_was_not_signed_in_the_future(api: Api) -> None:
    now = int(api.world.clock.now())
    _, got = await api.ask("POST", "/v1/send", message(sendAt=now + 20 * DAY))
    assert (await api.ask("POST", f"/v1/messages/{got['id']}/retry"))[0] == 200
    raw = await api.raw_of(got["accepted"][0]["messageId"])
    # RFC 6376 §3.5: not before it was made, and not over before it would have arrived in its time.
    times = [(int(t), int(x)) for t, x in re.findall(rb" t=(\d+);\s+x=(\d+);", raw)]
    assert times == [(now, now + 27 * DAY)] * 2


@pytest.mark.parametrize(
    "send_at", ["tomorrow", "2026-13-01T00:00:00Z", "2026-05-01", "2026-05-01T00:00:00", 1e15, "", []]
)
async def test_a_time_that_cannot_be_meant_is_refused(api: Api, send_at: Any) -> None:
    status, got = await api.ask("POST", "/v1/send", message(sendAt=send_at))
    assert (status, got["detail"]["field"]) == (400, "sendAt")


async def test_thirty_days_is_the_furthest_and_the_past_is_now(api: Api) -> None:
    now = api.world.clock.now()
    assert (await api.ask("POST", "/v1/send", message(sendAt=now + 31 * DAY)))[0] == 400
    for past in (0, -1, now - 5, "1999-12-31T23:59:59Z"):
        _, got = await api.ask("POST", "/v1/send", message(sendAt=past))
        _, reported = await api.ask("GET", f"/v1/messages/{got['id']}")
        assert reported["recipients"][0]["nextAttemptAt"] == iso(now)


# -- idempotency -------------------------------------------------------------------------------------------------


async def count_recipients(api: Api) -> int:
    _, got = await api.ask("GET", "/v1/messages?limit=200")
    return len(got["messages"])


async def test_a_repeat_gets_the_first_answer_byte_for_byte(api: Api) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = await api.full("POST", "/v1/send", message(), headers=headers)
    again = await api.full("POST", "/v1/send", message(), headers=headers)
    assert first[:2] == again[:2]
    assert again[2]["Idempotent-Replayed"] == "true"
    assert await count_recipients(api) == 1
    status, got = await api.ask("POST", "/v1/send", message(subject="Other"), headers=headers)
    assert (status, got["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    refused = [await api.full("POST", "/v1/send", message(bogus=1), headers={"Idempotency-Key": "b"}) for _ in "12"]
    assert refused[0][:2] == refused[1][:2]
    assert refused[0][0] == 400
    await later(api, 25 * 3600)
    assert (await api.ask("POST", "/v1/send", message(subject="Other"), headers=headers))[0] == 200


async def test_twenty_at_once_with_one_key_send_once(api: Api) -> None:
    answers = await asyncio.gather(
        *(api.ask("POST", "/v1/send", message(), headers={"Idempotency-Key": "race"}) for _ in range(20))
    )
    assert {status for status, _ in answers} <= {200, 409}
    assert {got["code"] for status, got in answers if status == 409} <= {"REQUEST_IN_PROGRESS"}
    assert len({got["id"] for status, got in answers if status == 200}) == 1
    assert await count_recipients(api) == 1


async def test_keys_of_two_members_are_apart(api: Api) -> None:
    bob = await api.world.member("bob")
    await api.world.domain(bob, "bob.test")
    headers = {"Idempotency-Key": "same"}
    assert (await api.ask("POST", "/v1/send", message(), headers=headers))[0] == 200
    body = message(**{"from": "b@bob.test"})
    assert (await api.ask("POST", "/v1/send", body, headers=headers, key=bob.key))[0] == 200


async def test_a_key_whose_request_died_is_free_after_minutes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    never = asyncio.Event()

    async def dies(*_: Any) -> Verdict:
        await never.wait()
        raise AssertionError

    headers = {"Idempotency-Key": "crash"}
    with monkeypatch.context() as patched:
        patched.setattr(api.world.intake, "accept", dies)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(api.ask("POST", "/v1/send", message(), headers=headers), 0.3)
    status, got = await api.ask("POST", "/v1/send", message(), headers=headers)
    assert (status, got["code"]) == (409, "REQUEST_IN_PROGRESS")
    await later(api, 301)
    status, got = await api.ask("POST", "/v1/send", message(), headers=headers)
    assert status == 200
    # The first request wakes up after all, finds its key taken over, and writes nothing.
    never.set()
    assert (await api.ask("POST", "/v1/send", message(), headers=headers))[1] == got
    assert await count_recipients(api) == 1


async def test_a_sleeper_whose_key_was_taken_over_writes_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, wake, real = asyncio.Event(), asyncio.Event(), api.world.intake.accept

    async def slow(submission: Any) -> Any:
        reached.set()
        await wake.wait()
        return await real(submission)

    headers = {"Idempotency-Key": "slow"}
    with monkeypatch.context() as patched:
        patched.setattr(api.world.intake, "accept", slow)
        sleeper = asyncio.create_task(api.ask("POST", "/v1/send", message(), headers=headers))
        await reached.wait()
    await later(api, 301)
    status, got = await api.ask("POST", "/v1/send", message(), headers=headers)
    assert status == 200
    wake.set()
    assert (await sleeper)[0] == 500
    assert (await api.ask("POST", "/v1/send", message(), headers=headers))[1] == got
    assert await count_recipients(api) == 1


@pytest.mark.parametrize("path", ["/v1/send", "/v1/send/batch"])
async def test_a_key_is_free_at_once_when_the_commit_fails(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    real = InlineConnection.commit

    async def full(connection: Any) -> None:
        if connection.raw.execute("SELECT count(*) FROM messages").fetchone()[0]:
            raise sqlite3.OperationalError("database or disk is full")
        await real(connection)

    body: Any = message() if path == "/v1/send" else {"messages": [message()]}
    with monkeypatch.context() as patched:
        patched.setattr(InlineConnection, "commit", full)
        assert (await api.ask("POST", path, body, headers={"Idempotency-Key": "full"}))[0] == 507
    assert (await api.ask("POST", path, body, headers={"Idempotency-Key": "full"}))[0] == 200
    assert await count_recipients(api) == 1


async def test_a_sleeper_that_comes_to_nothing_frees_no_key_of_a_later_request(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def slow(_: Any) -> Verdict:
        await reached.put(wake := asyncio.Event())
        await wake.wait()
        return Verdict(UNAVAILABLE)

    headers = {"Idempotency-Key": "slow"}
    monkeypatch.setattr(api.world.intake, "accept", slow)
    first = asyncio.create_task(api.ask("POST", "/v1/send", message(), headers=headers))
    wake_first = await reached.get()
    await later(api, 301)
    second = asyncio.create_task(api.ask("POST", "/v1/send", message(), headers=headers))
    wake_second = await reached.get()
    wake_first.set()
    assert (await first)[0] == 503
    third = asyncio.create_task(api.ask("POST", "/v1/send", message(), headers=headers))
    queued = asyncio.create_task(reached.get())
    await asyncio.wait((third, queued), return_when=asyncio.FIRST_COMPLETED)
    if queued.done():
        queued.result().set()
    queued.cancel()
    wake_second.set()
    assert (await second)[0] == 503
    assert (await third)[1]["code"] == "REQUEST_IN_PROGRESS"


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_an_unreadable_key_is_refused(api: Api, key: str) -> None:
    assert (await api.ask("POST", "/v1/send", message(), headers={"Idempotency-Key": key}))[0] == 400


async def test_a_client_that_hangs_up_does_not_undo_its_message(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go, real = asyncio.Event(), asyncio.Event(), api.world.intake.accept
    done = asyncio.Event()

    async def slow(submission: Any) -> Any:
        reached.set()
        await go.wait()
        try:
            return await real(submission)
        finally:
            done.set()

    monkeypatch.setattr(api.world.intake, "accept", slow)
    task = asyncio.create_task(api.ask("POST", "/v1/send", message()))
    await reached.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go.set()
    await done.wait()
    assert await count_recipients(api) == 1


# -- batch, raw, preflight ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "batch"}])
async def test_a_batch_has_a_result_each(api: Api, headers: dict[str, str]) -> None:
    await suppress(api, "gone@sink.test")
    body = {
        "messages": [
            message(),
            message(bogus=1),
            message(**{"from": "x@other.test"}),
            message(to="gone@sink.test"),
            message(subject="Last"),
            5,
        ]
    }
    first = await api.full("POST", "/v1/send/batch", body, headers=headers)
    got = json.loads(first[1])["results"] if first[0] == 200 else first
    assert first[0] == 400 if isinstance(got, tuple) else True
    body["messages"].pop()
    headers = {k: v + "2" for k, v in headers.items()}
    first = await api.full("POST", "/v1/send/batch", body, headers=headers)
    results = json.loads(first[1])["results"]
    assert [r["status"] for r in results] == [200, 400, 403, 422, 200]
    assert [r.get("code") for r in results] == [
        None, "INVALID_REQUEST", "DOMAIN_MISMATCH", "NOTHING_ACCEPTED", None
    ]
    assert results[3]["rejected"][0]["code"] == "SUPPRESSED"
    assert await count_recipients(api) == 2
    # However it was written, the worker of this process need not wait for its next round.
    assert api.world.handoff.wake.is_set()
    if headers:
        again = await api.full("POST", "/v1/send/batch", body, headers=headers)
        assert again[:2] == first[:2]
        assert await count_recipients(api) == 2


async def test_a_batch_that_came_to_nothing_may_be_asked_again_once_there_is_room(api: Api) -> None:
    await api.world.domain(api.alice, "young.test", tier="week 1")
    young = {"from": "a@young.test"}
    five, refused = message(**young, to=[f"r{i}@sink.test" for i in range(5)]), message(bogus=1)
    headers = {"Idempotency-Key": "warming"}
    assert (await api.ask("POST", "/v1/send", five))[0] == 200
    body = {"messages": [message(**young), refused]}
    _, got = await api.ask("POST", "/v1/send/batch", body, headers=headers)
    assert [r["status"] for r in got["results"]] == [429, 400]
    await later(api, 3601)
    _, got = await api.ask("POST", "/v1/send/batch", body, headers=headers)
    assert [r["status"] for r in got["results"]] == [200, 400]
    # From here on there is a message that a repeat must not send again.
    body = {"messages": [message(**young), five]}
    headers = {"Idempotency-Key": "half"}
    first = await api.full("POST", "/v1/send/batch", body, headers=headers)
    assert [r["status"] for r in json.loads(first[1])["results"]] == [200, 429]
    await later(api, 3601)
    again = await api.full("POST", "/v1/send/batch", body, headers=headers)
    assert (again[:2], again[2]["Idempotent-Replayed"]) == (first[:2], "true")


async def test_a_batch_is_bounded(api: Api) -> None:
    for body in ({"messages": []}, {"messages": [message()] * 101}, {"messages": message()}, {}):
        assert (await api.ask("POST", "/v1/send/batch", body))[0] == 400
    status, got = await api.ask("POST", "/v1/send/batch", [message(), message()])
    assert (status, len(got["results"])) == (200, 2)


RFC822 = {"Content-Type": "message/rfc822"}


async def test_a_raw_message_keeps_its_bytes(api: Api) -> None:
    raw = letter("news@example.test", body="Grüße\r\n".encode())
    path = "/v1/send/raw?from=bounce@example.test&to=bob@sink.test&to=carol@sink.test&tag=t1"
    status, got = await api.ask("POST", path, raw=raw, headers=RFC822)
    assert (status, len(got["accepted"])) == (200, 2)
    assert (await api.raw_of(got["accepted"][0]["messageId"])).endswith(raw.partition(b"\r\n\r\n")[2])
    headers = RFC822 | {"X-Envelope-From": "bounce@example.test", "X-Envelope-To": "bob@sink.test, nonsense"}
    status, got = await api.ask("POST", "/v1/send/raw", raw=raw, headers=headers)
    assert (status, [r["code"] for r in got["rejected"]]) == (200, ["INVALID_RECIPIENT"])


@pytest.mark.parametrize(
    ("path", "raw", "status", "code"),
    [
        ("?from=a@example.test&to=b@sink.test", letter().replace(b"\r\n", b"\n"), 422, "INVALID_MESSAGE"),
        ("?from=a@example.test&to=b@sink.test", letter() + b"\x00", 422, "INVALID_MESSAGE"),
        ("?from=a@example.test&to=b@sink.test", letter("x@other.test"), 403, "FROM_MISMATCH"),
        ("?from=a@example.test&to=b@sink.test", b"From: a@example.test\r\n" + letter(), 403, "FROM_MISMATCH"),
        ("?from=a@example.test&to=b@sink.test", b"Sender: a@other.test\r\n" + letter(), 403, "FROM_MISMATCH"),
        ("?from=a@example.test&to=b@sink.test", b"Resent-Sender: a\r\n" + letter(), 403, "FROM_MISMATCH"),
        ("?from=a@example.test&to=b@sink.test", b"Subject: 2\r\n" + letter(), 422, "INVALID_MESSAGE"),
        ("?from=a@example.test&to=b@sink.test", letter(body=b"x" * 4000), 422, "INVALID_MESSAGE"),
        ("?from=a@example.test&to=b@sink.test", letter(body=b"x\r\n" * 120_000), 413, "TOO_LARGE"),
        ("?from=a@other.test&to=b@sink.test", letter(), 403, "DOMAIN_MISMATCH"),
        ("?from=<>&to=b@sink.test", letter(), 403, "DOMAIN_MISMATCH"),
        ("?from=&to=b@sink.test", letter(), 422, "INVALID_REQUEST"),
        ("?to=b@sink.test", letter(), 400, "INVALID_REQUEST"),
        ("?from=a@example.test", letter(), 400, "INVALID_REQUEST"),
        ("?from=a@example.test&to=b@sink.test&bogus=1", letter(), 400, "INVALID_REQUEST"),
        ("?from=a@example.test&from=a@example.test&to=b@sink.test", letter(), 400, "INVALID_REQUEST"),
        ("?from=a@example.test&to=b@sink.test&category=spam", letter(), 400, "INVALID_REQUEST"),
    ],
)
async def test_a_raw_message_is_judged_like_one_by_smtp(
    api: Api, path: str, raw: bytes, status: int, code: str
) -> None:
    got, reported = await api.ask("POST", f"/v1/send/raw{path}", raw=raw, headers=RFC822)
    assert (got, reported["code"]) == (status, code)


async def test_a_finished_message_may_have_the_null_sender(api: Api) -> None:
    await api.world.change("api_keys", api.alice.key_id, null_sender=True)
    await api.world.directory.refresh()
    away = b"Auto-Submitted: auto-replied\r\n" + letter("news@example.test")
    path = "/v1/send/raw?from=<>&to=bob@sink.test"
    for raw, more, status, code in (
        (letter("news@example.test"), "", 403, "FROM_MISMATCH"),
        (away.replace(b"news@example.test", b"news@other.test"), "", 403, "FROM_MISMATCH"),
        (away, "&to=carol@sink.test", 422, "TOO_MANY_RECIPIENTS"),
        (away, "", 200, None),
    ):
        got, reported = await api.ask("POST", path + more, raw=raw, headers=RFC822)
        assert (got, reported.get("code")) == (status, code)
    _, shown = await api.ask("GET", f"/v1/messages/{reported['id']}")
    assert shown["mailFrom"] == ""


async def test_both_ways_of_sending_have_one_list_of_headers(api: Api) -> None:
    """What is refused, kept and taken out is the same for a message that we write and one that is finished."""
    headers = {
        "Sender": "Jörg <j@example.test>", "ARC-Seal": "i=1", "Received-SPF": "pass",
        "Authentication-Results": "LocalHost; spf=pass",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    path = "/v1/send/raw?from=news@example.test&to=bob@sink.test"
    for _, got in (
        await api.ask("POST", "/v1/send", message(headers=headers)),
        await api.ask("POST", path, raw=lines + letter("news@example.test"), headers=RFC822),
    ):
        raw = await api.raw_of(got["accepted"][0]["messageId"])
        kept = email.message_from_bytes(raw)
        assert [kept[name] for name in ("ARC-Seal", "Received-SPF", "Authentication-Results")] == ["i=1", "pass", None]
        assert b"<j@example.test>" in raw
    status, got = await api.ask("POST", "/v1/send", message(headers={"Sender": "eve@other.test"}))
    assert (status, got["code"], got["detail"]["rule"]) == (403, "FROM_MISMATCH", "sender_mismatch")
    _, reported = await api.ask("POST", "/v1/preflight", message(headers={"Resent-From": "eve@other.test"}))
    assert {g["gate"]: g["verdict"] for g in reported["gates"]}["from"] == "refused"


async def test_what_was_replaced_is_told_in_the_event(api: Api) -> None:
    raw = b"Message-ID: abc@example.test\r\nDate:\r\n" + letter("news@example.test")
    status, got = await api.ask("POST", "/v1/send/raw?from=n@example.test&to=b@sink.test", raw=raw, headers=RFC822)
    _, reported = await api.ask("GET", f"/v1/messages/{got['id']}")
    assert (status, reported["messageIdHeader"]) == (200, f"<{got['id']}@example.test>")
    _, events = await api.ask("GET", "/v1/events")
    assert events["events"][-1]["data"]["replaced"] == {"Message-ID": "abc@example.test", "Date": ""}
    last = events["events"][-1]
    assert last["messageId"] == last["recipientId"], "the former name"


async def test_preflight_says_when_nothing_can_be_signed(api: Api) -> None:
    async def without(tx: Tx) -> None:
        await tx.execute(update(dkim_keys).values(state="removed"))
        await versions.bump(tx, versions.DIRECTORY)

    await api.world.storage.write(without)
    await later(api, 1)
    status, got = await api.ask("POST", "/v1/preflight", message())
    refused = {g["gate"]: (g["code"], g["status"]) for g in got["gates"] if g["verdict"] == "refused"}
    assert (status, got["ok"], refused) == (200, False, {"signing": ("TEMPORARILY_UNAVAILABLE", 503)})
    assert (await api.ask("POST", "/v1/send", message()))[1]["code"] == "TEMPORARILY_UNAVAILABLE"


async def test_preflight_tells_every_gate_and_sends_nothing(api: Api) -> None:
    await suppress(api, "gone@sink.test")
    status, got = await api.ask("POST", "/v1/preflight", message())
    assert (status, got["ok"]) == (200, True)
    names = [g["gate"] for g in got["gates"]]
    assert names[:4] == ["login", "sender", "format", "from"]
    assert {"recipient", "warming", "signing"} <= set(names)
    _, got = await api.ask("POST", "/v1/preflight", message(to=["bob@sink.test", "gone@sink.test", "bad"]))
    refused = {g["evidence"]["recipient"]: g["code"] for g in got["gates"] if g["verdict"] == "refused"}
    assert (got["ok"], refused) == (False, {"gone@sink.test": "SUPPRESSED", "bad": "INVALID_RECIPIENT"})
    _, got = await api.ask("POST", "/v1/preflight", message(to=["gone@sink.test", "bad"]))
    last = [g for g in got["gates"] if g["gate"] == "recipients"]
    assert [(g["code"], g["status"]) for g in last] == [("NOTHING_ACCEPTED", 422)]
    _, got = await api.ask("POST", "/v1/preflight", message(**{"from": "x@other.test"}))
    assert {g["gate"]: g["verdict"] for g in got["gates"]}["sender"] == "refused"
    assert (await api.ask("POST", "/v1/preflight", message(bogus=1)))[0] == 400
    assert await count_recipients(api) == 0


# -- status ------------------------------------------------------------------------------------------------------


async def deliver(api: Api, **outcome: Any) -> None:
    """What the network said, to everything that is waiting."""
    rest = {"enhanced": "2.0.0", "ip": "192.0.2.1", "tls": None, "tls_verified": False, "stage": "data", "scope": None}
    for ready in await api.world.queue.claim(100, {}):
        await api.world.queue.settle(ready.due, Outcome(**rest | outcome))


async def test_a_message_tells_its_attempts_word_for_word(api: Api) -> None:
    _, sent = await api.ask(
        "POST", "/v1/send", message(to=["bob@sink.test", "carol@sink.test"], tags=["t"], metadata={"n": 1})
    )
    said = "451 4.7.1 Greylisted, come back"
    await deliver(
        api, kind="later", code=451, enhanced="4.7.1", text=said, host="mx.sink.test", ip="192.0.2.1", stage="rcpt"
    )
    for name in (sent["id"], str(sent["accepted"][0]["messageId"])):
        status, got = await api.ask("GET", f"/v1/messages/{name}")
        assert status == 200
        first = got["recipients"][0]
        assert (first["status"], first["reply"], first["attempts"][0]["reply"]) == ("deferred", said, said)
        assert (first["attempts"][0]["host"], first["attempts"][0]["result"]) == ("mx.sink.test", "later")
        assert first["nextAttemptAt"] > iso(api.world.clock.now())
        assert (got["tags"], got["metadata"]) == (["t"], {"n": 1})
        assert len(got["recipients"]) == (2 if name == sent["id"] else 1)
    status, got = await api.ask("POST", f"/v1/messages/{sent['accepted'][0]['messageId']}/retry")
    assert (status, got["recipients"][0]["nextAttemptAt"]) == (200, iso(api.world.clock.now()))
    assert got["messageIds"] == [sent["accepted"][0]["messageId"]]


async def test_the_list_filters_and_pages(api: Api) -> None:
    for i in range(5):
        await api.ask("POST", "/v1/send", message(to=f"r{i}@sink.test", subject=f"S{i}"))
    await deliver(api, kind="delivered", code=250, text="250 ok", host="mx.sink.test")
    await api.ask("POST", "/v1/send", message(to="R0@sink.test"))
    seen, cursor = [], ""
    while True:
        _, got = await api.ask("GET", f"/v1/messages?limit=2{cursor}")
        seen += [m["recipient"] for m in got["messages"]]
        if got["cursor"] is None:
            break
        cursor = f"&cursor={got['cursor']}"
    assert seen == ["R0@sink.test", "r4@sink.test", "r3@sink.test", "r2@sink.test", "r1@sink.test", "r0@sink.test"]
    for query, expected in (
        ("status=queued", 1),
        ("status=sent", 5),
        ("recipient=r1@SINK.test", 1),
        ("domain=EXAMPLE.test", 6),
        ("domain=x.test", 0),
        (f"since={api.world.clock.now() - 1}", 6),
        (f"since={iso(api.world.clock.now() + 60)}", 0),
    ):
        status, got = await api.ask("GET", f"/v1/messages?{query}")
        assert (status, len(got["messages"])) == (200, expected), query
    for query in (
        "status=x",
        "recipient=x",
        "domain=-",
        "since=x",
        "cursor=x",
        "limit=0",
        "bogus=1",
        "since=nan",
        "limit=1&limit=2",
    ):
        assert (await api.ask("GET", f"/v1/messages?{query}"))[0] == 400, query
    for wrong in ("limit=-1", "limit=x"):
        assert "whole number" in (await api.ask("GET", f"/v1/messages?{wrong}"))[1]["error"]


async def test_a_message_tells_all_that_happened_to_it(api: Api) -> None:
    _, sent = await api.ask("POST", "/v1/send", message(to=["angry@sink.test", "silent@sink.test"]))
    angry, silent = sorted((a["recipientId"], a["recipient"]) for a in sent["accepted"])
    await deliver(api, kind="delivered", code=250, text="250 ok", host="mx.sink.test")
    records = Records(api.world.storage, api.world.vault, api.world.config, api.world.clock)
    assert await records.apply(angry[0], Report("complaint", feedback="abuse"), "sink.test") == "complained"
    # A reader may open it a thousand times afterwards; and once before, as far as the feed goes.
    who = {"member_id": api.alice.id, "at": api.world.clock.now(), "recipient_id": silent[0]}

    async def opened(tx: Tx) -> None:
        found = await reports.message(tx, api.alice.id, queue_id=sent["id"])
        assert found is not None
        await events.append(tx, [Event("opened", message_id=found[0].id, **who) for _ in range(600)])

    await api.world.storage.write(opened)
    assert await records.apply(silent[0], Report("complaint", feedback="abuse"), "sink.test") == "complained"
    _, reported = await api.ask("GET", f"/v1/messages/{sent['id']}")
    kinds = [e["type"] for e in reported["timeline"]]
    assert (kinds[0], kinds.count("sent"), kinds.count("complained"), kinds[-1]) == ("accepted", 2, 2, "complained")
    assert [e["id"] for e in reported["timeline"]] == sorted(e["id"] for e in reported["timeline"])
    assert {p["reportTo"] for p in reported["recipients"]} == {None}
    _, reported = await api.ask("GET", f"/v1/messages/{angry[0]}")
    assert [e["type"] for e in reported["timeline"]] == ["accepted", "sent", "complained"]
    for event, expected in (("complained", {angry[0], silent[0]}), ("opened", {silent[0]}), ("clicked", set())):
        _, got = await api.ask("GET", f"/v1/messages?event={event}")
        assert {m["recipientId"] for m in got["messages"]} == expected
        assert all(event in m["events"] for m in got["messages"])
    assert (await api.ask("GET", "/v1/messages?event=sent"))[0] == 400


async def test_a_sign_in_reads_what_a_key_reads_and_is_no_guess_at_one(api: Api) -> None:
    _, sent = await api.ask("POST", "/v1/send", message())
    token, _ = await api.members.sessions.open(api.alice.id, "127.0.0.1", "a test")
    for path in ("/v1/messages", f"/v1/messages/{sent['id']}", "/v1/events", "/v1/standing", "/member/status"):
        assert await api.ask("GET", path, key=token) == await api.ask("GET", path)
    assert (await api.ask("POST", f"/v1/messages/{sent['id']}/cancel", key=token))[0] == 200
    # Sending takes a key; however often a sign-in comes instead, nobody is kept out for it.
    for _ in range(40):
        assert (await api.ask("POST", "/v1/send", message(), key=token))[0] == 401
        assert (await api.ask("GET", "/v1/messages", key=token[:-1] + "x"))[1]["code"] == "SESSION_ENDED"
    wrong = api.alice.key[:-1] + ("x" if api.alice.key[-1] != "x" else "y")
    assert (await api.ask("GET", "/v1/messages", key=wrong))[1]["code"] == "AUTH_FAILED"
    assert (await api.ask("GET", "/v1/messages"))[0] == 200


async def test_nobody_reads_anothers_mail(api: Api) -> None:
    _, sent = await api.ask("POST", "/v1/send", message())
    bob = await api.world.member("bob")
    names = (sent["id"], sent["accepted"][0]["messageId"])
    for name in (*names, "0", "99999999999999999999", "nope", "x" * 20, "..%2f", "%00"):
        for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry")):
            status, got = await api.ask(method, f"/v1/messages/{name}{path}", key=bob.key)
            assert (status, got["code"]) == (404, "NOT_FOUND")
    assert (await api.ask("GET", "/v1/messages", key=bob.key))[1]["messages"] == []
    assert (await api.ask("GET", "/v1/events", key=bob.key))[1]["events"] == []
    assert (await api.ask("GET", f"/v1/messages/{names[0]}"))[0] == 200


async def test_a_key_for_one_domain_sees_only_that_ones_mail(api: Api) -> None:
    await api.world.domain(api.alice, "second.test")
    _, first = await api.ask("POST", "/v1/send", message())
    _, second = await api.ask("POST", "/v1/send", message(**{"from": "a@second.test"}))
    await api.world.change("api_keys", api.alice.key_id, domains=["second.test"])
    await api.world.directory.refresh()
    assert [m["id"] for m in (await api.ask("GET", "/v1/messages"))[1]["messages"]] == [second["id"]]
    assert (await api.ask("GET", f"/v1/messages/{first['id']}"))[0] == 404
    assert {e["domain"] for e in (await api.ask("GET", "/v1/events"))[1]["events"]} == {"second.test"}
    assert [d["domain"] for d in (await api.ask("GET", "/member/status"))[1]["domains"]] == ["second.test"]


async def test_events_come_in_order_by_cursor(api: Api) -> None:
    await api.ask("POST", "/v1/send", message(to=["a@sink.test", "b@sink.test", "c@sink.test"]))
    await deliver(api, kind="delivered", code=250, text="250 ok", host="mx.sink.test")
    types, cursor = [], "0"
    while True:
        _, got = await api.ask("GET", f"/v1/events?after={cursor}&limit=2")
        types += [e["type"] for e in got["events"]]
        cursor = got["cursor"]
        if not got["more"]:
            break
    assert types == ["accepted"] * 3 + ["sent"] * 3
    assert (await api.ask("GET", f"/v1/events?after={cursor}"))[1] == {"events": [], "cursor": cursor, "more": False}
    assert len((await api.ask("GET", "/v1/events?type=sent"))[1]["events"]) == 3
    for query in ("after=x", "after=-1", "type=nonsense"):
        assert (await api.ask("GET", f"/v1/events?{query}"))[0] == 400


async def test_deliverability_sums_fourteen_days(api: Api) -> None:
    await api.ask("POST", "/v1/send", message(to=["a@sink.test", "b@sink.test"]))
    await deliver(api, kind="never", code=550, enhanced="5.1.1", text="550 no", host="mx.sink.test")
    await later(api, DAY)
    await api.ask("POST", "/v1/send", message(to=["c@sink.test", "d@sink.test"]))
    for written in (api.alice.did, quote(api.alice.did), quote(api.alice.did, safe="")):
        status, got = await api.ask("GET", f"/member/deliverability?did={written}")
        assert status == 200, written
    assert got.pop("standing") == (await api.ask("GET", "/v1/standing"))[1]
    assert got == {
        "did": api.alice.did,
        "status": "active",
        "sent14d": 4,
        "bounced14d": 2,
        "complaints14d": 0,
        "bounceRate": 0.5,
        "dailySends": [0] * 12 + [2, 2],
        "hourlyLimit": None,
        "dailyLimit": None,
        # By their former names.
        "sent_14d": 4,
        "bounced_14d": 2,
        "complaints_14d": 0,
        "bounce_rate": 0.5,
        "daily_sends": [0] * 12 + [2, 2],
        "hourly_limit": None,
        "daily_limit": None,
        "labels": [],
    }
    await api.world.change("domains", 1, tier=None)
    await api.world.directory.refresh()
    _, got = await api.ask("GET", "/member/deliverability")
    assert (got["hourly_limit"], got["daily_limit"]) == (5, 20)


async def test_the_schema_names_every_route(api: Api) -> None:
    status, got = await api.ask("GET", "/openapi.json", key="")
    assert (status, got["openapi"]) == (200, "3.1.0")
    made = {(r.method, r.path) for r in send_routes(api.services)}
    reported = {(method.upper(), path) for path, methods in got["paths"].items() for method in methods}
    assert made == reported
    fields = got["components"]["schemas"]["SendRequest"]["properties"]
    assert {"from", "to", "cc", "bcc", "replyTo", "sendAt", "attachments", "headers", "category"} <= set(fields)
    text = json.dumps(got)
    for name in set(text.split("#/components/schemas/")[1:]):
        assert name.split('"')[0] in got["components"]["schemas"]


async def test_a_finished_message_that_comes_again_is_answered_as_the_first(api: Api) -> None:
    """Without an Idempotency-Key: by its Message-ID and its octets."""
    raw = b"Message-ID: <1@example.test>\r\n" + letter("news@example.test")
    path = "/v1/send/raw?from=news@example.test&to=bob@sink.test"
    first = await api.full("POST", path, raw=raw, headers=RFC822)
    again = await api.full("POST", path, raw=raw, headers=RFC822)
    assert again[:2] == first[:2]
    assert ("Idempotent-Replayed" in first[2], again[2]["Idempotent-Replayed"]) == (False, "true")
    more = await api.ask("POST", path + "&to=carol@sink.test", raw=raw, headers=RFC822)
    assert {one["recipient"] for one in more[1]["accepted"]} == {"bob@sink.test", "carol@sink.test"}
    assert more[1]["id"] != json.loads(again[1])["id"]
    _, reported = await api.ask("GET", "/v1/events")
    assert [e["type"] for e in reported["events"]] == ["accepted", "repeated", "accepted"]
    keyed = b"Idempotency-Key: k\r\n" + raw
    assert (await api.ask("POST", path, raw=keyed, headers=RFC822))[0] == 200
    status, got = await api.ask("POST", path, raw=keyed + b"P.S.\r\n", headers=RFC822)
    assert (status, got["code"]) == (409, "IDEMPOTENCY_CONFLICT")


async def test_preflight_holds_a_message_against_receivers_rules(api: Api) -> None:
    status, got = await api.ask("POST", "/v1/preflight?for=gmail&for=microsoft&for=gmail", message())
    assert status == 200
    checked = {c["evidence"]["receiver"]: c for c in got["gates"] if c["gate"] == "receiver"}
    assert list(checked) == ["gmail", "microsoft"]
    rules = checked["gmail"]["evidence"]["rules"]
    assert {name: rule["met"] for name, rule in rules.items()} == {
        "dkim": None, "spf": None, "alignment": None, "dmarc": None, "reverse_name": None, "tls": True,
        "unsubscribe": True, "complaints": None, "message_id": True,
    }
    assert "complaints" not in checked["microsoft"]["evidence"]["rules"], "it publishes no share"
    flags = {"dkim_rsa": True, "dkim_ed25519": True, "dmarc": False}
    await api.world.change("domains", 1, flags=flags)
    day = utc_day(api.world.clock.now())
    counted = {(1, day, 1): {"accepted": 1000, "delivered": 1000, "complaints": 2}}
    await api.world.storage.write(lambda tx: stats.count(tx, counted))
    _, got = await api.ask("POST", "/v1/preflight?for=gmail&for=yahoo", message())
    checked = {c["evidence"]["receiver"]: c for c in got["gates"] if c["gate"] == "receiver"}
    assert [checked[name]["verdict"] for name in ("gmail", "yahoo")] == ["advice", "advice"]
    for words in ("dmarc: Publish", "2 of 1000", "stay under 0.1 %, and never reach 0.3 %"):
        assert words in checked["gmail"]["advice"]
    assert "complaints" not in checked["yahoo"]["advice"], "0.2 % is below the 0.3 % that it names"
    assert got["ok"] is True
    assert (await api.ask("POST", "/v1/preflight?for=hotmail", message()))[0] == 400
