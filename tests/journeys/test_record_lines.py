"""The lines that an owner is shown: made from what the zone has already, and how old the look is that they rest on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from enroll.domains import Domain, as_of
from enroll.records import Record
from relay.base.config import Config
from tests.kit.enrolling import Enrolling, enrolling


@pytest.fixture
async def relay(sqlite_config: Config) -> AsyncIterator[Enrolling]:
    async with enrolling(sqlite_config) as made:
        yield made


def lines(relay: Enrolling, domain: Domain) -> dict[str, Record]:
    return {record.purpose: record for record in relay.domains.records(domain)}


async def test_the_first_line_shown_has_what_stands_there(relay: Enrolling) -> None:
    relay.zone("example.test").add("example.test", "TXT", "v=spf1 include:mail.other.test -all")
    relay.zone("example.test").add("_dmarc.example.test", "TXT", "v=DMARC1; p=reject")
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    assert domain.checked_at is None, "nothing is proved by that look"
    shown, merged = lines(relay, domain), "v=spf1 include:mail.other.test include:spf.localhost -all"
    assert shown["spf"].value == merged
    assert "replace it with this line" in shown["spf"].explained
    assert shown["dmarc"].value == "v=DMARC1; p=reject", "never a weaker policy"
    zone = relay.domains.zone(domain)
    assert f'example.test. 3600 IN TXT "{merged}"' in zone
    assert "p=none" not in zone
    domain = await relay.domains.update(alice.id, domain.id, {"return_path": True})
    assert lines(relay, domain)["spf"].value == merged, "an option changes nothing about it"
    assert not domain.flags, "and what is only recommended stands in no list of what is proved"


async def test_a_zone_that_can_not_be_asked_gets_no_line_that_could_break_it(relay: Enrolling) -> None:
    relay.dns.faults.set("*", "servfail")
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    shown = lines(relay, domain)
    for purpose in ("spf", "dmarc"):
        assert shown[purpose].value == ""
        assert "could not be asked" in shown[purpose].explained
    zone = relay.domains.zone(domain)
    assert "v=spf1" not in zone
    assert "v=DMARC1" not in zone
    assert "; example.test: The domain's name servers could not be asked." in zone
    assert shown["ownership"].value, "the others are shown"
    relay.dns.faults.set("*", None)
    domain = await relay.domains.check(domain.id)
    assert lines(relay, domain)["spf"].value == "v=spf1 include:spf.localhost ~all"


async def test_a_subdomain_is_told_what_it_inherits(relay: Enrolling) -> None:
    relay.zone("example.test").add("_dmarc.example.test", "TXT", "v=DMARC1; p=reject; sp=quarantine")
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "news.example.test")
    record = lines(relay, domain)["dmarc"]
    assert record.value == "v=DMARC1; p=quarantine"
    assert "Inherited from example.test" in record.explained
    relay.publish(domain, without=["dmarc"])
    domain = await relay.domains.check(domain.id)
    (found,) = [f for f in domain.findings if f["purpose"] == "dmarc"]
    assert (found["ok"], found["mistake"]) == (True, None)
    assert "Inherited from example.test" in found["says"]


async def test_an_answer_says_how_old_it_is_and_a_fresh_one_is_asked_for(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test")
    domain = await relay.domains.check(domain.id)
    assert domain.age == 0
    relay.publish(domain)
    relay.clock.move(17)
    domain = await relay.domains.check(domain.id)
    assert (domain.age, domain.state) == (17, "pending"), "an owner gets the earlier look"
    assert relay.domains.as_of(domain) == "as of 17 seconds ago"
    domain = await relay.domains.check(domain.id, fresh=True)
    assert (domain.age, domain.state) == (0, "verified"), "the operator's command doesn't"
    assert relay.domains.as_of(domain) == "as of now"


@pytest.mark.parametrize(("seconds", "words"), [
    (0.2, "as of now"), (1, "as of 1 second ago"), (119, "as of 119 seconds ago"), (180, "as of 3 minutes ago"),
    (7200, "as of 2 hours ago"), (3 * 86_400, "as of 3 days ago"),
])  # fmt: skip
def test_ages_are_read_by_people(seconds: float, words: str) -> None:
    assert as_of(seconds) == words


async def test_what_stands_at_other_peoples_names_is_asked_once_for_all(relay: Enrolling) -> None:
    relay.zone("other.test").add("mail.other.test", "TXT", "v=spf1 include:more.other.test -all")
    relay.zone("spf.localhost").add("spf.localhost", "TXT", "v=spf1 ip4:192.0.2.2 -all")
    relay.zone("other.test").add("more.other.test", "TXT", "v=spf1 ip4:192.0.2.1 -all")
    alice, asked = await relay.member(), relay.dns.faults.asked
    domain = await relay.domains.enroll(alice.id, "example.test", {"return_path": True, "replies": True})
    asked.clear()
    await relay.domains.check(domain.id, fresh=True)
    assert len(asked) <= 42, "a look that finds nothing"
    relay.zone("example.test").add("example.test", "TXT", "v=spf1 include:mail.other.test include:spf.localhost ~all")
    relay.publish(domain, without=["spf"])
    await relay.domains.check(domain.id, fresh=True)
    asked.clear()
    domain = await relay.domains.check(domain.id, fresh=True)
    assert all(f["ok"] for f in domain.findings)
    assert len(asked) <= 14, "a look that finds all, with the lookups of SPF counted"
