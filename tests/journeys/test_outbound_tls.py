"""What recipients' domains and senders ask of TLS: MTA-STS (RFC 8461) and RFC 8689, from the DNS to the attempt."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import trustme
from sqlalchemy import select

from enroll.pages.figures import TLS_POLICIES, TLS_VERDICTS, tls_in_words
from relay.base.clock import DAY
from relay.base.config import Config
from relay.base.events import SENT
from relay.base.storage import events
from relay.base.storage import outbound_tls as rows
from relay.base.storage.tables import attempts, bodies, messages
from relay.delivery.dsn import Reports
from relay.delivery.policies import StsPolicies
from relay.delivery.tls_policy import Source, TlsLevel
from relay.outcome import TlsResult
from tests.kit.clock import HandClock
from tests.kit.line import Line, line
from tests.kit.sink import DROP
from tests.kit.sts import ENFORCE, PolicyHost
from tests.kit.world import MemberAt, letter


def context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    return made


@dataclass
class Stage:
    """A line to an exchanger with TLS of a private authority, and that domain's policy host."""

    way: Line
    host: PolicyHost
    authority: trustme.CA
    member: MemberAt

    async def publish(self, text: str | None, domain: str = "sink.test") -> None:
        """The domain's record; None: none."""
        name = f"_mta-sts.{domain}"
        self.way.dns.zones.replace(name, "TXT", [text] if text else [])
        await self.way.dns.resolver.txt(name, fresh=True)

    async def policy(self, body: str, **answer: str) -> None:
        """A new policy, with a record that says so."""
        for key, value in ({"body": body, "status": "200 OK", "kind": "text/plain"} | answer).items():
            setattr(self.host, key, value)
        await self.publish(f"v=STSv1; id=p{next(self._ids)};")

    def certificate(self, name: str | None) -> None:
        """From now on the exchanger shows a certificate for `name`; None: it offers no TLS."""
        self.way.sink.tls = context(self.authority, name) if name else None

    async def send(self, to: str = "bob@sink.test", **more: Any) -> tuple[str, str, str]:
        """State, policy and verdict of a new message's first try."""
        await self.way.world.submit(self.member, to, **more)
        (state,) = await self.way.settle(1)
        self.last = await self.attempt()
        return state, self.last.tls_policy, self.last.tls_verdict

    async def attempt(self) -> Any:
        async with self.way.world.storage.read() as tx:
            return (await tx.execute(select(attempts).order_by(attempts.c.id.desc()).limit(1))).one()

    _ids = itertools.count(1)


@pytest.fixture
async def stage(sqlite_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr("relay.delivery.courier._ROUTE_SECONDS", 0.0)
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    async with PolicyHost(authority) as host:
        more = {"mta_sts": {"port": host.port}}
        settings = {"ca_file": str(ca), "schedule_seconds": [3600.0], "messages_a_connection": 1, "idle_seconds": 0.01}
        async with line(sqlite_config, more=more, report_gather_seconds=0.01, **settings) as way:
            for domain in ("sink.test", "slow.test"):
                way.dns.zones.add(f"mta-sts.{domain}", "A", "127.0.0.1")
            member = await way.world.member()
            await way.world.domain(member)
            made = Stage(way, host, authority, member)
            made.certificate("mx.sink.test")
            way.start()
            yield made


def test_every_policy_and_every_result_has_its_words() -> None:
    policies = {source for source in get_args(Source) if source} | {level.value for level in TlsLevel}
    assert policies == set(TLS_POLICIES)
    assert {result for result in get_args(TlsResult) if result} | {"verified", "unverified"} == set(TLS_VERDICTS)


def plain(s: Stage) -> int:
    """Messages that the exchanger has taken in the clear."""
    return sum(taken.tls is None for taken in s.way.sink.messages)


async def test_an_enforced_policy_is_kept_and_never_gone_below(stage: Stage) -> None:
    s = stage
    assert await s.send() == ("sent", "opportunistic", "verified")
    await s.policy(ENFORCE)
    assert await s.send() == ("sent", "mta-sts", "verified")
    async with s.way.world.storage.read() as tx:
        happened = [e.data for e in await events.after(tx, 0) if e.type == SENT][-1]
    assert (happened["tlsPolicy"], happened["tlsVerdict"]) == ("mta-sts", "verified")
    words = tls_in_words(s.last)
    assert words == f"TLSv1.3 ({s.last.tls_cipher}), MTA-STS, certificate verified"
    assert s.last.tls_cipher.startswith("TLS_")
    assert s.host.asked == ["GET /.well-known/mta-sts.txt HTTP/1.1"]
    # RFC 8461 §3.3, §5.1: neither a record that is gone ends it, nor a policy host that is down.
    await s.publish(None)
    assert (await s.send())[:2] == ("sent", "mta-sts")
    assert len(s.host.asked) == 1
    await s.policy(ENFORCE, status="503 Busy")
    assert (await s.send())[:2] == ("sent", "mta-sts")
    assert len(s.host.asked) == 2
    taken = len(s.way.sink.messages)
    s.certificate("mx.other.test")
    assert await s.send() == ("deferred", "mta-sts", "certificate-host-mismatch")
    assert s.last.enhanced == "4.7.5"
    s.certificate(None)
    assert await s.send() == ("deferred", "mta-sts", "starttls-not-supported")
    s.certificate("mx.sink.test")
    await s.policy(ENFORCE.replace("mx.sink.test", "*.other.test"))
    before = s.way.sink.connections
    assert (await s.send())[:2] == ("deferred", "mta-sts")
    assert "does not name this exchanger" in s.last.says
    assert s.way.sink.connections == before, "it is not even connected to"
    assert (len(s.way.sink.messages), plain(s)) == (taken, 0)
    # RFC 8689 §5: the sender may say that it doesn't matter, of this message.
    s.certificate("mx.other.test")
    raw = b"TLS-Required: No\r\n" + letter()
    assert await s.send(raw=raw) == ("sent", "tls-required-no", "certificate-host-mismatch")
    assert (await s.send(raw=raw, require_tls=True))[0] == "bounced", "REQUIRETLS wins"


async def test_testing_reports_only_and_none_and_the_end_of_time_end_it(stage: Stage) -> None:
    s = stage
    s.certificate("mx.other.test")
    await s.policy(ENFORCE.replace("enforce", "testing"))
    assert await s.send() == ("sent", "mta-sts-testing", "certificate-host-mismatch")
    s.certificate(None)
    await s.policy(ENFORCE.replace("enforce", "testing").replace("mx.sink", "mx.nowhere"))
    assert await s.send() == ("sent", "mta-sts-testing", "starttls-not-supported")
    await s.policy(ENFORCE)
    assert (await s.send())[0] == "deferred"
    await s.policy("version: STSv1\nmode: none\nmax_age: 86400\n")
    assert (await s.send())[:2] == ("sent", "opportunistic")
    await s.policy(ENFORCE.replace("86400", "0"))
    assert (await s.send())[0] == "deferred", "it holds for the mail that it was fetched for"
    await s.publish(None)
    assert (await s.send())[:2] == ("sent", "opportunistic")


@pytest.mark.parametrize(
    "answer",
    [{"status": "404 Not Found"}, {"status": "301 Moved Permanently"}, {"kind": "text/html"}, {"body": "mode: enforce"},
     {"body": ENFORCE + "#" * 70_000}],
    ids=["absent", "redirect", "type", "nonsense", "large"],
)  # fmt: skip
async def test_a_policy_that_can_t_be_had_is_none(stage: Stage, answer: dict[str, str]) -> None:
    s = stage
    s.certificate(None)
    await s.policy(answer.pop("body", ENFORCE), **answer)
    assert (await s.send())[:2] == ("sent", "opportunistic")
    assert (await s.send())[:2] == ("sent", "opportunistic")
    assert len(s.host.asked) == 1, "it is not asked for again at once"


async def test_a_policy_host_with_another_s_certificate_says_nothing(stage: Stage) -> None:
    s = stage
    s.certificate(None)
    await s.publish("v=STSv1; id=a;", "slow.test")
    assert (await s.send("bob@slow.test"))[:2] == ("sent", "opportunistic")


async def test_it_is_fetched_again_before_it_ends(stage: Stage) -> None:
    s, world = stage, stage.way.world
    await s.policy(ENFORCE)
    await s.send()
    again = StsPolicies(world.storage, world.core.resolver, world.config, HandClock(world.clock.now() + 2 * DAY))
    assert await again.refresh() == 0, "it has ended by then"
    await again.close()
    again = StsPolicies(world.storage, world.core.resolver, world.config, HandClock(world.clock.now() + 0.99 * DAY))
    monthly = ENFORCE.replace("86400", "2592000")
    await s.policy(monthly)
    config = world.config.mta_sts.model_copy(update={"refresh_hours": 12.0})
    again._settings = config
    assert await again.refresh() == 1
    assert await again.refresh() == 0
    await again.close()
    async with world.storage.read() as tx:
        kept = await rows.policy(tx, "sink.test", world.clock.now())
    assert kept is not None
    assert (kept.max_age, len(s.host.asked)) == (2_592_000, 2)


async def test_a_policy_that_lasts_for_hours_is_fetched_again_in_time(stage: Stage) -> None:
    s, world = stage, stage.way.world
    await s.policy(ENFORCE.replace("86400", "7200"))
    await s.send()
    for later, asked in ((3600, 0), (7000, 1), (7300, 0)):
        at = HandClock(world.clock.now() + later)
        again = StsPolicies(world.storage, world.core.resolver, world.config, at)
        assert await again.refresh() == asked, later
        await again.close()


async def test_a_sender_that_requires_tls(stage: Stage) -> None:
    s, sink = stage, stage.way.sink
    # The exchanger's name has come over a DNS that anybody may have changed.
    assert await s.send(require_tls=True) == ("bounced", "requiretls", "requiretls")
    assert (s.last.code, s.last.enhanced) == (550, "5.7.30")
    await s.policy(ENFORCE)
    connections = sink.connections
    assert (await s.send(require_tls=True))[0] == "bounced", "it doesn't offer REQUIRETLS"
    assert (s.last.enhanced, sink.connections) == ("5.7.30", connections + 1)
    assert sink.messages == []
    sink.offers += ("REQUIRETLS",)
    await sink.wait_closed()
    assert await s.send(require_tls=True, ret="FULL") == ("sent", "requiretls", "verified")
    assert b" REQUIRETLS" in sink.messages[-1].mail
    assert b" RET=HDRS" in sink.messages[-1].mail
    assert await s.send() == ("sent", "mta-sts", "verified")
    assert b"REQUIRETLS" not in sink.messages[-1].mail
    # A certificate that does not verify is none, an exchanger that is silent may come back.
    s.certificate("mx.other.test")
    assert (await s.send(require_tls=True))[0] == "bounced"
    s.certificate("mx.sink.test")
    sink.on("CONNECT", DROP)
    assert (await s.send(require_tls=True))[0] == "deferred"


async def test_the_report_of_what_required_tls_does_too_and_shows_the_header_alone(stage: Stage) -> None:
    s, world = stage, stage.way.world
    raw = letter(body=b"between us\r\n")
    assert (await s.send("bob@slow.test", require_tls=True, ret="FULL", raw=raw))[0] == "bounced"
    await s.policy(ENFORCE)
    assert await Reports(world.storage, world.intake, world.config, HandClock(world.clock.now() + 60)).post_due() == 1
    async with world.storage.read() as tx:
        report = (await tx.execute(select(messages).order_by(messages.c.id.desc()).limit(1))).one()
        (body,) = (await tx.execute(select(bodies.c.body).where(bodies.c.message_id == report.id))).scalars()
    assert (report.door, report.tls_required) == ("own", True)
    assert b"5.7.30" in body
    assert b"between us" not in body
