"""SPF, DMARC and the field: the examples of RFC 7208 (Appendix A, §7.4), and each bound and mistake of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from relay.base.resolver import Answer, Later, Nothing, Result
from relay.message import speaks_for
from relay.verify import (
    BadRecord,
    Dmarc,
    Signature,
    Spf,
    dmarc,
    dmarc_record,
    results_field,
    spf,
    spf_fault,
    spf_record,
    walk,
)
from relay.verify.dmarc import steps
from relay.verify.spf_record import read
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


@pytest.mark.parametrize(("record", "code", "at"), [
    ("v=spf1 ipv4:192.0.2.1 ~all", "unknown_mechanism", "ipv4:192.0.2.1"),
    ("v=spf1 moo ~all", "unknown_mechanism", "moo"),
    ("v=spf1 ip4:192.0.2.0/33 ~all", "bad_network", "ip4:192.0.2.0/33"),
    ("v=spf1 ip4:mail.test", "bad_network", "ip4:mail.test"),
    ("v=spf1 ip6:2001:db8::/129", "bad_network", "ip6:2001:db8::/129"),
    ("v=spf1 ~all redirect=x.test redirect=y.test", "two_redirect", "redirect=y.test"),
    ("v=spf1 include:a.test, ~all", "comma", "include:a.test"),
    ("v=spf1 include:a.test; ~all", "semicolon", "include:a.test"),
    ("v=spf1 a,mx ~all", "comma", "a,mx"), ("v=spf1 include:a.test~all", "missing_blank", "include:a.test~all"),
    ("v=spf1 ip4:192.0.2.1include:a.test", "missing_blank", "ip4:192.0.2.1include:a.test"),
    ("v=spf1 include: a.test ~all", "bad_term", "include:"),
    ('v=spf1 "include:a.test" ~all', "quoted", '"include:a.test"'),
])  # fmt: skip
def test_the_fault_of_a_record_is_named_with_its_place(record: str, code: str, at: str) -> None:
    with pytest.raises(BadRecord) as caught:
        read(record)
    assert (caught.value.fault.code, caught.value.fault.at) == (code, at)
    assert caught.value.fault.says.endswith(".")


@pytest.mark.parametrize(("text", "code"), [
    ("v=spf1; include:a.test ~all", "semicolon"), ("v=spf1, a ~all", "comma"), (" v=spf1 a ~all", "leading_blank"),
    ("v=spf1include:a.test ~all", "missing_blank"), ("v=spf1\ta ~all", "missing_blank"), ('"v=spf1 a ~all"', "quoted"),
    ("v=spf1\u00a0a ~all", "not_ascii"), ("v=spf2 a ~all", "wrong_first_tag"), ("v=spf a ~all", "wrong_first_tag"),
    ("spf1 a ~all", "wrong_first_tag"), ("include:a.test v=spf1 ~all", "wrong_first_tag"),
    ("google-site-verification=v=spf1", ""), ("hello", ""), ("MS=ms1", ""), ("v=DMARC1; p=none", ""), ("", ""),
])  # fmt: skip
def test_a_text_that_was_meant_as_spf_is_known_by_its_mistake(text: str, code: str) -> None:
    assert spf_record.records([text]) == []
    fault = spf_record.near_miss(["hello", text])
    assert (fault.code if fault else "") == code


@pytest.mark.parametrize(("record", "code"), [
    ("v=spf1 include:deep.example.com -all", "too_many_lookups"),
    ("v=spf1 a:no1.example.com a:no2.example.com -all", ""),
    ("v=spf1 include:void.example.com -all", "void_lookups"),
    ("v=spf1 include:nothing.example.com -all", "dead_include"),
    ("v=spf1 include:broken.example.com -all", "bad_include"), ("v=spf1 include:two.example.com -all", "second_record"),
    ("v=spf1 include:loop.example.com -all", "include_loop"),
    ("v=spf1 redirect=deep.example.com", "too_many_lookups"),
    ("v=spf1 mx:many.example.com -all", "too_many_lookups"), ("v=spf1 include:all.example.com a -all", ""),
    # What depends on who sends is counted and not asked; trouble is no fault; nothing counts after all.
    ("v=spf1 include:%{i}.example.com exists:%{ir}.x.example.com -all", ""),
    ("v=spf1 include:silent.example.com ~all", ""),
    ("v=spf1 a -all include:nothing.example.com", ""),
    ("v=spf1 a " + "exists:%{i}.example.com " * 10, "too_many_lookups"),
])  # fmt: skip
async def test_a_policy_is_held_to_its_bounds_without_a_client(dns: DnsWorld, record: str, code: str) -> None:
    for n in range(10):
        dns.zones.add(f"d{n}.example.com", "TXT", "v=spf1 ip4:192.0.2.1 -all")
    included = " ".join(f"include:d{n}.example.com" for n in range(10))
    dns.zones.add("deep.example.com", "TXT", f"v=spf1 {included} -all")
    fault = await spf_fault(record, "example.com", dns.resolver)
    assert (fault.code if fault else "") == code


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
PUBLIC = Policies(
    example="v=DMARC1; p=quarantine; np=reject; psd=y", shop_example="v=DMARC1; p=none; np=reject; t=y",
    mail_shop_example="v=DMARC1; p=reject", there_example=Answer(("hello",), 60), sub_example="v=DMARC1; p=none; psd=n",
)
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
    # The tree walk: the record furthest up is the organisation's, psd= sets its bounds, np= is for names that aren't.
    ("a.mail.shop.example", _NONE, None, PUBLIC, ("fail", "reject")),
    ("mail.shop.example", _NONE, None, PUBLIC, ("fail", "reject")),
    ("shop.example", _NONE, None, PUBLIC, ("fail", "none")), ("gone.example", _NONE, None, PUBLIC, ("fail", "reject")),
    ("there.example", _NONE, None, PUBLIC, ("fail", "quarantine")),
    ("example", _NONE, None, PUBLIC, ("fail", "quarantine")),
    ("shop.example", _NONE, Signature("there.example", "s", "", "pass"), PUBLIC, ("fail", "none")),
    ("sub.example", _NONE, Signature("a.sub.example", "s", "", "pass"), PUBLIC, ("pass", "none")),
    ("a.mail.shop.example", _NONE, Signature("shop.example", "s", "", "pass"), PUBLIC, ("pass", "reject")),
    # One whose policy can't be read counts as p=none where it asks for reports, and not at all where it doesn't.
    ("shop.example", _NONE, None, Policies(shop_example="v=DMARC1; rua=mailto:a@b.test"), ("fail", "none")),
    ("shop.example", _NONE, None, Policies(shop_example="v=DMARC1; p=rejct"), ("none", "")),
    ("shop.example", _NONE, None, Policies(shop_example="v=dmarc1; p=reject"), ("none", "")),
    ("shop.example", _NONE, None, Policies(shop_example="V=DMARC1; p=reject"), ("fail", "reject")),
    ("shop.example", _NONE, None, Policies(shop_example="v=DMARC1 p=reject"), ("none", "")),
])  # fmt: skip
async def test_a_proof_counts_for_the_from_it_belongs_to(
    domain: str, by_spf: Spf, by_dkim: Signature | None, dns: Policies, wanted: tuple[str, str]
) -> None:
    found = await dmarc(domain, by_spf, [by_dkim] if by_dkim else [], dns)
    assert (found.result, found.policy) == wanted


async def test_a_walk_asks_at_most_eight_times_and_stops_where_it_is_told() -> None:
    name = "a.b.c.d.e.f.g.h.i.mail.shop.example"
    assert steps(name)[:3] == [name, "f.g.h.i.mail.shop.example", "g.h.i.mail.shop.example"]
    assert (len(steps(name)), steps(name)[-1]) == (8, "example")
    assert steps("shop.example") == ["shop.example", "example"]
    found = await walk("a.there.example", PUBLIC)
    assert (found.at, found.organization, found.own) == ("example", "there.example", False)
    assert (await walk("x.example.test", Policies())).record is None
    assert (await dmarc("shop.example", _NONE, [], PUBLIC)).testing


@pytest.mark.parametrize(("text", "codes"), [
    ("v=DMARC1; p=none", []), ("v = DMARC1 ;p=Reject; sp=none ;; pct=10; rua=mailto:a@b.test,mailto:c@d.test!10m;", []),
    ("v=DMARC1; p=none; unknown=1; t=y; psd=u; np=reject; adkim=s; aspf=r; fo=1:d:s", []),
    ("v=DMARC1", ["no_policy"]), ("v=DMARC1; sp=none", ["no_policy"]), ("v=DMARC1; p=nono", ["bad_value"]),
    ("v=DMARC1; p=none sp=reject", ["missing_semicolon"]), ("v=DMARC1; p=none, rua=mailto:a@b.test", ["comma"]),
    ("v=DMARC1; p=none; p=reject", ["two_tags"]), ("v=DMARC1; p=none; rua=a@b.test", ["bad_address"]),
    ("v=DMARC1; p=none; adkim=strict", ["bad_value"]), ("v=DMARC1; p=none; sp=", ["bad_value"]),
    ("v=DMARC1; p=none; rua=mailto:a@b.test ruf=mailto:a@b.test", ["missing_semicolon"]),
    ("v=DMARC1; reject", ["bad_tag", "no_policy"]),
])  # fmt: skip
def test_the_faults_of_a_dmarc_record_are_named(text: str, codes: list[str]) -> None:
    assert dmarc_record.records([text]) == [text]
    assert [fault.code for fault in dmarc_record.read(text).faults] == codes


@pytest.mark.parametrize(("text", "code", "fixed"), [
    ("v=DMARC1 p=none", "missing_semicolon", "v=DMARC1; p=none"), ("v=DMARC1, p=none", "comma", "v=DMARC1; p=none"),
    (" v=DMARC1; p=reject", "leading_blank", "v=DMARC1; p=reject"),
    ('"v=DMARC1; p=none"', "quoted", "v=DMARC1; p=none"),
    ("p=none; v=DMARC1", "wrong_first_tag", "v=DMARC1; p=none"),
    ("DMARC1; p=none", "wrong_first_tag", "v=DMARC1; p=none"),
    ("v=dmarc1; p=none", "wrong_case", "v=DMARC1; p=none"),
    ("v=DMARC1:p=reject", "missing_semicolon", "v=DMARC1; p=reject"),
    ("v=DMARC1p=reject", "missing_semicolon", ""), ("v=DMARC2; p=none", "wrong_first_tag", "v=DMARC1; p=none"),
    ("v=DMARC1\\; p=none", "escaped", "v=DMARC1; p=none"), ("v=spf1 -all", "", ""), ("hello", "", ""),
    ("v=DMARC1, p: reject; rua=a@b.test c@b.test", "comma", "v=DMARC1; p=reject; rua=mailto:a@b.test,mailto:c@b.test"),
])  # fmt: skip
def test_a_text_that_was_meant_as_dmarc_is_known_by_its_mistake(text: str, code: str, fixed: str) -> None:
    assert dmarc_record.records([text]) == []
    fault = dmarc_record.near_miss(["hello", text])
    assert (fault.code if fault else "") == code
    if code:
        assert dmarc_record.repaired(text) == fixed


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


