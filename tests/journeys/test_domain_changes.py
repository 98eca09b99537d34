"""What owners and the operator do with an enrolled domain: options, pause, delete, rotation, approval, mail."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from enroll.domains import Domain
from enroll.errors import EnrollError
from relay import replies
from relay.base.clock import DAY, HOUR, utc_day
from relay.base.config import Config
from relay.base.storage import stats
from relay.replies import Refused, Verdict
from tests.kit.enrolling import Enrolling, enrolling
from tests.kit.storage import make_config


@pytest.fixture
async def relay(sqlite_config: Config) -> AsyncIterator[Enrolling]:
    """One relay on SQLite."""
    async with enrolling(sqlite_config) as made:
        yield made


@pytest.fixture
async def either(config: Config) -> AsyncIterator[Enrolling]:
    """The same on each engine, where transactions matter."""
    async with enrolling(config) as made:
        yield made


async def refused(call) -> EnrollError:
    with pytest.raises(EnrollError) as caught:
        await call
    return caught.value


# -- the owner's changes ----------------------------------------------------------------------------------------------


async def test_other_records_leave_what_is_proved_and_wait_for_their_own(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    changed = await relay.domains.update(alice.id, domain.id, {"return_path": True, "custom_subdomain": "Mail"})
    assert (changed.state, changed.notes.awaits) == ("verified", ("return_path",))
    assert changed.checked_at is None
    assert {f["purpose"] for f in changed.findings} == {"spf", "dmarc"}, "what the zone was seen to have stays"
    assert (changed.keys, changed.ownership_token) == (domain.keys, domain.ownership_token)
    # The minute's cache is cleared: the next look asks.
    checked = await relay.domains.check(domain.id)
    assert (checked.state, checked.return_path_ok) == ("verified", False)
    relay.publish(checked, only=["return_path"])
    checked = await relay.look(checked)
    assert (checked.state, checked.return_path_ok, checked.notes.awaits) == ("verified", True, ())
    assert relay.world.directory.domain_of_member(alice.id, "example.test").return_path == "mail.example.test"
    assert checked.first_verified_at == domain.first_verified_at
    assert await relay.event_types(alice) == ["domain.created", "domain.verified"]


async def test_a_change_that_needs_no_other_record_costs_nothing(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    changed = await relay.domains.update(alice.id, domain.id, {"track_prefix": "t", "report_to": "mail_from"})
    assert changed.state == "verified"
    assert changed.options.report_to == "mail_from"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("custom_subdomain", "-x"), ("custom_subdomain", "a.b"), ("track_prefix", "a" * 33), ("track_prefix", ""),
        ("tracking", 1), ("replies", "yes"), ("approved", True), ("forward_to", "nobody"), ("forward_to", 1),
        ("forward_to", "a" * 321), ("nonsense", 1),
    ],
)
async def test_an_option_that_can_not_be_is_refused_by_name(relay: Enrolling, field: str, value: object) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    error = await refused(relay.domains.update(alice.id, domain.id, {field: value}))
    assert (error.status, error.field) == (422, field)


async def test_pausing_stops_mail_and_resuming_needs_no_dns(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    assert (await relay.domains.pause(alice.id, domain.id)).state == "disabled"
    assert (await relay.world.submit(alice, sender="news@example.test")).reply.name == "domain_rests"
    assert (await relay.look(domain)).state == "disabled"
    relay.dns.faults.set("*", "servfail")
    assert (await relay.domains.resume(alice.id, domain.id)).state == "verified"
    assert (await relay.world.submit(alice, sender="news@example.test")).queue_id
    assert await relay.event_types(alice) == ["domain.created", "domain.verified", "domain.disabled", "domain.enabled"]


async def test_a_pending_domain_can_be_neither_paused_nor_resumed(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    for call in (relay.domains.pause, relay.domains.resume):
        assert (await refused(call(alice.id, domain.id))).status == 409


async def test_a_change_and_a_pause_are_made_together_or_not_at_all(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    changed, anew = await relay.domains.revise(alice.id, domain.id, {"link_tracking": True}, enabled=False)
    assert (changed.state, changed.options.link_tracking, anew) == ("disabled", True, False)
    await relay.operator.suspend("example.test", "told so")
    stopped = await relay.domains.get(alice.id, domain.id)
    e = await refused(relay.domains.revise(alice.id, domain.id, {"return_path": True}, enabled=True))
    assert (e.status, e.detail) == (409, {"state": "suspended"})
    assert await relay.domains.get(alice.id, domain.id) == stopped


async def test_subdomain_and_prefix_make_one_label(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test", {"custom_subdomain": "a" * 32})
    await relay.domains.update(alice.id, domain.id, {"track_prefix": "b" * 30})
    e = await refused(relay.domains.update(alice.id, domain.id, {"track_prefix": "b" * 31}))
    assert (e.status, e.field) == (422, "track_prefix")


async def test_a_member_has_one_default_domain(relay: Enrolling) -> None:
    alice = await relay.member()
    one = await relay.verified(alice, "one.test", default_sender=True)
    two = await relay.verified(alice, "two.test")
    await relay.domains.update(alice.id, two.id, {"default_sender": True})
    of = {d.name: d.options.default_sender for d in await relay.domains.list(alice.id)}
    assert of == {"one.test": False, "two.test": True}
    assert (await relay.domains.enroll(alice.id, "one.test", {"default_sender": True})).options.default_sender
    assert not (await relay.domains.get(alice.id, two.id)).options.default_sender
    assert (await relay.domains.get(alice.id, one.id)).state == "verified"


async def test_a_member_may_have_a_limit_of_its_own(relay: Enrolling) -> None:
    alice = await relay.member()
    await relay.services.accounts.set_max_domains("alice", 1)
    await relay.domains.enroll(alice.id, "one.test")
    e = await refused(relay.domains.enroll(alice.id, "two.test"))
    assert (e.status, e.code, e.text) == (403, "LIMIT_REACHED", "At most 1 domains can be enrolled.")
    await relay.services.accounts.set_max_domains("alice", None)
    await relay.domains.enroll(alice.id, "two.test")


async def test_an_owner_who_asks_again_is_answered_from_the_last_look_and_it_is_noted(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    assert domain.asked_at is None
    looked = await relay.domains.check(domain.id)
    relay.clock.move(30)
    again = await relay.domains.check(domain.id)
    assert (again.checked_at, again.asked_at) == (looked.checked_at, relay.clock.now())
    # The clock's look is not the owner's.
    relay.clock.move(600)
    by_clock = await relay.domains.check(domain.id, by="clock")
    assert (by_clock.checked_at, by_clock.asked_at) == (relay.clock.now(), again.asked_at)


async def test_all_domains_come_with_the_figures_that_each_has(either: Enrolling) -> None:
    alice, bob = await either.member(), await either.member("bob")
    made = [await either.domains.enroll(who.id, name) for who, name in
            ((alice, "one.test"), (alice, "two.test"), (bob, "bob.test"))]
    today = either.clock.now()
    counted = {
        (d.id, utc_day(today - ago * DAY), d.member_id): {
            "accepted": 100 + ago, "delivered": 90, "bounced": 3, "complaints": int(ago == 2)
        }
        for d in (made[0], made[2]) for ago in (0, 6, 7, 13, 14, 29, 30)
    }
    await either.storage.write(lambda tx: stats.count(tx, counted))
    found = await either.domains.overview(alice.id, limit=10)
    assert [d.name for d, _ in found] == ["one.test", "two.test"]
    for domain, figures in found:
        alone = await either.domains.stats(alice.id, domain.id)
        assert all(getattr(alone, name) == getattr(figures, name) for name in figures.__slots__)
    assert (found[0][1].volume_7d, found[0][1].volume_delta) == (206, "-6%")
    await either.domains.check(made[0].id)
    [(seen, _)] = await either.domains.overview(alice.id, limit=1)
    assert set(seen.flags.values()) == {False}


async def test_a_deleted_domain_comes_back_with_new_keys_and_a_new_token(either: Enrolling) -> None:
    alice = await either.member()
    domain = await either.verified(alice, "example.test")
    await either.operator.set_tier("example.test", "week 1")
    await either.domains.delete(alice.id, domain.id)
    assert (await refused(either.domains.get(alice.id, domain.id))).status == 404
    assert await either.domains.list(alice.id) == []
    async with either.storage.read() as tx:
        halves = (await tx.exec_driver_sql("SELECT rsa_private, ed_private FROM dkim_keys")).all()
    assert {bytes(h) for pair in halves for h in pair} == {b""}

    back = await either.domains.enroll(alice.id, "example.test")
    assert (back.id, back.state, back.first_verified_at) == (domain.id, "pending", None)
    assert back.ownership_token != domain.ownership_token
    assert [k.state for k in back.keys] == ["removed", "pending"]
    assert back.tier == "week 1"  # the operator's word outlives the owner's delete
    assert (await either.look(back)).state == "pending"  # the old records prove nothing
    either.publish(back)
    assert (await either.look(back)).state == "verified"
    assert await either.event_types(alice) == [
        "domain.created", "domain.verified", "domain.deleted", "domain.created", "domain.verified"
    ]


# -- rotation ---------------------------------------------------------------------------------------------------------


async def test_a_new_pair_takes_over_when_its_records_are_seen_and_the_old_one_retires(either: Enrolling) -> None:
    alice = await either.member()
    domain = await either.verified(alice, "example.test")
    rotated = await either.domains.rotate(alice.id, domain.id)
    old, new = rotated.keys
    assert (rotated.state, old.state, new.state) == ("verified", "live", "pending")
    assert (await refused(either.domains.rotate(alice.id, domain.id))).status == 409

    looked = await either.look(rotated)
    assert (looked.state, [k.state for k in looked.keys]) == ("verified", ["live", "pending"])
    for record in either.domains.records(looked):
        if record.name.startswith(new.stem):
            either.zone(record.name).add(record.name, "TXT", record.value)
    either.clock.move(600)
    await either.recheck.tick()
    looked = await either.domains.get(alice.id, domain.id)
    assert [k.state for k in looked.keys] == ["retiring", "live"]
    assert looked.keys[0].stem in str(either.domains.records(looked))
    await either.world.submit(alice, "bob@sink.test", sender="news@example.test")
    (sent,) = await either.mail_to("bob@sink.test")
    assert f"s={new.stem}r".encode() in sent
    assert old.stem.encode() not in sent

    either.clock.move(7 * DAY + 1)
    await either.recheck.tick()
    looked = await either.domains.get(alice.id, domain.id)
    assert [k.state for k in looked.keys] == ["removed", "live"]
    assert old.stem not in str(either.domains.records(looked))
    async with either.storage.read() as tx:
        private = (await tx.exec_driver_sql("SELECT rsa_private FROM dkim_keys ORDER BY id")).scalars().all()
    assert [bool(p) for p in private] == [False, True]


async def test_a_pair_that_signed_scheduled_mail_stays_published_until_that_has_left(either: Enrolling) -> None:
    alice = await either.member()
    domain = await either.verified(alice, "example.test")
    await either.world.submit(
        alice, "bob@sink.test", sender="news@example.test", send_at=either.clock.now() + 20 * DAY
    )
    rotated = await either.domains.rotate(alice.id, domain.id)
    old, new = rotated.keys
    for record in either.domains.records(rotated):
        if record.name.startswith(new.stem):
            either.zone(record.name).add(record.name, "TXT", record.value)

    async def after(days: float) -> list[str]:
        either.clock.move(days * DAY)
        await either.recheck.tick()
        return [k.state for k in (await either.domains.get(alice.id, domain.id)).keys]

    assert await after(0.01) == ["retiring", "live"]
    # It is due on day 20, and may be under way for as long as any other mail.
    assert await after(20) == ["retiring", "live"]
    assert await after(6) == ["retiring", "live"]
    assert old.stem in str(either.domains.records(await either.domains.get(alice.id, domain.id)))
    assert await after(1) == ["removed", "live"]


async def test_a_rotation_that_is_never_published_harms_nothing(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    await relay.domains.rotate(alice.id, domain.id)
    for _ in range(5):
        relay.clock.move(2 * HOUR)
        await relay.recheck.tick()
    domain = await relay.domains.get(alice.id, domain.id)
    assert (domain.state, domain.failing, [k.state for k in domain.keys]) == ("verified", 0, ["live", "pending"])


async def test_there_is_nothing_to_rotate_before_the_first_proof(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    assert (await refused(relay.domains.rotate(alice.id, domain.id))).status == 409


# -- the operator -----------------------------------------------------------------------------------------------------


async def test_where_domains_are_approved_by_hand_proof_waits_for_the_operator(tmp_path) -> None:
    config = make_config(
        tmp_path, enrollment={"manual_approval": True}, server={"operator_email": "op@relay.test"}
    )
    async with enrolling(config) as relay:
        alice = await relay.member()
        domain = await relay.domains.enroll(alice.id, "example.test")
        relay.publish(domain)
        domain = await relay.look(domain)
        assert domain.state == "blocked"
        assert len(await relay.mail_to("op@relay.test")) == 1
        assert (await relay.look(domain)).state == "blocked"
        assert (await relay.domains.enroll(alice.id, "example.test")).state == "blocked"
        assert (await relay.operator.approve("example.test")).state == "verified"
        # Approved once is approved: another record needs no second word.
        await relay.domains.update(alice.id, domain.id, {"tracking": True})
        relay.publish(await relay.domains.get(alice.id, domain.id), only=["tracking"])
        assert (await relay.look(domain)).state == "verified"


async def test_approval_is_no_proof(tmp_path) -> None:
    async with enrolling(make_config(tmp_path, enrollment={"manual_approval": True})) as relay:
        alice = await relay.member()
        domain = await relay.domains.enroll(alice.id, "example.test")
        assert (await relay.operator.approve("example.test")).state == "pending"
        relay.publish(domain)
        assert (await relay.look(domain)).state == "verified"


@pytest.mark.parametrize("how", ["verify", "enroll", "update", "delete", "resume"])
async def test_the_owner_can_not_lift_a_suspension(relay: Enrolling, how: str) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    await relay.operator.suspend("example.test", "complaints")
    calls = {
        "verify": lambda: relay.look(domain), "enroll": lambda: relay.domains.enroll(alice.id, "example.test"),
        "update": lambda: relay.domains.update(alice.id, domain.id, {"tracking": True}),
        "delete": lambda: relay.domains.delete(alice.id, domain.id),
        "resume": lambda: relay.domains.resume(alice.id, domain.id),
    }
    if how in ("delete", "resume"):
        assert (await refused(calls[how]())).status == 409
    else:
        await calls[how]()
    after = await relay.domains.get(alice.id, domain.id)
    assert (after.state, after.reason) == ("suspended", "complaints")


async def test_a_released_domain_proves_itself_again(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    await relay.operator.suspend("example.test", "complaints")
    relay.unpublish(domain, only=["ownership"])
    assert (await relay.operator.release("example.test")).state == "pending"
    relay.publish(domain, only=["ownership"])
    assert (await relay.look(domain)).state == "verified"


async def test_a_pinned_tier_reaches_the_relay(relay: Enrolling) -> None:
    alice = await relay.member()
    await relay.verified(alice, "example.test")
    await relay.operator.set_tier("example.test", "unlimited")
    assert relay.world.directory.domain_of_member(alice.id, "example.test").tier == "unlimited"
    assert (await refused(relay.operator.set_tier("example.test", "week 9"))).field == "tier"


async def test_a_name_that_several_have_enrolled_is_the_holders_for_the_operator(relay: Enrolling) -> None:
    alice, bob = await relay.member("alice"), await relay.member("bob")
    await relay.domains.enroll(alice.id, "example.test")
    await relay.domains.enroll(bob.id, "example.test")
    assert (await refused(relay.operator.find("example.test"))).status == 409
    assert (await relay.operator.find("example.test", bob.id)).member_id == bob.id


# -- mail about it ----------------------------------------------------------------------------------------------------


async def test_when_the_relay_can_not_take_the_notice_the_change_waits(relay: Enrolling, monkeypatch) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    relay.publish(domain)

    async def full(submission):
        return Verdict(replies.UNAVAILABLE)

    relay.clock.move(300)
    with monkeypatch.context() as patched:
        patched.setattr(relay.world.intake, "prepare", full)
        await relay.recheck.tick()
        assert (await relay.domains.get(alice.id, domain.id)).state == "pending"
        assert await relay.recheck.tick() == 0  # not at every turn
    relay.clock.move(300)
    await relay.recheck.tick()
    assert (await relay.domains.get(alice.id, domain.id)).state == "verified"
    assert len(await relay.mail_to("alice@mail.test")) == 1


async def test_a_member_without_an_address_loses_nothing_but_the_mail(relay: Enrolling) -> None:
    alice = await relay.world.member("alice")
    domain = await relay.domains.enroll(alice.id, "example.test")
    relay.publish(domain)
    relay.clock.move(300)
    await relay.recheck.tick()
    assert (await relay.domains.get(alice.id, domain.id)).state == "verified"


async def test_the_test_message_is_an_ordinary_one(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    assert (await refused(relay.domains.send_test(alice.id, domain.id, "bob@sink.test"))).status == 409
    relay.publish(domain)
    await relay.look(domain)
    assert (await refused(relay.domains.send_test(alice.id, domain.id, "no address"))).field == "to"
    for n in range(5):
        await relay.domains.send_test(alice.id, domain.id, f"bob{n}@sink.test")
    (sent,) = await relay.mail_to("bob0@sink.test")
    assert b"From: test@example.test" in sent
    assert sent.count(b"d=example.test") == 2
    with pytest.raises(Refused) as caught:  # week 1: five an hour, and these count
        await relay.domains.send_test(alice.id, domain.id, "bob5@sink.test")
    assert caught.value.verdict.reply.name == "rate_limited"


async def test_a_forward_to_mailbox_must_say_yes(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    asked = await relay.forwarding.set(alice.id, "example.test", "Alice@Inbox.test")
    assert (asked.options.forward_to, asked.notes.forward_wanted) == ("", "Alice@inbox.test")
    (mail,) = await relay.mail_to("Alice@inbox.test")
    code = next(line.strip() for line in mail.decode().splitlines() if line.startswith("    "))
    wrong = await refused(relay.forwarding.set(alice.id, "example.test", "alice@inbox.test", "AAAAAAAAAA"))
    assert (wrong.status, wrong.field) == (422, "code")
    other = await refused(relay.forwarding.set(alice.id, "example.test", "victim@inbox.test", code))
    assert other.field == "code"
    done = await relay.forwarding.set(alice.id, "example.test", "Alice@inbox.test", code.lower())
    assert (done.options.forward_to, done.notes.forward_wanted) == ("Alice@inbox.test", "")
    cleared = await relay.forwarding.set(alice.id, "example.test", "")
    assert cleared.options.forward_to == ""
    assert domain.id == cleared.id


async def test_a_mailbox_among_other_changes_is_sent_a_code_and_all_of_it_or_nothing_happens(relay: Enrolling) -> None:
    alice = await relay.member()
    new = {"forward_to": "alice@inbox.test", "link_tracking": True}
    bad = await refused(relay.domains.enroll(alice.id, "example.test", new | {"forward_to": "me@"}))
    assert (bad.field, await relay.domains.list(alice.id)) == ("forward_to", [])
    domain = await relay.domains.enroll(alice.id, "example.test", new)
    assert (domain.options.forward_to, domain.notes.forward_wanted) == ("", "alice@inbox.test")
    assert domain.options.link_tracking
    bad = await refused(relay.domains.update(alice.id, domain.id, {"forward_to": "b@inbox.test", "track_prefix": "-"}))
    assert (bad.field, await relay.mail_to("b@inbox.test")) == ("track_prefix", [])
    domain = await relay.domains.update(alice.id, domain.id, {"forward_to": "b@inbox.test", "open_tracking": True})
    assert (domain.notes.forward_wanted, domain.options.open_tracking) == ("b@inbox.test", True)
    assert len(await relay.mail_to("b@inbox.test")) == 1
    domain = await relay.domains.update(alice.id, domain.id, {"forward_to": ""})
    assert (domain.options.forward_to, domain.notes.forward_wanted) == ("", "b@inbox.test")  # as it was shown


async def test_a_mailbox_whose_mail_would_come_back_is_refused(relay: Enrolling) -> None:
    alice, bob = await relay.member(), await relay.member("bob")
    one, other = await relay.verified(alice, "example.test"), await relay.verified(bob, "other.test")
    # A mailbox in the domain itself is fine for reports, as long as its mail goes elsewhere.
    await relay.forwarding.set(alice.id, "example.test", "me@example.test")
    (mail,) = await relay.mail_to("me@example.test")
    code = next(line.strip() for line in mail.decode().splitlines() if line.startswith("    "))
    await relay.forwarding.set(alice.id, "example.test", "me@example.test", code)
    caught = await refused(relay.domains.update(alice.id, one.id, {"replies": True}))
    assert (caught.status, caught.field) == (422, "replies")
    # Nor by way of a domain of somebody else that is forwarded here.
    await relay.forwarding.set(alice.id, "example.test", "")
    await relay.domains.update(alice.id, one.id, {"replies": True})
    await relay.world.change("domains", other.id, options={"replies": True, "forward_to": "me@example.test"})
    await relay.world.directory.refresh()
    for mailbox in ("bob@other.test", "me@example.test"):
        caught = await refused(relay.forwarding.set(alice.id, "example.test", mailbox))
        assert (caught.status, caught.field) == (422, "forward_to")
        assert "would loop" in caught.text


async def test_codes_can_not_be_used_to_flood_a_mailbox(relay: Enrolling) -> None:
    alice = await relay.member()
    await relay.domains.enroll(alice.id, "example.test")
    for _ in range(5):
        await relay.forwarding.set(alice.id, "example.test", "victim@inbox.test")
    assert (await refused(relay.forwarding.set(alice.id, "example.test", "victim@inbox.test"))).status == 429
    assert len(await relay.mail_to("victim@inbox.test")) == 5


# -- where its DNS is -------------------------------------------------------------------------------------------------


async def test_the_dns_provider_is_recognised_and_never_an_error(relay: Enrolling) -> None:
    alice = await relay.member()
    zone = relay.zone("example.test")
    zone.replace("example.test", "NS", ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"])
    domain = await relay.domains.enroll(alice.id, "mail.example.test")
    assert await relay.domains.dns_host(domain) == (
        "Cloudflare", ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"]
    )
    relay.dns.faults.set("*", "servfail")
    other = await relay.domains.enroll(alice.id, "other.test")
    assert await relay.domains.dns_host(other) == ("unknown", [])


async def test_records_come_as_a_zone_file(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test", {"return_path": True})
    text = relay.domains.zone(domain)
    proof = f'TXT "posthouse-domain-verification={domain.ownership_token}"'
    assert f"_posthouse-challenge.example.test. 3600 IN {proof}" in text
    assert "sl.example.test. 3600 IN CNAME bounce." in text
    assert max(len(part) for part in text.split('"')) <= 255


async def test_a_list_asked_for_again_shows_what_has_changed_since(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    other = await relay.verified(alice, "other.test")

    async def shown() -> dict[str, Domain]:
        return {d.name: d for d, _ in await relay.domains.overview(alice.id, limit=10)}

    before = await shown()
    await relay.domains.update(alice.id, domain.id, {"return_path": True})
    await relay.domains.rotate(alice.id, other.id)
    after = await shown()
    assert (before["example.test"].waits, after["example.test"].waits) == (False, True)
    assert after["example.test"].options.return_path
    assert (len(before["other.test"].keys), len(after["other.test"].keys)) == (1, 2)
    assert await shown() == after
