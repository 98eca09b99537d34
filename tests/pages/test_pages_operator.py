"""/operator: who gets in, what is shown, and that each change is made once, by its service, and written down."""

from __future__ import annotations

import re
from typing import Any

import pytest

from relay.base.storage import accounts, audit, incidents, reports, sites
from relay.base.storage.operator_queries import admission
from relay.retention import Retention
from tests.kit.world import letter
from tests.pages.site import NASTY, Site, Visit
from tests.pages.test_pages_mail import ready

PAGES = (
    "/operator", "/operator/doctor", "/operator/members", "/operator/members/alice", "/operator/domains",
    "/operator/members/alice/domains/example.test", "/operator/messages", "/operator/queue", "/operator/sites",
    "/operator/incidents", "/operator/invites", "/operator/audit",
)


async def operator(place: Site) -> Visit:
    visit = place.visit()
    await visit.sign_in("olga", code=await place.operator())
    return visit


async def waiting(place: Site) -> tuple[Any, str]:
    """alice, and the queue id of a message that its host put off."""
    alice = await ready(place)
    sent = await place.env.world.submit(alice, "bob@sink.test", raw=letter(subject=NASTY))
    await place.answered(f"4.7.1 greylisted {NASTY}", 451)
    return alice, sent.queue_id


async def test_only_the_operator_gets_in(place: Site) -> None:
    await ready(place)
    stranger, member = place.visit(), await place.signed_in("alice")
    for path in PAGES:
        status, _, response = await stranger.get(path)
        assert (status, response.headers["Location"].partition("?")[0]) == (303, "/account"), path
        status, text, _ = await member.get(path)
        assert status == 403
        assert "relay&#39;s operator" in text, path
    await place.env.services.accounts.set_operator("alice", True)
    for path in PAGES:
        status, text, _ = await member.get(path)
        assert status == 403, path
        assert "set one up at /account/second-factor" in text, path
    status, _, _ = await member.send("/account/keys", "/operator/members/alice/note", {"note": "mine"})
    assert status == 403
    assert await place.env.services.accounts.remarks((await place.env.services.accounts.get("alice")).id) == (None, "")


async def test_a_sign_in_leads_back_to_the_page_that_was_asked_for(place: Site) -> None:
    await place.account("olga")
    visit = place.visit()
    _, _, response = await visit.get("/operator/queue?to=sink.test")
    page = response.headers["Location"]
    back = re.search(r'name="next" value="([^"]+)"', (await visit.get(page))[1])
    assert back
    assert back[1] == "/operator/queue?to=sink.test"


async def test_a_change_without_the_forms_token_does_nothing(place: Site) -> None:
    await ready(place)
    visit = await operator(place)
    status, _, _ = await visit.post("/operator/members/alice/suspend", [("reason", "x")], Origin=visit.url)
    assert status == 403
    assert (await place.env.services.accounts.get("alice")).status == "active"


async def test_every_page_is_shown_and_strangers_text_is_text(place: Site) -> None:
    _, queue_id = await waiting(place)
    async def blame(tx: Any) -> bool:
        example = {"at": place.env.clock.now(), "host": "mx.test", "recipient": "a@b.test", "reply": NASTY}
        return await incidents.join(tx, "ptr", seen_at=place.env.clock.now(), count=3, examples=[example], keep=5)

    await place.env.storage.write(blame)
    visit = await operator(place)
    for path in (*PAGES, f"/operator/messages/{queue_id}", "/operator/queue?to=sink.test",
                 "/operator/queue/act?action=drop&to=sink.test"):
        status, text, _ = await visit.get(path)
        assert status == 200, (path, text)
        assert "<script>window" not in text, path


async def test_the_overview_tells_of_queue_findings_and_refusals(place: Site) -> None:
    await waiting(place)
    visit = await operator(place)
    _, text, _ = await visit.get("/account")
    assert 'href="/operator"' in text
    assert 'href="/operator"' not in (await (await place.signed_in("alice")).get("/account"))[1]
    _, text, _ = await visit.get("/operator")
    assert "1 recipient waiting" in text
    assert "sink.test" in text
    assert "blocklists" in text
    assert "ask bl.test" in text
    assert "2 active" in text  # alice and olga, without the relay's own
    assert "1 of 2 examinations found nothing wrong" in text


@pytest.mark.parametrize(
    ("action", "fields", "status", "reason"),
    [("suspend", {"reason": "spam to bob"}, "suspended", "spam to bob"), ("release", {}, "active", "")],
)
async def test_suspending_and_releasing_a_member(
    place: Site, action: str, fields: dict[str, str], status: str, reason: str
) -> None:
    await ready(place)
    if action == "release":
        await place.env.services.accounts.suspend("alice", "before")
    visit = await operator(place)
    code, _, _ = await visit.send("/operator/members/alice", f"/operator/members/alice/{action}", fields)
    alice = await place.env.services.accounts.get("alice")
    assert (code, alice.status, alice.reason) == (303, status, reason)


async def test_a_suspension_needs_a_reason_and_is_made_once(place: Site) -> None:
    await ready(place)
    visit = await operator(place)
    status, text, _ = await visit.send("/operator/members/alice", "/operator/members/alice/suspend", {"reason": " "})
    assert status == 422
    assert "Say why" in text
    for expected in (303, 409):
        status, _, _ = await visit.send(
            "/operator/members/alice", "/operator/members/alice/suspend", {"reason": "spam"}
        )
        assert status == expected


async def test_limit_and_note_of_a_member(place: Site) -> None:
    alice = await ready(place)
    visit = await operator(place)
    page, services = "/operator/members/alice", place.env.services
    await visit.send(page, page + "/limit", {"limit": "7"})
    await visit.send(page, page + "/note", {"note": f"called <b> {NASTY}"})
    assert await services.accounts.remarks(alice.id) == (7, f"called <b> {NASTY}")
    _, text, _ = await visit.get(page)
    assert 'value="7"' in text
    assert "called &lt;b&gt;" in text
    status, text, _ = await visit.send(page, page + "/limit", {"limit": "many"})
    assert status == 422
    assert 'value="many"' in text
    await visit.send(page, page + "/limit", {"limit": ""})
    assert (await services.accounts.remarks(alice.id))[0] is None
    _, text, _ = await (await place.signed_in("alice")).get("/account/settings")
    assert "called" not in text


async def test_a_tier_is_pinned_and_let_go(place: Site) -> None:
    alice = await ready(place)
    visit = await operator(place)
    page = "/operator/members/alice/domains/example.test"
    for tier, kept in (("unlimited", "unlimited"), ("age", None), ("week 2", "week 2")):
        status, _, _ = await visit.send(page, page + "/tier", {"tier": tier})
        assert (status, (await place.env.operator.find("example.test", alice.id)).tier) == (303, kept)
    status, text, _ = await visit.send(page, page + "/tier", {"tier": "gold"})
    assert status == 422
    assert "no such tier" in text


@pytest.mark.parametrize("place", [{"http": {"page_size": 2}}], indirect=True)
async def test_searching_members_and_domains_goes_page_by_page(place: Site) -> None:
    await ready(place)
    for n in range(3):
        await place.account(f"m{n}x")
    visit = await operator(place)
    _, text, _ = await visit.get("/operator/members?search=X@MAIL.TEST")
    assert "m2x" in text
    assert "m1x" in text
    assert ">m0x<" not in text
    older = re.search(r'href="(/operator/members\?[^"]+before[^"]+)"', text)
    assert older
    _, text, _ = await visit.get(older[1].replace("&amp;", "&"))
    assert ">m0x<" in text
    assert ">m1x<" not in text
    _, text, _ = await visit.get("/operator/members?search=_")
    assert "No matches" in text
    _, text, _ = await visit.get("/operator/domains?search=EXAMPLE")
    assert "example.test" in text


@pytest.mark.parametrize("by", ["queue id", "Message-ID", "recipient", "destination"])
async def test_a_message_is_found_and_says_why_it_waits(place: Site, by: str) -> None:
    _, queue_id = await waiting(place)
    visit = await operator(place)
    # What a worker notes when it carries mail there.
    await place.env.storage.write(lambda tx: sites.seen(tx, {"sink.test": "mx.sink.test"}, place.env.clock.now()))
    await visit.send("/operator/sites", "/operator/sites/pause", {"site": "sink.test"})
    async with place.env.storage.read() as tx:
        found = await admission(tx, queue_id=queue_id)
        assert found
        detail = await reports.message(tx, found.member_id, queue_id=queue_id)
        assert detail
    text = {"queue id": queue_id, "Message-ID": detail[0].header_id, "recipient": "bob@SINK.test",
            "destination": "Sink.test"}[by]
    _, page, response = await visit.get("/operator/messages?find=" + text.replace("<", "%3C").replace(">", "%3E"))
    where = response.headers.get("Location") or re.findall(r"/operator/messages/[a-z0-9]+", page)[0]
    assert where.endswith(queue_id)
    _, page, _ = await visit.get(where)
    assert "4.7.1 greylisted" in page
    assert "mx.sink.test is paused by the operator" in page


async def test_what_is_done_to_the_queue_is_counted_first(place: Site) -> None:
    await waiting(place)
    visit = await operator(place)
    _, text, _ = await visit.get("/operator/queue")
    assert "queue/act" not in text  # not to all of it by a slip
    _, text, _ = await visit.get("/operator/queue?to=sink.test&error=GREYLISTED")
    assert "<b>1</b> recipient waits" in text
    page = "/operator/queue/act?action=hold&to=sink.test"
    _, text, _ = await visit.get(page)
    assert "Hold: 1 recipient" in text
    status, _, response = await visit.send(page, "/operator/queue/act", {"action": "hold", "to": "sink.test"})
    assert status == 303
    assert "changed=1" in response.headers["Location"]
    _, text, _ = await visit.get(response.headers["Location"])
    assert "Done to 1 recipient." in text
    assert "when released" in text
    await visit.send(page, "/operator/queue/act", {"action": "drop", "to": "sink.test"})
    _, text, _ = await visit.get("/operator/queue")
    assert "Nothing waits" in text


@pytest.mark.parametrize("fields", [{"action": "drop"}, {"action": "burn", "to": "sink.test"},
                                    {"action": "drop", "held": "1"}, {"action": "drop", "member": "nobody"}])
async def test_nothing_is_done_without_a_filter_or_an_action(place: Site, fields: dict[str, str]) -> None:
    await waiting(place)
    visit = await operator(place)
    status, _, _ = await visit.send("/operator/invites", "/operator/queue/act", fields)
    assert status in (404, 422)
    _, text, _ = await visit.get("/operator/queue")
    assert "<b>1</b> recipient waits" in text


async def test_a_site_is_paused_and_resumed(place: Site) -> None:
    visit = await operator(place)
    status, _, _ = await visit.send("/operator/sites", "/operator/sites/pause", {"site": "mx.sink.test"})
    assert status == 303
    for path in ("/operator/sites", "/operator"):
        assert "paused by the operator" in (await visit.get(path))[1]
    for expected in (303, 409):
        site = re.findall(r'name="site" value="([^"]+)"', (await visit.get("/operator/sites"))[1])
        site = [s for s in site if s.endswith("sink.test")] or ["mx.sink.test"]
        status, _, _ = await visit.send("/operator/sites", "/operator/sites/resume", {"site": site[0]})
        assert status == expected
    status, text, _ = await visit.send("/operator/sites", "/operator/sites/pause", {"site": "no such"})
    assert status == 404
    assert "no such site" in text


async def test_an_invite_is_made_shown_once_and_revoked(place: Site) -> None:
    visit = await operator(place)
    status, text, _ = await visit.send("/operator/invites", "/operator/invites", {"note": "for Bob"})
    (code,) = set(re.findall(r"invite=([A-Za-z0-9_-]+)", text))
    assert status == 200
    _, text, _ = await visit.get("/operator/invites")
    assert "for Bob" in text
    assert code not in text
    (made,) = await place.env.services.accounts.list_invites()
    for expected in (303, 404):
        status, _, _ = await visit.send("/operator/invites", f"/operator/invites/{made.id}/revoke")
        assert status == expected
    assert await place.env.services.accounts.list_invites() == []


async def test_an_incident_is_closed(place: Site) -> None:
    async def blame(tx: Any) -> bool:
        return await incidents.join(tx, "ptr", seen_at=place.env.clock.now(), count=3, examples=[], keep=5)

    await place.env.storage.write(blame)
    visit = await operator(place)
    _, text, _ = await visit.get("/operator/incidents")
    (path,) = re.findall(r'action="(/operator/incidents/\d+/close)"', text)
    for expected in (303, 409):
        status, _, _ = await visit.send("/operator/invites", path)
        assert status == expected
    _, text, _ = await visit.get("/operator/incidents?closed=1")
    assert ">closed<" in text


async def test_a_deleted_members_note_goes_with_the_account(place: Site) -> None:
    alice = await ready(place)
    await place.env.services.accounts.set_note("alice", "a friend of Bob")
    await place.env.services.accounts.delete("alice")
    async with place.env.storage.read() as tx:
        assert (await accounts.remarks(tx, alice.id))[1] == ""


async def test_every_change_is_in_the_audit_log_with_who_from_where_before_and_after(place: Site) -> None:
    await waiting(place)

    async def blame(tx: Any) -> bool:
        return await incidents.join(tx, "ptr", seen_at=place.env.clock.now(), count=3, examples=[], keep=5)

    await place.env.storage.write(blame)
    await place.env.services.accounts.make_invite("for Bob")
    visit = await operator(place)
    member, domain = "/operator/members/alice", "/operator/members/alice/domains/example.test"
    made = [
        (member + "/suspend", {"reason": NASTY}), (member + "/release", {}), (member + "/limit", {"limit": "7"}),
        (member + "/note", {"note": "called"}), (domain + "/tier", {"tier": "unlimited"}),
        (domain + "/suspend", {"reason": "phish"}), (domain + "/release", {}), (domain + "/check", {}),
        ("/operator/queue/act", {"action": "hold", "to": "sink.test"}),
        ("/operator/sites/pause", {"site": "sink.test"}),
        ("/operator/sites/resume", {"site": "sink.test"}), ("/operator/incidents/1/close", {}),
        ("/operator/invites", {"note": "for Eve"}), ("/operator/invites/1/revoke", {}),
    ]
    for path, fields in made:
        status, text, _ = await visit.send("/operator/invites", path, fields)
        assert status in (200, 303), (path, text)
    # What was refused changed nothing.
    assert (await visit.send("/operator/invites", member + "/release"))[0] == 409
    async with place.env.storage.read() as tx:
        found = (await audit.search(tx, ""))[::-1]
    assert [e.action for e in found] == [
        "member.suspend", "member.release", "member.limit", "member.note", "domain.tier", "domain.suspend",
        "domain.release", "domain.check", "queue.hold", "site.pause", "site.resume", "incident.close", "invite.make",
        "invite.revoke",
    ]
    assert {(e.actor, e.who, e.address, e.at) for e in found} == {
        ("operator", "olga", "127.0.0.1", place.env.clock.now())
    }
    suspended, released, limit, *_ = found
    assert (suspended.subject, suspended.before, suspended.after) == (
        "alice", {"status": "active", "reason": ""}, {"status": "suspended", "reason": NASTY}
    )
    assert (released.before["status"], released.after["status"]) == ("suspended", "active")
    assert (limit.before, limit.after) == ({"maxDomains": None}, {"maxDomains": 7})
    assert found[4].after["tier"] == "unlimited"
    assert found[8].after == {"recipients": 1, "left": 0}
    _, text, _ = await visit.get("/operator/audit?search=ALICE")
    assert "member.note" in text
    assert "site.pause" not in text
    assert "maxDomains: nothing → 7" in text
    assert "<script>window" not in text


async def test_the_audit_log_ends_with_its_time(place: Site) -> None:
    await ready(place)
    visit = await operator(place)
    await visit.send("/operator/members/alice", "/operator/members/alice/note", {"note": "called"})
    clock, retention = place.env.clock, Retention(place.env.storage, place.env.world.config, place.env.clock, "test")
    for days, left in ((364, 1), (2, 0)):
        clock.move(days * 86400)
        await retention.once()
        async with place.env.storage.read() as tx:
            assert len(await audit.search(tx, "")) == left
