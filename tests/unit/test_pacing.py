"""A receiving site is treated as it likes to be: slower when it says so, faster while all goes well."""

import random

import pytest

from relay.base.config import Config
from relay.base.config.delivery import Delivery
from relay.base.storage.sites import Grant, Site
from relay.delivery.pacing import Pacer, PacingSettings
from relay.delivery.route import Host, Route
from relay.delivery.sites import SiteTable
from relay.outcome import Outcome, Peer, Reply, Stage, from_failure, from_reply

FAR = "mx.b.test"
NOBODY = ("a.test", "b.test")
HERE = ("192.0.2.1", 25)


class Hands:
    """A clock whose hands the test moves."""

    at = 1000.0

    def __call__(self) -> float:
        return self.at


def said(text: str, stage: Stage = "dot", host: str = FAR) -> Outcome:
    return from_reply(Reply(int(text[:3]), (text[4:].encode(),)), stage, Peer(host, HERE[0]))


OK = said("250 2.0.0 ok")
TOO_MUCH = said("421 4.7.0 slow down", "mail")


def make(hands: Hands | None = None, delivery: dict | None = None, **settings: float) -> Pacer:
    config = Config(delivery=Delivery(**(delivery or {})))
    return Pacer(hands or Hands(), PacingSettings(**settings), SiteTable(config), random.Random(1))


def hear(pacer: Pacer, outcome: Outcome, site: str = FAR, times: int = 1) -> None:
    for _ in range(times):
        pacer.heard(site, *NOBODY, HERE, outcome)


def fill(pacer: Pacer, site: str = FAR) -> int:
    """Open as many lanes as may be; how many."""
    lanes = 0
    while lanes < 1000 and pacer.start(site):
        lanes += 1
    return lanes


def row(name: str = FAR, **more: float | bool | None) -> Site:
    given = {"lanes": 10.0, "rate": None, "paused_until": 0.0, "failures": 0, "held": False} | more
    return Site(name, **given, says="421 no", host=FAR, source="learnt", changed_at=0.0)


def grant(pacer: Pacer, hands: Hands, lanes: int, total: int = 20, site: Site | None = None) -> None:
    pacer.granted({FAR: Grant(lanes, total, site)}, hands.at, hands.at)


def test_a_site_is_tried_by_one_conversation_and_opens_up_with_success_and_a_share() -> None:
    hands = Hands()
    pacer = make(hands)
    assert fill(pacer) == 1
    assert pacer.demands({FAR: 100}) == {}, "one lane of a site in no trouble is nobody's business"
    hear(pacer, OK)
    assert fill(pacer) == 0, "the free lane is one"
    assert pacer.demands({FAR: 100})[FAR].lanes == 5
    grant(pacer, hands, 20)
    assert fill(pacer) == 4
    hear(pacer, OK, times=400)
    assert fill(pacer) == 15
    hands.at += 11
    assert not pacer.may_continue(FAR), "a share that was not renewed is over"


@pytest.mark.parametrize("text", ["421 4.3.2 closing", "451 4.7.1 too fast", "452 4.4.5 congested"])
def test_too_much_pauses_the_site_and_is_one_sign_however_often_it_is_heard(text: str) -> None:
    hands = Hands()
    pacer = make(hands, pause_seconds=10)
    hear(pacer, OK)
    grant(pacer, hands, 20)
    assert fill(pacer) == 5
    for _ in range(5):
        hear(pacer, said(text))
        assert not pacer.may_continue(FAR)
        pacer.ended(FAR)
    assert [s.name for s in pacer.signs] == [FAR]
    assert (pacer.start(FAR), pacer.wait(FAR), pacer.wait("mx.other.test")) == (False, 10, 0)
    hands.at += 10
    assert fill(pacer) == 0, "there is a row now: the first lane needs a share"
    assert pacer.demands({FAR: 3})[FAR].lanes == 2
    grant(pacer, hands, 1, 1, row(failures=1))
    assert fill(pacer) == 1


def test_pauses_grow_until_something_works_and_what_a_host_asks_for_is_kept_within_the_bound() -> None:
    hands = Hands()
    pacer = make(hands, pause_seconds=10, max_pause_seconds=35)
    pauses = []
    for _ in range(4):
        hear(pacer, TOO_MUCH)
        pauses.append(pacer.wait(FAR))
        hands.at += pauses[-1]
    assert pauses == [10, 20, 35, 35]
    pacer = make(hands, pause_seconds=10, max_pause_seconds=300)
    hear(pacer, said("421 4.7.0 try again in 2 minutes", "mail"))
    assert pacer.wait(FAR) == 120
    hear(pacer, said("421 4.7.0 try again in 2 hours", "mail"), "mx.c.test")
    assert pacer.wait("mx.c.test") == 300


def test_what_others_have_learnt_holds_here_and_ends_here() -> None:
    hands = Hands()
    pacer = make(hands)
    pacer.rows([row(paused_until=hands.at + 60, failures=2, lanes=2.0)], hands.at)
    assert (pacer.is_paused(FAR), pacer.wait(FAR)) == (True, 60)
    pacer.rows([row(held=True)], hands.at)
    hands.at += 10_000
    assert pacer.is_paused(FAR), "the operator's pause has no end"
    pacer.rows([], hands.at)
    assert fill(pacer) == 1
    # A machine whose clock is a day ahead pauses nobody for a day.
    pacer.rows([row(paused_until=hands.at + 86_400)], hands.at)
    assert pacer.wait(FAR) == 600


def test_a_bounce_says_the_host_is_well_and_greylisting_stops_nobody_else() -> None:
    pacer = make()
    hear(pacer, said("550 5.1.1 nobody", "rcpt"))
    assert pacer.lanes(FAR)[1] == 1
    assert pacer.demands({}) == {}
    for _ in range(10):
        hear(pacer, said("450 4.7.1 greylisted", "rcpt"))
    assert (pacer.wait(FAR), pacer.signs) == (0, [])
    blocked = pacer.blocked(FAR)
    assert blocked is not None
    pacer.begin(FAR, "a.test", "b.test")
    assert (blocked("a.test", "b.test"), blocked("a.test", "c.test")) == (True, False)


def test_a_blamed_senders_domain_alone_is_paused_and_tried_again_by_one() -> None:
    hands = Hands()
    pacer = make(hands, pause_seconds=10)
    hear(pacer, said("421 4.7.28 unusual rate of mail originating from your DKIM domain [a.test 35]"))
    assert not pacer.is_paused(FAR)
    assert [s.name for s in pacer.signs] == [f"{FAR}/a.test"]
    blocked = pacer.blocked(FAR)
    assert blocked is not None
    assert (blocked("a.test", "b.test"), blocked("z.test", "b.test")) == (True, False)
    hands.at += 10
    again = pacer.blocked(FAR)
    assert again is not None
    assert not again("a.test", "b.test")
    pacer.begin(FAR, *NOBODY)
    assert again("a.test", "b.test"), "one tries"
    pacer.done(FAR, *NOBODY)
    hear(pacer, OK)
    assert pacer.healed() == [f"{FAR}/a.test"]
    assert pacer.blocked(FAR) is None


def test_an_address_that_does_not_answer_is_charged_and_no_site() -> None:
    hands = Hands()
    pacer = make(hands, pause_seconds=10)
    route = Route("b.test", (Host(FAR, (HERE[0], "192.0.2.2"), 25),), best=(FAR,))
    visit = pacer.visit(FAR, *NOBODY)
    assert visit.enters(route, route.hosts[0], HERE[0])
    visit.heard(route, route.hosts[0], HERE[0], from_failure("refused", "connect"))
    assert not visit.enters(route, route.hosts[0], HERE[0])
    assert visit.enters(route, route.hosts[0], "192.0.2.2")
    visit.heard(route, route.hosts[0], "192.0.2.2", from_failure("timeout", "connect"))
    visit.over(from_failure("timeout", "connect"))
    assert (pacer.wait(FAR), pacer.signs) == (0, [])
    blocked = pacer.blocked(FAR)
    assert blocked is not None
    assert (blocked(*NOBODY), blocked("a.test", "c.test")) == (True, False)
    assert pacer.next_wait({}) == 10
    hands.at += 10
    assert pacer.next_wait({}) is None
    assert pacer.blocked(FAR) is None


def test_a_strangers_mx_set_neither_pauses_a_provider_nor_adds_conversations_there() -> None:
    pacer = make()
    google = Host("aspmx.l.google.com", ("192.0.2.9",), 25, 10)
    own = Host("mx.evil.test", ("192.0.2.66",), 25, 10)
    route = Route("evil.test", (own, google), best=("aspmx.l.google.com", "mx.evil.test"))
    site = pacer.table.of("evil.test", route)
    assert site == "aspmx.l.google.com,mx.evil.test"
    visit = pacer.visit(site, *NOBODY)
    assert visit.enters(route, own, "192.0.2.66")
    visit.heard(route, own, "192.0.2.66", said("421 4.7.0 no", "mail", "mx.evil.test"))
    assert (pacer.is_paused(site), pacer.is_paused("google")) == (True, False)
    # Google is asked, by a lane of Google's.
    assert visit.enters(route, google, "192.0.2.9")
    assert not pacer.start("google")
    visit.heard(route, google, "192.0.2.9", said("421 4.7.0 no", "mail", "aspmx.l.google.com"))
    assert pacer.is_paused("google")


def test_the_walk_ends_at_too_much_for_all_exchangers_of_the_site() -> None:
    pacer = make()
    hosts = tuple(Host(f"mx{i}.far.test", (f"192.0.2.{i}",), 25, i) for i in range(5))
    other = Host("backup.hoster.test", ("192.0.2.99",), 25, 9)
    route = Route("far.test", (*hosts, other), best=("mx0.far.test",))
    visit = pacer.visit("mx0.far.test", *NOBODY)
    assert visit.enters(route, hosts[0], "192.0.2.0")
    visit.heard(route, hosts[0], "192.0.2.0", said("421 4.7.0 no", "mail", "mx0.far.test"))
    assert [visit.enters(route, h, h.ips[0]) for h in (*hosts[1:], other)] == [False] * 4 + [True]


def test_rate_after_a_sign_and_its_recovery() -> None:
    hands = Hands()
    pacer = make(hands, pause_seconds=1, burst=1)
    pacer.rows([row(rate=2.0)], hands.at)
    grant(pacer, hands, 10, 10, row(rate=2.0))
    assert pacer.start(FAR)
    assert not pacer.may_continue(FAR)
    assert pacer.wait(FAR) == pytest.approx(0.5)
    assert pacer.next_wait({FAR: 1}) == pytest.approx(0.5)
    grant(pacer, hands, 5, 10, row(rate=2.0))
    hands.at += 0.5
    assert pacer.may_continue(FAR)
    assert pacer.wait(FAR) == pytest.approx(1.0), "half of the lanes, half of the rate"
    grant(pacer, hands, 10, 10, None)
    assert pacer.wait(FAR) == 0
    assert all(pacer.may_continue(FAR) for _ in range(100))


def test_configured_bounds_hold() -> None:
    hands = Hands()
    pacer = make(hands, {"sites": [{"name": FAR, "lanes": 2, "rate": 10.0}]}, burst=3)
    hear(pacer, OK, times=50)
    grant(pacer, hands, 2, 2)
    assert fill(pacer) == 2
    carried = 2
    for _ in range(100):
        while pacer.may_continue(FAR):
            carried += 1
        hands.at += 0.1
        grant(pacer, hands, 2, 2)
    assert 100 <= carried <= 105


def test_memory_is_bounded_and_open_lanes_are_kept() -> None:
    pacer = make(max_sites=50)
    assert pacer.start("mx.busy.test")
    for i in range(500):
        pacer.heard(f"mx{i}.test", "a.test", f"{i}.test", (f"192.0.2.{i}", 25), OK)
        pacer.heard("mx.busy.test", "a.test", f"{i}.test", (f"192.0.2.{i}", 25), from_failure("refused", "connect"))
    assert len(pacer) == 50
    assert pacer.lanes("mx.busy.test")[0] == 1
    pacer.ended("mx.busy.test")
    pacer.ended("mx.busy.test")
    assert pacer.lanes("mx.busy.test")[0] == 0
