"""What a site is, whom an answer is charged to, and whose turn it is in a site's line."""

import dataclasses

import pytest
from pydantic import ValidationError

from relay.base.config import Config
from relay.base.config.delivery import ROLL_UPS, Delivery
from relay.base.storage.mail import Due
from relay.delivery.line import Line
from relay.delivery.route import Host, Route
from relay.delivery.signs import asked_seconds, charged, is_worn_out
from relay.delivery.sites import SiteTable
from relay.outcome import NOBODY, Outcome, Reply, Stage, concluded, from_failure, from_reply
from relay.queue import Ready


def table(*sites: dict) -> SiteTable:
    return SiteTable(Config(delivery=Delivery(sites=list(sites))))


def mx(*names: str, destination: str = "b.test") -> Route:
    return Route(destination, tuple(Host(n, ("192.0.2.1",), 25) for n in names), best=tuple(sorted(names)))


@pytest.mark.parametrize(("names", "site"), [
    (("aspmx.l.google.com", "alt1.aspmx.l.google.com"), "google"),
    (("smtp.google.com",), "google"),
    (("aspmx2.googlemail.com", "aspmx.l.google.com"), "google"),
    (("contoso-com.mail.protection.outlook.com",), "microsoft365"),
    (("contoso-com.a-v1.mx.microsoft",), "microsoft365"),
    (("hotmail-com.olc.protection.outlook.com",), "outlook.com"),
    (("mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net"), "yahoo"),
    (("mx01.mail.icloud.com", "mx02.mail.icloud.com"), "apple"),
    # A cluster for each customer: not one site.
    (("mx1.hc1.iphmx.com",), "mx1.hc1.iphmx.com"),
    (("mxa-001.pphosted.com", "mxb-001.pphosted.com"), "mxa-001.pphosted.com,mxb-001.pphosted.com"),
    # Never by registrable domain.
    (("server7.hosting.example",), "server7.hosting.example"),
    # What merely looks like it, and what is mixed with somebody else's.
    (("aspmx.l.google.com.evil.test",), "aspmx.l.google.com.evil.test"),
    (("notgoogle.com",), "notgoogle.com"),
    (("aspmx.l.google.com", "mx.evil.test"), "aspmx.l.google.com,mx.evil.test"),
])  # fmt: skip
def test_a_site_is_the_best_exchangers_rolled_up_by_the_table_alone(names: tuple[str, ...], site: str) -> None:
    assert table().of("b.test", mx(*names)) == site


def test_a_site_by_configuration_a_smarthost_and_a_domain_without_dns() -> None:
    t = table(
        {"name": "gateway", "exchangers": ["gate.example"], "lanes": 3, "rate": 2.5},
        {"name": "vip", "domains": ["Vip.test"]}, {"name": "google", "lanes": 7},
    )
    assert t.of("b.test", mx("a.gate.example")) == "gateway"
    assert (t.limits("gateway").lanes, t.limits("gateway").rate) == (3, 2.5)
    assert t.of("vip.test", mx("aspmx.l.google.com")) == "vip"
    assert (t.limits("google").lanes, t.limits("mx.far.test").lanes) == (7, 20)
    trouble = concluded("later", "4.4.3", "no answer", "route", "destination", NOBODY)
    assert t.of("b.test", trouble) == "b.test"
    smart = Route("out.test:587", (Host("out.test", ("192.0.2.1",), 587),), best=("out.test:587",))
    assert t.of("b.test", smart) == "out.test:587"
    assert t.of_host(smart.hosts[0], smart, "out.test:587") == "out.test:587"


def test_names_of_sites_are_bounded_and_still_differ() -> None:
    sets = [[f"mx{i}.a-rather-long-name-{n}.example" for i in range(20)] for n in (1, 2)]
    found = {table().of("b.test", mx(*names)) for names in sets}
    assert len(found) == 2
    assert all(len(name) <= 100 for name in found)


def test_who_said_it_is_charged_and_not_whose_mx_set_it_is() -> None:
    t = table()
    route = mx("aspmx.l.google.com")
    backup = Host("mx.evil.test", ("192.0.2.66",), 25, 20)
    assert t.of_host(route.hosts[0], route, "google") == "google"
    assert t.of_host(backup, route, "google") == "mx.evil.test"


@pytest.mark.parametrize("entry", [
    {"name": "x"}, {"name": "x", "exchangers": ["com"]}, {"name": "x", "exchangers": ["co.uk"]},
    {"name": "With Blank", "lanes": 1}, {"name": "x", "lanes": 0}, {"name": "x", "rate": 0},
    {"name": "x", "nolanes": 1},
])  # fmt: skip
def test_what_is_no_site_is_refused_in_the_configuration(entry: dict) -> None:
    with pytest.raises(ValidationError):
        Delivery(sites=[entry])


@pytest.mark.parametrize("key", ["exchangers", "domains"])
def test_one_name_belongs_to_one_site(key: str) -> None:
    with pytest.raises(ValidationError, match="more than one"):
        Delivery(sites=[{"name": "x", key: ["mx.far.test"]}, {"name": "y", key: ["MX.far.test"]}])
    with pytest.raises(ValidationError, match="the name 'x'"):
        Delivery(sites=[{"name": "x", "lanes": 1}, {"name": "x", "lanes": 2}])


def test_each_roll_up_has_a_source_and_a_suffix_of_its_own() -> None:
    suffixes = [s for known in ROLL_UPS for s in known.exchangers]
    assert len(suffixes) == len(set(suffixes))
    assert all(known.source for known in ROLL_UPS)


def answer(text: str, stage: Stage) -> Outcome:
    return from_reply(Reply(int(text[:3]), (text[4:].encode(),)), stage)


BLAMED = [
    # Too much, said of this relay: the site.
    ("421 4.3.2 closing", "greeting", "site"),
    ("421 too many connections from your host", "greeting", "site"),
    ("421 4.3.2 closing", "rcpt", "site"),
    ("451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77714)", "mail", "site"),
    ("451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.", "mail", "site"),
    ("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints", "mail", "site"),
    ("421 4.7.28 Gmail has detected an unusual rate of mail originating from your IP address.", "dot", "site"),
    ("421 4.7.0 This message does not meet IPv6 sending guidelines regarding PTR records.", "dot", "site"),
    ("452 4.3.2 not now", "dot", "site"), ("452 4.4.5 congested", "ehlo", "site"),
    ("450 too many messages from your host", "mail", "site"),
    # About a domain of the sender's: that domain's mail.
    ("421 4.7.28 unusual rate of mail originating from your DKIM domain [a.test      35].", "dot", "sender"),
    ("421 4.7.28 unusual rate of unsolicited mail originating from your SPF domain [a.test].", "dot", "sender"),
    ("421 4.7.28 unusual rate of unsolicited mail containing one of your URL domains.", "dot", "sender"),
    ("421 4.7.26 rate limited because it is unauthenticated. SPF [a.test] with ip: [192.0.2.1] = did not pass", "dot",
     "sender"),
    ("421 4.7.0 suspicious due to the very low reputation of the sending domain.", "dot", "sender"),
    # … unless it is the relay's own, which is in everybody's mail.
    ("421 4.7.28 unusual rate of mail originating from your DKIM domain [pool.relay.test 35].", "dot", "site"),
    ("421 4.7.28 unusual rate of mail originating from your SPF domain.", "dot", "site"),
    # At RCPT, and greylisting anywhere: the recipient's domain.
    ("451 4.7.1 come back later", "rcpt", "domain"), ("450 4.7.1 greylisted", "rcpt", "domain"),
    ("451 4.7.1 Greylisting in action, please come back later", "dot", "domain"),
    # One mailbox: nobody.
    ("450 4.2.1 The user is receiving mail at a rate that prevents additional messages", "rcpt", "nobody"),
    ("452 4.2.2 mailbox full", "dot", "nobody"), ("421 4.2.1 mailbox busy", "rcpt", "nobody"),
    ("451 4.3.0 lookup failed", "rcpt", "nobody"), ("550 5.7.1 no", "dot", "nobody"), ("250 2.0.0 ok", "dot", "nobody"),
    # No conversation to be had: the address.
    ("554 no SMTP service here", "greeting", "address"), ("451 4.3.0 later", "greeting", "address"),
]


@pytest.mark.parametrize(("text", "stage", "who"), BLAMED)
def test_words_decide_who_is_charged(text: str, stage: Stage, who: str) -> None:
    assert charged(answer(text, stage), ours={"relay.test"}, return_path="relay.test") == who


def test_silence_is_charged_to_the_address_and_our_own_bounds_to_nobody() -> None:
    assert charged(from_failure("refused", "connect")) == "address"
    assert charged(from_failure("timeout", "greeting")) == "address"
    assert charged(from_failure("busy", "connect")) == "nobody"
    assert charged(from_failure("closed", "dot")) == "nobody"
    assert charged(dataclasses.replace(answer("421 4.7.0 no", "dot"), our_tls=True)) == "nobody"


@pytest.mark.parametrize(("text", "seconds"), [
    ("421 4.7.0 try again in 10 minutes", 600), ("451 4.7.1 retry after 300 seconds", 300),
    ("421 please wait 2 hours", 7200), ("451 4.7.1 Greylisted, come back in 5min", 300), ("421 4.7.0 no", 0),
    ("421 4.7.0 192.0.2.1 try again later; see error 4717", 0), ("421 4.7.0 Try again later. 30 messages", 0),
])  # fmt: skip
def test_how_long_a_host_asks_us_to_stay_away(text: str, seconds: float) -> None:
    assert asked_seconds(text) == seconds


@pytest.mark.parametrize(("text", "worn_out"), [
    ("421 4.4.2 mx.far.test Error: timeout exceeded", True), ("421 idle for too long", True),
    ("421 too many messages in this connection", True), ("421 4.7.28 an unusual rate of mail", False),
    ("421 4.3.2 closing", False), ("451 4.3.0 later", False),
])  # fmt: skip
def test_only_a_kept_connection_that_has_ended_is_replaced(text: str, worn_out: bool) -> None:
    assert is_worn_out(answer(text, "mail")) == worn_out
    assert is_worn_out(from_failure("closed", "mail"))


def ready(number: int, member: int, sender: str, destination: str) -> Ready:
    blank: dict = {f.name: None for f in dataclasses.fields(Due)}
    due = Due(**blank | {
        "id": number, "member_id": member, "mail_from": f"x@{sender}", "destination": destination, "return_path": "",
    })
    return Ready(due, b"", b"", (0.0, 0.0))


def taken(line: Line) -> list[int]:
    found = []
    while (one := line.take()) is not None:
        found.append(one.due.id)
    return found


def test_members_take_turns_and_then_domains() -> None:
    line = Line(ready(i, 1, "a.test", "b.test") for i in range(4))
    line.extend([ready(10, 1, "a.test", "c.test"), ready(20, 2, "z.test", "b.test"), ready(21, 2, "z.test", "b.test")])
    assert taken(line) == [0, 20, 10, 21, 1, 2, 3]
    assert len(line) == 0


def test_what_is_blocked_stays_and_what_goes_back_comes_first() -> None:
    line = Line([ready(1, 1, "a.test", "b.test"), ready(2, 1, "a.test", "c.test"), ready(3, 1, "a.test", "b.test")])

    def blocked(sender: str, destination: str) -> bool:
        return destination == "b.test"

    assert line.open(blocked, 9) == 1
    first = line.take(blocked)
    assert first is not None
    assert first.due.id == 2
    assert line.take(blocked) is None
    again = line.take()
    assert again is not None
    line.put_back(again)
    assert (taken(line), len(line)) == ([1, 3], 0)


def test_beyond_a_number_of_turns_everything_is_taken_out() -> None:
    line = Line([*(ready(i, 1, "a.test", "b.test") for i in range(5)), ready(9, 2, "z.test", "b.test")])
    assert sorted(r.due.id for r in line.beyond(2)) == [1, 2, 3, 4]
    assert [r.due.id for r in line.remove({9})] == [9]
    assert (len(line), taken(line)) == (1, [0])
