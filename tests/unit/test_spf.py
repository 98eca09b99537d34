"""SPF, DMARC and the field: the examples of RFC 7208 (Appendix A, §7.4), and each bound and mistake of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from relay.base.resolver import Answer, Later, Nothing, Result
from relay.message import speaks_for
from relay.verify import Dmarc, Signature, Spf, dmarc, results_field, spf
from relay.verify.spf_record import BadRecord, read
from tests.kit.dns import DnsWorld, make_zone, world

# RFC 7208 Appendix A, with one name for each record it shows.
_EXAMPLES = {
    "all.example.com": "v=spf1 +all",
    "a.example.com": "v=spf1 a -all",
    "other-a.example.com": "v=spf1 a:example.org -all",
    "mx.example.com": "v=spf1 mx:example.com -all",
    "two-mx.example.com": "v=spf1 mx:example.com mx:example.org -all",
    "mx-30.example.com": "v=spf1 mx:example.com/30 mx:example.org/30 -all",
    "ptr.example.com": "v=spf1 ptr:example.com -all",
    "ip4.example.com": "v=spf1 ip4:192.0.2.128/28 -all",
    "ip6.example.com": "v=spf1 ip6:2001:db8::/32 ?all",
    "dnsbl.example.com": "v=spf1 exists:%{ir}.%{v}._spf.%{d2} -all",
    "include.example.com": "v=spf1 include:ip4.example.com ~all",
    "redirect.example.com": "v=spf1 redirect=ip4.example.com",
    "loop.example.com": "v=spf1 include:loop.example.com -all",
    "void.example.com": "v=spf1 a:no1.example.com a:no2.example.com a:no3.example.com -all",
    "two.example.com": "v=spf1 -all",
    "broken.example.com": "v=spf1 +all ip4:300.1.1.1",
    "lost.example.com": "v=spf1 include:nothing.example.com +all",
    "neutral.example.com": "v=spf1 ip4:198.51.100.1",
    "silent.example.com": "v=spf1 include:servfail.example.com -all",
    "mx11.example.com": "v=spf1 mx:many.example.com -all",
    "sub.example.com": "v=spf1 exists:%{l1r-}.%{o}.users.example.com -all",
}


@pytest.fixture
async def dns() -> AsyncIterator[DnsWorld]:
    com = make_zone("example.com", [
        ("@", "A", "192.0.2.10"), ("@", "A", "192.0.2.11"), ("a.example.com", "A", "192.0.2.65"),
        ("@", "MX", "10 mail-a.example.com."), ("@", "MX", "20 mail-b.example.com."),
        ("amy.example.com", "A", "192.0.2.65"), ("bob.example.com", "A", "192.0.2.66"),
        ("mail-a.example.com", "A", "192.0.2.129"), ("mail-b.example.com", "A", "192.0.2.130"),
        ("128.2.0.192.in-addr._spf.example.com", "A", "127.0.0.2"),
        ("joe.sub.example.com.users.example.com", "A", "127.0.0.2"),
        ("two.example.com", "TXT", "v=spf1 +all"),
        *((name, "TXT", text) for name, text in _EXAMPLES.items()),
        *(("many.example.com", "MX", f"10 m{i}.example.com.") for i in range(11)),
    ])  # fmt: skip
    org = make_zone("example.org", [("@", "A", "192.0.2.20"), ("@", "MX", "10 mail-c.example.org."),
                                    ("mail-c.example.org", "A", "192.0.2.140")])  # fmt: skip
    back = make_zone("2.0.192.in-addr.arpa", [
        ("65.2.0.192.in-addr.arpa", "PTR", "amy.example.com."), ("10.2.0.192.in-addr.arpa", "PTR", "example.com."),
        ("66.2.0.192.in-addr.arpa", "PTR", "amy.example.com."),
    ])  # fmt: skip
    async with world([com, org, back]) as made:
        made.faults.set("servfail.example.com", "servfail")
        yield made


@pytest.mark.parametrize(("domain", "ip", "wanted"), [
    ("all", "192.0.2.1", "pass"),
    ("a", "192.0.2.65", "pass"), ("a", "192.0.2.10", "fail"),
    ("other-a", "192.0.2.20", "pass"), ("other-a", "192.0.2.10", "fail"),
    ("mx", "192.0.2.129", "pass"), ("mx", "192.0.2.65", "fail"), ("mx", "2001:db8::1", "fail"),
    ("two-mx", "192.0.2.140", "pass"), ("mx-30", "192.0.2.131", "pass"), ("mx-30", "192.0.2.141", "pass"),
    ("mx-30", "192.0.2.132", "fail"),
    # The name must point back: 192.0.2.66 claims amy's.
    ("ptr", "192.0.2.65", "pass"), ("ptr", "192.0.2.66", "fail"), ("ptr", "192.0.2.140", "fail"),
    ("ip4", "192.0.2.65", "fail"), ("ip4", "192.0.2.129", "pass"), ("ip4", "::ffff:192.0.2.129", "pass"),
    ("ip6", "2001:db8::5", "pass"), ("ip6", "2001:db9::5", "neutral"),
    ("dnsbl", "192.0.2.128", "pass"), ("dnsbl", "192.0.2.129", "fail"),
    ("include", "192.0.2.129", "pass"), ("include", "192.0.2.1", "softfail"),
    ("redirect", "192.0.2.129", "pass"), ("redirect", "192.0.2.1", "fail"),
    ("neutral", "192.0.2.1", "neutral"), ("no-such", "192.0.2.1", "none"),
    # Bounds and mistakes: RFC 7208 §4.6.4, §4.5, §4.6, §5.2.
    ("loop", "192.0.2.1", "permerror"), ("void", "192.0.2.1", "permerror"), ("two", "192.0.2.1", "permerror"),
    ("broken", "192.0.2.1", "permerror"), ("lost", "192.0.2.1", "permerror"), ("mx11", "192.0.2.1", "permerror"),
    ("silent", "192.0.2.1", "temperror"),
])  # fmt: skip
async def test_hosts_are_judged_as_the_record_says(dns: DnsWorld, domain: str, ip: str, wanted: str) -> None:
    found = await spf(ip, "client.example.net", f"user@{domain}.example.com", dns.resolver)
    broad = domain == "all"
    assert found == Spf(wanted, f"{domain}.example.com", "mailfrom", broad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "broad"),
    [
        ("v=spf1 +all", True), ("v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all", True), ("v=spf1 a:a.example.com/4", True),
        ("v=spf1 include:all.example.com -all", True), ("v=spf1 redirect=all.example.com", True),
        ("v=spf1 ip4:192.0.2.0/24 +all", False), ("v=spf1 ip4:192.0.0.0/8 -all", False),
        ("v=spf1 ip4:0.0.0.0/1 include:ip4.example.com a:a.example.com -all", False),
        ("v=spf1 a:a.example.com -all", False), ("v=spf1 ptr:example.com -all", False),
    ],
)
async def test_a_pass_that_everybody_gets_is_called_broad(dns: DnsWorld, record: str, broad: bool) -> None:
    dns.zones.replace("wide.example.com", "TXT", record)
    found = await spf("192.0.2.65", "x.test", "user@wide.example.com", dns.resolver)
    assert (found.result, found.broad) == ("pass", broad)


async def test_a_local_part_fills_a_macro_and_a_null_sender_is_judged_by_its_helo(dns: DnsWorld) -> None:
    assert (await spf("192.0.2.1", "x.test", "joe-list@sub.example.com", dns.resolver)).result == "pass"
    assert (await spf("192.0.2.1", "x.test", "eve-list@sub.example.com", dns.resolver)).result == "fail"
    assert await spf("192.0.2.65", "a.example.com", "", dns.resolver) == Spf("pass", "a.example.com", "helo")
    assert (await spf("192.0.2.65", "[192.0.2.65]", "", dns.resolver)).result == "none"
    assert (await spf("192.0.2.65", "localhost", "", dns.resolver)).result == "none"


class Silent:
    """A resolver that never answers."""

    async def txt(self, name: str) -> Result:
        await asyncio.Event().wait()
        raise AssertionError

    mx = ptr = txt

    async def records(self, name: str, rdtype: str) -> Result:
        return await self.txt(name)


async def test_silence_ends_as_a_temperror() -> None:
    assert (await spf("192.0.2.1", "x.test", "a@example.com", Silent(), seconds=0.01)).result == "temperror"


@pytest.mark.parametrize("record", [
    "v=spf1 a:example", "v=spf1 a:", "v=spf1 ip4:1.2.3.4/33", "v=spf1 ip4:1.2.3.4/08", "v=spf1 ip6:::1/129",
    "v=spf1 all:x",
    "v=spf1 include", "v=spf1 moo", "v=spf1 redirect=a.test redirect=b.test", "v=spf1 exists:%{z}.test",
    "v=spf1 exists:%{i0}.test", "v=spf1 exists:%{c}.test", "v=spf1 a/33", "v=spf1 a//129", "v=spf1 a/24//",
    "v=spf1 exists:%",
    "v=spf1 a:\u00e9.test", "v=spf1 -all.", "v=spf1 a:x.123", "v=spf1 " + "a " * 501,
])  # fmt: skip
def test_a_mistake_anywhere_in_a_record_is_found_before_anything_is_asked(record: str) -> None:
    with pytest.raises(BadRecord):
        read(record)


def test_what_the_grammar_allows_is_read() -> None:
    found = read("v=spf1  A/0//0 mx:%{d}/24//64 ?exists:%{L1r-+}.x.test unknown=%{r} exp=%{d} redirect=_spf.x.test.")
    assert [(t.name, t.qualifier, t.bits4, t.bits6) for t in found.terms] == [
        ("a", "+", 0, 0), ("mx", "+", 24, 64), ("exists", "?", 32, 128)
    ]  # fmt: skip
    assert found.redirect == "_spf.x.test."


# -- DMARC -----------------------------------------------------------------------------------------------------

_GOOD = Signature("mail.shop.example", "s", "rsa-sha256", "pass")
_NONE = Spf("none", "")


class Policies:
    """DNS as a table of DMARC records."""

    def __init__(self, **records: str | Result) -> None:
        self._records = records

    async def txt(self, name: str) -> Result:
        found = self._records.get(name.removeprefix("_dmarc.").replace(".", "_"), Nothing("nxdomain", 60))
        return Answer((found,), 60) if isinstance(found, str) else found


RELAXED = Policies(shop_example="v=DMARC1; p=reject; sp=quarantine")
STRICT = Policies(shop_example="v=DMARC1;p=none;adkim=s;aspf=s")


@pytest.mark.parametrize(("domain", "by_spf", "by_dkim", "dns", "wanted"), [
    ("shop.example", _NONE, _GOOD, RELAXED, ("pass", "reject")),
    ("www.shop.example", _NONE, _GOOD, RELAXED, ("pass", "quarantine")),
    ("shop.example", _NONE, _GOOD, STRICT, ("fail", "none")),
    ("shop.example", Spf("pass", "shop.example"), None, STRICT, ("pass", "none")),
    ("shop.example", Spf("pass", "b.shop.example"), None, STRICT, ("fail", "none")),
    ("shop.example", Spf("pass", "evil.example"), None, RELAXED, ("fail", "reject")),
    ("shop.example", Spf("softfail", "shop.example"), None, RELAXED, ("fail", "reject")),
    ("shop.example", _NONE, Signature("shop.example", "s", "", "temperror"), RELAXED, ("temperror", "reject")),
    ("shop.example", _NONE, Signature("shop.example", "s", "", "fail"), RELAXED, ("fail", "reject")),
    ("other.example", _NONE, _GOOD, RELAXED, ("none", "")),
    ("shop.example", _NONE, _GOOD, Policies(shop_example=Later("down")), ("temperror", "")),
    ("shop.example", _NONE, _GOOD, Policies(shop_example=Answer(("v=DMARC1",) * 2, 1)), ("none", "")),
    ("", _NONE, _GOOD, RELAXED, ("permerror", "")),
])  # fmt: skip
async def test_a_proof_counts_for_the_from_it_belongs_to(
    domain: str, by_spf: Spf, by_dkim: Signature | None, dns: Policies, wanted: tuple[str, str]
) -> None:
    found = await dmarc(domain, by_spf, [by_dkim] if by_dkim else [], dns)
    assert (found.result, found.policy) == wanted


# -- the field -------------------------------------------------------------------------------------------------


def test_the_field_repeats_no_word_that_could_break_it() -> None:
    evil = Signature("shop.example;\r\nX: y", "s s", "rsa-sha256", "pass")
    raw = results_field(
        "mx.relay.example", spf=Spf("fail", "far.example"), sender='"a;\r\nb"@far.example', signatures=[evil, _GOOD],
        dmarc=Dmarc("pass", "shop.example", "none"),
    )
    assert raw.decode() == (
        "Authentication-Results: mx.relay.example;\r\n spf=fail smtp.mailfrom=far.example;\r\n"
        " dkim=pass header.a=rsa-sha256;\r\n dkim=pass header.d=mail.shop.example header.s=s header.a=rsa-sha256;\r\n"
        " dmarc=pass (p=none) header.from=shop.example\r\n"
    )
    raw = results_field("r", spf=Spf("none", "", "helo"), sender="", signatures=[], dmarc=Dmarc("none"))
    assert raw == b"Authentication-Results: r;\r\n spf=none;\r\n dkim=none;\r\n dmarc=none\r\n"


@pytest.mark.parametrize(("value", "forged"), [
    (b" relay.example; spf=pass", True), (b" RELAY.example 1;\r\n dkim=none", True), (b' "relay.example"; none', True),
    (b" (a (nested \\) ) comment)\r\n relay.example; none", True), (b"relay.example. ; none", True), (b"", True),
    (b" ;", True), (b" mx.far.example; spf=pass", False), (b" relay.example.evil.test; none", False),
    (b' ("a) relay.example ("b) mx.far.example; none', True), (b" (a (b) mx.far.example; none", True),
    (b' (relay.example) mx.far.example; none', False), (b" mx(a).far.example; none", False), (b' ")"; none', False),
])  # fmt: skip
def test_a_field_in_our_name_is_known(value: bytes, forged: bool) -> None:
    assert speaks_for(value, {"relay.example"}) is forged


