"""Options of a domain that sends: what is proved goes on, and what is new begins when its own record is seen."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from sqlalchemy import select

from enroll.domains import Domain
from relay.base.clock import DAY, HOUR
from relay.base.config import Config
from relay.base.storage.tables import bodies, messages
from relay.base.tls import Certificate
from relay.directory import DomainEntry
from relay.intake import Accepted
from relay.submission import SubmissionServer
from tests.kit.enrolling import Enrolling, enrolling
from tests.kit.smtp import Talk
from tests.kit.whole import whole
from tests.kit.world import MemberAt, letter

LINK = b'<p><a href="https://elsewhere.example/">Look</a></p>\r\n'
EVERYTHING = {"return_path": True, "tracking": True, "replies": True}


@pytest.fixture
async def relay(sqlite_config: Config) -> AsyncIterator[Enrolling]:
    async with enrolling(sqlite_config) as made:
        yield made


def entry(relay: Enrolling, member: MemberAt, name: str = "example.test") -> DomainEntry:
    found = relay.world.directory.domain_of_member(member.id, name)
    assert found is not None
    return found


async def by_clock(relay: Enrolling, domain: Domain, seconds: float) -> Domain:
    relay.clock.move(seconds)
    await relay.recheck.tick()
    return await relay.domains.get(domain.member_id, domain.id)


async def test_the_first_proof_needs_all_records_and_a_later_one_ownership_and_dkim(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.domains.enroll(alice.id, "example.test", EVERYTHING)
    assert domain.notes.awaits == tuple(EVERYTHING)
    for left_out in ("return_path", "tracking", "mx", "ownership"):
        relay.publish(domain, without=[left_out])
        assert (await relay.look(domain)).state == "pending", left_out
        relay.unpublish(domain)
    relay.publish(domain)
    domain = await relay.look(domain)
    assert (domain.state, domain.notes.awaits) == ("verified", ())
    relay.unpublish(domain)
    assert (await relay.look(domain)).state == "pending"
    relay.publish(domain, only=["ownership", "dkim_rsa", "dkim_ed25519"])
    domain = await relay.look(domain)
    assert (domain.state, domain.notes.awaits) == ("verified", ("return_path", "tracking", "replies"))
    assert (entry(relay, alice).return_path, relay.world.directory.forwarding("example.test")) == ("", None)


async def test_the_return_path_in_use_serves_until_the_new_one_is_seen(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test", return_path=True)
    assert entry(relay, alice).return_path == "sl.example.test"
    for label in ("mail", "post"):
        domain = await relay.domains.update(alice.id, domain.id, {"custom_subdomain": label})
        assert (domain.state, entry(relay, alice).return_path) == ("verified", "sl.example.test")
        domain = await by_clock(relay, domain, 301)
        assert (domain.failing, entry(relay, alice).return_path) == (0, "sl.example.test")
    # What must stay published meanwhile is told, and asked of DNS.
    assert "sl.example.test" in {r.name for r in relay.domains.records(domain)}
    relay.publish(domain, only=["return_path"])
    domain = await relay.look(domain)
    assert (domain.return_path_ok, entry(relay, alice).return_path) == (True, "post.example.test")
    assert "sl.example.test" not in {r.name for r in relay.domains.records(domain)}


async def test_a_change_taken_back_asks_for_nothing(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test", return_path=True)
    await relay.domains.update(alice.id, domain.id, {"custom_subdomain": "mail"})
    domain = await relay.domains.update(alice.id, domain.id, {"custom_subdomain": "sl"})
    assert (domain.notes.awaits, domain.notes.former_subdomain) == ((), "")
    assert entry(relay, alice).return_path == "sl.example.test"


async def test_a_return_path_in_use_whose_record_goes_first_is_used_no_more(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test", return_path=True)
    old = [r for r in relay.domains.records(domain) if r.purpose == "return_path"]
    domain = await relay.domains.update(alice.id, domain.id, {"custom_subdomain": "mail"})
    relay.zone("example.test").remove(old[0].name, old[0].type, old[0].value)
    domain = await by_clock(relay, domain, 301)
    assert (domain.state, entry(relay, alice).return_path) == ("verified", "")
    taken = await relay.world.submit(alice, sender="news@example.test")
    assert await paths(relay, [taken]) == [relay.world.config.bounce_host]


async def test_an_option_that_was_never_proved_fails_no_check(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    await relay.domains.update(alice.id, domain.id, EVERYTHING)
    waits = []
    for _ in range(12):
        found = await relay.domains.get(alice.id, domain.id)
        waits.append(found.next_check_at - relay.clock.now())
        domain = await by_clock(relay, domain, waits[-1])
    assert (domain.state, domain.failing, await relay.mail_to("alice@mail.test")) == ("verified", 0, [])
    # Looked for as a new domain's records are: soon, then seldom.
    assert waits[:5] == [300, 300, 600, 1200, 2400]
    assert set(waits[6:]) == {HOUR}
    assert (await relay.look(domain)).state == "verified"
    assert (await relay.world.submit(alice, sender="news@example.test")).queue_id


async def test_a_proved_record_that_goes_stops_its_own_feature_alone(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test", **EVERYTHING)
    assert relay.world.directory.forwarding("example.test") is not None
    relay.unpublish(domain, only=["mx", "return_path"])
    domain = await by_clock(relay, domain, DAY)
    assert (domain.state, domain.failing, domain.notes.awaits) == ("verified", 0, ("return_path", "replies"))
    assert {f["purpose"] for f in domain.findings if f["ok"] is False} >= {"mx", "return_path"}
    assert entry(relay, alice).return_path == ""
    assert relay.world.directory.forwarding("example.test") is None
    assert relay.world.directory.forwarding_paused("example.test")
    [letter] = await relay.mail_to("alice@mail.test")
    assert b"An option of example.test is paused" in letter
    assert b"sl.example.test" in letter
    assert (await relay.events(alice))[-1].data["options"] == ["return_path", "replies"]
    # One letter, however often it is looked at; and it begins again within minutes.
    domain = await by_clock(relay, domain, 301)
    assert len(await relay.mail_to("alice@mail.test")) == 1
    relay.publish(domain, only=["mx", "return_path"])
    domain = await by_clock(relay, domain, 601)
    assert (domain.notes.awaits, entry(relay, alice).return_path) == ((), "sl.example.test")
    assert relay.world.directory.forwarding("example.test") is not None


async def test_what_could_not_be_asked_stops_nothing(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test", return_path=True, replies=True)
    await relay.domains.update(alice.id, domain.id, {"custom_subdomain": "mail"})
    relay.dns.faults.set("*", "servfail")
    domain = await by_clock(relay, domain, DAY)
    assert (domain.notes.awaits, entry(relay, alice).return_path) == (("return_path",), "sl.example.test")
    assert relay.world.directory.forwarding("example.test") is not None


async def test_a_paused_domain_stays_paused_and_finds_its_options_as_they_are(relay: Enrolling) -> None:
    alice = await relay.member()
    domain = await relay.verified(alice, "example.test")
    await relay.domains.pause(alice.id, domain.id)
    domain = await relay.domains.update(alice.id, domain.id, {"return_path": True})
    assert domain.state == "disabled"
    relay.publish(domain, only=["return_path"])
    assert (await relay.look(domain)).state == "disabled"
    await relay.domains.resume(alice.id, domain.id)
    assert entry(relay, alice).return_path == "sl.example.test"


async def paths(relay: Enrolling, taken: list[Accepted]) -> list[str]:
    """The return-path domain of each message."""
    async with relay.storage.read() as tx:
        query = select(messages.c.queue_id, messages.c.return_path)
        found = {row.queue_id: row.return_path for row in await tx.execute(query)}
    return [found[one.queue_id] for one in taken]


async def test_all_options_are_switched_on_and_off_under_load_without_one_refusal(config: Config) -> None:
    submission = {"listen": ["127.0.0.1:0"], "listen_tls": [], "max_messages_a_connection": 10_000}
    config = config.model_copy(update={"submission": config.submission.model_copy(update=submission)})
    async with whole(config) as place, ClientSession() as client:
        relay = place.env
        alice = await relay.member()
        domain = await relay.verified(alice, "example.test")
        await relay.operator.set_tier("example.test", "unlimited")
        ours, seen, proved = relay.world.config.bounce_host, set(), {relay.world.config.bounce_host}
        going, answers = True, []
        server = SubmissionServer(
            config=config, directory=relay.world.directory, policy=relay.world.policy, intake=relay.world.intake,
            refusals=relay.world.refusals, certificate=Certificate.of(config, relay.clock),
        )
        await server.start()

        async def by_smtp() -> None:
            async with await Talk.logged_in(server.ports[0], alice.handle, alice.key) as talk:
                for n in itertools.count():
                    if not going:
                        return
                    for line in ("MAIL FROM:<news@example.test>", f"RCPT TO:<s{n}@sink.test>", "DATA"):
                        answers.append((await talk.ask(line))[:3])
                    answers.append((await talk.ask(letter(body=LINK).decode() + "."))[:3])

        async def by_http() -> None:
            for n in itertools.count():
                if not going:
                    return
                body = {"from": "news@example.test", "to": f"h{n}@sink.test", "subject": "Hi", "html": LINK.decode()}
                headers = {"Authorization": f"Bearer {alice.key}"}
                async with client.post(f"{place.url}/v1/send", json=body, headers=headers) as response:
                    answers.append(str(response.status))

        writers = [asyncio.create_task(write()) for write in (by_smtp, by_http)]
        try:
            for n in range(6):
                label = f"m{n % 2}"
                switches = {"custom_subdomain": label, "link_tracking": True, "replies": n % 3 == 0, "tracking": n != 4}
                domain = await relay.domains.update(alice.id, domain.id, switches | {"return_path": n != 3})
                await relay.domains.enroll(alice.id, "example.test")
                seen.add(entry(relay, alice).return_path or ours)
                assert seen <= proved
                if n != 3:
                    if f"{label}.example.test" not in proved:
                        relay.publish(domain, only=["return_path"])
                    proved.add(f"{label}.example.test")
                assert (await relay.domains.check(domain.id)).state == "verified"
                assert entry(relay, alice).return_path == ("" if n == 3 else f"{label}.example.test")
        finally:
            going = False
            await asyncio.gather(*writers)
            await server.stop(2)
        assert len(answers) > 20
        assert set(answers) == {"250", "354", "200"}
        async with relay.storage.read() as tx:
            query = select(messages.c.return_path).where(messages.c.mail_from == "news@example.test")
            used = set((await tx.execute(query)).scalars())
            written = [bytes(r.body) for r in await tx.execute(select(bodies.c.body))]
        assert used <= proved
        # No host of links was ever proved, so they lead over the relay's own name, or are as they were.
        assert not any(b"-m0.example.test" in raw or b"-m1.example.test" in raw for raw in written)
