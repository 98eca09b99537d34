"""Email transmissions over HTTP: shapes, states, filters, every code."""

from __future__ import annotations

import asyncio
import uuid
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest

from relay import outcome
from relay.base.clock import DAY
from relay.base.events import TYPES
from relay.base.storage import Tx, suppressions
from relay.base.storage.suppressions import Suppression
from relay.outcome import Reply
from relay.retention import Retention
from tests.wix.conftest import DETAILS, EMAILS, Client

PATH = "/email-transmissions/v1/email-transmissions"
SEND, QUERY = f"{PATH}/send", f"{PATH}/query"
NEWS = "news@example.test"


def letter(*to: str, key: str | None = None, **more: Any) -> dict[str, Any]:
    """What programs send."""
    said = {
        "type": "TRANSACTIONAL", "toRecipients": [{"emailAddress": one} for one in to], "emailSubject": "Hello",
        "emailHtmlContent": "<p>Good <b>morning</b>.</p>", "senderEmailAddress": NEWS,
    } | more
    return {"emailTransmission": {k: v for k, v in said.items() if v is not None}} | (
        {"idempotencyKey": key} if key else {}
    )


@pytest.fixture
async def alice(wix: Client) -> Client:
    """A client with a domain that may send."""
    await wix.relay.world.domain(wix.alice)
    return wix


async def sent(wix: Client, *to: str, **more: Any) -> dict[str, Any]:
    return (await wix.good("POST", SEND, letter(*to, **more)))["emailTransmission"]


async def shown(wix: Client, id: str) -> dict[str, Any]:
    return (await wix.good("GET", f"{PATH}/{id}"))["emailTransmission"]


async def settle(wix: Client, **answers: str) -> None:
    """The queue's turn: each local part gets its answer, others 250."""
    world = wix.relay.world
    for ready in await world.queue.claim(100, {}):
        code, _, words = answers.get(ready.due.address.partition("@")[0], "250 ok").partition(" ")
        reply = Reply(int(code), (words.encode(),))
        await world.queue.settle(ready.due, outcome.from_reply(reply, "rcpt" if code != "250" else "dot"))


async def found(wix: Client, query: dict[str, Any], **more: Any) -> list[str]:
    """The subjects that a query finds."""
    body = await wix.good("POST", QUERY, {"query": query}, **more)
    return [one["emailSubject"] for one in body["emailTransmissions"]]


async def test_each_gets_a_message_of_its_own_and_the_states_follow_the_queue(alice: Client) -> None:
    more = {
        "senderName": "The Shop", "replyTo": {"emailAddress": "help@example.test", "name": "Help"},
        "metadata": {"kanal": "web", "nr7": "12"},
        "toRecipients": [{"emailAddress": "ben@sink.test", "name": "Ben"}, {"emailAddress": "cleo@sink.test"}],
    }
    made = await sent(alice, **more)
    assert (made["status"], made["type"]) == ("ACCEPTED", "TRANSACTIONAL")
    assert uuid.UUID(made["id"])
    assert made["toRecipients"] == more["toRecipients"]
    assert made["metadata"] == more["metadata"]
    assert made["replyTo"] == made["replyToRecipient"] == more["replyTo"]
    [raw] = await alice.relay.mail_to("ben@sink.test")
    mail = message_from_bytes(raw, policy=default)
    assert (mail["From"], mail["To"], mail["Reply-To"]) == (
        f"The Shop <{NEWS}>", "Ben <ben@sink.test>", "Help <help@example.test>",
    )
    assert b"cleo" not in raw
    assert mail["List-Unsubscribe"] is None
    assert "Good morning" in mail.get_body(("plain",)).get_content()
    assert (await shown(alice, made["id"]))["status"] == "IN_PROGRESS"
    await settle(alice, ben="250 ok", cleo="450 4.2.1 busy")
    one = await shown(alice, made["id"])
    assert one["status"] == "IN_PROGRESS", "one is deferred"
    assert [p.get("status") for p in one["toRecipients"]] == ["SENT", None]
    await alice.later(3600)
    await settle(alice, cleo="550 5.1.1 no such user")
    one = await shown(alice, made["id"])
    assert (one["status"], one["emailHtmlContent"]) == ("PROCESSED", "<expired>")
    assert [p["status"] for p in one["toRecipients"]] == ["SENT", "FAILED"]
    assert "550" in one["toRecipients"][1]["failureReason"]
    assert "no such user" in one["toRecipients"][1]["failureReason"]
    assert one["createdDate"] < one["updatedDate"]
    reported = [e for e in await alice.relay.events(alice.alice) if e.type == "accepted"]
    assert reported[0].data["metadata"] == more["metadata"]


async def test_marketing_can_be_unsubscribed_from_where_its_html_says(alice: Client) -> None:
    await sent(
        alice, "ben@sink.test", "cleo@sink.test", type="MARKETING", emailHtmlContent='<a href="{{leave}}">Leave</a>',
        marketingOptions={"unsubscribeUrlPlaceholder": "{{leave}}"},
    )
    links = set()
    for to in ("ben@sink.test", "cleo@sink.test"):
        [raw] = await alice.relay.mail_to(to)
        mail = message_from_bytes(raw, policy=default)
        html = mail.get_body(("html",)).get_content()
        assert "{{leave}}" not in html
        links.add(html.partition('href="')[2].partition('"')[0])
        assert links & {part.strip(" <>\r\n") for part in mail["List-Unsubscribe"].split(",")}
    assert len(links) == 2


async def test_without_a_sender_the_default_details_are_used_and_without_a_name_their_name(alice: Client) -> None:
    body = letter("ben@sink.test", senderEmailAddress=None)
    assert (await alice.refused("POST", SEND, body))[:2] == (428, "SENDER_DETAILS_DO_NOT_EXIST")
    for name, address in (("Alice's News", NEWS), ("Alice Help", "help@example.test")):
        await alice.verified(address)
        await alice.details(address, name)
    for more, wanted in (
        ({"senderEmailAddress": None}, f"Alice's News <{NEWS}>"),
        ({"senderEmailAddress": None, "senderName": "Other"}, f"Other <{NEWS}>"),
        ({"senderEmailAddress": "HELP@example.test"}, "Alice Help <help@example.test>"),
        ({"senderEmailAddress": "new@example.test"}, "new@example.test"),
    ):
        made = await sent(alice, "ben@sink.test", **more)
        raw = (await alice.relay.mail_to("ben@sink.test"))[-1]
        assert message_from_bytes(raw, policy=default)["From"] == wanted
        assert f"{made['senderName']} <{made['senderEmailAddress']}>".strip(" <>").endswith(wanted.strip(" <>"))


async def test_a_public_mailbox_is_answered_and_mail_leaves_from_the_members_domain(alice: Client) -> None:
    assert (await alice.refused("POST", SEND, letter("ben@sink.test", senderEmailAddress="me@gmail.com")))[:2] == (
        428, "SENDER_EMAIL_NOT_VERIFIED",
    )
    await alice.email("me@gmail.com")
    assert (await alice.refused("POST", SEND, letter("ben@sink.test", senderEmailAddress="me@gmail.com")))[1] == (
        "SENDER_EMAIL_NOT_VERIFIED"
    )
    await alice.verified("you@gmail.com")
    await sent(alice, "ben@sink.test", senderEmailAddress="you@gmail.com", senderName="Me")
    [raw] = await alice.relay.mail_to("ben@sink.test")
    mail = message_from_bytes(raw, policy=default)
    assert (mail["From"], mail["Reply-To"]) == ("Me <you@example.test>", "you@gmail.com")
    await alice.verified("bob@gmail.com", by=alice.bob)
    body = letter("ben@sink.test", senderEmailAddress="bob@gmail.com")
    assert (await alice.refused("POST", SEND, body, by=alice.bob))[:2] == (428, "SENDING_DOMAIN_NOT_READY")


async def suppressed(wix: Client, *addresses: str) -> None:
    async def write(tx: Tx) -> None:
        for one in addresses:
            entry = Suppression(0, wix.alice.id, one, one, "hard_bounce", "550 5.1.1", wix.relay.clock.now())
            await suppressions.add(tx, [entry])

    await wix.relay.storage.write(write)
    await wix.relay.world.suppressions.refresh()


async def test_who_is_suppressed_fails_and_when_all_are_it_is_rejected(alice: Client) -> None:
    await suppressed(alice, "gone@sink.test", "away@sink.test")
    one = await sent(alice, "gone@sink.test", "ben@sink.test")
    assert one["status"] == "ACCEPTED"
    assert [p.get("status") for p in one["toRecipients"]] == ["FAILED", None]
    assert "hard_bounce" in one["toRecipients"][0]["failureReason"]
    none = await sent(alice, "gone@sink.test", "away@sink.test", emailSubject="None")
    assert none["status"] == "REJECTED"
    none = await shown(alice, none["id"])
    assert (none["status"], [p["status"] for p in none["toRecipients"]]) == ("REJECTED", ["FAILED"] * 2)
    later = await sent(alice, "dora@sink.test", emailSubject="Later")
    await suppressed(alice, "dora@sink.test")
    [ready] = [r for r in await alice.relay.world.queue.claim(100, {}) if r.due.address == "dora@sink.test"]
    await alice.relay.world.queue.suppress(ready.due, "unsubscribe", "unsubscribed since")
    later = await shown(alice, later["id"])
    assert (later["status"], later["toRecipients"][0]["status"]) == ("REJECTED", "FAILED"), "nobody was written to"


async def test_a_repeated_key_sends_nothing_again_and_another_letter_under_it_is_refused(alice: Client) -> None:
    key = str(uuid.uuid4())
    body = letter("ben@sink.test", key=key)
    first = await alice.good("POST", SEND, body)
    await settle(alice)
    assert await alice.good("POST", SEND, body) == first
    assert len(await alice.relay.mail_to("ben@sink.test")) == 1
    another = letter("cleo@sink.test", key=str(uuid.uuid4()))
    same = await asyncio.gather(*(alice.good("POST", SEND, another) for _ in range(5)))
    assert (len(await alice.relay.mail_to("cleo@sink.test")), {str(one) for one in same}) == (1, {str(same[0])})
    other = letter("ben@sink.test", key=key, emailSubject="Other")
    assert (await alice.refused("POST", SEND, other))[:2] == (409, "ALREADY_EXISTS")
    await alice.relay.world.domain(alice.bob, "bob.test")
    bobs = letter("ben@sink.test", key=key, senderEmailAddress="a@bob.test")
    assert (await alice.good("POST", SEND, bobs, by=alice.bob)) != first, "a key is one member's"
    refused = letter("ben@sink.test", key="k2", senderEmailAddress="me@gmail.com")
    assert (await alice.refused("POST", SEND, refused))[1] == "SENDER_EMAIL_NOT_VERIFIED"
    await alice.good("POST", SEND, letter("ben@sink.test", key="k2"))


async def test_only_what_has_ended_is_deleted(alice: Client) -> None:
    made = await sent(alice, "ben@sink.test")
    path = f"{PATH}/{made['id']}"
    assert (await alice.refused("DELETE", path))[:2] == (428, "EMAIL_TRANSMISSION_NOT_PROCESSED")
    await settle(alice)
    assert (await alice.refused("DELETE", path, by=alice.bob))[:2] == (404, "NOT_FOUND")
    assert await alice.good("DELETE", path) == {}
    for method in ("GET", "DELETE"):
        assert (await alice.refused(method, path))[:2] == (404, "NOT_FOUND")


async def test_every_filter_sort_and_cursor(alice: Client) -> None:
    ids = []
    for subject, kind, to in (
        ("Alpha", "TRANSACTIONAL", "a@sink.test"), ("Beta", "MARKETING", "b@sink.test"),
        ("alps", "TRANSACTIONAL", "c@sink.test"),
    ):
        ids.append((await sent(alice, to, emailSubject=subject, type=kind))["id"])
        await alice.relay.world.pass_time(10)
    await settle(alice, b="450 4.2.1 busy")
    await alice.relay.world.pass_time(10)
    await suppressed(alice, "gone@sink.test")
    ids.append((await sent(alice, "gone@sink.test", emailSubject="Zeta"))["id"])
    by_id = dict(zip(ids, ("Alpha", "Beta", "alps", "Zeta"), strict=True))
    at = {subject: (await shown(alice, id))["updatedDate"] for id, subject in by_id.items()}
    names = sorted(at)
    for filter, wanted in (
        ({}, names), (None, names), ({"id": ids[0]}, ["Alpha"]), ({"id": {"$eq": ids[1].upper()}}, ["Beta"]),
        ({"id": {"$ne": ids[0]}}, ["Beta", "Zeta", "alps"]), ({"id": {"$in": ids[:2]}}, ["Alpha", "Beta"]),
        ({"type": "MARKETING"}, ["Beta"]), ({"type": {"$ne": "MARKETING"}}, ["Alpha", "Zeta", "alps"]),
        ({"type": {"$in": ["MARKETING", "TRANSACTIONAL"]}}, names), ({"type": {"$in": []}}, []),
        ({"status": "PROCESSED"}, ["Alpha", "alps"]), ({"status": {"$ne": "PROCESSED"}}, ["Beta", "Zeta"]),
        ({"status": {"$in": ["REJECTED", "IN_PROGRESS"]}}, ["Beta", "Zeta"]), ({"status": "ACCEPTED"}, []),
        ({"emailSubject": "Alpha"}, ["Alpha"]), ({"emailSubject": {"$ne": "Alpha"}}, ["Beta", "Zeta", "alps"]),
        ({"emailSubject": {"$startsWith": "Al"}}, ["Alpha"]), ({"emailSubject": {"$startsWith": "%"}}, []),
        ({"emailSubject": {"$exists": True}}, names), ({"emailSubject": {"$exists": False}}, []),
        ({"emailSubject": {"$in": ["Beta", "x"]}}, ["Beta"]), ({"emailSubject": {"$hasSome": ["alps"]}}, ["alps"]),
        ({"emailSubject": {"$lt": "Beta"}}, ["Alpha"]), ({"emailSubject": {"$lte": "Beta"}}, ["Alpha", "Beta"]),
        ({"emailSubject": {"$gt": "Beta"}}, ["Zeta", "alps"]), ({"emailSubject": {"$gte": "alps"}}, ["alps"]),
        ({"updatedDate": at["Zeta"]}, ["Zeta"]), ({"updatedDate": {"$eq": {"$date": at["Beta"]}}}, ["Beta"]),
        ({"updatedDate": {"$ne": at["Zeta"]}}, ["Alpha", "Beta", "alps"]), ({"updatedDate": {"$exists": True}}, names),
        ({"updatedDate": {"$in": [at["Zeta"], at["Beta"]]}}, ["Beta", "Zeta"]),
        ({"updatedDate": {"$hasSome": [at["Alpha"]]}}, ["Alpha", "alps"]),
        ({"updatedDate": {"$lt": at["Alpha"]}}, ["Beta"]),
        ({"updatedDate": {"$lte": at["Alpha"]}}, ["Alpha", "Beta", "alps"]),
        ({"updatedDate": {"$gt": at["Alpha"]}}, ["Zeta"]), ({"updatedDate": {"$gte": at["Zeta"]}}, ["Zeta"]),
        ({"updatedDate": {"$gt": at["Beta"], "$lt": at["Zeta"]}}, ["Alpha", "alps"]),
        ({"type": "TRANSACTIONAL", "status": "PROCESSED", "emailSubject": {"$gt": "B"}}, ["alps"]),
        ({"$or": [{"id": ids[0]}, {"$not": {"type": "TRANSACTIONAL"}}]}, ["Alpha", "Beta"]),
        ({"$and": [{"status": "PROCESSED"}, {"emailSubject": "alps"}]}, ["alps"]),
    ):  # fmt: skip
        assert sorted(await found(alice, {"filter": filter})) == wanted, filter
    assert (await found(alice, {}))[0] == "Zeta", "the last one that changed comes first"
    assert len((await alice.good("POST", QUERY))["emailTransmissions"]) == 4, "a body need not be there"
    assert await found(alice, {}, by=alice.bob) == []
    for sort, wanted in (
        ([{"fieldName": "emailSubject"}], ["Alpha", "Beta", "Zeta", "alps"]),
        ([{"fieldName": "emailSubject", "order": "DESC"}], ["alps", "Zeta", "Beta", "Alpha"]),
        ([{"fieldName": "updatedDate", "order": "ASC"}], ["Beta", "Alpha", "alps", "Zeta"]),
        ([{"fieldName": "type"}, {"fieldName": "emailSubject", "order": "DESC"}], ["Beta", "alps", "Zeta", "Alpha"]),
        ([{"fieldName": "status"}], ["Beta", "Alpha", "alps", "Zeta"]),
        ([{"fieldName": "id"}], [by_id[id] for id in sorted(ids)]),
    ):
        assert await found(alice, {"sort": sort}) == wanted, sort
        seen, cursor = [], None
        for _ in range(4):
            # A cursor brings the rest of the query with it.
            query = {"sort": sort, "cursorPaging": {"limit": 1}} if cursor is None else {
                "cursorPaging": {"limit": 1, "cursor": cursor}
            }
            body = await alice.good("POST", QUERY, {"query": query})
            [one] = body["emailTransmissions"]
            assert "emailHtmlContent" not in one
            seen.append(one["emailSubject"])
            cursor = body["pagingMetadata"]["cursors"].get("next")
            assert body["pagingMetadata"]["hasNext"] is (cursor is not None)
        assert (seen, cursor) == (wanted, None)


async def test_what_can_not_be_asked_is_refused_by_its_field(wix: Client) -> None:
    for query, field in (
        ({"filter": {"sender": "x"}}, "query.filter"), ({"filter": {"type": {"$gt": "A"}}}, "query.filter.type"),
        ({"filter": {"status": "SENT"}}, "query.filter.status.$eq"), ({"filter": {"id": 7}}, "query.filter.id.$eq"),
        ({"filter": {"updatedDate": "yesterday"}}, "query.filter.updatedDate.$eq"),
        ({"filter": {"updatedDate": "2026-05-01T14:05:30"}}, "query.filter.updatedDate.$eq"),
        ({"filter": {"updatedDate": {"$exists": 1}}}, "query.filter.updatedDate.$exists"),
        ({"filter": {"emailSubject": {"$in": "x"}}}, "query.filter.emailSubject.$in"),
        ({"filter": {"emailSubject": {"$in": ["x"] * 101}}}, "query.filter.emailSubject.$in"),
        ({"filter": {"emailSubject": "a\0"}}, "query.filter.emailSubject.$eq"),
        ({"filter": {"$or": {}}}, "query.filter.$or"),
        ({"filter": {"$not": {"$not": {"$not": {"$not": {"$not": {}}}}}}}, "query.filter.$not.$not.$not.$not.$not"),
        ({"sort": [{"fieldName": "senderName"}]}, "query.sort.0.fieldName"),
        ({"sort": [{"fieldName": "id", "order": "up"}]}, "query.sort.0.order"),
        ({"cursorPaging": {"limit": 101}}, "query.cursorPaging.limit"),
        ({"paging": {"limit": -1}}, "query.paging.limit"),
        ({"cursorPaging": {"cursor": "???"}}, "query.cursorPaging.cursor"),
        ({"cursorPaging": {"cursor": "eyJmIjp7fSwicyI6W10sInYiOlsieCJdLCJpIjoxfQ"}}, "query.cursorPaging.cursor"),
    ):  # fmt: skip
        assert await wix.violated("POST", QUERY, {"query": query}) == [field]


async def test_what_can_not_be_sent_is_refused_by_its_whole_path(alice: Client) -> None:
    for more, field in (
        ({"toRecipients": [{"contactId": "x"}]}, "toRecipients.0.contactId"),
        ({"toRecipients": [{"emailAddress": "a@b.test"}, {"userId": "x"}]}, "toRecipients.1.userId"),
        ({"toRecipients": [{"emailAddress": "nonsense"}]}, "toRecipients.0.emailAddress"),
        ({"toRecipients": [{"name": "Ben"}]}, "toRecipients.0.emailAddress"), ({"toRecipients": []}, "toRecipients"),
        ({"toRecipients": [{"emailAddress": f"a{i}@b.test"} for i in range(101)]}, "toRecipients"),
        ({"toRecipients": [{"emailAddress": "a@b.test", "name": "a\r\nBcc: x@y.test"}]}, "toRecipients"),
        ({"replyTo": {"emailAddress": "x"}}, "replyTo.emailAddress"),
        ({"replyToRecipient": {"contactId": "x"}}, "replyToRecipient.contactId"),
        ({"type": "OTHER"}, "type"), ({"type": None}, "type"), ({"emailSubject": "x" * 201}, "emailSubject"),
        ({"emailSubject": "a\r\nBcc: x@y.test"}, "emailSubject"), ({"emailSubject": None}, "emailSubject"),
        ({"emailHtmlContent": "x" * 1_000_001}, "emailHtmlContent"), ({"emailHtmlContent": ""}, "emailHtmlContent"),
        ({"senderName": "x" * 101}, "senderName"), ({"senderName": "a\nb"}, "senderName"),
        ({"senderName": "ceo@bank.example"}, "senderName"), ({"senderEmailAddress": "x"}, "senderEmailAddress"),
        ({"metadata": {"a b": "x"}}, "metadata.a b.[key]"), ({"metadata": {"a": "x!"}}, "metadata.a"),
        ({"metadata": {f"k{i}": "x" for i in range(11)}}, "metadata"),
    ):  # fmt: skip
        assert await alice.violated("POST", SEND, letter("ben@sink.test", **more)) == [f"emailTransmission.{field}"]
    assert await alice.relay.mail_to("ben@sink.test") == []


async def test_a_letter_as_large_as_may_be_is_taken(alice: Client) -> None:
    await sent(alice, "ben@sink.test", emailHtmlContent="<p>" + "ü" * 999_990 + "</p>")
    assert len((await alice.relay.mail_to("ben@sink.test"))[0]) > 2_000_000


async def test_warming_suspension_and_keys_have_their_codes(wix: Client) -> None:
    await wix.relay.world.domain(wix.alice, tier="week 1")
    tier = wix.relay.world.config.warming.tiers[0]
    many = [f"a{i}@sink.test" for i in range(tier.per_hour)]
    await sent(wix, *many)
    status, code, data = await wix.refused("POST", SEND, letter("ben@sink.test"))
    assert (status, code, data["status"]) == (429, "OUT_OF_QUOTA", "RESOURCE_EXHAUSTED")
    assert data["passesAt"]
    assert await wix.relay.mail_to("ben@sink.test") == []
    key, _ = await wix.relay.services.credentials.issue(wix.alice.id, scopes=["read"])
    await wix.relay.world.directory.refresh()
    assert (await wix.refused("POST", SEND, letter("ben@sink.test"), key=key))[:2] == (403, "PERMISSION_DENIED")
    assert len(await found(wix, {}, key=key)) == 1
    for wrong in ("", "ph_wrong", f"Basic {wix.alice.key}"):
        assert (await wix.refused("POST", SEND, letter("ben@sink.test"), key=wrong))[:2] == (401, "UNAUTHENTICATED")
    await wix.relay.services.accounts.suspend("alice", "spam")
    assert (await wix.refused("POST", SEND, letter("ben@sink.test")))[:2] == (403, "ACCOUNT_SUSPENDED")
    assert len(await found(wix, {})) == 1, "it may read"


# Tiers of that size are asked by the accepting transaction alone.
@pytest.mark.parametrize("wix", [{"warming": {"aggregate_from": 1}}], indirect=True)
async def test_of_two_that_do_not_both_fit_one_is_sent_whole_and_the_other_not_at_all(wix: Client) -> None:
    await wix.relay.world.domain(wix.alice, tier="week 1")
    many = wix.relay.world.config.warming.tiers[0].per_hour // 2 + 1
    letters = [letter(*(f"{who}{i}@sink.test" for i in range(many))) for who in "ab"]
    answers = await asyncio.gather(*(wix.ask("POST", SEND, one) for one in letters))
    assert sorted(status for status, _ in answers) == [200, 429]
    waiting = await wix.relay.world.queue.claim(1000, {})
    assert len(waiting) == many
    assert len({ready.due.address[0] for ready in waiting}) == 1


async def test_who_is_suppressed_at_the_last_moment_fails_and_the_others_are_sent(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_yet(*_: Any) -> None:
        """What policy hears, a moment before the accepting transaction asks the table."""

    await suppressed(alice, "gone@sink.test")
    monkeypatch.setattr(alice.relay.world.suppressions, "find", not_yet)
    made = await sent(alice, "ben@sink.test", "gone@sink.test")
    assert [p.get("status") for p in made["toRecipients"]] == [None, "FAILED"]
    assert len(await alice.relay.mail_to("ben@sink.test")) == 1
    assert await alice.relay.mail_to("gone@sink.test") == []


async def test_a_key_for_some_domains_sees_only_their_transmissions(alice: Client) -> None:
    await alice.relay.world.domain(alice.alice, "other.test")
    mine = await sent(alice, "ben@sink.test", emailSubject="mine")
    await sent(alice, "ben@sink.test", emailSubject="other", senderEmailAddress="a@other.test")
    key, _ = await alice.relay.services.credentials.issue(
        alice.alice.id, scopes=["send", "read", "manage"], domains=["other.test"]
    )
    await alice.relay.world.directory.refresh()
    assert await found(alice, {}, key=key) == ["other"]
    assert (await alice.refused("GET", f"{PATH}/{mine['id']}", key=key))[:2] == (404, "NOT_FOUND")
    await settle(alice)
    assert (await alice.refused("DELETE", f"{PATH}/{mine['id']}", key=key))[:2] == (404, "NOT_FOUND")


async def test_what_is_not_served_answers_in_the_same_shape(wix: Client) -> None:
    for method, path, status in (
        ("GET", "/email-transmissions/v2/anything", 404), ("PUT", f"{PATH}/x", 405), ("GET", SEND, 404),
        ("GET", "/email-marketing/v9/campaigns", 404), ("POST", "/sender-emails/other", 404),
    ):
        assert (await wix.refused(method, path))[0] == status


@pytest.mark.parametrize("wix", [{"retention": {"transmission_content_days": 2.0}}], indirect=True)
async def test_content_and_record_are_kept_for_as_long_as_is_said(alice: Client) -> None:
    relay = alice.relay
    retention = Retention(relay.storage, relay.world.config, relay.clock, "test")
    old = await sent(alice, "ben@sink.test", "cleo@sink.test")
    waiting = await sent(alice, "held@sink.test")
    assert (await shown(alice, old["id"]))["emailHtmlContent"] == "<p>Good <b>morning</b>.</p>"
    await settle(alice, held="450 4.2.1 busy", cleo="550 5.1.1 no")
    await alice.later(2 * DAY - 1)
    await retention.once()
    assert (await shown(alice, old["id"]))["emailHtmlContent"] != "<expired>"
    await alice.later(2)
    await retention.once()
    before = await shown(alice, old["id"])
    assert before["emailHtmlContent"] == "<expired>"
    await alice.later(27 * DAY)
    await retention.once()
    assert (await shown(alice, old["id"])) == before
    await alice.later(2 * DAY)
    await retention.once()
    assert (await alice.refused("GET", f"{PATH}/{old['id']}"))[:2] == (404, "NOT_FOUND")
    assert (await shown(alice, waiting["id"]))["status"] == "IN_PROGRESS", "what still waits stays"


async def test_what_happens_to_senders_is_told_in_the_feed(wix: Client) -> None:
    assert {f"sender.{word}" for word in ("created", "updated", "verified", "deleted")} <= TYPES
    made = await wix.verified("a@example.test")
    details = await wix.details("a@example.test", "Alice")
    other = await wix.details("a@example.test", "Other")
    await wix.good("PATCH", f"{DETAILS}/{details['id']}", {"senderDetails": {"fromName": "Alice B"}})
    await wix.good("POST", f"{DETAILS}/{other['id']}/mark-as-default")
    await wix.good("DELETE", f"{DETAILS}/{details['id']}")
    gone = await wix.email("b@example.test")
    await wix.good("DELETE", f"{EMAILS}/{gone['id']}")
    reported = [e for e in await wix.relay.events(wix.alice) if e.type.startswith("sender.")]
    assert [(e.type.partition(".")[2], e.data["kind"]) for e in reported] == [
        ("created", "email"), ("verified", "email"), ("created", "details"), ("created", "details"),
        ("updated", "details"), ("updated", "details"), ("deleted", "details"), ("created", "email"),
        ("deleted", "email"),
    ]
    assert reported[1].data == {"kind": "email", "id": made["id"], "address": "a@example.test", "verified": True}
    assert reported[4].data["name"] == "Alice B"


FORMER = "/email-marketing/v1/sender-details"


async def test_the_one_sender_of_the_first_version_changes_at_once_or_after_its_code(wix: Client) -> None:
    assert await wix.good("GET", FORMER) == {"senderDetails": {"fromName": "", "fromEmail": ""}}
    assert await wix.violated("PATCH", FORMER, {"senderDetails": {"fromName": "Shop"}}) == ["senderDetails.fromEmail"]
    code = {"verificationCode": "123456"}
    assert (await wix.refused("POST", f"{FORMER}/verify-email", code))[:2] == (400, "VERIFICATION_CODE_INVALID")
    reported = {"senderDetails": {"fromName": "Shop", "fromEmail": "shop@gmail.com"}}
    assert await wix.good("PATCH", FORMER, reported) == {"verificationNeeded": True}
    assert await wix.good("GET", FORMER) == reported, "no date: it waits for its code"
    code = {"verificationCode": await wix.code("shop@gmail.com")}
    assert await wix.good("POST", f"{FORMER}/verify-email", code) == {}
    found = (await wix.good("GET", FORMER))["senderDetails"]
    assert (found["fromName"], found["fromEmail"]) == ("Shop", "shop@gmail.com")
    assert found["dateVerified"]
    assert (await wix.refused("POST", f"{FORMER}/verify-email", code))[:2] == (409, "SENDER_EMAIL_ALREADY_VERIFIED")
    await wix.relay.world.domain(wix.alice)
    changed = {"senderDetails": {"fromEmail": NEWS}}
    assert await wix.good("PATCH", FORMER, changed) == {"verificationNeeded": False}
    [details] = (await wix.good("GET", DETAILS))["senderDetails"]
    assert (details["fromName"], details["fromEmailAddress"], details["default"]) == ("Shop", NEWS, True)
    assert await wix.good("PATCH", FORMER, {"senderDetails": {"fromName": "Alice"}}) == {"verificationNeeded": False}
    other = await wix.details(NEWS, "Other")
    assert await wix.good("PATCH", FORMER, {"senderDetails": {"fromName": "Bob", "fromEmail": "b@example.test"}})
    assert (await wix.good("GET", FORMER))["senderDetails"]["fromEmail"] == "b@example.test"
    await wix.good("POST", f"{DETAILS}/{other['id']}/mark-as-default")
    again = {"senderDetails": {"fromName": "Bob", "fromEmail": "b@example.test"}}
    assert await wix.good("PATCH", FORMER, again) == {"verificationNeeded": False}
    assert (await wix.good("GET", FORMER))["senderDetails"]["fromName"] == "Bob", "details like that were there already"
    assert await wix.good("GET", FORMER, by=wix.bob) == {"senderDetails": {"fromName": "", "fromEmail": ""}}
