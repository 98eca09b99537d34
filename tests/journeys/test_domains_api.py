"""`/v1/domains` and `/member/forward-to` over HTTP: shapes, scopes, and what another member gets to see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

import enroll.app as enrollment
from enroll.api import native
from relay.base.clock import utc_day
from relay.base.config import Config
from relay.base.storage import stats
from relay.base.web import Listener, application
from relay.base.web.calls import operations
from tests.kit.enrolling import Enrolling, enrolling
from tests.kit.hosting import hosting_config
from tests.kit.world import MemberAt


class Api:
    """A client of the running API."""

    def __init__(self, relay: Enrolling, url: str, client: aiohttp.ClientSession) -> None:
        self.relay, self.url, self.client = relay, url, client
        self.alice: MemberAt
        self.bob: MemberAt

    async def ask(
        self, method: str, path: str, json: Any = None, *, by: MemberAt | None = None, key: str = ""
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key or (by or self.alice).key}"}
        async with self.client.request(method, self.url + path, json=json, headers=headers) as response:
            body = await response.json() if response.content_type == "application/json" else await response.text()
            return response.status, body

    async def enroll(self, name: str = "example.test", **options: Any) -> dict[str, Any]:
        status, body = await self.ask("POST", "/v1/domains", {"name": name, **options})
        assert status == 201, body
        return body["domain"]

    async def verified(self, name: str = "example.test") -> dict[str, Any]:
        made = await self.enroll(name)
        self.relay.publish(await self.relay.domains.get(self.alice.id, made["id"]))
        status, body = await self.ask("POST", f"/v1/domains/{made['id']}/verify")
        assert (status, body["domain"]["state"]) == (200, "verified"), body
        return body["domain"]


@pytest.fixture
async def api(sqlite_config: Config, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    if getattr(request, "param", "") == "hosting":
        sqlite_config = hosting_config(sqlite_config)
    async with enrolling(sqlite_config) as relay:
        app = application(
            sqlite_config, relay.clock, relay.storage, routes=enrollment.routes(relay.services),
            translate=[enrollment.translate],
        )
        listener = Listener(app, sqlite_config, ["127.0.0.1:0"])
        await listener.start()
        async with aiohttp.ClientSession() as client:
            made = Api(relay, f"http://127.0.0.1:{listener.ports[0]}", client)
            made.alice, made.bob = await relay.member("alice"), await relay.member("bob")
            yield made
        await listener.stop()


async def test_enroll_shows_what_to_publish_and_verify_what_was_found(api: Api) -> None:
    status, body = await api.ask("POST", "/v1/domains", {"name": "BÜCHER.example", "returnPath": True})
    assert status == 201
    domain = body["domain"]
    assert (domain["name"], domain["unicodeName"]) == ("xn--bcher-kva.example", "bücher.example")
    assert domain["state"] == "pending"
    assert domain["options"] == {
        "returnPath": True, "customSubdomain": "sl", "tracking": False, "trackPrefix": "track", "replies": False,
        "hosted": False, "reportTo": "forward_to", "forwardTo": "",
        "linkTracking": False, "openTracking": False, "unsubscribeLink": False,
        "defaultSender": False,
    }
    assert domain["createdAt"].endswith("Z")
    assert domain["checkedAt"] is None
    purposes = [r["purpose"] for r in body["records"] if r["required"]]
    assert purposes == ["ownership", "dkim_rsa", "dkim_ed25519", "return_path"]
    assert body["asOf"] is None
    assert {r["ok"] for r in body["records"] if r["purpose"] not in ("spf", "dmarc")} == {None}

    status, body = await api.ask("POST", f"/v1/domains/{domain['id']}/verify")
    assert (status, body["domain"]["state"]) == (200, "pending")
    ownership = body["records"][0]
    assert ownership["ok"] is False
    assert ownership["says"]
    assert body["asOf"] == "as of now"
    assert ownership["dig"] == "dig +short _posthouse-challenge.xn--bcher-kva.example TXT"


async def test_a_domain_answers_to_id_uuid_and_name(api: Api) -> None:
    made = await api.enroll()
    for key in (made["id"], made["uuid"], "example.test", "EXAMPLE.test."):
        status, body = await api.ask("GET", f"/v1/domains/{key}")
        assert (status, body["id"]) == (200, made["id"])


async def test_records_come_as_json_and_as_a_zone_file(api: Api) -> None:
    made = await api.enroll()
    status, body = await api.ask("GET", f"/v1/domains/{made['id']}/records")
    assert status == 200
    assert body["records"][0]["short"] == "_posthouse-challenge"
    status, text = await api.ask("GET", f"/v1/domains/{made['id']}/records?format=zone")
    assert status == 200
    assert text.count(" IN TXT ") == 5
    assert (await api.ask("GET", f"/v1/domains/{made['id']}/records?format=xml"))[0] == 400


@pytest.mark.parametrize("api", ["hosting"], indirect=True)
async def test_records_come_in_both_forms(api: Api) -> None:
    made = await api.enroll()
    path = f"/v1/domains/{made['id']}"
    target = f"_posthouse-challenge.{made['uuid']}.hosted.relay.test."
    _, plain = await api.ask("GET", f"{path}/records")
    _, aliases = await api.ask("GET", f"{path}/records?form=cname")
    assert (plain["records"][0]["type"], plain["records"][0]["cname"]) == ("TXT", target)
    assert (aliases["records"][0]["type"], aliases["records"][0]["value"]) == ("CNAME", target)
    status, domain = await api.ask("PATCH", path, {"hosted": True})
    assert (status, domain["options"]["hosted"], domain["state"]) == (200, True, "pending")
    _, chosen = await api.ask("GET", f"{path}/records")
    assert [r["type"] for r in chosen["records"] if r["purpose"] != "spf"] == ["CNAME"] * 6
    _, text = await api.ask("GET", f"{path}/records?format=zone&form=txt")
    token = (await api.relay.domains.get(api.alice.id, made["id"])).ownership_token
    assert f'"posthouse-domain-verification={token}"' in text
    assert (await api.ask("GET", f"{path}/records?form=a"))[0] == 400


async def test_a_relay_without_a_zone_for_records_refuses_to_host_them(api: Api) -> None:
    made = await api.enroll()
    status, body = await api.ask("PATCH", f"/v1/domains/{made['id']}", {"hosted": True})
    assert (status, body["detail"]["field"]) == (422, "hosted")
    _, plain = await api.ask("GET", f"/v1/domains/{made['id']}/records")
    assert {r["cname"] for r in plain["records"]} == {None}


async def test_a_list_comes_in_pages(api: Api) -> None:
    for i in range(3):
        await api.enroll(f"d{i}.test")
    _, first = await api.ask("GET", "/v1/domains?limit=2")
    _, rest = await api.ask("GET", f"/v1/domains?limit=2&after={first['next']}")
    assert [d["name"] for d in first["domains"] + rest["domains"]] == ["d0.test", "d1.test", "d2.test"]
    assert rest["next"] is None
    huge = f"after={'0' * 19}5{'9' * 30}"
    for wrong in ("limit=0", "limit=x", "after=-1", "after=99999999999999999999999", huge):
        assert (await api.ask("GET", f"/v1/domains?{wrong}"))[0] == 400


async def test_another_members_domain_is_404_on_every_route_and_shows_nothing(api: Api) -> None:
    made = await api.enroll()
    _, missing = await api.ask("GET", "/v1/domains/999999", by=api.bob)
    for key in (made["id"], made["uuid"], "example.test"):
        for method, path, body in (
            ("GET", "", None), ("PATCH", "", {"enabled": False}), ("DELETE", "", None), ("POST", "/verify", None),
            ("GET", "/records", None), ("GET", "/records?format=zone", None), ("GET", "/dns-host", None),
            ("POST", "/test", {"to": "x@y.test"}), ("POST", "/rotate", None), ("GET", "/stats", None),
        ):
            status, answer = await api.ask(method, f"/v1/domains/{key}{path}", body, by=api.bob)
            assert (status, answer) == (404, missing), path
    _, listed = await api.ask("GET", "/v1/domains", by=api.bob)
    assert listed == {"domains": [], "cursor": None, "next": None}
    status, answer = await api.ask(
        "PUT", "/member/forward-to", {"domain": "example.test", "forward_to": "x@y.test"}, by=api.bob
    )
    assert (status, answer) == (404, missing)


async def test_a_key_limited_to_a_domain_sees_no_other(api: Api) -> None:
    await api.enroll("one.test")
    await api.enroll("two.test")
    key, _ = await api.relay.services.credentials.issue(
        api.alice.id, description="", scopes=None, domains=["one.test"], networks=None, default_category="bulk",
        expires_at=None,
    )
    _, body = await api.ask("GET", "/v1/domains", key=key)
    assert [d["name"] for d in body["domains"]] == ["one.test"]
    assert (await api.ask("GET", "/v1/domains/two.test", key=key))[0] == 404
    status, body = await api.ask("POST", "/v1/domains", {"name": "three.test"}, key=key)
    assert (status, body["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/domains"), ("POST", "/v1/domains/verify"), ("DELETE", "/v1/domains/x.test"),
     ("POST", "/v1/domains/x.test/rotate"), ("PUT", "/member/forward-to")],
)
async def test_changing_needs_the_scope_manage(api: Api, method: str, path: str) -> None:
    key, _ = await api.relay.services.credentials.issue(
        api.alice.id, description="", scopes=["read"], domains=None, networks=None, default_category="bulk",
        expires_at=None,
    )
    status, body = await api.ask(method, path, {}, key=key)
    assert (status, body["code"]) == (403, "FORBIDDEN")
    assert (await api.ask("GET", "/v1/domains", key=key))[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, ""), ({"state": "verified"}, 400, "state"), ({"enabled": 1}, 400, "enabled"),
        ({"approved": True}, 400, "approved"), ({"customSubdomain": "a.b"}, 422, "custom_subdomain"),
        ({"tracking": None}, 400, ""),
    ],
)
async def test_a_change_is_read_strictly(api: Api, body: dict[str, Any], status: int, field: str) -> None:
    made = await api.enroll()
    got, answer = await api.ask("PATCH", f"/v1/domains/{made['id']}", body)
    assert (got, answer["detail"].get("field")) == (status, field)


async def test_options_pause_and_delete(api: Api) -> None:
    made = await api.verified()
    path = f"/v1/domains/{made['id']}"
    assert (await api.ask("PATCH", path, {"enabled": False}))[1]["state"] == "disabled"
    assert (await api.ask("PATCH", path, {"enabled": True}))[1]["state"] == "verified"
    _, body = await api.ask("PATCH", path, {"tracking": True, "trackPrefix": "t"})
    assert (body["state"], body["options"]["trackPrefix"]) == ("verified", "t")
    assert body["awaits"] == ["tracking"]
    status, again = await api.ask("POST", "/v1/domains", {"name": made["name"]})
    assert (status, again["domain"]) == (200, body)
    status, again = await api.ask("POST", "/v1/domains", {"name": made["name"], "replies": True})
    assert (status, again["domain"]["state"], again["domain"]["awaits"]) == (200, "verified", ["tracking", "replies"])
    assert (await api.ask("DELETE", path))[0] == 204
    assert (await api.ask("GET", path))[0] == 404
    assert (await api.ask("DELETE", path))[0] == 404


async def test_what_is_shown_is_taken_back(api: Api) -> None:
    for name, made in (("a.test", api.enroll("a.test")), ("b.test", api.verified("b.test"))):
        shown = await made
        path = f"/v1/domains/{shown['id']}"
        taken = {"options": shown["options"], "enabled": shown["enabled"]}
        assert await api.ask("PATCH", path, taken) == (200, shown), name
        assert (await api.ask("PATCH", path, shown["options"])) == (200, shown)
        other = shown["options"] | {"linkTracking": True, "reportTo": "mail_from"}
        status, body = await api.ask("PATCH", path, {"options": other})
        assert (status, body["options"]) == (200, other)
        status, again = await api.ask("POST", "/v1/domains", {"name": name, "options": other})
        assert (status, again["domain"]["options"]) == (200, other)
    status, body = await api.ask("PATCH", path, {"openTracking": True, "options": {"openTracking": False}})
    assert (status, body["detail"]["field"]) == (400, "openTracking")
    assert (await api.ask("PATCH", path, {"options": {"nonsense": 1}}))[0] == 400


async def test_a_mailbox_is_shown_as_waiting_until_it_confirms(api: Api) -> None:
    path = f"/v1/domains/{(await api.enroll())['id']}"
    status, body = await api.ask("PATCH", path, {"forwardTo": "me@inbox.test"})
    assert (status, body["options"]["forwardTo"], body["forwardPending"]) == (200, "", "me@inbox.test")
    (mail,) = await api.relay.mail_to("me@inbox.test")
    code = next(line.strip() for line in mail.decode().splitlines() if line.startswith("    "))
    asked = {"domain": "example.test", "forward_to": "me@inbox.test", "code": code}
    assert (await api.ask("PUT", "/member/forward-to", asked))[0] == 200
    body = (await api.ask("GET", path))[1]
    assert (body["options"]["forwardTo"], body["forwardPending"]) == ("me@inbox.test", None)
    assert (await api.ask("PATCH", path, {"forwardTo": "nobody"}))[0] == 422


async def test_a_rotation_shows_both_pairs(api: Api) -> None:
    made = await api.verified()
    status, body = await api.ask("POST", f"/v1/domains/{made['id']}/rotate")
    assert status == 200
    assert [k["state"] for k in body["domain"]["keys"]] == ["live", "pending"]
    stem = body["domain"]["keys"][1]["stem"]
    assert sum(r["name"].startswith(stem) for r in body["records"]) == 2
    assert (await api.ask("POST", f"/v1/domains/{made['id']}/rotate"))[0] == 409


async def test_a_test_message_says_that_it_counts(api: Api) -> None:
    made = await api.verified()
    status, body = await api.ask("POST", f"/v1/domains/{made['id']}/test", {"to": "bob@sink.test"})
    assert status == 200
    assert (body["recipient"], type(body["recipientId"])) == ("bob@sink.test", int)
    assert body["messageId"] == body["recipientId"], "the former name"
    assert "counts" in body["note"]
    for n in range(4):
        await api.ask("POST", f"/v1/domains/{made['id']}/test", {"to": f"b{n}@sink.test"})
    status, body = await api.ask("POST", f"/v1/domains/{made['id']}/test", {"to": "late@sink.test"})
    assert (status, body["code"]) == (429, "RATE_LIMITED")


async def test_figures_are_clamped_never_refused(api: Api) -> None:
    made = await api.enroll()
    today = utc_day(api.relay.clock.now())
    counted = {(made["id"], today, api.alice.id): {"accepted": 10, "delivered": 9, "bounced": 1}}
    await api.relay.storage.write(lambda tx: stats.count(tx, counted))
    for asked, days in (("", 30), ("?days=0", 1), ("?days=9999", 365), ("?days=x", 30)):
        status, body = await api.ask("GET", f"/v1/domains/{made['id']}/stats{asked}")
        assert (status, body["days"]) == (200, days)
        assert body["stats"] == [{
            "period": today, "sent": 10, "delivered": 9, "bounced": 1, "complaints": 0, "opens": 0, "clicks": 0,
        }]
    assert (body["volume7d"], body["volumeDelta"], body["deliveryRate"], body["bounceRate"]) == (10, "new", 90.0, 10.0)
    assert (body["reputation"], body["reputationBucket"]) == (20, "poor")


async def test_the_dns_host_is_never_an_error(api: Api) -> None:
    made = await api.enroll()
    status, body = await api.ask("GET", f"/v1/domains/{made['id']}/dns-host")
    assert (status, body["provider"]) == (200, "unknown")


async def test_all_pending_ones_are_checked_by_one_call(api: Api) -> None:
    await api.enroll("one.test")
    made = await api.enroll("two.test")
    api.relay.publish(await api.relay.domains.get(api.alice.id, made["id"]))
    status, body = await api.ask("POST", "/v1/domains/verify")
    assert status == 200
    assert (body["checked"], body["verified"], body["failed"], body["truncated"]) == (2, 1, 1, False)


async def test_a_limited_key_checks_its_own_domains_alone(api: Api) -> None:
    ids = [(await api.enroll(name))["id"] for name in ("one.test", "two.test")]
    for id in ids:
        api.relay.publish(await api.relay.domains.get(api.alice.id, id))
    key, _ = await api.relay.services.credentials.issue(api.alice.id, domains=["two.test"])
    status, body = await api.ask("POST", "/v1/domains/verify", key=key)
    assert (status, [d["name"] for d in body["domains"]], body["truncated"]) == (200, ["two.test"], False)
    assert [(await api.relay.domains.get(api.alice.id, id)).state for id in ids] == ["pending", "verified"]


async def test_forwarding_waits_for_the_mailbox(api: Api) -> None:
    await api.enroll()
    asked = {"domain": "example.test", "forward_to": "alice@inbox.test"}
    status, body = await api.ask("PUT", "/member/forward-to", asked)
    there = {"domain": "example.test", "forwardTo": "", "forward_to": "", "pending": "alice@inbox.test"}
    assert (status, body) == (202, there)
    (mail,) = await api.relay.mail_to("alice@inbox.test")
    code = next(line.strip() for line in mail.decode().splitlines() if line.startswith("    "))
    status, body = await api.ask("PUT", "/member/forward-to", {
        "domain": "example.test", "forwardTo": "alice@inbox.test", "code": code
    })
    alice = "alice@inbox.test"
    there = {"domain": "example.test", "forwardTo": alice, "forward_to": alice, "pending": None}
    assert (status, body) == (200, there)


def test_every_route_is_described() -> None:
    described = operations(native.PAGES)
    assert {"get", "post"} <= set(described["/v1/domains"])
    assert {"get", "patch", "delete"} <= set(described["/v1/domains/{id}"])
    for path in ("verify", "records", "dns-host", "test", "rotate", "stats"):
        assert f"/v1/domains/{{id}}/{path}" in described
    assert "put" in described["/member/forward-to"]


async def test_a_link_to_the_records_is_made_mailed_listed_and_ended(api: Api) -> None:
    made = await api.enroll()
    at = f"/v1/domains/{made['id']}/dns-links"
    status, link = await api.ask("POST", at, {"mailTo": "dns@agency.test"})
    assert (status, link["mailedTo"], link["toldAt"]) == (201, "dns@agency.test", None)
    (letter,) = await api.relay.mail_to("dns@agency.test")
    assert link["url"].encode() in letter.replace(b"=\r\n", b"").replace(b"=3D", b"=")
    assert (await api.ask("POST", at, {"mailTo": "nobody"}))[0] == 422
    assert (await api.ask("GET", at))[1] == {"links": [link]}
    assert (await api.ask("GET", at, by=api.bob))[0] == 404
    assert (await api.ask("DELETE", f"{at}/{link['id']}", by=api.bob))[0] == 404
    assert (await api.ask("DELETE", f"{at}/{link['id']}"))[0] == 204
    assert (await api.ask("DELETE", f"{at}/{link['id']}"))[0] == 404
    assert (await api.ask("GET", at))[1] == {"links": []}


async def test_links_are_bounded_in_number_and_in_letters(api: Api) -> None:
    made = await api.enroll()
    at = f"/v1/domains/{made['id']}/dns-links"
    for _ in range(10):
        _, link = await api.ask("POST", at, {"mailTo": "dns@agency.test"})
    assert (await api.ask("POST", at, {}))[1]["code"] == "LIMIT_REACHED"
    # What was revoked was mailed all the same.
    assert (await api.ask("DELETE", f"{at}/{link['id']}"))[0] == 204
    assert (await api.ask("POST", at, {"mailTo": "dns@agency.test"}))[0] == 429
    assert (await api.ask("POST", at, {}))[0] == 201


async def test_the_owner_hears_once_that_all_that_a_link_asks_for_is_there(api: Api) -> None:
    """Of a verified domain nothing else would tell that a recommended record has come."""
    alice = await api.relay.member("ann")
    domain = await api.relay.domains.enroll(alice.id, "one.test", {})
    api.relay.publish(domain, without=["dmarc"])
    assert (await api.relay.domains.check(domain.id)).state == "verified"
    handoff = api.relay.services.for_domains.handoff
    token = (await handoff.create(alice.id, domain.id)).url.rpartition("/")[2]
    api.relay.clock.move(61)
    await handoff.look(token)
    assert await api.relay.mail_to("ann@mail.test") == []
    api.relay.publish(domain, only=["dmarc"])
    for _ in range(3):
        api.relay.clock.move(61)
        await handoff.look(token)
    (letter,) = await api.relay.mail_to("ann@mail.test")
    assert b"All DNS records of one.test are in place" in letter
