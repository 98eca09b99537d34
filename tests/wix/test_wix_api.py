"""The calls in Wix's shape over HTTP: shapes, states, every row of the table of errors."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from relay.base.storage import Tx, versions
from relay.base.storage.tables import api_keys
from tests.wix.conftest import ACTUAL, DETAILS, DOMAINS, EMAILS, Client

ELSEWHERE = "00000000-0000-4000-8000-00000000dead"
QUERY = f"{DOMAINS}/query"


def asked(**filter: Any) -> dict[str, Any]:
    return {"query": {"filter": filter}}


def email(address: str) -> dict[str, Any]:
    return {"senderEmail": {"emailAddress": address}}


def sender(name: str, address: str) -> dict[str, Any]:
    return {"senderDetails": {"fromName": name, "fromEmailAddress": address}}


async def test_from_an_address_to_authenticated_with_cnames_alone(wix: Client) -> None:
    made = await wix.email("news@example.test")
    assert (made["verified"], made["emailAddress"]) == (False, "news@example.test")
    assert await wix.good("POST", f"{EMAILS}/{made['id']}/send-verification-code") == {}
    body = {"verificationCode": await wix.code("news@example.test")}
    assert await wix.good("POST", f"{EMAILS}/{made['id']}/verify", body) == {}
    assert (await wix.good("GET", f"{EMAILS}/{made['id']}"))["senderEmail"]["verified"] is True
    details = await wix.details("news@example.test", "Alice's News")
    assert (details["default"], details["fromName"]) == (True, "Alice's News")
    domain = await wix.domain("example.test")
    assert (domain["domain"], domain["status"]) == ("example.test", "NOT_AUTHENTICATED")
    records = domain["dnsRecords"]
    assert len(records) == 4
    assert {r["type"] for r in records} == {"CNAME"}
    assert all(r["value"].endswith(f".{domain['id']}.hosted.relay.test") for r in records)
    assert {r["hostName"] for r in records} >= {"_posthouse-challenge.example.test", "sl.example.test"}
    assert [r["hostName"].partition(".")[2] for r in records].count("_domainkey.example.test") == 2
    path = f"{DOMAINS}/{domain['id']}"
    status, code, data = await wix.refused("POST", f"{path}/authenticate")
    assert (status, code) == (428, "DNS_RECORDS_NOT_VERIFIED")
    assert {r["hostName"]: (r["value"], r["verified"]) for r in data["records"]} == {
        r["hostName"]: (r["value"], False) for r in records
    }
    wix.publish(domain)
    await wix.env.hosted.refresh()
    assert (await wix.refused("POST", f"{path}/authenticate"))[1] == "DNS_RECORDS_NOT_VERIFIED", "kept for a minute"
    await wix.later(61)
    for _ in range(2):
        assert (await wix.good("POST", f"{path}/authenticate"))["sendingDomain"]["status"] == "AUTHENTICATED"
    found = (await wix.good("GET", path))["sendingDomain"]
    assert found["status"] == "AUTHENTICATED"
    assert all(r["verified"] for r in found["dnsRecords"])
    wix.relay.zone("example.test").remove(records[0]["hostName"], "CNAME", records[0]["value"] + ".")
    await wix.later(61)
    assert (await wix.refused("POST", f"{path}/authenticate"))[1] == "DNS_RECORDS_NOT_VERIFIED"
    assert (await wix.good("GET", path))["sendingDomain"]["status"] == "NOT_AUTHENTICATED"


async def test_the_advice_on_when_to_ask_again_stands_in_the_refusal(wix: Client) -> None:
    await wix.verified("a@example.test")
    await wix.details("a@example.test")
    domain = await wix.domain("example.test")
    _, body = await wix.ask("POST", f"{DOMAINS}/{domain['id']}/authenticate")
    says = body["details"]["applicationError"]["description"]
    assert all(words in says for words in ("at least 1 hour", "4 hours", "48 hours"))
    assert body["message"] == says


async def test_until_its_keys_are_made_a_domain_has_no_records_and_is_not_ready(wix: Client) -> None:
    await wix.verified("a@example.test")
    sending = wix.relay.services.for_senders.sending
    finish, sending.finish = sending.finish, lambda domain_id: None
    await wix.details("a@example.test")
    domain = await wix.domain("example.test")
    assert (domain["status"], domain["dnsRecords"]) == ("INITIALIZING", [])
    assert (await wix.refused("POST", f"{DOMAINS}/{domain['id']}/authenticate"))[:2] == (
        428, "SENDING_DOMAIN_NOT_READY",
    )
    sending.finish = finish
    await wix.later(120)
    await wix.relay.recheck.tick()
    assert (await wix.domain("example.test"))["status"] == "NOT_AUTHENTICATED", "the clock finished what was begun"


@pytest.mark.parametrize(("method", "path"), [("GET", EMAILS), ("POST", QUERY), ("GET", f"{DETAILS}/default")])
async def test_who_asks_without_a_good_key_is_refused(wix: Client, method: str, path: str) -> None:
    body = {} if method == "POST" else None
    assert (await wix.refused(method, path, body, key=""))[:2] == (401, "UNAUTHENTICATED")
    assert (await wix.refused(method, path, body, key="Basic abc def"))[:2] == (401, "UNAUTHENTICATED")
    status, code, _ = await wix.refused(method, path, body, key=wix.alice.key[:-2] + "zz")
    assert (status, code) in ((401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"))

    async def narrow(tx: Tx) -> None:
        await tx.execute(update(api_keys).where(api_keys.c.id == wix.alice.key_id).values(scopes=["send", "read"]))
        await versions.bump(tx, versions.DIRECTORY)

    await wix.relay.storage.write(narrow)
    await wix.relay.world.directory.refresh()
    assert (await wix.refused(method, path, body))[:2] == (403, "PERMISSION_DENIED")
    assert (await wix.ask("GET", EMAILS, key=f"Bearer {wix.bob.key}"))[0] == 200


async def test_a_key_for_some_domains_sees_and_makes_nothing_of_others(wix: Client) -> None:
    mine = await wix.verified("a@example.test")
    other = await wix.verified("a@other.test")
    await wix.details("a@other.test")
    domain = await wix.domain("other.test")

    async def narrow(tx: Tx) -> None:
        await tx.execute(update(api_keys).where(api_keys.c.id == wix.alice.key_id).values(domains=["example.test"]))
        await versions.bump(tx, versions.DIRECTORY)

    await wix.relay.storage.write(narrow)
    await wix.relay.world.directory.refresh()
    assert [e["id"] for e in (await wix.good("GET", EMAILS))["senderEmails"]] == [mine["id"]]
    assert (await wix.refused("GET", f"{EMAILS}/{other['id']}"))[0] == 404
    assert (await wix.refused("POST", EMAILS, email("b@other.test")))[:2] == (403, "PERMISSION_DENIED")
    assert (await wix.refused("POST", DETAILS, sender("x", "a@other.test")))[:2] == (403, "PERMISSION_DENIED")
    assert (await wix.refused("GET", f"{DOMAINS}/{domain['id']}"))[:2] == (404, "NOT_FOUND")
    assert (await wix.refused("POST", f"{DOMAINS}/{domain['id']}/authenticate"))[0] == 404
    await wix.relay.verified(wix.alice, "third.test")
    for address in ("a@third.test", "a@gmail.com"):
        refused = await wix.refused("POST", ACTUAL, {"fromAddress": address})
        assert refused[:2] == (428, "SENDING_DOMAIN_NOT_READY"), "a domain that the key may not use sends nothing"
    await wix.relay.verified(wix.alice, "example.test")
    for address in ("a@third.test", "a@gmail.com"):
        said = await wix.good("POST", ACTUAL, {"fromAddress": address})
        assert said == {"actualFromAddress": "a@example.test"}


@pytest.mark.parametrize(("method", "path", "status", "code"), [
    ("PUT", EMAILS, 405, "UNIMPLEMENTED"), ("DELETE", EMAILS, 405, "UNIMPLEMENTED"),
    ("GET", QUERY, 404, "NOT_FOUND"), ("GET", f"{EMAILS}/a/b/c", 404, "NOT_FOUND"),
])  # fmt: skip
async def test_what_is_not_offered_has_the_same_envelope(
    wix: Client, method: str, path: str, status: int, code: str
) -> None:
    await wix.verified("a@example.test")
    await wix.details("a@example.test")
    assert (await wix.refused(method, path))[:2] == (status, code)


async def test_what_nobody_foresaw_has_the_same_envelope_and_a_reference(
    wix: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the words of an exception")

    monkeypatch.setattr(wix.relay.services.for_senders.addresses, "list", broken)
    status, body = await wix.ask("GET", EMAILS)
    assert (status, set(body), body["details"]["applicationError"]["code"]) == (500, {"message", "details"}, "INTERNAL")
    assert "reference" in body["message"]
    assert "words" not in str(body)


async def test_without_sender_details_no_sending_domain_can_be_asked_for(wix: Client) -> None:
    domain = await wix.relay.domains.enroll(wix.alice.id, "example.test")
    none = (428, "SENDER_DETAILS_DO_NOT_EXIST")
    for method, path, body in (
        ("POST", QUERY, asked(domain="example.test")), ("POST", QUERY, {}), ("POST", QUERY, None),
        ("POST", QUERY, asked(status="x")), ("POST", QUERY, asked(domain="nodots")),
        ("GET", f"{DOMAINS}/{domain.uuid}", None), ("POST", f"{DOMAINS}/{domain.uuid}/authenticate", None),
        ("GET", f"{DOMAINS}/{ELSEWHERE}", None),
    ):
        assert (await wix.refused(method, path, body))[:2] == none
    await wix.verified("a@other.test")
    await wix.details("a@other.test")
    for body in (None, {}, {"query": {}}, asked(), asked(domain="example.test"), asked(id=domain.uuid)):
        assert (await wix.refused("POST", QUERY, body))[:2] == none, "no filter, or a domain that is not linked"
    assert (await wix.refused("GET", f"{DOMAINS}/{domain.uuid}"))[:2] == none
    assert (await wix.refused("GET", f"{DOMAINS}/{ELSEWHERE}"))[:2] == (404, "NOT_FOUND")
    assert (await wix.refused("GET", f"{DOMAINS}/no-uuid"))[:2] == (404, "NOT_FOUND")
    _, body = await wix.ask("POST", QUERY, {})
    assert body["details"]["applicationError"]["description"].startswith("cannot access requested sending domain")


async def test_a_domain_enrolled_elsewhere_appears_with_its_state_and_keeps_its_form(wix: Client) -> None:
    domain = await wix.relay.verified(wix.alice, "example.test")
    made = await wix.email("a@example.test")
    assert made["verified"] is True, "it stands on a proved domain"
    assert (await wix.refused("POST", f"{EMAILS}/{made['id']}/send-verification-code"))[:2] == (
        409, "SENDER_EMAIL_ALREADY_VERIFIED",
    )
    await wix.details("a@example.test")
    found = await wix.domain("example.test")
    assert (found["id"], found["status"], len(found["dnsRecords"])) == (domain.uuid, "AUTHENTICATED", 3)
    await wix.relay.domains.pause(wix.alice.id, domain.id)
    assert (await wix.domain("example.test"))["status"] == "AUTHENTICATED"
    await wix.relay.operator.suspend("example.test", "spam")
    assert (await wix.domain("example.test"))["status"] == "NOT_AUTHENTICATED"
    await wix.later(61)
    status, body = await wix.ask("POST", f"{DOMAINS}/{domain.uuid}/authenticate")
    assert status == 428
    assert "spam" in body["message"]


async def test_a_deleted_domain_is_not_found_and_comes_back_with_new_details(wix: Client) -> None:
    await wix.verified("a@example.test")
    await wix.details("a@example.test")
    domain = await wix.domain("example.test")
    await wix.relay.domains.delete(wix.alice.id, domain["id"])
    assert (await wix.refused("GET", f"{DOMAINS}/{domain['id']}"))[:2] == (404, "NOT_FOUND")
    assert (await wix.good("POST", QUERY, asked(domain="example.test")))["sendingDomains"] == []
    await wix.details("a@example.test", "Another")
    assert (await wix.domain("example.test"))["status"] == "NOT_AUTHENTICATED"


async def test_queries_by_lists_pages_and_what_can_not_be_asked(wix: Client) -> None:
    ids = []
    for name in ("one.test", "two.test", "other.test"):
        await wix.verified(f"a@{name}")
        await wix.details(f"a@{name}")
        ids.append((await wix.domain(name))["id"])
    body = await wix.good("POST", QUERY, asked(domain={"$in": ["TWO.test.", "one.test", "nobody.test"]}))
    assert [d["domain"] for d in body["sendingDomains"]] == ["one.test", "two.test"]
    assert body["pagingMetadata"] == {"count": 2, "cursors": {}, "hasNext": False}
    assert len((await wix.good("POST", QUERY, asked(id={"$in": [*ids, ELSEWHERE]})))["sendingDomains"]) == 3
    assert (await wix.good("POST", QUERY, asked(id={"$eq": ids[1]})))["sendingDomains"][0]["domain"] == "two.test"
    assert (await wix.good("POST", QUERY, asked(id=ELSEWHERE)))["sendingDomains"] == []
    assert (await wix.good("POST", QUERY, asked(id=ids[0], domain="two.test")))["sendingDomains"] == []
    for filter in ({"id": {"$in": []}}, {"domain": {"$in": []}}, {"domain": "one.test", "id": {"$in": []}}):
        assert (await wix.good("POST", QUERY, asked(**filter)))["sendingDomains"] == [], "none of an empty list"
    seen, cursor = [], None
    for _ in range(3):
        paging = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        query = {"query": {"filter": {"id": {"$in": ids}}, "cursorPaging": paging}}
        body = await wix.good("POST", QUERY, query)
        seen += [d["id"] for d in body["sendingDomains"]]
        cursor = body["pagingMetadata"]["cursors"].get("next")
    assert (seen, cursor) == (ids, None)
    for query in (
        {"filter": {"domain": "one.test"}, "sort": [{"fieldName": "domain"}]}, {"filter": {"status": "x"}},
        {"filter": {"domain": {"$gt": "a"}}}, {"filter": {"domain": 7}}, {"filter": {"domain": "a b"}},
        {"filter": {"id": {"$in": ["x"] * 51}}}, {"filter": {"id": "x"}, "paging": {"limit": 51}},
        {"filter": {"id": "x"}, "paging": {"cursor": "???"}},
    ):
        assert await wix.violated("POST", QUERY, {"query": query})


async def test_public_mailboxes_can_be_senders_but_never_sending_domains(wix: Client) -> None:
    await wix.verified("alice@gmail.com")
    await wix.details("alice@gmail.com")
    assert (await wix.refused("POST", QUERY, asked(domain="gmail.com")))[:2] == (428, "SENDER_DETAILS_DO_NOT_EXIST")
    assert await wix.relay.domains.list(wix.alice.id) == []
    answer = await wix.refused("POST", ACTUAL, {"fromAddress": "alice@gmail.com"})
    assert answer[:2] == (428, "SENDING_DOMAIN_NOT_READY")
    await wix.authenticated("a@example.test")
    await wix.relay.verified(wix.alice, "other.test")
    for address, actual in (
        ("alice@gmail.com", "alice@example.test"), ("a@example.test", "a@example.test"),
        ("x@bob.test", "x@example.test"), ("x@other.test", "x@other.test"),
    ):
        assert await wix.good("POST", ACTUAL, {"fromAddress": address}) == {"actualFromAddress": actual}
    await wix.relay.domains.update(wix.alice.id, "other.test", {"default_sender": True})
    said = await wix.good("POST", ACTUAL, {"fromAddress": "alice@gmail.com"})
    assert said == {"actualFromAddress": "alice@other.test"}
    assert await wix.violated("POST", ACTUAL, {"fromAddress": "nonsense"})


async def test_an_address_is_one_however_it_is_spelt_and_found_again(wix: Client) -> None:
    made = await wix.email("News@EXAMPLE.test")
    assert made["emailAddress"] == "News@example.test"
    status, code, data = await wix.refused("POST", EMAILS, email("news@example.test"))
    assert (status, code, data["senderEmailId"]) == (409, "SENDER_EMAIL_ALREADY_EXISTS", made["id"])
    path = f"{EMAILS}/get-or-create"
    assert (await wix.good("POST", path, {"emailAddress": "news@example.test"}))["senderEmail"]["id"] == made["id"]
    another = (await wix.good("POST", path, {"emailAddress": "news+a@example.test"}))["senderEmail"]
    assert another["id"] != made["id"]
    listed = await wix.good("GET", f"{EMAILS}?emailAddress=NEWS@example.test")
    assert [e["id"] for e in listed["senderEmails"]] == [made["id"]]
    assert (await wix.refused("GET", f"{EMAILS}/{made['id']}", by=wix.bob))[:2] == (404, "NOT_FOUND")
    assert (await wix.refused("DELETE", f"{EMAILS}/{made['id']}", by=wix.bob))[:2] == (404, "NOT_FOUND")
    assert await wix.good("DELETE", f"{EMAILS}/{made['id']}") == {}
    assert (await wix.refused("GET", f"{EMAILS}/{made['id']}"))[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "senderEmail"), (email("a@b.c"), "senderEmail.emailAddress"),
        (email("not-an-address"), "senderEmail.emailAddress"),
        (email("a" * 250 + "@b.test"), "senderEmail.emailAddress"), (email(7), "senderEmail.emailAddress"),
        (email("a@b.test\r\nBcc: x@y.test"), "senderEmail.emailAddress"), ([], ""),
        ({"senderEmail": {"emailAddress": "a@b.test", "extendedFields": {"x": "y" * 5000}}},
         "senderEmail.extendedFields"),
    ],
)  # fmt: skip
async def test_what_is_no_address_is_refused_by_its_field(wix: Client, body: Any, field: str) -> None:
    assert await wix.violated("POST", EMAILS, body) == [field]


async def test_lists_come_in_pages(wix: Client) -> None:
    made = [(await wix.email(f"a{i}@example.test"))["id"] for i in range(3)]
    first = await wix.good("GET", f"{EMAILS}?paging.limit=2")
    assert [e["id"] for e in first["senderEmails"]] == made[:2]
    assert (first["pagingMetadata"]["count"], first["pagingMetadata"]["hasNext"]) == (2, True)
    cursor = first["pagingMetadata"]["cursors"]["next"]
    last = await wix.good("GET", f"{EMAILS}?paging.limit=2&paging.cursor={cursor}")
    assert [e["id"] for e in last["senderEmails"]] == made[2:]
    assert last["pagingMetadata"] == {"count": 1, "cursors": {}, "hasNext": False}
    assert (await wix.good("GET", f"{EMAILS}?paging.limit=0"))["senderEmails"] == []
    for query in ("paging.limit=101", "paging.limit=-1", "paging.limit=x", "paging.cursor=nonsense", "emailAddress=x"):
        assert await wix.violated("GET", f"{EMAILS}?{query}")


async def test_a_code_is_good_once_for_a_while_and_for_a_few_tries(wix: Client) -> None:
    made = await wix.email("a@example.test")
    verify, send = f"{EMAILS}/{made['id']}/verify", f"{EMAILS}/{made['id']}/send-verification-code"
    assert (await wix.refused("POST", verify, {"verificationCode": "123456"}))[:2] == (400, "VERIFICATION_CODE_INVALID")
    await wix.good("POST", send)
    first = await wix.code("a@example.test")
    wrong = {"verificationCode": str((int(first) + 1) % 10**6).zfill(6)}
    for left in (4, 3, 2, 1, 0):
        assert await wix.refused("POST", verify, wrong) == (400, "VERIFICATION_CODE_INVALID", {"triesLeft": left})
    for body in (wrong, {"verificationCode": first}):
        assert (await wix.refused("POST", verify, body))[:2] == (428, "TOO_MANY_VERIFICATION_ATTEMPTS")
    await wix.good("POST", send)
    await wix.later(15 * 60)
    late = {"verificationCode": await wix.code("a@example.test")}
    assert (await wix.refused("POST", verify, late))[:2] == (409, "VERIFICATION_CODE_EXPIRED")
    await wix.good("POST", send)
    status, code, data = await wix.refused("POST", send)
    assert (status, code) == (428, "TOO_MANY_VERIFICATION_ATTEMPTS")
    assert data["passesAt"]
    again = await wix.email("a@example.test", by=wix.bob)
    assert (await wix.refused("POST", f"{EMAILS}/{again['id']}/send-verification-code", by=wix.bob))[0] == 428, (
        "codes are counted by address, whoever asks"
    )
    good = {"verificationCode": await wix.code("a@example.test")}
    assert (await wix.refused("POST", f"{EMAILS}/{again['id']}/verify", good, by=wix.bob))[:2] == (
        400, "VERIFICATION_CODE_INVALID",
    )
    assert await wix.good("POST", verify, good) == {}
    for path, body in ((verify, good), (send, None)):
        assert (await wix.refused("POST", path, body))[:2] == (409, "SENDER_EMAIL_ALREADY_VERIFIED")
    assert await wix.violated("POST", verify, {"verificationCode": "12"}) == ["verificationCode"]
    for path, body in ((verify, good), (send, None)):
        path = path.replace(made["id"], ELSEWHERE)
        assert (await wix.refused("POST", path, body))[:2] == (404, "NOT_FOUND")


async def test_deleting_an_address_wins_no_further_codes(wix: Client) -> None:
    for _ in range(3):
        made = await wix.email("a@example.test")
        await wix.good("POST", f"{EMAILS}/{made['id']}/send-verification-code")
        await wix.good("DELETE", f"{EMAILS}/{made['id']}")
    made = await wix.email("a@example.test")
    path = f"{EMAILS}/{made['id']}/send-verification-code"
    assert (await wix.refused("POST", path))[:2] == (428, "TOO_MANY_VERIFICATION_ATTEMPTS")
    await wix.later(3600)
    await wix.good("POST", path)


async def test_details_need_a_proved_address_and_a_pair_of_their_own(wix: Client) -> None:
    unknown = await wix.refused("POST", DETAILS, sender("Alice", "a@example.test"))
    assert unknown[:2] == (428, "SENDER_EMAIL_NOT_VERIFIED")
    await wix.email("a@example.test")
    assert (await wix.refused("POST", DETAILS, sender("Alice", "a@example.test")))[1] == "SENDER_EMAIL_NOT_VERIFIED"
    assert (await wix.refused("DELETE", f"{EMAILS}/{ELSEWHERE}"))[:2] == (404, "NOT_FOUND")
    (made,) = (await wix.good("GET", EMAILS))["senderEmails"]
    await wix.good("POST", f"{EMAILS}/{made['id']}/send-verification-code")
    code = {"verificationCode": await wix.code("a@example.test")}
    await wix.good("POST", f"{EMAILS}/{made['id']}/verify", code)
    first = await wix.details("a@example.test")
    assert (await wix.refused("POST", DETAILS, sender("Alice", "A@example.test")))[:2] == (
        409, "SENDER_DETAILS_ALREADY_EXIST",
    )
    second = await wix.details("a@example.test", "Alice's Shop")
    assert (first["default"], second["default"]) == (True, False)
    assert (await wix.good("GET", f"{DETAILS}/default"))["senderDetails"]["id"] == first["id"]
    path = f"{DETAILS}/{second['id']}"
    assert (await wix.refused("PATCH", path, {"senderDetails": {"fromName": "Alice"}}))[:2] == (
        409, "SENDER_DETAILS_ALREADY_EXIST",
    )
    assert (await wix.refused("PATCH", path, {"senderDetails": {"fromEmailAddress": "b@example.test"}}))[:2] == (
        428, "SENDER_EMAIL_NOT_VERIFIED",
    )
    shown = {"id": second["id"], "fromName": "Shop", "extendedFields": {"a": 1}}
    changed = await wix.good("PATCH", path, {"senderDetails": shown})
    assert (changed["senderDetails"]["fromName"], changed["senderDetails"]["extendedFields"]) == ("Shop", {"a": 1})
    assert (await wix.refused("DELETE", f"{DETAILS}/{first['id']}"))[:2] == (428, "DEFAULT_SENDER_CANNOT_BE_DELETED")
    assert (await wix.good("POST", f"{path}/mark-as-default"))["senderDetails"]["default"] is True
    assert (await wix.refused("DELETE", f"{EMAILS}/{made['id']}"))[:2] == (409, "SENDER_DETAILS_ALREADY_EXIST")
    assert await wix.good("DELETE", f"{DETAILS}/{first['id']}") == {}
    listed = await wix.good("GET", DETAILS)
    assert [(s["id"], s["default"]) for s in listed["senderDetails"]] == [(second["id"], True)]
    for method, way, body in (
        ("GET", "", None), ("PATCH", "", {"senderDetails": {}}), ("DELETE", "", None),
        ("POST", "/mark-as-default", None),
    ):
        for by, id in ((wix.alice, ELSEWHERE), (wix.bob, second["id"])):
            assert (await wix.refused(method, f"{DETAILS}/{id}{way}", body, by=by))[:2] == (404, "NOT_FOUND")
    assert (await wix.refused("GET", f"{DETAILS}/default", by=wix.bob))[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\r\nBcc: x@y.test", 7, None, "   "])
async def test_a_name_that_can_not_stand_in_a_header_is_refused(wix: Client, name: Any) -> None:
    assert await wix.violated("POST", DETAILS, sender(name, "a@example.test")) == ["senderDetails.fromName"]


@pytest.mark.parametrize("wix", [{"max_addresses": 1, "max_details": 1, "codes_a_member": 1}], indirect=True)
async def test_every_bound_has_an_answer(wix: Client) -> None:
    made = await wix.verified("a@example.test")
    assert (await wix.refused("POST", EMAILS, email("b@example.test")))[:2] == (403, "RESOURCE_EXHAUSTED")
    await wix.details("a@example.test")
    assert (await wix.refused("POST", DETAILS, sender("B", "a@example.test")))[:2] == (403, "RESOURCE_EXHAUSTED")
    await wix.good("DELETE", f"{EMAILS}/{(await wix.email('b@bob.test', by=wix.bob))['id']}", by=wix.bob)
    assert made["id"]


async def test_where_the_relay_has_no_zone_nothing_enrolls_itself_and_the_refusal_says_so(wix: Client) -> None:
    sending = wix.relay.services.for_senders.sending
    dns = wix.env.config.dns.model_copy(update={"hosted_zone": ""})
    sending._config = wix.env.config.model_copy(update={"dns": dns})
    await wix.verified("a@example.test")
    await wix.details("a@example.test")
    status, code, _ = await wix.refused("POST", QUERY, asked(domain="example.test"))
    assert (status, code) == (501, "UNIMPLEMENTED")
    assert await wix.relay.domains.list(wix.alice.id) == []


async def test_a_suspended_member_and_a_deleted_one_leave_nothing_open(wix: Client) -> None:
    made = await wix.email("a@example.test")
    await wix.relay.services.accounts.suspend("alice", "spam")
    assert (await wix.refused("POST", f"{EMAILS}/{made['id']}/send-verification-code"))[:2] == (
        403, "ACCOUNT_SUSPENDED",
    )
    assert await wix.relay.mail_to("a@example.test") == []
    await wix.relay.services.accounts.delete("alice")
    assert await wix.relay.services.for_senders.addresses.list(wix.alice.id) == []
