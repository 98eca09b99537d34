"""Who vouches for what comes in on 25: a provider, its customer, its users, a stranger, and what each can show."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from relay.base.clock import Clock
from relay.base.config.model import Config, Inbound
from relay.base.config.reporters import KNOWN
from relay.base.config.reporters import read as read_entry
from relay.base.keys import generate_ed25519, generate_rsa
from relay.bounces.parse import Report
from relay.bounces.parse.entity import read
from relay.inbound.vouching import Source, Vouching
from relay.message import Field
from relay.signing import SigningKey, body_hash, load_ed25519, load_rsa, sign
from relay.verify import signatures
from tests.kit.dns import DnsWorld, make_zone, world

KEY = generate_ed25519()
OUT, HOME, EVIL, LOOP = "192.0.2.10", "192.0.2.77", "198.51.100.66", "203.0.113.5"
PATH = "b-aaaaaaaaaaaaaaaaaaaaaaaa"
RETURN = f"{PATH}@bounce.relay.test"
REPORT = Report("complaint", feedback="abuse")


@pytest.fixture
async def dns() -> AsyncIterator[DnsWorld]:
    key = ("k._domainkey", KEY.txt)

    def signing(domain: str) -> tuple[str, str, str]:
        return f"{key[0]}.{domain}", "TXT", key[1]

    zones = [
        # A provider with mailboxes of its own, which takes in mail for its customer's domain too.
        make_zone("big.test", [
            ("@", "MX", "10 mx.big.test."), ("@", "TXT", f"v=spf1 ip4:{OUT} -all"), ("mx.big.test", "A", OUT),
            ("out.big.test", "A", OUT), ("out.big.test", "TXT", f"v=spf1 ip4:{OUT} -all"),
            ("line-192-0-2-77.big.test", "A", HOME), signing("big.test"),
        ]),
        make_zone("corp.test", [("@", "MX", "10 mx.big.test."), ("@", "TXT", "v=spf1 include:big.test -all"),
                                signing("corp.test")]),
        make_zone("open.test", [("@", "MX", "10 mx.open.test."), ("@", "TXT", "v=spf1 +all")]),
        # A stranger: names others' exchangers, and signs well.
        make_zone("evil.test", [
            ("@", "MX", "10 mx.evil.test."), ("@", "MX", "20 mx.big.test."), ("@", "TXT", f"v=spf1 ip4:{EVIL} -all"),
            ("mx.evil.test", "A", EVIL), ("mx.evil.test", "TXT", f"v=spf1 ip4:{EVIL} -all"), signing("evil.test"),
        ]),
        make_zone("loop.test", [("out.loop.test", "A", LOOP), ("@", "TXT", f"v=spf1 ip4:{LOOP} -all"),
                                signing("fbl.loop.test")]),
        make_zone("2.0.192.in-addr.arpa", [("10.2.0.192.in-addr.arpa", "PTR", "out.big.test."),
                                           ("77.2.0.192.in-addr.arpa", "PTR", "line-192-0-2-77.big.test.")]),
        # Whoever has addresses writes into their reverse zone what he likes.
        make_zone("100.51.198.in-addr.arpa", [("66.100.51.198.in-addr.arpa", "PTR", "mx.big.test.")]),
        make_zone("113.0.203.in-addr.arpa", [("5.113.0.203.in-addr.arpa", "PTR", "out.loop.test.")]),
    ]  # fmt: skip
    async with world(zones) as made:
        yield made


def message(*, sender: str = "mailer-daemon@big.test", to: str = RETURN, by: str = "", extra: bytes = b"",
            body: bytes = b"It failed.\r\n") -> bytes:
    fields = [Field("from", f"From: <{sender}>\r\n".encode()), Field("to", f"To: <{to}>\r\n".encode())]
    head = b""
    if by:
        keys = [SigningKey(by, "k", "ed25519-sha256", load_ed25519(KEY.private))]
        head = sign(fields, body_hash(body), keys, now=time.time(), lifetime_seconds=3600)
    return head + extra + b"".join(f.raw for f in fields) + b"\r\n" + body


def pem(private: bytes) -> bytes:
    return load_rsa(private).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


async def ask(
    dns: DnsWorld, client: str, *, helo: str = "x.test", sender: str = "", raw: bytes = b"", of: str = "bob@big.test",
    path: str = PATH, report: Report = REPORT, **inbound: Any,
) -> str:
    config = Config(inbound=Inbound(**inbound))
    raw = raw or message()
    source = Source(client, helo, sender, raw, read(raw).fields)
    return await Vouching(dns.resolver, config, Clock()).of(source, of, path, report)


@pytest.mark.parametrize(
    ("client", "given", "who"),
    [
        # Its own host, by its name; by the SPF of its HELO or of its sender where it has none.
        (OUT, {}, "name out.big.test"),
        (OUT, {"of": "ann@corp.test"}, "name out.big.test"),  # by the exchanger
        (OUT, {"of": "bob@other.test"}, ""),
        (EVIL, {"helo": "mx.evil.test", "of": "eve@evil.test"}, "spf mx.evil.test"),
        (EVIL, {"sender": "fbl@evil.test", "of": "eve@evil.test"}, "spf evil.test"),
        # A stranger: nothing of his counts for others, and no names that he only claims.
        (EVIL, {}, ""),
        (EVIL, {"helo": "mx.evil.test"}, ""),
        (EVIL, {"helo": "out.big.test"}, ""),
        (EVIL, {"sender": "postmaster@big.test"}, ""),
        (EVIL, {"sender": "postmaster@evil.test"}, ""),
        # He names others' exchangers as his own: that gives them a say about his domain, and him none about theirs.
        (OUT, {"of": "eve@evil.test"}, "name out.big.test"),
        (EVIL, {"sender": "postmaster@evil.test", "of": "ann@corp.test"}, ""),
        # A record that passes everybody shows nothing.
        (EVIL, {"sender": "postmaster@open.test", "of": "bob@open.test"}, ""),
        # A provider's user comes from its host, with its SPF; and so does a customer of his line.
        (OUT, {"sender": "mallory@big.test"}, ""),
        (OUT, {"sender": "mallory@corp.test", "of": "ann@corp.test"}, ""),
        (OUT, {"sender": "abuse@elsewhere.test"}, ""),
        (OUT, {"sender": "Postmaster@big.test"}, "name out.big.test"),
        (HOME, {}, ""),
        ("not an address", {}, ""),
    ],
)
async def test_the_host_shows_whom_it_speaks_for(dns: DnsWorld, client: str, given: dict[str, Any], who: str) -> None:
    assert await ask(dns, client, **given) == who


@pytest.mark.parametrize(
    ("given", "who"),
    [
        ({"by": "big.test"}, "dkim big.test"),
        ({"by": "corp.test", "sender": "postmaster@corp.test"}, ""),
        ({"by": "evil.test"}, ""),
        ({"by": "evil.test", "sender": "mailer-daemon@evil.test"}, ""),
        # Its user wrote this.
        ({"by": "big.test", "sender": "mallory@big.test"}, ""),
        # Written about something else and sent again, to this return path; with a To in front.
        ({"by": "big.test", "to": "b-other@bounce.relay.test"}, ""),
        ({"by": "big.test", "to": "b-other@bounce.relay.test", "extra": f"To: <{RETURN}>\r\n".encode()}, ""),
        ({"by": "big.test", "extra": b"From: <mailer-daemon@big.test>\r\n"}, ""),
    ],
)
async def test_a_signature_counts_for_its_own_recipient(dns: DnsWorld, given: dict[str, Any], who: str) -> None:
    assert await ask(dns, EVIL, raw=message(**given)) == who


async def test_a_signature_whose_enclosed_message_names_the_recipient_counts_wherever_it_came(dns: DnsWorld) -> None:
    raw = message(by="big.test", to="fbl@relay.test")
    assert await ask(dns, EVIL, raw=raw, report=Report("complaint", paths=(RETURN.upper(),))) == "dkim big.test"
    assert await ask(dns, EVIL, raw=raw, path="") == "dkim big.test"
    assert await ask(dns, EVIL, raw=raw) == ""


async def test_what_was_changed_or_left_open_behind_the_signature_does_not_count(dns: DnsWorld) -> None:
    raw = message(by="big.test")
    assert await ask(dns, EVIL, raw=raw.replace(b"It failed", b"It worked")) == ""
    # Signed by a program that signs the length: behind it anybody may write, and the signature still holds.
    pair = generate_rsa()
    dns.zones.replace("old._domainkey.big.test", "TXT", pair.txt)
    unsigned = message()
    for length, who in ((False, "dkim big.test"), (True, "")):
        field = dkim.sign(
            unsigned, b"old", b"big.test", pem(pair.private), include_headers=[b"from", b"to"], length=length
        )
        tail = b"" if not length else b"And more.\r\n"
        assert [s.result for s in await signatures(field + unsigned + tail, dns.resolver)] == ["pass"]
        assert await ask(dns, EVIL, raw=field + unsigned + tail) == who


async def test_a_feedback_loop_that_is_configured_may_report_about_any_domain(dns: DnsWorld) -> None:
    listed = {"reporters": ["Loop.test."]}
    assert await ask(dns, LOOP) == ""
    assert await ask(dns, LOOP, **listed) == "name out.loop.test"
    assert await ask(dns, LOOP, sender="anything@loop.test", **listed) == "name out.loop.test"
    assert await ask(dns, EVIL, sender="fbl@loop.test", **listed) == ""
    raw = message(by="fbl.loop.test", sender="whoever@elsewhere.test")
    assert await ask(dns, EVIL, raw=raw, **listed) == "dkim fbl.loop.test"
    # An address speaks for itself, not for its neighbours.
    one = {"reporters": ["staff@loop.test"]}
    assert await ask(dns, LOOP, sender="staff@loop.test", **one) == "spf loop.test"
    assert await ask(dns, LOOP, sender="mallory@loop.test", **one) == ""
    raw = message(by="fbl.loop.test", sender="staff@loop.test")
    assert await ask(dns, EVIL, raw=raw, **one) == "dkim fbl.loop.test"
    assert await ask(dns, EVIL, raw=message(by="fbl.loop.test", sender="eve@loop.test"), **one) == ""


@pytest.mark.parametrize("entry", ["com", "co.uk.", "fbl@com", "not a domain", "", "@", "a@b@", "*.loop.test"])
def test_a_loop_that_could_be_anybody_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError):
        Inbound(reporters=[entry])


def test_entries_have_one_form() -> None:
    given = Inbound(reporters=[" Loop.TEST. ", "FBL@bücher.example"])
    assert given.reporters == ["loop.test", "fbl@xn--bcher-kva.example"]
    assert [read_entry(e) for e in KNOWN] == list(KNOWN)


async def test_the_known_loops_can_be_left_out(dns: DnsWorld) -> None:
    made = [Vouching(dns.resolver, Config(inbound=Inbound(known_reporters=k)), Clock()) for k in (True, False)]
    assert [v._reports("x.senderscore.net") for v in made] == [True, False]
    assert not made[0]._reports("notsenderscore.net")


async def test_dns_in_trouble_vouches_for_nobody_and_is_asked_again(dns: DnsWorld) -> None:
    resolver = dns.other_resolver(timeout_seconds=0.2, lifetime_seconds=0.5)
    vouching = Vouching(resolver, Config(), Clock())
    raw = message()
    source = Source(OUT, "out.big.test", "", raw, read(raw).fields)
    for name in ("10.2.0.192.in-addr.arpa", "out.big.test"):
        dns.faults.set(name, "servfail")
    assert await vouching.of(source, "bob@big.test", PATH, REPORT) == ""
    for name in ("10.2.0.192.in-addr.arpa", "out.big.test"):
        dns.faults.set(name, None)
    assert await vouching.of(source, "bob@big.test", PATH, REPORT) == "name out.big.test"
    # Now it is remembered, though nobody answers any more.
    dns.faults.set("*", "drop")
    assert await vouching.of(source, "bob@big.test", PATH, REPORT) == "name out.big.test"
    slow = Vouching(dns.other_resolver(), Config(inbound=Inbound(vouching_seconds=0.05)), Clock())
    assert await slow.of(source, "bob@big.test", PATH, REPORT) == ""
