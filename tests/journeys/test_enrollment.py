"""A domain's life over real DNS packets: enrolled, asked about, proved, failing, lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from enroll.domains import Domain
from enroll.errors import EnrollError
from relay import replies
from relay.base.clock import DAY, HOUR
from relay.base.config import Config
from relay.base.secrets import SecretsError
from relay.base.storage import domains as rows
from relay.notices import NoticeLater
from relay.replies import Verdict
from tests.kit.enrolling import Enrolling, enrolling
from tests.kit.storage import make_config

SHORTER = {"timeout_seconds": 1.0, "authoritative_timeout_seconds": 1.0}


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


class Asked(list):
    """The questions that the DNS server got, and an event for the first."""

    def __init__(self) -> None:
        self.something = asyncio.Event()

    def append(self, question) -> None:
        super().append(question)
        self.something.set()


async def refused(call) -> EnrollError:
    with pytest.raises(EnrollError) as caught:
        await call
    return caught.value


# -- coming in --------------------------------------------------------------------------------------------------------


async def test_enroll_publish_verify_send(either: Enrolling) -> None:
    alice = await either.member()
    domain = await either.domains.enroll(alice.id, "Example.TEST.")
    assert (domain.name, domain.state) == ("example.test", "pending")
    assert [k.state for k in domain.keys] == ["pending"]
    assert either.world.directory.domains_of(either.world.login(alice)) == []

    domain = await either.domains.check(domain.id)
    assert domain.state == "pending"
    assert {f["ok"] for f in domain.findings if f["required"]} == {False}

    either.publish(domain)
    domain = await either.look(domain)
    assert domain.state == "verified"
    assert domain.first_verified_at == either.clock.now()
    assert [k.state for k in domain.keys] == ["live"]
    assert await either.event_types(alice) == ["domain.created", "domain.verified"]
    # The relay of this process knows at once, and can sign with the keys that were sealed.
    accepted = await either.world.submit(alice, "bob@sink.test", sender="news@example.test")
    (sent,) = await either.mail_to("bob@sink.test")
    assert accepted.queue_id
    assert sent.count(b"d=example.test") == 2
    assert f"s={domain.keys[0].stem}r".encode() in sent


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("co.uk", "public suffix"), ("github.io", "public suffix"), ("localhost", "localhost"), ("127.0.0.1", "IP"),
        ("*.example.test", "wildcard"), ("test", "single label"), ("a" * 64 + ".test", "63"),
        (".".join(["a" * 60] * 5) + ".test", "253"), ("", "empty"),
    ],
)
async def test_what_can_not_be_enrolled_is_refused_with_the_reason(relay: Enrolling, name: str, says: str) -> None:
    alice = await relay.member()
    error = await refused(relay.domains.enroll(alice.id, name))
    assert (error.status, error.field) == (422, "name")
    assert says in error.text
    assert await relay.domains.list(alice.id) == []


async def test_every_spelling_of_a_name_is_one_domain(relay: Enrolling) -> None:
    alice = await relay.member()
    made = {(await relay.domains.enroll(alice.id, n)).id for n in ("BÜCHER.example", "xn--bcher-kva.example.")}
    made.add((await relay.domains.enroll(alice.id, "bücher。example")).id)
    assert len(made) == 1
    domain = await relay.domains.get(alice.id, "bücher.example")
    assert (domain.name, domain.unicode_name) == ("xn--bcher-kva.example", "bücher.example")


async def test_a_member_can_enroll_so_many_and_no_more(tmp_path) -> None:
    async with enrolling(make_config(tmp_path, enrollment={"max_domains": 2})) as relay:
        alice = await relay.member()
        tries = await asyncio.gather(
            *(relay.domains.enroll(alice.id, f"d{i}.test") for i in range(4)), return_exceptions=True
        )
        errors = [t for t in tries if isinstance(t, EnrollError)]
        assert {(e.status, e.code) for e in errors} == {(403, "LIMIT_REACHED")}
        assert len(errors) == 2
        # One that is there already may be enrolled again, and one that is deleted makes room.
        kept = await relay.domains.list(alice.id)
        await relay.domains.enroll(alice.id, kept[0].name)
        await relay.domains.delete(alice.id, kept[1].id)
        assert (await relay.domains.enroll(alice.id, "room.test")).state == "pending"


async def test_enrolling_what_is_enrolled_changes_nothing(relay: Enrolling) -> None:
    alice = await relay.member()
    first = await relay.verified(alice, "example.test")
    assert await relay.domains.enroll(alice.id, "Example.TEST.") == first
    assert await relay.domains.enroll(alice.id, "example.test", {"return_path": False}) == first
    assert (await relay.world.submit(alice, sender="news@example.test")).queue_id
    # With other records than before it is a change of options, and the proof that stands is kept.
    again = await relay.domains.enroll(alice.id, "example.test", {"return_path": True, "hosted": False})
    assert (again.state, again.notes.awaits) == ("verified", ("return_path",))
    assert (again.id, again.uuid, again.ownership_token, again.keys) == (
        first.id, first.uuid, first.ownership_token, first.keys
    )
    assert (await relay.world.submit(alice, sender="news@example.test")).queue_id
    assert await relay.event_types(alice) == ["domain.created", "domain.verified"]


async def test_enrolling_keeps_what_the_owner_or_the_operator_has_stopped(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    paused = await relay.domains.pause(alice.id, domain.id)
    assert await relay.domains.enroll(alice.id, "example.test") == paused
    assert (await relay.domains.enroll(alice.id, "example.test", {"replies": True})).state == "disabled"
    assert (await relay.domains.resume(alice.id, domain.id)).state == "verified"
    await relay.operator.suspend("example.test", "told so")
    again = await relay.domains.enroll(alice.id, "example.test", {"replies": False})
    assert (again.state, again.reason) == ("suspended", "told so")


async def test_enrolling_a_domain_that_the_clock_gave_up_has_it_looked_for_again(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    relay.clock.move(30 * DAY)
    await relay.recheck.tick()
    assert (await relay.domains.get(alice.id, domain.id)).next_check_at is None
    await relay.domains.enroll(alice.id, "example.test")
    relay.publish(domain)
    relay.clock.move(301)
    await relay.recheck.tick()
    assert (await relay.domains.get(alice.id, domain.id)).state == "verified"


async def test_a_crash_between_the_two_transactions_is_mended_by_the_clock(either: Enrolling) -> None:
    alice = await either.member()

    async def enter(tx) -> int:
        return await rows.add(
            tx, uuid="u", member_id=alice.id, name="example.test", token="t" * 32, options={},
            now=either.clock.now(), next_check_at=either.clock.now() + 60,
        )

    domain_id = await either.storage.write(enter)
    assert await either.recheck.tick() == 0
    either.clock.move(61)
    assert await either.recheck.tick() == 1
    domain = await either.domains.get(alice.id, domain_id)
    assert domain.state == "pending"
    assert [k.state for k in domain.keys] == ["pending"]


async def test_private_keys_are_sealed_to_their_row(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    stem = domain.keys[0].stem
    async with relay.storage.read() as tx:
        sealed = bytes((await tx.exec_driver_sql("SELECT rsa_private FROM dkim_keys")).scalar_one())
    vault = relay.world.vault
    assert vault.open(sealed, "dkim", str(alice.id), "example.test", stem, "rsa").startswith(b"0")
    for context in (
        ("dkim", str(alice.id + 1), "example.test", stem, "rsa"), ("dkim", str(alice.id), "other.test", stem, "rsa"),
        ("dkim", str(alice.id), "example.test", "x", "rsa"), ("dkim", str(alice.id), "example.test", stem, "ed25519"),
    ):
        with pytest.raises(SecretsError):
            vault.open(sealed, *context)


# -- asking -----------------------------------------------------------------------------------------------------------


async def test_an_answer_is_kept_for_a_minute(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    await relay.domains.check(domain.id)
    relay.publish(domain)
    relay.clock.move(59)
    asked = len(relay.dns.faults.asked)
    assert (await relay.domains.check(domain.id)).state == "pending"
    assert len(relay.dns.faults.asked) == asked
    relay.clock.move(2)
    assert (await relay.domains.check(domain.id)).state == "verified"


async def test_a_button_pressed_many_times_asks_once(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    relay.publish(domain)
    answers = await asyncio.gather(*(relay.domains.check(domain.id) for _ in range(5)))
    assert {a.state for a in answers} == {"verified"}
    assert await relay.event_types(alice) == ["domain.created", "domain.verified"]


@pytest.mark.parametrize("fault", ["servfail", "refused", "drop"])
async def test_a_server_that_fails_is_not_a_record_that_fails(sqlite_config: Config, fault: str) -> None:
    # Only the silence is waited for; the look before it may take its time.
    async with enrolling(sqlite_config, **(SHORTER if fault == "drop" else {})) as relay:
        alice = await relay.member()
        domain = await relay.verified(alice, "example.test")
        relay.dns.faults.set("*", fault)
        domain = await relay.look(domain)
        assert domain.state == "verified"
        assert {f["ok"] for f in domain.findings if f["required"]} == {None}
        assert {f["known"] for f in domain.findings if f["required"]} == {True}
        relay.clock.move(25 * HOUR)
        await relay.recheck.tick()
        assert (await relay.domains.get(alice.id, domain.id)).failing == 0
        assert await relay.event_types(alice) == ["domain.created", "domain.verified"]


async def test_the_owners_own_look_takes_a_domain_back_at_once_and_its_mail_is_refused(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    relay.unpublish(domain, only=["dkim_ed25519"])
    domain = await relay.look(domain)
    assert domain.state == "pending"
    assert await relay.event_types(alice) == ["domain.created", "domain.verified", "domain.lost"]
    refusal = await relay.world.submit(alice, sender="news@example.test")
    assert refusal.reply.name == "domain_rests"
    relay.publish(domain, only=["dkim_ed25519"])
    assert (await relay.look(domain)).state == "verified"


async def test_the_clock_gives_grace_writes_at_the_first_failure_and_takes_back_at_the_third(
    either: Enrolling,
) -> None:
    alice = await either.member()
    domain = await either.verified(alice, "example.test")
    age = domain.first_verified_at
    either.unpublish(domain, only=["ownership"])
    for failing in (1, 2):
        either.clock.move(DAY)
        assert await either.recheck.tick() == 1
        domain = await either.domains.get(alice.id, domain.id)
        assert (domain.state, domain.failing) == ("verified", failing)
        assert len(await either.mail_to("alice@mail.test")) == 1
    either.clock.move(DAY)
    await either.recheck.tick()
    domain = await either.domains.get(alice.id, domain.id)
    assert (domain.state, domain.failing) == ("pending", 0)
    assert await either.event_types(alice) == ["domain.created", "domain.verified", "domain.failing", "domain.lost"]
    first, last = await either.mail_to("alice@mail.test")
    assert b"need attention" in first
    assert b"_posthouse-challenge.example.test" in first
    assert b"no longer verified" in last
    assert b"Auto-Submitted: auto-generated" in last

    either.publish(domain, only=["ownership"])
    either.clock.move(300)
    await either.recheck.tick()
    domain = await either.domains.get(alice.id, domain.id)
    assert domain.state == "verified"
    assert domain.first_verified_at == age
    assert len(await either.mail_to("alice@mail.test")) == 3


async def test_looks_of_the_clock_close_together_count_as_one(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    relay.unpublish(domain, only=["ownership"])
    for _ in range(5):
        relay.clock.move(HOUR)
        await relay.domains.check(domain.id, by="clock")
    domain = await relay.domains.get(alice.id, domain.id)
    assert (domain.state, domain.failing) == ("verified", 1)


async def test_one_good_look_ends_the_grace(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    relay.unpublish(domain, only=["ownership"])
    relay.clock.move(DAY)
    await relay.recheck.tick()
    relay.publish(domain, only=["ownership"])
    relay.clock.move(DAY)
    await relay.recheck.tick()
    assert (await relay.domains.get(alice.id, domain.id)).failing == 0


async def test_a_pending_domain_is_found_by_the_clock_and_its_owner_is_told(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    relay.clock.move(300)
    assert await relay.recheck.tick() == 1
    assert await relay.recheck.tick() == 0
    relay.publish(domain)
    relay.clock.move(600)
    await relay.recheck.tick()
    assert (await relay.domains.get(alice.id, domain.id)).state == "verified"
    (mail,) = await relay.mail_to("alice@mail.test")
    assert b"Subject: example.test is verified" in mail


async def test_after_thirty_days_a_pending_domain_is_checked_on_demand_only(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    relay.clock.move(30 * DAY)
    await relay.recheck.tick()
    assert (await relay.domains.get(alice.id, domain.id)).next_check_at is None
    relay.publish(domain)
    assert (await relay.look(domain)).state == "verified"


async def test_only_one_process_looks(relay: Enrolling) -> None:
    alice = await relay.member()
    await relay.domains.enroll(alice.id, "example.test")
    relay.clock.move(300)
    other = type(relay.recheck)(relay.storage, relay.world.config, relay.clock, relay.domains, owner="other")
    assert await relay.recheck.tick() == 1
    relay.clock.move(150)
    assert await other.tick() == 0
    relay.clock.move(1000)
    assert await other.tick() == 1


async def test_a_look_whose_ground_has_moved_is_dropped(sqlite_config: Config) -> None:
    async with enrolling(sqlite_config, **SHORTER) as relay:
        alice = await relay.member()
        domain = await relay.domains.enroll(alice.id, "example.test")
        relay.publish(domain)
        relay.dns.faults.set("*", "drop")  # the look takes its time
        relay.dns.faults.asked = asked = Asked()
        looking = asyncio.create_task(relay.domains.check(domain.id))
        await asked.something.wait()
        await relay.domains.update(alice.id, domain.id, {"return_path": True})
        relay.dns.faults.set("*", None)
        assert (await looking).state == "pending"
        domain = await relay.domains.get(alice.id, domain.id)
        assert domain.checked_at is None
        assert {f["purpose"] for f in domain.findings} == {"spf", "dmarc"}, "but what the zone was seen to have stays"


async def test_all_pending_domains_can_be_checked_by_one_call(tmp_path) -> None:
    async with enrolling(make_config(tmp_path, enrollment={"verify_batch": 2})) as relay:
        alice, bob = await relay.member("alice"), await relay.member("bob")
        made = [await relay.domains.enroll(alice.id, f"d{i}.test") for i in range(3)]
        await relay.domains.enroll(bob.id, "bob.test")
        relay.publish(made[0])
        checked, more = await relay.domains.check_all(alice.id)
        assert ([d.name for d in checked], more) == (["d0.test", "d1.test"], True)
        assert [d.state for d in checked] == ["verified", "pending"]
        checked, more = await relay.domains.check_all(alice.id)
        # One that was checked just before is answered from that look.
        assert ([(d.name, d.age is not None) for d in checked], more) == ([("d2.test", True), ("d1.test", True)], False)


async def test_one_that_goes_or_can_not_be_checked_costs_the_others_nothing(relay: Enrolling, monkeypatch) -> None:
    alice, bob = await relay.member("alice"), await relay.member("bob")
    gone, _, taken = [await relay.domains.enroll(alice.id, f"d{i}.test") for i in range(3)]
    await relay.verified(bob, "d2.test")
    relay.publish(taken)
    check = relay.domains.check

    async def while_it_goes(domain_id: int) -> Domain:
        if domain_id == gone.id:
            await relay.domains.delete(alice.id, gone.id)
        return await check(domain_id)

    async def full(submission):
        return Verdict(replies.UNAVAILABLE)

    with monkeypatch.context() as patched:
        patched.setattr(relay.domains, "check", while_it_goes)
        patched.setattr(relay.world.intake, "prepare", full)  # no letter to Bob that the third one is taken
        checked, more = await relay.domains.check_all(alice.id)
        assert ([d.name for d in checked], more) == (["d1.test"], True)
        # Nothing but failures: a client that asks until nothing remains is told to wait.
        with pytest.raises(NoticeLater):
            await relay.domains.check_all(alice.id)
    checked, more = await relay.domains.check_all(alice.id)
    assert ([(d.name, d.state) for d in checked], more) == (
        [("d2.test", "verified"), ("d1.test", "pending")], False
    )
