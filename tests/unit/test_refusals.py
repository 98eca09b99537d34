"""A refusal gets a page at once, an event for its member, and a bound."""

from __future__ import annotations

import pytest

from enroll.pages.refusal import refusal_view
from relay import replies
from relay.base.storage import events
from relay.base.storage import refusals as rows
from relay.replies import Verdict
from relay.suppression import Suppression, refusal
from tests.kit.world import World

pytestmark = pytest.mark.parametrize("config", ["sqlite"], indirect=True)


async def test_the_reference_leads_to_the_facts_and_the_member_hears_of_it(world: World) -> None:
    alice = await world.member()
    verdict = Verdict(replies.DOMAIN_MISMATCH, saw="x.test", wanted="example.test", member_id=alice.id)
    said = world.refusals.record(
        verdict, door="smtp", address="192.0.2.1", member_id=alice.id, request={"from": "a@x.test"}
    )
    assert said.smtp_lines("https://r.example")[0].endswith(f"; https://r.example/r/{said.reference}")
    await world.refusals.flush()
    async with world.storage.read() as tx:
        row = await rows.get(tx, said.reference)
        [event] = await events.after(tx, 0, member_id=alice.id)
    assert row is not None
    assert (row.rule, row.verdict["saw"], row.request) == ("domain_mismatch", "x.test", {"from": "a@x.test"})
    assert (event.type, event.data["reference"]) == ("rejected", said.reference)


async def test_a_suppressed_recipient_is_an_event_of_its_own(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    await world.suppressions.add(alice.id, "bob@sink.test", "complaint")
    login = world.login(alice)
    domain = world.policy.sender(login, "a@example.test")
    assert not isinstance(domain, Verdict)
    refused = await world.policy.recipient(login, domain, "bob@sink.test", named=0)
    assert isinstance(refused, Verdict)
    world.refusals.record(refused, door="smtp", address="192.0.2.1", member_id=alice.id, request=None)
    await world.refusals.flush()
    async with world.storage.read() as tx:
        [event] = await events.after(tx, 0, member_id=alice.id)
    assert (event.type, event.data["recipient"]) == ("suppressed", "bob@sink.test")


async def test_recording_is_bounded_and_the_refusal_is_still_said(world: World) -> None:
    limit = world.config.retention.refusals_an_hour
    verdict = Verdict(replies.DOMAIN_MISMATCH, saw="x.test", wanted="y.test")
    refusal_view = [
        world.refusals.record(verdict, door="smtp", address="192.0.2.1", member_id=None, request=None)
        for _ in range(limit + 1)
    ]
    assert all(t.reference for t in refusal_view[:limit])
    assert refusal_view[-1].reference == ""
    assert refusal_view[-1].smtp_lines("https://r.example") == [
        "550 5.1.0 From address not allowed: domain x.test is not one of y.test"
    ]


async def test_dialogue_refusals_get_no_page(world: World) -> None:
    verdict = Verdict(replies.AUTH_FAILED)
    assert world.refusals.record(verdict, door="smtp", address="::1", member_id=None, request=None).reference == ""


async def test_who_left_one_kind_of_mail_only_stands_so_on_the_page_and_only_for_the_sender(world: World) -> None:
    alice = await world.member()
    entry = Suppression(0, alice.id, "bob@sink.test", "bob@sink.test", "unsubscribe", "page", 0.0, "broadcast bulk")
    verdict = world.refusals.record(
        refusal(entry), door="http", address="192.0.2.1", member_id=alice.id, request={"to": ["bob@sink.test"]}
    )
    await world.refusals.flush()
    async with world.storage.read() as tx:
        row = await rows.get(tx, verdict.reference)
    assert row is not None
    mine, stranger = refusal_view(row, "https://r.example", alice.id), refusal_view(row, "https://r.example", None)
    assert mine is not None
    assert stranger is not None
    assert ("Stopped", "only broadcast and bulk mail; the other categories still go out") in mine.asked
    assert (stranger.asked, stranger.saw) == ([], "")
