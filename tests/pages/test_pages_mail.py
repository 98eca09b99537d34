"""What became of mail, why something was refused, and the help: complete for its owner, silent for others."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from relay import replies
from relay.base.clock import DAY
from relay.base.events import Event
from relay.base.names import address
from relay.base.storage import Tx, events
from relay.base.storage.tables import messages, recipients
from relay.bounces.parse import Report
from relay.bounces.record import Records
from relay.delivery.dsn import Reports
from relay.intake import Recipient, Submission
from relay.replies import Verdict
from tests.kit.world import MemberAt, letter
from tests.pages.site import NASTY, Site


async def refused(place: Site, verdict: Verdict, member: MemberAt, to: Sequence[str] = (), helo: str = "web1") -> str:
    """Record a refusal as SMTP would; returns its reference."""
    asked = {"mail_from": "news@example.test", "to": list(to), "helo": helo}
    refusals = place.env.world.refusals
    got = refusals.record(verdict, door="smtp", address="192.0.2.1", member_id=member.id, request=asked)
    await refusals.flush()
    assert got.reference
    return got.reference


async def ready(place: Site, handle: str = "alice", name: str = "example.test") -> MemberAt:
    member = await place.member(handle)
    await place.env.verified(member, name)
    await place.env.world.directory.refresh()
    return member


# -- messages --------------------------------------------------------------------------------------------------------


async def test_each_try_with_their_words_and_what_comes_next(place: Site) -> None:
    alice = await ready(place)
    sent = await place.env.world.submit(alice, "bob@sink.test", raw=letter(subject=NASTY))
    visit = await place.signed_in()
    page = f"/account/messages/{sent.queue_id}"
    assert "The first attempt is due" in (await visit.get(page))[1]
    await place.answered(f"4.2.2 Mailbox full {NASTY}", 452, host=NASTY[:40])
    _, text, _ = await visit.get(page)
    said = html.unescape(text)
    assert f"452 4.2.2 Mailbox full {NASTY}" in said
    assert "192.0.2.9" in said
    assert "TLSv1.3" in said
    assert "The next attempt is due" in said
    assert "it bounces <time" in said
    assert "<script>window" not in text
    assert "<img src=x" not in text
    _, text, _ = await visit.get("/account/messages")
    assert "<script>window" not in text
    assert "Mailbox full" in text

    status, _, response = await visit.send(page, f"{page}/retry")
    assert (status, response.headers["Location"]) == (303, f"{page}?done=retried")
    await place.answered("2.0.0 queued as 4711", 250, "dot")
    _, text, _ = await visit.get(page)
    assert "queued as 4711" in text
    assert "the other side has accepted it" in text
    assert f"{page}/cancel" not in text


async def test_cancelling_stops_what_has_not_left(place: Site) -> None:
    alice = await ready(place)
    sent = await place.env.world.submit(alice, "bob@sink.test", "carol@sink.test")
    visit = await place.signed_in()
    page = f"/account/messages/{sent.queue_id}"
    await visit.send(page, f"{page}/cancel")
    _, text, _ = await visit.get(page)
    assert text.count('class="badge cancelled"') == 2
    status, text, _ = await visit.send("/account/keys", f"{page}/cancel")
    assert status == 409
    assert "No recipient of this message is waiting" in text


async def came_back(place: Site, queue_id: str, *reports: Report, vouched: str = "") -> None:
    """Reports about each recipient of a message are taken in."""
    world = place.env.world
    async with world.storage.read() as tx:
        rows = await tx.execute(select(recipients.c.id).join(messages).where(messages.c.queue_id == queue_id))
        ids = [row[0] for row in rows]
    for i in ids:
        for report in reports:
            await Records(world.storage, world.vault, world.config, world.clock).apply(i, report, vouched)


async def test_what_the_recipient_did_stands_with_the_message_and_in_lists(place: Site) -> None:
    alice = await ready(place)
    world = place.env.world
    visit = await place.signed_in()
    sent = {}
    for name in ("angry", "leaver", "reader", "scanner", "silent"):
        sent[name] = (await world.submit(alice, f"{name}@sink.test")).queue_id
    await place.answered("2.0.0 taken", 250, "dot")
    await came_back(place, sent["angry"], Report("complaint", feedback="abuse"), vouched="sink.test")
    await came_back(place, sent["leaver"], Report("complaint", feedback="opt-out"))
    opens = [("reader", {})] + [("scanner", {"machine": "scanner"})] * 3

    async def open_it(tx: Tx) -> None:
        for name, data in opens:
            row = (await tx.execute(
                select(recipients.c.id, messages.c.id).join_from(recipients, messages)
                .where(messages.c.queue_id == sent[name])
            )).one()
            await events.append(tx, [Event("opened", alice.id, 1.0, None, row[1], row[0], data)])

    await world.storage.write(open_it)
    says = {
        "angry": ("Reported it as spam", "The recipient reported it as spam"),
        "leaver": ("Unsubscribed", "The recipient has unsubscribed"), "reader": ("Opened", "it has been read"),
        "scanner": ("automatically", "look in the spam folder"), "silent": ("Accepted", "look in the spam folder"),
    }
    for name, words in says.items():
        text = (await visit.get(f"/account/messages/{sent[name]}"))[1]
        assert all(word in html.unescape(text) for word in words), name
        assert ("What the recipient did" in text) == (name != "silent")
    for event, who in (("complained", {"angry"}), ("unsubscribed", {"leaver"}), ("opened", {"reader", "scanner"})):
        text = (await visit.get(f"/account/messages?event={event}"))[1]
        assert {name for name in sent if f"{name}@sink.test" in text} == who
        assert f'class="badge {event}"' in text
    assert "No matches" in (await visit.get("/account/messages?event=clicked"))[1]
    assert (await visit.get("/account/messages?event=sent"))[0] == 422


async def test_what_is_advised_fits_what_happened(place: Site) -> None:
    alice = await ready(place)
    world = place.env.world
    visit = await place.signed_in()

    async def bounced(says: str, *to: Recipient, **more: Any) -> tuple[str, str]:
        login = world.login(alice)
        domain = world.policy.sender(login, "news@example.test")
        assert not isinstance(domain, Verdict)
        sent = await world.intake.accept(
            Submission(login, domain, "smtp", address("news@example.test"), list(to), letter(), **more)
        )
        await place.answered(says, 550)
        page = f"/account/messages/{sent.queue_id}"
        return page, html.unescape((await visit.get(page))[1])

    page, text = await bounced("5.1.1 no such user", Recipient(address("gone@sink.test")))
    assert "A report about it is on its way. Remove the address from your list." in text
    assert "went to" not in text
    assert await Reports(world.storage, world.intake, world.config, world.clock).post_due() == 1
    assert "A report went to postmaster@example.test." in (await visit.get(page))[1]
    _, text = await bounced("5.7.1 message looks like spam", Recipient(address("b@sink.test"), notify="NEVER"))
    assert "No report was sent, at the sender's request (NOTIFY). Change what the reply complains about" in text
    _, text = await bounced("5.7.1 blocked using zen.spamhaus.org", Recipient(address("c@sink.test"), notify="NEVER"))
    assert "The fault is the relay's" in text
    assert "Mend" not in text


@pytest.mark.parametrize("place", [{"http": {"page_size": 2}}], indirect=True)
async def test_the_list_is_narrowed_and_turned_page_by_page(place: Site) -> None:
    alice = await ready(place)
    for i in range(5):
        await place.env.world.submit(alice, f"r{i}@sink.test")
    visit = await place.signed_in()
    seen: list[str] = []
    page = "/account/messages"
    for _ in range(3):
        _, text, _ = await visit.get(page)
        seen += [f"r{i}" for i in reversed(range(5)) if f"r{i}@sink.test" in text]
        if ">Older<" not in text:
            break
        page = html.unescape(text.split('<a href="/account/messages?')[-1].split('"')[0])
        page = f"/account/messages?{page}"
    assert seen == ["r4", "r3", "r2", "r1", "r0"]
    for question, here, gone in (
        ("recipient=r3@sink.test", "r3@", "r4@"), ("status=queued", "r4@", "r0@"),
        ("domain=example.test", "r4@", "r0@"),
    ):
        _, text, _ = await visit.get(f"/account/messages?{question}")
        table = text.split("<table", 1)[1]
        assert here in table
        assert gone not in table
    assert "No matches" in (await visit.get("/account/messages?status=bounced"))[1]
    for wrong in ("recipient=%3Cscript%3E", "status=lost", "domain=..", "recipient=%00"):
        status, text, _ = await visit.get(f"/account/messages?{wrong}")
        assert status == 422, wrong
        assert "<script>" not in text
    for odd in ("before=-1", "before=x", "before=" + "9" * 40):
        assert (await visit.get(f"/account/messages?{odd}"))[0] == 200


async def test_another_members_things_are_not_there(place: Site) -> None:
    alice = await ready(place)
    sent = await place.env.world.submit(alice, "secret@sink.test", raw=letter(subject="Secret plans"))
    (domain,) = await place.env.domains.list(alice.id)
    await place.member("bob")
    bob = await place.signed_in("bob")
    own = await place.env.services.sessions.list(alice.id)
    assert own == []
    alices = await place.signed_in()
    session = (await place.env.services.sessions.list(alice.id))[0]
    here = f"/account/domains/{domain.id}"
    paths = [here, f"{here}/zone", f"/account/messages/{sent.queue_id}"]
    for path in paths:
        missing = path.replace(str(domain.id), "999").replace(sent.queue_id, "a" * 16)
        status, text, _ = await bob.get(path)
        assert status == 404
        assert text == (await bob.get(missing))[1]
        assert "example.test" not in text
    forms = [f"{here}/{do}" for do in ("verify", "pause", "rotate", "options", "test", "delete", "forward")]
    forms += [f"/account/messages/{sent.queue_id}/cancel", f"/account/keys/{alice.key_id}/regenerate"]
    forms += [f"/account/keys/{alice.key_id}/revoke", f"/account/sessions/{session.id}/end"]
    for path in forms:
        status, text, _ = await bob.send("/account/keys", path, {"to": "x@sink.test", "confirm": "example.test"})
        assert status == 404, path
        assert "example.test" not in text
        assert "Secret plans" not in text
    for path in ("/account", "/account/messages", "/account/messages?domain=example.test", "/account/keys", "/help"):
        _, text, _ = await bob.get(path)
        assert "secret@sink.test" not in text
        assert "Secret plans" not in text
    assert (await alices.get(paths[0]))[0] == 200


# -- refusals --------------------------------------------------------------------------------------------------------


async def test_a_full_tier_is_explained_and_asked_again(place: Site) -> None:
    alice = await ready(place)
    for i in range(5):
        await place.env.world.submit(alice, f"r{i}@sink.test")
    verdict = await place.env.world.submit(alice, "late@sink.test")
    assert isinstance(verdict, Verdict)
    page = f"/r/{await refused(place, verdict, alice, ['late@sink.test'], NASTY)}"

    _, text, _ = await place.visit().get(page)
    assert "5 of 5 this hour" in text
    assert "next slot" in text
    assert "You can send it again" in text
    assert "Back off and retry" in text
    for private in ("late@sink.test", "news@example.test", "Check again"):
        assert private not in text

    # A program gets the shape that the request got, and no more of it than a page would show.
    status, text, answer = await place.visit().get(page, Accept="application/json")
    shown = json.loads(text)
    assert (status, answer.content_type, shown["code"]) == (200, "application/json", "RATE_LIMITED")
    assert (shown["detail"]["rule"], shown["detail"]["url"].endswith(page)) == ("rate_limited", True)
    assert "5 of 5 this hour" in shown["error"]
    assert "late@sink.test" not in text

    visit = await place.signed_in()
    _, text, _ = await visit.get(page)
    assert "late@sink.test" in text
    assert "<script>window" not in text
    _, text, _ = await visit.send(page, f"{page}/ask")
    assert "it would be refused" in text
    place.env.clock.move(3601)
    await place.env.world.directory.refresh()
    _, text, _ = await visit.send(page, f"{page}/ask")
    assert "it would be accepted" in text
    assert "first key" in text
    assert "The waiting time ended at" in (await place.visit().get(page))[1]


async def test_a_domain_refused_then_proved_passes(place: Site) -> None:
    alice = await ready(place)
    login = place.env.world.login(alice)
    verdict = place.env.world.policy.sender(login, "x@other.test")
    assert isinstance(verdict, Verdict)
    got = place.env.world.refusals.record(
        verdict, door="smtp", address="192.0.2.1", member_id=alice.id, request={"mail_from": None, "to": []}
    )
    await place.env.world.refusals.flush()
    page = f"/r/{got.reference}"
    _, text, _ = await place.visit().get(page)
    assert "other.test" in text
    assert "example.test" not in text  # what else the member has enrolled is nobody's business
    visit = await place.signed_in()
    assert "example.test" in (await visit.get(page))[1]
    assert "it would be refused" in (await visit.send(page, f"{page}/ask"))[1]
    await place.env.verified(alice, "other.test")
    assert "it would be accepted" in (await visit.send(page, f"{page}/ask"))[1]
    for key in await place.env.services.credentials.list(alice.id):
        await place.env.services.credentials.revoke(alice.id, key.id)
    assert "no active API key" in (await visit.send(page, f"{page}/ask"))[1]


async def test_what_the_http_door_refused_is_asked_again_too(place: Site) -> None:
    alice = await ready(place)
    for i in range(4):
        await place.env.world.submit(alice, f"r{i}@sink.test")
    to = ["one@sink.test", "two@sink.test"]
    verdict = await place.env.world.submit(alice, *to)
    assert isinstance(verdict, Verdict)
    got = place.env.world.refusals.record(
        verdict, door="http", address="192.0.2.1", member_id=alice.id,
        request={"mailFrom": "news@example.test", "recipients": to, "category": "bulk", "size": 2222},
    )
    await place.env.world.refusals.flush()
    page, visit = f"/r/{got.reference}", await place.signed_in()
    _, text, _ = await visit.get(page)
    assert "2222 bytes" in text
    assert "over HTTP" in text
    assert "it would be refused" in (await visit.send(page, f"{page}/ask"))[1]
    place.env.clock.move(3601)
    assert "it would be accepted" in (await visit.send(page, f"{page}/ask"))[1]


async def test_a_stranger_learns_nothing_of_list_or_standing(place: Site) -> None:
    alice = await ready(place)
    await place.env.world.suppressions.add(alice.id, "gone@sink.test", "complaint")
    login = place.env.world.login(alice)
    domain = place.env.world.policy.sender(login, "news@example.test")
    assert not isinstance(domain, Verdict)
    verdict = await place.env.world.policy.addressee(login, "gone@sink.test", category="bulk")
    assert isinstance(verdict, Verdict)
    listed = f"/r/{await refused(place, verdict, alice)}"
    stopped = f"/r/{await refused(place, Verdict(replies.MEMBER_SUSPENDED, saw='selling watches'), alice)}"
    stranger = place.visit()
    await place.member("bob")
    bob = await place.signed_in("bob")
    for reader in (stranger, bob):
        _, text, _ = await reader.get(listed)
        assert "SUPPRESSED" in text
        for private in ("gone@sink.test", "complaint since", "example.test"):
            assert private not in text
        _, text, _ = await reader.get(stopped)
        assert "MEMBER_SUSPENDED" in text
        assert "watches" not in text
    assert (await bob.send("/account/keys", f"{listed}/ask"))[0] == 404
    alices = await place.signed_in()
    _, text, _ = await alices.get(listed)
    assert "gone@sink.test" in text
    assert "complaint since" in text
    _, text, _ = await alices.send(listed, f"{listed}/ask")
    assert "it would be refused" in text
    assert "selling watches" in (await alices.get(stopped))[1]


async def test_a_domain_that_may_not_send_is_told_of_to_its_owner_alone(place: Site) -> None:
    alice = await ready(place)
    [domain] = await place.env.domains.list(alice.id)
    await place.env.domains.pause(alice.id, domain.id)
    verdict = await place.env.world.submit(alice, sender="news@example.test")
    page = f"/r/{await refused(place, verdict, alice)}"
    _, strangers, _ = await place.visit().get(page)
    assert "paused by you" not in strangers
    visit = await place.signed_in()
    _, text, _ = await visit.get(page)
    assert "example.test is yours, paused by you" in text
    assert "Resume it at" in text
    assert "enroll it" not in (text + strangers).lower()
    await place.env.domains.resume(alice.id, domain.id)
    _, text, _ = await visit.send(page, f"{page}/ask")
    assert "Checked again now: it would be accepted" in text


async def test_a_refusal_is_kept_for_seven_days(place: Site) -> None:
    alice = await ready(place)
    page = f"/r/{await refused(place, Verdict(replies.FROM_MISMATCH, saw='two From headers'), alice)}"
    assert (await place.visit().get(page))[0] == 200
    place.env.clock.move(7 * DAY + 1)
    assert (await place.visit().get(page))[0] == 404
    for odd in ("/r/x", "/r/" + "a" * 200, "/r/%00", "/r/%3Cscript%3E"):
        assert (await place.visit().get(odd))[0] == 404


async def test_refusals_stand_on_the_overview(place: Site) -> None:
    alice = await ready(place)
    reference = await refused(place, Verdict(replies.FROM_MISMATCH, saw="two From headers"), alice)
    _, text, _ = await (await place.signed_in()).get("/account")
    assert f'href="/r/{reference}"' in text
    assert "two From headers" in text


# -- help ------------------------------------------------------------------------------------------------------------


async def test_the_help_tells_every_refusal_of_both_doors_and_the_configuration(place: Site) -> None:
    _, text, _ = await place.visit().get("/help")
    said = html.unescape(text)
    for reply in replies.TABLE:
        if reply.meaning and (reply.smtp >= 400 or reply.http >= 400):
            assert reply.meaning in said, reply.name
            assert reply.fix.format(account_url="http://127.0.0.1:8080/account") in said
            assert not reply.smtp or f"{reply.smtp} {reply.enhanced}" in said
            assert not reply.code or reply.code in said
    assert "{" not in said.split("<main", 1)[1].replace('{"error": "…", "code": "…", "detail": {…}}', "")
    for complaint in (
        "DKIM not yet verified", "Domain ownership verification failed", "I sent mail but it didn't arrive",
        "Mail landing in spam", "Replies aren't reaching me",
    ):
        assert complaint in said
    assert "1 minute, 5 minutes, 15 minutes, 30 minutes, 1 hour, 2 hours, 4 hours" in said
    assert "After 5 days the message bounces" in said
    assert "week 1" in said


@pytest.mark.parametrize(
    "place",
    [{"warming": {"tiers": [{"name": "only", "until_day": 0, "per_hour": 7, "per_day": 77}]},
      "delivery": {"schedule_seconds": [10], "max_age_seconds": 7200}}],
    indirect=True,
)  # fmt: skip
async def test_the_help_follows_the_configuration(place: Site) -> None:
    _, text, _ = await place.visit().get("/help")
    assert "<td>77</td>" in text
    assert "tries again after 10 seconds;" in text
    assert "After 2 hours the message bounces" in text


async def test_the_help_answers_with_the_readers_own_findings(place: Site) -> None:
    alice = await ready(place)
    pending = await place.env.domains.enroll(alice.id, "other.test")
    await place.env.domains.check(pending.id)
    sent = await place.env.world.submit(alice, "nobody@sink.test")
    await place.answered("5.1.1 no such user here", 550)
    reference = await refused(place, Verdict(replies.FROM_MISMATCH, saw="two From headers"), alice)
    _, text, _ = await (await place.signed_in()).get("/help")
    dkim = text.split('id="dkim"')[1].split("</section>")[0]
    assert "other.test" in dkim
    assert "DKIM not yet verified" in dkim
    assert "example.test</a>" not in dkim
    arrive = text.split('id="arrive"')[1].split("</section>")[0]
    assert "no such user here" in arrive
    assert sent.queue_id in arrive
    assert reference in arrive
    _, text, _ = await place.visit().get("/help")
    assert "other.test" not in text
