"""The arithmetic of standing: who is judged, by what, and how far the end is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.config import Config
from relay.base.events import BOUNCED, COMPLAINED, DEFERRED
from relay.base.secrets import Vault
from relay.base.storage.standing import Failed, Tally
from relay.notices.texts import Figures, standing
from relay.standing import Counts, judge, texts
from relay.standing.arithmetic import Stage, wilson_lower
from relay.standing.feed import Seen, read
from relay.standing.watch import hashed

CONFIG = Config()


@pytest.mark.parametrize(
    ("k", "n", "lower"),
    # Wilson's score interval, to four places.
    [(0, 10, 0.0), (1, 13, 0.0137), (40, 500, 0.0593), (5, 100, 0.0215), (80, 1000, 0.0647), (10, 10, 0.7225)],
)
def test_the_lower_bound_is_that_of_the_books(k: int, n: int, lower: float) -> None:
    assert wilson_lower(k, n) == pytest.approx(lower, abs=5e-5)


@given(st.integers(0, 3000), st.integers(1, 3000))
def test_the_lower_bound_lies_under_the_share_and_rises_with_each_bounce(k: int, n: int) -> None:
    k = min(k, n)
    assert 0.0 <= wilson_lower(k, n) <= k / n
    assert wilson_lower(k, n) <= wilson_lower(k + 1, n + 1)
    assert wilson_lower(k, n + 1) <= wilson_lower(k, n)


def tally(bounces: int = 0, domains: int = 3, refused: int = 0, complaints: int = 0, complained_at: int = 3) -> Tally:
    return Tally(bounces, min(domains, bounces), refused, complaints, min(complained_at, complaints))


def bounced(delivered: int, bounced: int, **wide: int) -> Counts:
    return Counts(delivered, bounced, failures=tally(bounced, **wide))


def complained(delivered: int, complaints: int, **wide: int) -> Counts:
    return Counts(delivered, failures=tally(complaints=complaints, **wide))


@pytest.mark.parametrize(
    ("counts", "stage"),
    [
        (bounced(12, 1), "good"),
        (bounced(0, 49), "good"),  # too few to judge, whatever they say
        (bounced(460, 40), "suspended"),
        (Counts(delivered=500, late=40, failures=tally(40)), "suspended"),  # the same recipients, heard of later
        (bounced(475, 25), "notice"),
        (bounced(470, 30), "slowed"),
        (Counts(delivered=100, excused=4000), "good"),
        (complained(60, 1), "good"),  # one is nobody's habit
        (complained(1000, 3), "suspended"),
        (complained(10_000, 8), "notice"),
        # Told of forty times, but three people.
        (Counts(delivered=460, bounced=40, failures=tally(3)), "good"),
        # One place's word slows a member down and doesn't stop it, unless this relay was refused often itself.
        (bounced(460, 40, domains=2), "slowed"),
        (bounced(460, 40, domains=2, refused=40), "slowed"),
        (bounced(0, 400, domains=1, refused=49), "slowed"),
        (bounced(0, 400, domains=1, refused=50), "suspended"),
        (bounced(0, 400, domains=3, refused=0), "suspended"),
        (complained(1000, 300, complained_at=2), "slowed"),
        # What bounced elsewhere doesn't lend complaints its width.
        (Counts(1000, 10, failures=tally(10, 8, 8, 300, 1)), "slowed"),
    ],
)
def test_stages(counts: Counts, stage: Stage) -> None:
    assert judge(counts, CONFIG).stage == stage


@given(
    st.integers(0, 2000), st.integers(0, 300), st.integers(0, 100), st.integers(0, 30), st.integers(0, 5),
    st.integers(0, 60),
)
def test_what_is_left_is_exact(
    delivered: int, bounced: int, late: int, complaints: int, domains: int, refused: int
) -> None:
    refused = min(refused, bounced)

    def then(bounces: int = 0, complained: int = 0) -> Counts:
        """After so many more, each at a domain of its own."""
        k = Tally(
            bounced + late + bounces, min(domains, bounced + late) + bounces, refused + bounces,
            complaints + complained, min(domains, complaints) + complained,
        )
        return Counts(delivered, bounced + bounces, late, failures=k)

    judgement = judge(then(), CONFIG)
    left = judgement.bounces.left
    assert left is not None
    assert judge(then(left), CONFIG).stage == "suspended"
    if left and judgement.stage != "suspended":
        fewer = judge(then(left - 1), CONFIG)
        assert fewer.bounces.left == 1
        assert not (fewer.bounces.wide and fewer.bounces.reached >= 1 and fewer.enough)
    some = judgement.complaints.left
    if some:
        assert judge(then(complained=some), CONFIG).stage == "suspended"
        assert judge(then(complained=some - 1), CONFIG).complaints.left == 1


def failed(
    reply: str, type_: str = BOUNCED, member: int = 1, *, counts: bool = True, to: str = "bob@sink.test",
    **data: object,
) -> Failed:
    facts = {"recipient": to, "host": "mx.sink.test", "reply": reply, **data}
    return Failed(member, 1200.0, type_, facts, to, counts)


def test_what_comes_from_outside_counts_only_with_somebody_who_vouches() -> None:
    counted, who, _ = read(
        [
            failed("550 5.1.1 no such user", to="a@sink.test"),
            failed("domain takes no mail", to="b@null.test", ownFault=False),
            failed("451 4.3.0 still busy", to="c@slow.test", ownFault=False),
            failed("550 5.1.1 gone", to="d@sink.test", late=True),
            failed("550 5.1.1 gone", to="e@sink.test", late=True, vouchedBy="spf sink.test"),
            failed("", COMPLAINED, to="f@sink.test"),
            failed("", COMPLAINED, to="g@sink.test", vouchedBy="dkim sink.test"),
            failed("", COMPLAINED, to="h@sink.test", vouchedBy="dkim sink.test", counts=False),
            failed("450 4.2.1 mailbox busy", DEFERRED, vouchedBy="dkim sink.test"),
        ],
        keep=2,
    )
    assert counted == {(1, 1200.0): {"bounced": 3, "late": 1}}
    assert [(s.kind, s.address[0]) for s in who] == [
        ("refused", "a"), ("failed", "b"), ("failed", "c"), ("late", "e"), ("complaint", "g"),
    ]


def test_rows_of_who_failed_tell_no_address_and_fold_what_is_one() -> None:
    vault = Vault(b"0" * 32)

    def row(address: str, member: int = 1) -> tuple[bytes, bytes]:
        [one] = hashed(vault, [Seen(member, "refused", address, 0.0)])
        return one.who, one.domain

    bob = row("bob@sink.test")
    assert [len(part) for part in bob] == [16, 8]
    assert {row(a) for a in ("Bob+tag@sink.test", '"bob"@SINK.test', "bob+1@sink.test")} == {bob}
    assert row("carol@sink.test") == (row("carol@sink.test")[0], bob[1])
    # Whoever has a domain has as many names under it as it likes.
    assert row("bob@a.sink.test")[1] == row("bob@b.sink.test")[1] == bob[1]
    assert row("bob@shop.co.uk")[1] != row("bob@other.co.uk")[1]
    assert row("bob@sink.test", member=2) != bob
    assert row("no address") == row("no address")


def test_blame_of_the_relay_is_excused_and_seen() -> None:
    counted, _, seen = read(
        [
            failed("550 5.1.1 no such user", ownFault=False, **{"class": "mailbox_unknown"}),
            failed("550 5.7.1 listed", ownFault=True, **{"class": "reputation"}),
            failed("550 5.1.1 gone", ownFault=False, late=True, vouchedBy="spf", **{"class": "mailbox_unknown"}),
            failed("550 5.7.1 listed", ownFault=True, counts=False, **{"class": "reputation"}),  # a test message
            failed("421 4.7.0 our address is listed: client host 192.0.2.1 blocked by zen.spamhaus.org", DEFERRED),
            failed("450 4.2.1 mailbox busy", DEFERRED),
            failed("451 4.7.1 greylisted, come again", DEFERRED),
            failed("TLS handshake failed", DEFERRED),  # our words for a host's trouble
        ],
        keep=2,
    )
    assert counted == {(1, 1200.0): {"bounced": 1, "excused": 1, "late": 1}}
    [one] = seen
    assert (one.kind, one.count, len(one.examples)) == ("reputation", 3, 2)


def test_the_sentences_hold_the_members_own_numbers() -> None:
    judgement = judge(bounced(460, 40, domains=4, refused=38), CONFIG)
    assert texts.reason(judgement, CONFIG) == (
        "40 bounces of 500 finished recipients in 24 hours (8 %; lower bound 5.9 %, allowed 5 %)"
    )
    bounces, complaints = texts.said(judgement, CONFIG)
    assert bounces.reckoning.startswith("(0.0800 + 0.0038 − 1.96·√(0.0001472 + 0.0000038)) / 1.0077 = 5.9 %")
    assert (bounces.gone, bounces.left) == (100, "The limit is reached.")
    assert complaints.left == "3 more complaints without further deliveries would suspend you."
    measure, m = texts.worse(judgement)
    figures = Figures(measure, m.left, texts.reason(judgement, CONFIG), texts.advice(judgement))
    notice = standing("suspended", "alice", figures, CONFIG)
    assert notice.subject == "Sending for alice has been suspended"
    assert notice.text.startswith("Hello alice,\n\nbecause of your bounces, no more mail is accepted")
    assert texts.reason(judgement, CONFIG) in notice.text
    assert "/account#standing" in notice.text
    [narrow, _] = texts.said(judge(bounced(460, 40, domains=1, refused=38), CONFIG), CONFIG)
    assert narrow.left == (
        "The limit is reached; a suspension also needs hard bounces at 3 recipient domains (now 1), or 50 "
        "recipients refused to this relay itself (now 38)."
    )
    [_, narrow] = texts.said(judge(complained(1000, 30, complained_at=2), CONFIG), CONFIG)
    assert narrow.left == "The limit is reached; a suspension also needs complaints at 3 recipient domains (now 2)."


def test_the_formula_says_what_the_arithmetic_does() -> None:
    other = Config()
    other.__dict__["standing"] = other.standing.model_copy(
        update={"suspend_domains": 7, "suspend_refused": 91, "min_volume": 66, "min_complaints": 4}
    )
    said = texts.formula(other)
    for part in ("7 or more recipient domains", "refused 91 or more", "with n under 66", "fewer than 4 complaints"):
        assert part in said
    for counts, stage in ((bounced(0, 80, domains=6), "slowed"), (bounced(0, 80, domains=7), "suspended"),
                          (bounced(0, 99, domains=1, refused=90), "slowed"),
                          (bounced(0, 99, domains=1, refused=91), "suspended")):
        assert judge(counts, other).stage == stage
