"""A domain that may not send just now is refused in its own words, by SMTP or HTTP, and never with "enroll it"."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from enroll.domains import Domain
from enroll.errors import EnrollError
from relay import message
from relay.base.clock import iso
from relay.base.config import Config
from relay.base.names import address
from relay.directory import Login
from relay.intake import Recipient, Submission
from relay.intake.submission import Built
from relay.replies import Verdict
from tests.kit.enrolling import Enrolling, enrolling
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, letter

NAME = "example.test"
URL = "https://relay.test"


@pytest.fixture
async def relay(sqlite_config: Config) -> AsyncIterator[Enrolling]:
    async with enrolling(sqlite_config) as made:
        yield made


def ask(relay: Enrolling, member: MemberAt, name: str = NAME, login: Login | None = None) -> Verdict:
    found = relay.world.policy.sender(login or relay.world.login(member), f"news@{name}")
    assert isinstance(found, Verdict)
    return found


def ask_header(relay: Enrolling, member: MemberAt, raw: bytes) -> Verdict:
    found = relay.world.policy.header_from(relay.world.login(member), message.parse(raw, relay.world.intake.bounds))
    assert isinstance(found, Verdict)
    return found


def shown(verdict: Verdict) -> tuple[str, dict[str, Any]]:
    """What SMTP says, and what HTTP says beside it; the same words."""
    said, body = " ".join(line[10:] for line in verdict.smtp_lines(URL)), verdict.json(URL)
    assert (verdict.smtp_lines(URL)[0][:9], said) == ("550 5.1.0", body["error"])
    assert (verdict.reply.http, body["code"]) == (403, "DOMAIN_MISMATCH")
    assert "nroll" not in str(body)
    return body["error"].removeprefix("From address not allowed: "), body["detail"]


async def lost(relay: Enrolling, alice: MemberAt, *purposes: str) -> Domain:
    domain = await relay.verified(alice, NAME, return_path=True)
    relay.unpublish(domain, only=purposes)
    return await relay.look(domain)


async def test_a_domain_that_lost_its_proof_is_told_since_when_and_what_is_missing(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await lost(relay, alice, "ownership", "dkim_rsa")
    at, stem = relay.clock.now(), domain.keys[0].stem
    missing = [f"_posthouse-challenge.{NAME}", f"{stem}r._domainkey.{NAME}"]
    # Other looks, and other options, change nothing of since when.
    await relay.look(domain)
    await relay.domains.update(alice.id, domain.id, {"replies": True})
    await relay.look(domain)
    says, detail = shown(ask(relay, alice))
    assert says == f"{NAME} is yours, not verified since {iso(at)}; missing: {', '.join(missing)}"
    assert (detail["state"], detail["missing"]) == ("pending", missing)
    assert detail["fix"] == f"Publish the records shown at {URL}/account, then verify the domain there."
    # The same at the header, in mail of another domain.
    await relay.verified(alice, "other.test")
    for field, raw in (
        ("From", letter(f"news@{NAME}")), ("sender", b"Sender: <x@example.test>\r\n" + letter("news@other.test")),
    ):
        found = ask_header(relay, alice, raw)
        assert (found.reply.smtp, found.reply.enhanced, found.reply.code) == (550, "5.7.1", "FROM_MISMATCH")
        assert found.text().lower() == f"header not allowed: {field}: {says}".lower()
    # Only what is still missing is named.
    relay.publish(domain, only=["ownership"])
    await relay.look(domain)
    assert shown(ask(relay, alice))[1]["missing"] == missing[1:]


async def test_a_new_domain_names_what_it_waits_for(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, NAME, {"return_path": True})
    assert shown(ask(relay, alice))[0] == f"{NAME} is yours, not verified yet"
    relay.publish(domain, without=["return_path"])
    await relay.look(domain)
    assert shown(ask(relay, alice))[0] == f"{NAME} is yours, not verified yet; missing: sl.{NAME}"


async def test_who_stopped_it_is_told(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, NAME)
    await relay.domains.pause(alice.id, domain.id)
    says, detail = shown(ask(relay, alice))
    assert (says, detail["fix"]) == (f"{NAME} is yours, paused by you", f"Resume it at {URL}/account.")
    await relay.operator.suspend(NAME, "too many complaints")
    says, detail = shown(ask(relay, alice))
    assert says == f"{NAME} is yours, suspended by the operator: too many complaints"
    assert detail["fix"].startswith("Only the operator lifts that")


async def test_what_is_under_way_hears_the_same_from_the_accepting_transaction(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, NAME)
    world = relay.world
    login, entry = world.login(alice), world.directory.domain_of_member(alice.id, NAME)
    built = await world.intake.prepare(
        Submission(login, entry, "smtp", address(f"n@{NAME}"), [Recipient(address("b@sink.test"))], letter(f"n@{NAME}"))
    )
    assert isinstance(built, Built)
    await relay.domains.pause(alice.id, domain.id)
    found = await relay.storage.write(lambda tx: world.intake.write(tx, built))
    assert isinstance(found, Verdict)
    assert shown(found)[0] == f"{NAME} is yours, paused by you"


async def test_what_is_missing_is_said_also_after_a_change_of_options(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, NAME)
    relay.unpublish(domain, only=["ownership"])
    await relay.look(domain)
    missing = ["_posthouse-challenge." + NAME]
    assert shown(ask(relay, alice))[1]["missing"] == missing
    await relay.domains.update(alice.id, domain.id, {"return_path": True})
    assert shown(ask(relay, alice))[1]["missing"] == missing
    # Of a new one, the option's record is asked for as well, and nobody knows yet whether it is there.
    await relay.domains.enroll(alice.id, "new.test")
    await relay.domains.update(alice.id, "new.test", {"return_path": True})
    assert "missing" not in shown(relay.world.policy.sender(relay.world.login(alice), "a@new.test"))[1]


async def test_a_domain_that_waits_for_approval_says_so(tmp_path: Any) -> None:
    async with enrolling(make_config(tmp_path, enrollment={"manual_approval": True})) as relay:
        alice = await relay.member()
        domain = await relay.domains.enroll(alice.id, NAME)
        relay.publish(domain)
        await relay.look(domain)
        assert shown(ask(relay, alice))[0].endswith("is yours, and waits for the operator's approval")


async def test_whose_it_is_not_hears_nothing_of_it(relay: Enrolling) -> None:
    alice, bob = await relay.member(), await relay.member("bob")
    domain = await relay.verified(alice, NAME)
    await relay.domains.pause(alice.id, domain.id)
    found = ask(relay, bob)
    assert (found.reply.name, "paused" in str(found)) == ("domain_mismatch", False)
    # Nor does a key for other domains of the member, but that it is for others.
    limited = replace(relay.world.login(alice), domains=frozenset({"other.test"}))
    assert "paused" not in str(ask(relay, alice, login=limited))
    await relay.domains.resume(alice.id, domain.id)
    assert shown(ask(relay, alice, login=limited))[0] == f"{NAME} is yours, but this API key is for other domains"


async def test_a_test_message_is_refused_in_the_same_words(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, NAME)
    await relay.domains.pause(alice.id, domain.id)
    with pytest.raises(EnrollError) as caught:
        await relay.domains.send_test(alice.id, domain.id, "bob@sink.test")
    assert caught.value.status == 409
    assert caught.value.text.startswith(f"{NAME} is yours, paused by you. Resume it at ")


async def test_a_deleted_domain_is_nobodys(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, NAME)
    await relay.domains.delete(alice.id, domain.id)
    assert ask(relay, alice).reply.name == "domain_mismatch"
