"""TLS reports to others (RFC 8460): counted, written, sent once, read by others' programs."""

from __future__ import annotations

import asyncio
import email
import email.policy
import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from sqlalchemy import select

from relay.aggregate.read import Bounds, TlsReport
from relay.aggregate.read import read as read_as_one_of_ours
from relay.base.clock import DAY, HOUR, day_start, utc_day
from relay.base.config import Config
from relay.base.storage import outbound_tls as rows
from relay.base.storage.tables import bodies, heads, messages, recipients
from relay.delivery.pool import Session
from relay.delivery.tls_counts import SessionCounts
from relay.delivery.tls_policy import OPPORTUNISTIC, TlsLevel, TlsPolicy
from relay.delivery.tls_reporting import TlsReporting
from tests.kit.clock import HandClock
from tests.kit.dkim_check import plainly_verifies
from tests.kit.dns import world as dns_world
from tests.kit.storage import make_config
from tests.kit.sts import PolicyHost
from tests.kit.world import World, key_pair

STS = TlsPolicy(
    TlsLevel.VERIFIED, "mta-sts", shown=("version: STSv1", "mode: enforce", "mx: mx.b.test", "max_age: 1"),
    patterns=("mx.b.test",),
)  # fmt: skip
COUNT = {"type": "integer", "minimum": 0}
TEXT, TEXTS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
# RFC 8460 §4.4, as others' readers want it.
SCHEMA = {
    "type": "object",
    "required": ["organization-name", "date-range", "contact-info", "report-id", "policies"],
    "properties": {
        "organization-name": TEXT, "contact-info": TEXT, "report-id": TEXT,
        "date-range": {
            "type": "object", "required": ["start-datetime", "end-datetime"],
            "additionalProperties": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        },
        "policies": {
            "type": "array", "minItems": 1,
            "items": {
                "type": "object", "required": ["policy", "summary"], "additionalProperties": False,
                "properties": {
                    "policy": {
                        "type": "object", "required": ["policy-type", "policy-domain"], "additionalProperties": False,
                        "properties": {
                            "policy-type": {"enum": ["tlsa", "sts", "no-policy-found"]}, "policy-string": TEXTS,
                            "policy-domain": TEXT, "mx-host": TEXTS,
                        },
                    },
                    "summary": {
                        "type": "object", "additionalProperties": False,
                        "required": ["total-successful-session-count", "total-failure-session-count"],
                        "properties": {"total-successful-session-count": COUNT, "total-failure-session-count": COUNT},
                    },
                    "failure-details": {
                        "type": "array", "minItems": 1,
                        "items": {
                            "type": "object", "required": ["result-type", "failed-session-count"],
                            "additionalProperties": False,
                            "properties": {
                                "result-type": {
                                    "enum": [
                                        "starttls-not-supported", "certificate-host-mismatch", "certificate-expired",
                                        "certificate-not-trusted", "validation-failure", "tlsa-invalid",
                                        "dnssec-invalid", "dane-required", "sts-policy-fetch-error",
                                        "sts-policy-invalid", "sts-webpki-invalid",
                                    ]
                                },
                                "sending-mta-ip": TEXT, "receiving-mx-hostname": TEXT, "receiving-ip": TEXT,
                                "failed-session-count": COUNT,
                            },
                        },
                    },
                },
            },
        },
    },
    "additionalProperties": False,
}


def read(packed: bytes) -> dict[str, Any]:
    """A report, as a reader that trusts nothing takes it."""
    reported: dict[str, Any] = json.loads(gzip.decompress(packed))
    jsonschema_rs.validate(SCHEMA, reported)
    for one in reported["policies"]:
        failed = sum(f["failed-session-count"] for f in one.get("failure-details", ()))
        assert failed == one["summary"]["total-failure-session-count"]
    return reported


def session(
    policy: TlsPolicy = OPPORTUNISTIC, result: Any = "", domain: str = "b.test", mx: str = "mx.b.test"
) -> Session:
    return Session(domain, policy, mx, "192.0.2.1", "192.0.2.99", result)


class Stage:
    """A relay whose clock is in the hand, and domains that ask for reports."""

    def __init__(self, world: World, host: PolicyHost, dns: Any) -> None:
        self.world, self.host, self.dns = world, host, dns
        self.made: list[TlsReporting] = []

    def counts(self) -> SessionCounts:
        return SessionCounts(self.world.storage, self.dns.resolver, self.world.config, self.world.clock)

    def reporting(self, owner: str = "one") -> TlsReporting:
        w = self.world
        self.made.append(TlsReporting(w.storage, w.intake, self.dns.resolver, w.config, w.clock, owner))
        return self.made[-1]

    def ask(self, rua: str, domain: str = "b.test") -> None:
        self.dns.zones.replace(f"_smtp._tls.{domain}", "TXT", [f"v=TLSRPTv1; rua={rua}"])

    async def tomorrow(self) -> None:
        """When every report of today has left."""
        await self.world.pass_time(2 * DAY - self.world.clock.now() % DAY + 5 * HOUR - DAY)

    async def mails(self) -> list[tuple[str, bytes]]:
        """(to, octets) of every message in the queue."""
        query = (
            select(recipients.c.address, heads.c.head, bodies.c.head.label("shared"), bodies.c.body)
            .join(messages, messages.c.id == recipients.c.message_id).join(bodies, bodies.c.message_id == messages.c.id)
            .join(heads, heads.c.recipient_id == recipients.c.id, isouter=True).order_by(recipients.c.id)
        )
        async with self.world.storage.read() as tx:
            return [(r.address, (r.head or r.shared) + r.body) for r in await tx.execute(query)]

    async def reports(self) -> list[rows.ReportRow]:
        async with self.world.storage.read() as tx:
            return list(await rows.reports(tx, 10))


@pytest.fixture
async def stage(config: Config, tmp_path: Path) -> Any:
    import trustme

    authority = trustme.CA()
    ca, key = tmp_path / "ca.pem", tmp_path / "pool.pem"
    authority.cert_pem.write_to_path(str(ca))
    key.write_bytes(pem(key_pair()[0]))
    zones = {name: [(f"report.{name}", "A", "127.0.0.1")] for name in ("b.test", "c.test")}
    async with PolicyHost(authority, name="report.b.test") as host, dns_world(zones) as dns:
        made = make_config(
            config.server.data_dir, config.database.url,
            server={"hostname": "relay.test", "operator_email": "op@relay.test"},
            signing={"pool_domain": "relay.test", "pool_key_file": str(key)},
            delivery={"allow_private_networks": True, "ca_file": str(ca)},
        )
        world = await World.make(made, HandClock(), resolver=dns.resolver)
        s = Stage(world, host, dns)
        yield s
        for one in s.made:
            await one.close()
        await world.close()


def pem(der: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_der_private_key,
    )

    return load_der_private_key(der, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


async def test_the_day_s_report_from_four_processes_is_one_and_its_sums_are_what_was_done(stage: Stage) -> None:
    s = stage
    s.ask(f"mailto:tls@c.test,https://report.b.test:{s.host.port}/v1")
    day = utc_day(s.world.clock.now())
    four = [s.counts() for _ in range(4)]
    for counts in four:
        for _ in range(3):
            counts.record(session(STS))
        counts.record(session(STS, "certificate-expired"))
        counts.record(session(STS, "certificate-expired", mx="mx2.b.test"))
        # Without a policy no certificate is asked for.
        counts.record(session(result="certificate-expired"))
        counts.record(session(result="starttls-not-supported"))
        counts.record(session(domain="c.test"))
    await asyncio.gather(*(counts.close() for counts in four))
    assert [(r.domain, r.state) for r in await s.reports()] == [("b.test", "waiting")], "c.test asks for none"
    assert await s.reporting().send_due() == 0, "the day is not over"
    await s.tomorrow()
    await asyncio.gather(*(s.reporting(str(n))._turn() for n in range(4)))
    await s.reporting("0")._turn()
    [(to, raw)] = await s.mails()
    [report] = await s.reports()
    assert (to, report.state, report.successes, report.failures) == ("tls@c.test", "sent", 16, 12)
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "tlsrpt"
    assert (message["TLS-Report-Domain"], message["TLS-Report-Submitter"]) == ("b.test", "relay.test")
    assert message["TLS-Required"] == "No"
    assert message["Subject"].startswith("Report Domain: b.test Submitter: relay.test Report-ID: <")
    assert "d=relay.test;" in message["DKIM-Signature"]
    assert plainly_verifies(raw, {"posthouse._domainkey.relay.test": key_pair()[1]})
    assert " l=" not in message["DKIM-Signature"]
    _, part = message.iter_parts()
    assert part.get_content_type() == "application/tlsrpt+gzip"
    begins = int(day_start(day))
    assert part.get_filename() == f"relay.test!b.test!{begins}!{begins + 86_399}!{report.report_id}.json.gz"
    reported = read(part.get_content())
    assert s.host.posted == [part.get_content()]
    # The relay reads such reports too, by a reader that shares nothing with the writer.
    [ours] = read_as_one_of_ours(part.get_content(), Bounds(100_000, 100, 20, 100))
    assert isinstance(ours, TlsReport)
    sums = {w: sum(r.count for r in ours.rows if (r.result == "success") is w) for w in (True, False)}
    assert (ours.domain, sums) == ("b.test", {True: 16, False: 12})
    assert reported["date-range"] == {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"}
    without, sts = reported["policies"]
    assert without["summary"] == {"total-successful-session-count": 4, "total-failure-session-count": 4}
    assert sts["summary"] == {"total-successful-session-count": 12, "total-failure-session-count": 8}
    assert sts["policy"] == {
        "policy-type": "sts", "policy-domain": "b.test", "policy-string": list(STS.shown), "mx-host": ["mx.b.test"],
    }
    assert {f["receiving-mx-hostname"] for f in sts["failure-details"]} == {"mx.b.test", "mx2.b.test"}
    async with s.world.storage.read() as tx:
        totals = await rows.totals_since(tx, day)
    assert sum(n for *_, n in totals) == 32
    assert (day, "mta-sts", "certificate-expired", 8) in totals


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_what_nobody_takes_is_tried_for_a_day(stage: Stage) -> None:
    s = stage
    s.host.status = "503 Busy"
    s.ask(f"https://report.b.test:{s.host.port}/v1")
    counts = s.counts()
    counts.record(session())
    await counts.close()
    await s.tomorrow()
    reporting = s.reporting()
    assert await reporting.send_due() == 0
    [report] = await s.reports()
    assert (report.state, report.tries) == ("waiting", 1)
    assert "503" in report.says
    assert await reporting.send_due() == 0
    assert len(s.host.posted) == 1, "not at once again"
    await s.world.pass_time(1800)
    s.host.status = "201 Created"
    assert await reporting.send_due() == 1
    assert s.host.posted[0] == s.host.posted[1]
    # Another day, and this time nobody ever takes it.
    s.host.status = "503 Busy"
    counts = s.counts()
    counts.record(session())
    await counts.close()
    await s.tomorrow()
    await reporting.send_due()
    await s.world.pass_time(DAY)
    await reporting.send_due()
    assert {r.state for r in await s.reports()} == {"sent", "failed"}
    assert await s.mails() == []


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_the_bounds_and_a_dns_that_is_silent(stage: Stage) -> None:
    s = stage
    s.ask("mailto:tls@c.test")
    counts = s.counts()
    for n in range(10):
        counts.record(session(STS, "certificate-expired", mx=f"mx{n}.b.test"))
    few = s.world.config.tls_reports.model_copy(update={"max_counts": 4, "max_failures": 2})
    counts._settings = few
    for n in range(10, 20):
        counts.record(session(STS, "certificate-expired", mx=f"mx{n}.b.test"))
    s.dns.faults.set("_smtp._tls.b.test", "servfail")
    await counts.flush()
    assert await s.reports() == [], "who asks is not known, so it is kept"
    s.dns.faults.set("_smtp._tls.b.test", None)
    await counts.close()
    await s.tomorrow()
    reporting = s.reporting()
    reporting._settings = few
    assert await reporting.send_due() == 1
    [(_, raw)] = await s.mails()
    *_, part = email.message_from_bytes(raw, policy=email.policy.default).iter_parts()
    [policy] = json.loads(gzip.decompress(part.get_content()))["policies"]
    assert policy["summary"]["total-failure-session-count"] == 4
    assert len(policy["failure-details"]) == 2
