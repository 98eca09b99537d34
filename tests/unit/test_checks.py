"""Findings: what is said about records that are right, wrong, elsewhere, missing, or could not be asked.

Every case is published in a real zone, asked over loopback and compared, as an owner's Verify does.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence

import pytest

from enroll.dns_check import Finding, Observation, compare, observe, probes
from enroll.records import KINDS, DomainView, Kind, Mistake, Record, RelayHosts, line, required, zone_file
from enroll.zone import DnsServer, Zones
from relay.base import keys
from relay.base.domain_options import Options
from relay.base.resolver import Nothing, ServerAnswer
from tests.kit.dns import IMPATIENT, DnsWorld, make_zone, world

D = "member.example"
ED = keys.dkim_txt("ed25519-sha256", b"e" * 32)
RSA = keys.dkim_txt("rsa-sha256", b"r" * 294)
OTHER_KEY = keys.dkim_txt("rsa-sha256", b"x" * 294)
HOSTS = RelayHosts("spf.relay.test", "bounce.relay.test", "track.relay.test", "mx.relay.test")
VIEW = DomainView(D, "t0ken", (("s", RSA, ED, "live"),), Options(return_path=True, tracking=True, replies=True))
RECORDS = required(VIEW, HOSTS)
BY = {record.purpose: record for record in RECORDS}
TOKEN = BY["ownership"].value


def publish(w: DnsWorld, *purposes: str) -> None:
    for record in RECORDS:
        if not purposes or record.purpose in purposes:
            w.zones.add(record.name, record.type, record.value)


async def find(w: DnsWorld, records: list[Record] | None = None) -> dict[str, Finding]:
    wanted = RECORDS if records is None else records
    return {f.purpose: f for f in compare(wanted, await observe(w.resolver, wanted))}


async def find_one(purpose: str, *published: tuple[str, str, str], domain: str = D) -> Finding:
    """The finding for one record when `published` stand in the zone."""
    view = VIEW._replace(name=domain)
    wanted = [record for record in required(view, HOSTS) if record.purpose == purpose]
    async with world({D: published}) as w:
        return compare(wanted, await observe(w.resolver, wanted))[0]


async def test_everything_published_is_found() -> None:
    async with world({D: []}) as w:
        publish(w)
        found = await find(w)
    assert len(found) == 8
    assert all(one.ok is True and one.mistake is None for one in found.values()), found


async def test_nothing_published_is_missing_with_the_line_to_enter() -> None:
    async with world({D: []}) as w:
        found = await find(w)
    for record in RECORDS:
        one = found[record.purpose]
        assert (one.ok, one.mistake) == (False, "missing")
        assert one.fix.startswith(f"{record.name}. IN {record.type} ")
        assert one.retry_after_seconds == 60, "a no may be repeated by resolvers for the SOA's time"
    assert found["dkim_rsa"].says.startswith("DKIM not yet verified")
    assert found["ownership"].says.startswith("Domain ownership verification failed")


# -- trouble is never a no -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["servfail", "refused", "drop"])
async def test_servers_in_trouble_leave_every_record_unknown(fault: str) -> None:
    async with world({D: []}, **IMPATIENT) as w:
        for record in RECORDS:
            w.faults.set(record.name, fault, record.type)  # type: ignore[arg-type]
        found = await find(w)
    assert {one.ok for one in found.values()} == {None}
    assert all("could not be asked" in one.says and one.retry_after_seconds for one in found.values())


async def test_a_dead_resolver_leaves_every_record_unknown_within_the_deadline() -> None:
    async with world({D: []}, timeout_seconds=30, lifetime_seconds=60, authoritative_lifetime_seconds=60) as w:
        w.faults.set("*", "drop")
        async with asyncio.timeout(25):
            found = compare(RECORDS, await observe(w.resolver, RECORDS, deadline_seconds=0.2))
    assert {one.ok for one in found} == {None}


async def test_one_server_down_does_not_stand_in_the_way() -> None:
    servers = ["ns1.member.example", "ns2.member.example"]
    hosts = [("ns1.member.example", "A", "127.0.0.1"), ("ns2.member.example", "A", "127.0.0.7")]
    async with world([make_zone(D, hosts, ns=servers)]) as w:
        publish(w, "ownership")
        one = (await find(w, [BY["ownership"]]))["ownership"]
    assert one.ok is True
    assert [answer.state for answer in one.servers] == ["present", "unreachable"]


async def test_servers_that_disagree_are_propagating_and_not_yet_proof() -> None:
    servers = ["ns1.member.example", "ns2.member.example"]
    hosts = [("ns1.member.example", "A", "127.0.0.1"), ("ns2.member.example", "A", "127.0.0.2")]
    old = Zones(make_zone(D, hosts, ns=servers))
    async with world([make_zone(D, hosts, ns=servers)]) as w, DnsServer(old, "127.0.0.2", w.server.port):
        publish(w, "ownership")
        one = (await find(w, [BY["ownership"]]))["ownership"]
    assert (one.ok, one.mistake) == (False, "propagating")
    assert "ns2.member.example" in one.says
    assert one.retry_after_seconds


def test_only_what_resolvers_remember_proves_nothing_and_a_found_record_tells_how_long_others_wait() -> None:
    record = BY["ownership"]
    failed = ServerAnswer("ns", "192.0.2.1", "unreachable", reason="timeout")
    present = ServerAnswer("ns", "192.0.2.1", "present", (TOKEN,))
    unknown, proved = compare(
        [record, record], [Observation((failed,)), Observation((present,), Nothing("nxdomain", 300))]
    )
    assert unknown.ok is None
    assert (proved.ok, proved.retry_after_seconds) == (True, 300)


async def test_an_alias_that_goes_round_is_unknown_and_named() -> None:
    one = await find_one(
        "ownership", (BY["ownership"].name, "CNAME", f"x.{D}."), (f"x.{D}", "CNAME", f"{BY['ownership'].name}.")
    )
    assert one.ok is None


# -- forms that are accepted -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "value"),
    [
        ("dkim_rsa", RSA.replace("; ", " ;\t")),
        ("dkim_rsa", RSA[:100] + " " + RSA[100:]),
        ("dkim_rsa", RSA[:100] + '" "' + RSA[100:]),
        ("dkim_rsa", RSA + ";"),
        ("dkim_rsa", RSA.replace("k=rsa; ", "")),
        ("dkim_rsa", RSA.replace("v=DKIM1; ", "")),
        ("dkim_rsa", RSA + "; t=s; s=email; h=sha256"),
        ("spf", "v=spf1 mx include:spf.relay.test -all"),
        ("spf", "V=SPF1 +include:SPF.relay.test ?all"),
        ("spf", "v=spf1 include:spf.relay.test"),
        ("dmarc", "v=DMARC1; p=reject; rua=mailto:x@example.test"),
        ("dmarc", "v=DMARC1;p=quarantine;pct=10"), ("dmarc", "V=DMARC1; p=none"),
        ("dmarc", "v=DMARC1; p=none; sp=reject; np=reject; t=y; psd=n"),
    ],
)
async def test_other_ways_to_write_the_same_are_accepted(purpose: str, value: str) -> None:
    assert (await find_one(purpose, (BY[purpose].name, "TXT", value))).ok is True


async def test_a_key_behind_an_alias_in_another_zone_is_fine() -> None:
    async with world({D: [], "hosted.test": [("k.hosted.test", "TXT", RSA)]}) as w:
        w.zones.add(BY["dkim_rsa"].name, "CNAME", "k.hosted.test.")
        one = (await find(w, [BY["dkim_rsa"]]))["dkim_rsa"]
    assert one.ok is True
    assert one.servers[0].cname == ("k.hosted.test",)


async def test_other_texts_beside_are_no_harm_where_several_may_stand() -> None:
    spf = BY["spf"]
    assert (await find_one("spf", (D, "TXT", "google-site=x"), (D, "TXT", spf.value))).ok is True
    name = BY["ownership"].name
    other = "posthouse-domain-verification=another-members"
    assert (await find_one("ownership", (name, "TXT", other), (name, "TXT", TOKEN))).ok is True


async def test_alias_targets_are_compared_as_names() -> None:
    assert (await find_one("return_path", (f"sl.{D}", "CNAME", "BOUNCE.Relay.test."))).ok is True


async def test_a_worse_exchange_beside_ours_is_accepted() -> None:
    assert (await find_one("mx", (D, "MX", "5 mx.relay.test."), (D, "MX", "20 other.test."))).ok is True


# -- mistakes at the name itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "values", "mistake"),
    [
        ("ownership", [f'"{TOKEN}"'], "quoted"),
        ("ownership", ["posthouse-domain-verification=somebody-elses"], "other_domain"),
        ("ownership", [TOKEN[:-1]], "cut_at_255"),
        ("ownership", [TOKEN + " "], "white_space"),
        ("ownership", [RSA], "swapped"),
        ("dkim_rsa", [f'"{RSA[:200]}" "{RSA[200:]}"'], "quoted"),
        ("dkim_rsa", [RSA[:255]], "cut_at_255"),
        ("dkim_rsa", [RSA.replace(";", "\\;")], "escaped"),
        ("dkim_rsa", [RSA, OTHER_KEY], "second_record"),
        ("dkim_rsa", ["v=DKIM1; k=rsa; p="], "revoked"),
        ("dkim_rsa", [OTHER_KEY], "other_domain"),
        ("dkim_rsa", [RSA.replace("k=rsa", "k=ed25519")], "bad_tag"),
        ("dkim_rsa", [RSA + "; h=sha1"], "bad_tag"),
        ("dkim_rsa", ["hello"], "different"),
        ("spf", ["v=spf1 include:spf.relay.test ~all", "v=spf1 mx -all"], "second_record"),
        ("spf", ["v=spf1 include:spf.relay.test +all"], "permits_all"),
        ("spf", ["v=spf1 include:spf.relay.test all"], "permits_all"),
        ("spf", ["v=spf1 mx -all"], "not_included"),
        ("spf", ["v=spf1 -all include:spf.relay.test"], "not_included"),
        ("spf", ["v=spf1 ~include:spf.relay.test ~all"], "not_included"),
        ("spf", ['"v=spf1 include:spf.relay.test ~all"'], "quoted"),
        ("spf", ["v=spf1 include:spf.relay.test " + " ".join(f"a:h{n}.test" for n in range(10))], "too_many_lookups"),
        ("dmarc", ["v=DMARC1; p=none", "v=DMARC1; p=reject"], "second_record"),
        ("dmarc", ["v=DMARC1; rua=mailto:x@example.test"], "no_policy"),
        ("dmarc", ['"v=DMARC1; p=none"'], "quoted"),
    ],
)
async def test_a_wrong_value_is_named_with_the_corrected_line(purpose: str, values: list[str], mistake: str) -> None:
    both = [(BY[purpose].name, "TXT", value) for value in values]
    async with world({D: both}) as w:
        one = (await find(w))[purpose]
    assert (one.ok, one.mistake) == (False, mistake), one.says
    assert one.says.endswith(".")
    assert one.fix


@pytest.mark.parametrize(("purpose", "value", "mistake", "says"), [
    ("spf", "v=spf1 ipv4:192.0.2.1 include:spf.relay.test ~all", "unknown_mechanism", "“ipv4:192.0.2.1”"),
    ("spf", "v=spf1 ip4:192.0.2.0/33 include:spf.relay.test ~all", "bad_network", "“ip4:192.0.2.0/33”"),
    ("spf", "v=spf1 include:spf.relay.test ~all redirect=x.test redirect=y.test", "two_redirect", "two redirect="),
    ("spf", "v=spf1 include:all.deep.test include:spf.relay.test -all", "too_many_lookups", "more than 10 DNS lookups"),
    ("spf", "v=spf1 include:loop.deep.test include:spf.relay.test -all", "include_loop", "“loop.deep.test”"),
    ("spf", "v=spf1 include=spf.relay.test ~all", "equals_sign", "a colon"),
    ("spf", "v=spf1 ip4: 192.0.2.1 include:spf.relay.test ~all", "bad_network", "no space after the colon"),
    ("spf", "v=spf1 include:spf.relay.test ~ all", "stray_blank", "space after “~”"),
    ("spf", "v=spf1 include:spf.relay.test \u2013all".encode().decode("latin-1"), "not_ascii", "“\u2013all”"),
    ("spf", "v=spf1 include:spf.relay.test ip4:0.0.0.0/0 -all", "permits_all", "lets anybody send"),
    ("spf", "ip4:192.0.2.1 include:spf.relay.test ~all", "wrong_first_tag", "“ip4:192.0.2.1”"),
    ("spf", "v=spf1 include:gone.deep.test include:spf.relay.test -all", "dead_include", "“include:gone.deep.test”"),
    ("spf", "v=spf1 include:bad.deep.test include:spf.relay.test -all", "bad_include", "“bad.deep.test”"),
    ("spf", "v=spf1; include:spf.relay.test ~all", "semicolon", "semicolon"),
    ("spf", " v=spf1 include:spf.relay.test ~all", "leading_blank", "space before"),
    ("spf", "v=spf1include:spf.relay.test ~all", "missing_blank", "no space"),
    ("spf", "v=spf1 include:a.deep.test, include:spf.relay.test ~all", "comma", "comma"),
    ("dmarc", "v=DMARC1 p=none", "missing_semicolon", "no semicolon"),
    ("dmarc", "v=DMARC1, p=none", "comma", "comma"), ("dmarc", " v=DMARC1; p=none", "leading_blank", "space before"),
    ("dmarc", "p=none; v=DMARC1", "wrong_first_tag", "“p=”"),
    ("dmarc", "v=dmarc1; p=none", "wrong_case", "capital letters"),
    ("dmarc", "v=DMARC1; p=reject rua=mailto:a@b.test", "missing_semicolon", "before “rua=”"),
    ("dkim_rsa", RSA.replace("k=rsa", "k=RSA"), "bad_tag", "“k=RSA”"), ("dkim_rsa", RSA + ";;", "empty_tag", "“;;”"),
    ("dkim_rsa", RSA.replace("k=rsa", "h=sha1; k=rsa"), "bad_tag", "“h=sha1”"),
    ("dkim_rsa", RSA.replace("v=DKIM1", "v=dkim1"), "bad_tag", "“v=dkim1”"),
    ("dkim_rsa", RSA.replace("k=rsa", "s=tlsrpt; k=rsa"), "bad_tag", "“s=tlsrpt”"),
    ("dkim_rsa", RSA.replace("k=rsa;", "k=rsa;;"), "empty_tag", "an empty tag"),
    ("dkim_rsa", RSA.replace("v=DKIM1; k=rsa", "k=rsa; v=DKIM1"), "wrong_first_tag", "v=DKIM1 has to come first"),
    ("dkim_rsa", RSA.replace("; ", ", "), "comma", "before “k=”"),
    ("dkim_rsa", RSA.replace("; p=", " p="), "missing_semicolon", "before “p=”"),
    ("dkim_rsa", RSA.replace("p=", "P=", 1), "wrong_case", "“P=”"),
    ("dkim_rsa", RSA.partition("p=")[2], "bare_key", "without “v=DKIM1; k=rsa; p=”"),
    ("dkim_rsa", RSA + "abc", "more_than_key", "“… abc”"),
])  # fmt: skip
async def test_the_mistake_that_is_named_is_the_one_that_was_made(
    purpose: str, value: str, mistake: str, says: str
) -> None:
    deep = [(f"n{n}.deep.test", "TXT", "v=spf1 -all") for n in range(10)]
    deep += [
        ("all.deep.test", "TXT", "v=spf1 " + " ".join(f"include:n{n}.deep.test" for n in range(10)) + " -all"),
        ("bad.deep.test", "TXT", "v=spf1 ip4:1.2.3.4/33 -all"),
        ("loop.deep.test", "TXT", "v=spf1 include:loop.deep.test -all"), ("a.deep.test", "TXT", "v=spf1 -all"),
    ]
    async with world({D: [(BY[purpose].name, "TXT", value)], "deep.test": deep, "relay.test": []}) as w:
        one = (await find(w))[purpose]
    assert (one.ok, one.mistake) == (False, mistake), one.says
    assert says in one.says
    assert "quotation" not in one.says
    assert f'"{value}"' not in one.fix, "the line to enter is a better one"
    # What somebody wrote of a policy stays.
    assert purpose != "dmarc" or value.split("p=")[1].split()[0].rstrip(";") in one.fix


async def test_a_text_beside_an_spf_record_is_never_taken_for_it() -> None:
    stray = ["v=spf1 mx -all", " v=spf1 a", TOKEN, "v=DMARC1; p=none"]
    one = await find_one("spf", *((D, "TXT", text) for text in stray))
    assert one.mistake == "not_included"
    async with world({D: [(D, "TXT", text) for text in stray]}) as w:
        assert (await find(w))["spf"].mistake == "not_included", "also where another record's value is among them"


@pytest.mark.parametrize(("org", "policy"), [
    ("v=DMARC1; p=reject", "reject"), ("v=DMARC1; p=reject; sp=quarantine", "quarantine"),
])  # fmt: skip
async def test_a_subdomain_inherits_its_policy_and_is_told_so(org: str, policy: str) -> None:
    async with world({D: [(f"_dmarc.{D}", "TXT", org), (f"news.{D}", "A", "192.0.2.1")]}) as w:
        records = [r for r in required(VIEW._replace(name=f"news.{D}"), HOSTS) if r.purpose == "dmarc"]
        (one,) = compare(records, await observe(w.resolver, records))
    assert (one.ok, one.mistake, one.fix) == (True, None, "")
    assert f"Inherited from {D}" in one.says
    assert f"p={policy}" in one.says
    assert one.enter == f"v=DMARC1; p={policy}", "no weaker one is advised"


@pytest.mark.parametrize(("org", "says"), [
    ("v=DMARC1 p=reject", "no semicolon after v=DMARC1"), ("v=DMARC1; p=rejct", "“p=rejct”"),
])  # fmt: skip
async def test_a_policy_that_would_be_inherited_but_for_a_mistake_is_not_weakened(org: str, says: str) -> None:
    async with world({D: [(f"_dmarc.{D}", "TXT", org), (f"news.{D}", "A", "192.0.2.1")]}) as w:
        records = [r for r in required(VIEW._replace(name=f"news.{D}"), HOSTS) if r.purpose == "dmarc"]
        (one,) = compare(records, await observe(w.resolver, records))
    assert (one.ok, one.mistake, one.enter) == (False, "inherited_broken", "")
    assert f"The DMARC record of {D}" in one.says
    assert says in one.says


@pytest.mark.parametrize(("purpose", "value"), [
    ("dmarc", "v=DMARC1; p=reject; t=y"), ("dkim_rsa", RSA.replace("k=rsa", "k=rsa; t=y")),
])  # fmt: skip
async def test_a_record_in_test_mode_is_found_and_said_to_be(purpose: str, value: str) -> None:
    one = await find_one(purpose, (BY[purpose].name, "TXT", value))
    assert one.ok
    assert "test mode (t=y)" in one.says


async def test_where_the_name_above_could_not_be_asked_nothing_is_said_to_be_missing() -> None:
    async with world({D: [(f"news.{D}", "A", "192.0.2.1")]}, **IMPATIENT) as w:
        w.faults.set(f"_dmarc.{D}", "servfail")
        records = [r for r in required(VIEW._replace(name=f"news.{D}"), HOSTS) if r.purpose == "dmarc"]
        (one,) = compare(records, await observe(w.resolver, records))
    assert (one.ok, one.enter) == (None, "")


async def test_the_line_to_enter_has_what_stands_there() -> None:
    spf = await find_one("spf", (D, "TXT", "v=spf1 mx, a:x.test -all"))
    assert spf.enter == "v=spf1 mx a:x.test include:spf.relay.test -all"
    assert "replace it with this line" in spf.note
    spf = await find_one("spf", (D, "TXT", "v=spf1 mx ip4:192.0.2.0/33 -all"))
    assert spf.enter == "v=spf1 mx include:spf.relay.test -all"
    assert "leaves out “ip4:192.0.2.0/33”" in spf.note
    broken = await find_one("dmarc", (f"_dmarc.{D}", "TXT", "v=DMARC1; p=rejct"))
    assert (broken.enter, broken.note) == ("", "Correct the record that is there: “v=DMARC1; p=rejct”.")
    dmarc = await find_one("dmarc", (f"_dmarc.{D}", "TXT", "v=DMARC1; p=reject"))
    assert dmarc.enter == "v=DMARC1; p=reject"
    assert (await find_one("spf")).enter == BY["spf"].value


async def test_what_is_missing_is_called_by_the_type_that_was_asked_for() -> None:
    records = required(VIEW._replace(uuid=MINE, options=Options(hosted=True)), HOSTED)
    (key,) = [r for r in records if r.purpose == "dkim_rsa"]
    async with world({D: []}) as w:
        (one,) = compare([key], await observe(w.resolver, [key]))
    assert "no such CNAME record" in one.says
    assert "no such TXT record" in (await find_one("dkim_rsa")).says


class TlsReporting(Kind):
    """RFC 8460, as somebody might add it."""

    name, title, failed, why = "tls_reporting", "TLS reports", "TLS reports are off", "Asks for reports about TLS."

    def wanted(self, domain: DomainView, hosts: RelayHosts) -> Iterator[Record]:
        name, value = f"_smtp._tls.{domain.name}", "v=TLSRPTv1; rua=mailto:t@x.test"
        yield Record(self, domain.name, name, "TXT", value, required=False, why=self.why)

    def match(self, record: Record, values: Sequence[str], further: object = None) -> Mistake | None:
        if any(value.startswith("v=TLSRPTv1;") for value in values):
            return None
        return Mistake("different", f"{len(values)} others.", line(record)) if values else Mistake("missing", "", "")

    def misplaced(self, record: Record) -> list[str]:
        return [f"_tls.{record.domain}"]


async def test_a_new_kind_of_record_is_one_class() -> None:
    records = required(VIEW, HOSTS, kinds=(*KINDS, TlsReporting()))
    (record,) = [r for r in records if r.purpose == "tls_reporting"]
    assert (record.title, record.needed) == ("TLS reports", False)
    assert record.name in zone_file(records)
    for there, mistake in (
        (record.name, None), (f"_tls.{D}", "wrong_level"), (f"{record.name}.{D}", "doubled_name"),
        (f"x.{D}", "missing"),
    ):
        async with world({D: [(there, "TXT", record.value)]}) as w:
            (one,) = compare([record], await observe(w.resolver, [record]))
        assert (one.purpose, one.mistake) == ("tls_reporting", mistake)
        assert mistake is None or one.says.startswith("TLS reports are off: ")


async def test_two_spf_records_come_with_the_one_to_leave() -> None:
    one = await find_one("spf", (D, "TXT", "v=spf1 mx -all"), (D, "TXT", "v=spf1 a:x.test ~all"))
    line = one.fix.partition("IN TXT ")[2]
    assert "mx" in line
    assert "a:x.test" in line
    assert "include:spf.relay.test ~all" in line


async def test_keys_at_each_others_names_are_told() -> None:
    one, other = BY["dkim_rsa"], BY["dkim_ed25519"]
    async with world({D: [(one.name, "TXT", ED), (other.name, "TXT", RSA)]}) as w:
        found = await find(w)
    assert (found["dkim_rsa"].mistake, found["dkim_ed25519"].mistake) == ("swapped", "swapped")
    assert other.name in found["dkim_rsa"].says


@pytest.mark.parametrize(
    ("target", "mistake"),
    [(f"bounce.relay.test.{D}.", "dot_eaten"), (f"bounce.relay.test.sl.{D}.", "dot_eaten"), ("x.test.", "different")],
)
async def test_an_alias_to_elsewhere_is_named(target: str, mistake: str) -> None:
    one = await find_one("return_path", (f"sl.{D}", "CNAME", target))
    assert (one.ok, one.mistake) == (False, mistake)
    assert f"sl.{D}. IN CNAME bounce.relay.test." in one.fix


@pytest.mark.parametrize(
    ("records", "mistake"),
    [(["10 mail.test."], "different"), (["0 ."], "different"), (["5 mail.test.", "10 mx.relay.test."], "other_first"),
     (["10 mail.test.", "10 mx.relay.test."], "other_first")],
)  # fmt: skip
async def test_mail_that_goes_elsewhere_first_is_named(records: list[str], mistake: str) -> None:
    one = await find_one("mx", *[(D, "MX", value) for value in records])
    assert (one.ok, one.mistake) == (False, mistake)


# -- records put elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["ownership", "dkim_rsa", "spf", "dmarc", "return_path", "mx"])
async def test_a_doubled_name_is_found_and_told(purpose: str) -> None:
    record = BY[purpose]  # type: ignore[index]
    one = await find_one(purpose, (f"{record.name}.{D}", record.type, record.value))
    assert (one.ok, one.mistake) == (False, "doubled_name")
    assert f"“{record.short}”" in one.fix


async def test_a_name_doubled_with_the_registrable_domain_is_found_too() -> None:
    sub = f"news.{D}"
    name = f"_posthouse-challenge.{sub}.{D}"
    one = await find_one("ownership", (name, "TXT", TOKEN), domain=sub)
    assert one.mistake == "doubled_name"
    assert "“_posthouse-challenge.news”" in one.fix


@pytest.mark.parametrize(
    ("purpose", "at"),
    [
        ("ownership", D), ("ownership", f"posthouse-challenge.{D}"), ("dkim_rsa", D), ("dkim_rsa", f"sr.{D}"),
        ("dkim_rsa", f"_domainkey.{D}"), ("dmarc", D), ("dmarc", f"dmarc.{D}"), ("spf", f"www.{D}"),
    ],
)  # fmt: skip
async def test_a_record_at_the_wrong_level_is_found_and_told(purpose: str, at: str) -> None:
    record = BY[purpose]  # type: ignore[index]
    one = await find_one(purpose, (at, "TXT", record.value), (at, "TXT", "beside it"))
    assert (one.ok, one.mistake) == (False, "wrong_level")
    assert at in one.says
    assert record.name in one.fix


async def test_a_subdomains_record_put_at_the_parent_is_told() -> None:
    one = await find_one("dkim_rsa", (f"sr._domainkey.{D}", "TXT", RSA), domain=f"news.{D}")
    assert one.mistake == "wrong_level"


@pytest.mark.parametrize(
    ("type", "value", "mistake"),
    [
        ("TXT", "bounce.relay.test", "txt_instead_of_cname"),
        ("TXT", '"bounce.relay.test."', "txt_instead_of_cname"),
        ("A", "104.16.0.1", "proxied"),
        ("AAAA", "2606:4700::1", "proxied"),
    ],
)
async def test_something_else_than_an_alias_is_told(type: str, value: str, mistake: str) -> None:
    one = await find_one("return_path", (f"sl.{D}", type, value))
    assert (one.ok, one.mistake) == (False, mistake)


async def test_an_alias_that_leads_nowhere_is_told() -> None:
    async with world({D: [(BY["dkim_rsa"].name, "CNAME", "k.hosted.test.")], "hosted.test": []}) as w:
        one = (await find(w, [BY["dkim_rsa"]]))["dkim_rsa"]
    assert (one.ok, one.mistake) == (False, "dead_alias")
    assert "k.hosted.test" in one.says


# -- bounds ----------------------------------------------------------------------------------------------------


def test_probes_are_few_and_fit_into_dns() -> None:
    long = VIEW._replace(name=".".join(["a" * 60] * 3) + ".example.test")
    for record in [*RECORDS, *required(long, HOSTS)]:
        asked = probes(record)
        assert len(asked) <= 10
        assert all(len(name) <= 253 for name, _ in asked)
        assert (record.name, record.type) not in asked


async def test_a_hostile_value_is_shortened_and_its_control_characters_go() -> None:
    one = await find_one("ownership", (BY["ownership"].name, "TXT", "\x1b[31m\r\n" + "z" * 9000))
    for text in (one.says, *one.found, *one.servers[0].values):
        assert text.isprintable()
        assert len(text) < 700


async def test_equal_questions_are_asked_once_and_never_more_than_allowed_at_a_time() -> None:
    class Counting:
        now = most = 0

        def __init__(self) -> None:
            self.asked: list[tuple[str, str]] = []

        async def authoritative(self, name: str, rdtype: str) -> list[ServerAnswer]:
            self.asked.append((name, rdtype))
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return [ServerAnswer("ns", "", "later")]

        async def records(self, name: str, rdtype: str, *, fresh: bool = False) -> Nothing:
            return Nothing("nodata", 0)

    counting = Counting()
    await observe(counting, RECORDS * 3, concurrent=2)
    assert len(counting.asked) == len(set(counting.asked)) == 8
    assert counting.most <= 2


HOSTED = dataclasses.replace(HOSTS, hosted_zone="hosted.test")
MINE, OTHERS = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.mark.parametrize(
    ("target", "ok", "mistake", "says"),
    [
        (f"_posthouse-challenge.{MINE}", True, None, f"by CNAME to _posthouse-challenge.{MINE}.hosted.test"),
        (f"_posthouse-challenge.{OTHERS}", False, "other_domain", "belongs to another domain or another account"),
        (f"_posthouse-challenge.{OTHERS[::-1]}", False, "other_domain", "belongs to another domain"),
        (f"_dmarc.{MINE}", False, "swapped", "the target for another record"),
        (f"nope.{MINE}", False, "swapped", "the target for another record"),
    ],
)
async def test_an_alias_into_the_relay_s_zone_is_followed_and_must_be_the_domain_s_own(
    target: str, ok: bool, mistake: str | None, says: str
) -> None:
    records = required(VIEW._replace(uuid=MINE, options=dataclasses.replace(VIEW.options, hosted=True)), HOSTED)
    proof = next(r for r in records if r.purpose == "ownership")
    zone = [
        (proof.alias, "TXT", proof.value), (f"_dmarc.{MINE}.hosted.test", "TXT", "v=DMARC1; p=none"),
        (f"_posthouse-challenge.{OTHERS}.hosted.test", "TXT", "posthouse-domain-verification=theirs"),
    ]
    async with world({D: [(proof.name, "CNAME", f"{target}.hosted.test.")], "hosted.test": zone}) as w:
        (one,) = compare([proof], await observe(w.resolver, [proof]))
    assert (one.ok, one.mistake) == (ok, mistake)
    assert says in one.says
    if not ok:
        assert one.fix == f"{proof.name}. IN CNAME _posthouse-challenge.{MINE}.hosted.test."


async def test_a_return_path_may_point_at_its_place_in_the_relay_s_zone() -> None:
    records = required(VIEW._replace(uuid=MINE), HOSTED)
    path = next(r for r in records if r.purpose == "return_path")
    for target in (path.alias, path.value):
        async with world({D: [(path.name, "CNAME", target)]}) as w:
            (one,) = compare([path], await observe(w.resolver, [path]))
        assert one.ok is True
    async with world({D: [(path.name, "CNAME", f"sl.{OTHERS}.hosted.test.")]}) as w:
        (one,) = compare([path], await observe(w.resolver, [path]))
    assert (one.ok, one.mistake) == (False, "other_domain")


@pytest.mark.parametrize("parent", ["test", ""])
async def test_a_domain_that_has_lapsed_is_denied_by_the_zone_above(parent: str) -> None:
    record = required(VIEW._replace(name="lapsed.test"), HOSTS)[0]
    above = make_zone(parent, ns=["ns.registry.example"])
    registry = make_zone("registry.example", [("ns.registry.example", "A", "127.0.0.1")])
    async with world([above, registry]) as w:
        (one,) = compare([record], await observe(w.resolver, [record]))
    assert (one.ok, one.mistake) == (False, "missing")
