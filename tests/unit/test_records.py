"""Which records a domain's owner is told to publish, and in which forms."""

from __future__ import annotations

import dataclasses

import dns.rdatatype
import dns.zonefile
import pytest

from enroll.dns_check.provider import LABELS, provider
from enroll.records import (
    DomainView,
    RelayHosts,
    dig_command,
    hosted,
    required,
    zone_file,
)
from enroll.records.record import short_name
from enroll.records.spf_line import merge_several_spf, merge_spf
from relay.base.domain_options import Options

RSA = "v=DKIM1; k=rsa; p=" + "A" * 392
ED = "v=DKIM1; k=ed25519; p=" + "B" * 44
HOSTS = RelayHosts("spf.relay.test", "bounce.relay.test", "track.relay.test", "mx.relay.test")
PLAIN = DomainView("member.example", "t0ken", (("2605", RSA, ED, "pending"),))
FULL = PLAIN._replace(options=Options(return_path=True, tracking=True, replies=True))


def test_a_plain_domain_needs_ownership_and_both_keys_and_is_advised_spf_and_dmarc() -> None:
    assert [(r.name, r.type, r.value, r.required) for r in required(PLAIN, HOSTS)] == [
        ("_posthouse-challenge.member.example", "TXT", "posthouse-domain-verification=t0ken", True),
        ("2605r._domainkey.member.example", "TXT", RSA, True),
        ("2605e._domainkey.member.example", "TXT", ED, True),
        ("member.example", "TXT", "v=spf1 include:spf.relay.test ~all", False),
        ("_dmarc.member.example", "TXT", "v=DMARC1; p=none", False),
    ]


def test_switches_add_their_records() -> None:
    more = {r.purpose: (r.name, r.type, r.value) for r in required(FULL, HOSTS) if r.required}
    assert more["return_path"] == ("sl.member.example", "CNAME", "bounce.relay.test.")
    assert more["tracking"] == ("track-sl.member.example", "CNAME", "track.relay.test.")
    assert more["mx"] == ("member.example", "MX", "10 mx.relay.test.")


def test_names_of_the_switches_are_the_owners_choice() -> None:
    view = FULL._replace(options=dataclasses.replace(FULL.options, custom_subdomain="m", track_prefix="go"))
    assert {"m.member.example", "go-m.member.example"} <= {r.name for r in required(view, HOSTS)}


def test_every_record_says_why_in_one_sentence_and_knows_its_domain() -> None:
    for record in required(FULL, HOSTS):
        assert record.why.endswith(".")
        assert record.domain == "member.example"


def test_during_a_rotation_only_the_live_pair_is_required() -> None:
    pairs = (("old", RSA, ED, "retiring"), ("now", RSA, ED, "live"), ("new", RSA, ED, "pending"), ("x", "", "", "gone"))
    keys = [r for r in required(PLAIN._replace(keys=pairs), HOSTS) if r.purpose.startswith("dkim")]
    assert {r.name.split(".")[0]: r.required for r in keys} == {
        "oldr": False, "olde": False, "nowr": True, "nowe": True, "newr": False, "newe": False,
    }  # fmt: skip


def test_reports_go_where_the_operator_says() -> None:
    hosts = dataclasses.replace(HOSTS, dmarc_rua="d@relay.test")
    assert required(PLAIN, hosts)[-1].value == "v=DMARC1; p=none; rua=mailto:d@relay.test"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("member.example", "@"),
        ("sl.member.example", "sl"),
        ("x._domainkey.news.member.co.uk", "x._domainkey.news"),
        ("member.co.uk", "@"),
    ],
)
def test_short_names_are_what_providers_ask_for(name: str, short: str) -> None:
    assert short_name(name) == short


def test_the_zone_file_reads_back_to_the_same_records() -> None:
    records = required(FULL, HOSTS)
    rrsets = dns.zonefile.read_rrsets(zone_file(records), rdclass=None)
    read = {(rrset.name.to_text().rstrip("."), rrset.rdtype): rrset for rrset in rrsets}
    assert len(read) == len(records)
    for record in records:
        rdata = read[record.name, dns.rdatatype.from_text(record.type)][0]
        found = b"".join(rdata.strings).decode() if record.type == "TXT" else rdata.to_text()
        assert found == record.value


def test_the_zone_file_says_what_a_line_takes_the_place_of_and_has_none_that_could_break_something() -> None:
    spf = next(r for r in required(PLAIN, HOSTS) if r.purpose == "spf")
    merged = spf._replace(value="v=spf1 mx include:spf.relay.test -all", note="It takes the place of another.")
    (held,) = dns.zonefile.read_rrsets(zone_file([merged]), rdclass=None)
    assert [rdata.to_text() for rdata in held] == ['"v=spf1 mx include:spf.relay.test -all"']
    assert zone_file([merged]).startswith("; member.example: It takes the place of another.\n")
    assert zone_file([spf._replace(value="", note="Could not be asked.")]) == "; member.example: Could not be asked.\n"


def test_the_dig_command_asks_for_the_record() -> None:
    assert dig_command(required(PLAIN, HOSTS)[1]) == "dig +short 2605r._domainkey.member.example TXT"


HOSTING = dataclasses.replace(HOSTS, hosted_zone="hosted.relay.test")


def test_every_record_below_the_domain_may_be_an_alias_into_the_relay_s_zone() -> None:
    records = required(FULL._replace(uuid="u-1"), HOSTING)
    aliases = {r.purpose: r.alias for r in records}
    assert aliases["dkim_rsa"] == "2605r._domainkey.u-1.hosted.relay.test."
    assert aliases["return_path"] == "sl.u-1.hosted.relay.test."
    assert aliases["tracking"] == "track-sl.u-1.hosted.relay.test."
    assert aliases["spf"] == aliases["mx"] == "", "an alias can't stand at the domain itself"
    key = next(r for r in records if r.purpose == "dkim_rsa")
    assert key.published is key
    assert key._replace(by_alias=True).published.type == "CNAME"
    assert key.alias_place == ("u-1", "hosted.relay.test")
    assert not any(r.alias for r in required(FULL, HOSTS)), "and none where no zone is set"


def test_the_relay_s_zone_holds_what_the_aliases_lead_to() -> None:
    keys = tuple((f"s{state}", RSA, ED, state) for state in ("pending", "live", "retiring", "removed"))
    options = dataclasses.replace(FULL.options, hosted=True)
    view = FULL._replace(uuid="u-1", keys=keys, options=options, spare="sremoved")
    held = hosted(required(view, HOSTING))
    names = {name.removesuffix(".u-1.hosted.relay.test"): (type, value) for name, type, value in held}
    assert len(names) == len(held)
    assert names["_posthouse-challenge"] == ("TXT", "posthouse-domain-verification=t0ken")
    assert names["sl"] == ("CNAME", "bounce.relay.test.")
    assert names["track-sl"] == ("CNAME", "track.relay.test.")
    for stem, there in (("spending", True), ("slive", True), ("sretiring", True), ("sremoved", False)):
        assert (f"{stem}r._domainkey" in names) is there
        assert (f"{stem}e._domainkey" in names) is there


def test_a_hosted_domain_publishes_a_place_for_its_next_pair_once() -> None:
    view = PLAIN._replace(uuid="u-1", options=Options(hosted=True), spare="next")
    spare = [r for r in required(view, HOSTING) if r.name.startswith("next")]
    assert [(r.name, r.type, r.value, r.required) for r in spare] == [
        (f"next{a}._domainkey.member.example", "CNAME", f"next{a}._domainkey.u-1.hosted.relay.test.", False)
        for a in "re"
    ]


@pytest.mark.parametrize(
    ("existing", "merged"),
    [
        (None, "v=spf1 include:s.test ~all"),
        ("v=spf1 -all", "v=spf1 include:s.test -all"),
        ("v=spf1 mx include:other.test -all", "v=spf1 mx include:other.test include:s.test -all"),
        ("v=spf1 a +all", "v=spf1 a include:s.test ~all"),
        ("v=spf1 a all", "v=spf1 a include:s.test ~all"),
        ("v=spf1 a", "v=spf1 a include:s.test"),
        ("v=spf1 redirect=x.test", "v=spf1 include:s.test redirect=x.test"),
        ("v=spf1 ?include:s.test -all", "v=spf1 include:s.test -all"),
        ("v=spf1 -all include:s.test", "v=spf1 include:s.test -all"),
        ("v=spf1 ip4:1.2.3.4/33 mx -all", "v=spf1 mx include:s.test -all"),
        ("v=spf1 ip4:0.0.0.0/0 mx -all", "v=spf1 mx include:s.test -all"),
        ("v=spf1 include=s.test \u2013all", "v=spf1 include:s.test -all"),
        ("v=spf2 ipv4:1.2.3.4; a:5.6.7.8 ~ all", "v=spf1 ip4:1.2.3.4 ip4:5.6.7.8 include:s.test ~all"),
    ],
)
def test_spf_is_merged_into_the_line_that_is_there(existing: str | None, merged: str) -> None:
    line, diff = merge_spf(existing, "s.test")
    assert line == merged
    assert f"+ {merged}" in diff
    assert existing is None or f"- {existing}" in diff
    assert merge_spf(line, "s.test") == (line, ""), "a merged line is left alone"


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("ada.ns.cloudflare.com", "Cloudflare"), ("NS1.Cloudflare.COM.", "Cloudflare"),
        ("ns1.dyna-ns.net", "Dynadot"), ("ns-12.awsdns-34.co.uk.", "Route 53"),
        ("NS51.DOMAINCONTROL.COM", "GoDaddy"), ("dns1.registrar-servers.com", "Namecheap"),
        ("ns1.digitalocean.com", "DigitalOcean"), ("ns-1-a.gandi.net", "Gandi"), ("dns10.ovh.net", "OVH"),
        ("ns1.bluehost.com", "Bluehost"), ("ns1.hostgator.com", "HostGator"), ("dns1.name-services.com", "eNom"),
        ("ns1.dynadot.com", "Dynadot"), ("ns1-01.azure-dns.com", "Azure DNS"),
        ("ns-cloud-a1.googledomains.com", "Google Cloud DNS"), ("ns1.googledomains.com", "Google Domains"),
        ("ns1.hover.com", "Hover"), ("ns1.dreamhost.com", "DreamHost"), ("ns1.linode.com", "Linode"),
        ("ns1.notcloudflare.com", "unknown"), ("cloudflare.com.evil.test", "unknown"), ("", "unknown"),
    ],
)  # fmt: skip
def test_the_provider_is_told_by_its_name_servers(host: str, label: str) -> None:
    assert provider([host, host.upper()]) == label


def test_a_mixture_of_providers_or_none_is_unknown() -> None:
    assert provider([]) == provider(["ns1.linode.com", "ns1.gandi.net"]) == "unknown"
    assert len(LABELS) == 17


def test_several_spf_lines_become_one() -> None:
    assert merge_several_spf([], "s.test") == "v=spf1 include:s.test ~all"
    assert merge_several_spf(["v=spf1 mx -all"], "s.test") == "v=spf1 mx include:s.test -all"
    assert merge_several_spf(["v=spf1 mx -all", "v=spf1 a ?all"], "s.test") == "v=spf1 mx a include:s.test ~all"
    # A redirect counts for nothing beside all: what it permitted is included.
    merged = merge_several_spf(["v=spf1 redirect=x.test", "v=spf1 redirect=y.test a ?all"], "s.test")
    assert merged == "v=spf1 include:x.test a include:s.test ~all"
