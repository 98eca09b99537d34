"""Reading what comes back: the forms that mail systems write, and octets that nobody wrote on purpose."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.bounces.classify import REASONS, classify
from relay.bounces.parse import Fate, Report, parse
from relay.bounces.record import judge

CASES = sorted((Path(__file__).parents[1] / "data" / "bounces").iterdir())
SAMPLES = [(c / "message.eml").read_bytes() for c in CASES]
BOB = "bob@far.test"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@pytest.mark.parametrize("ends", ["crlf", "lf"])
def test_a_sample_is_read_for_what_it_is(case: Path, ends: str) -> None:
    raw = (case / "message.eml").read_bytes()
    expected = json.loads((case / "expect.json").read_text())
    report = parse(raw if ends == "crlf" else raw.replace(b"\r\n", b"\n"))
    assert report.kind == expected["kind"], report
    fate = report.fate_of(BOB)
    suppresses = report.kind == "complaint" and report.feedback == "abuse"
    if fate is not None:
        assert fate.action == expected["action"], fate
        final, why = judge(fate)
        suppresses = final and why.address_fault and fate.action != "delivered"
        if "final" in expected:
            assert final is expected["final"], (fate, why)
        if "class" in expected:
            assert why.class_ == expected["class"], (fate, why)
        assert why.own_fault is expected.get("own", False), (fate, why)
    assert suppresses is expected["suppress"]
    if "path" in expected:
        assert expected["path"] in report.paths
    if "mark" in expected:
        assert report.marks == (expected["mark"],)


@given(st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_any_octets_are_read_without_an_exception(raw: bytes) -> None:
    assert isinstance(parse(raw), Report)


@given(st.sampled_from(SAMPLES), st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_sample_cut_and_spoiled_is_read_without_an_exception(raw: bytes, data: st.DataObject) -> None:
    spoiled = bytearray(raw[: data.draw(st.integers(0, len(raw)))])
    for at in data.draw(st.lists(st.integers(0, max(0, len(spoiled) - 1)), max_size=8)):
        if spoiled:
            spoiled[at] = data.draw(st.integers(0, 255))
    report = parse(bytes(spoiled))
    for fate in report.fates:
        judge(fate)
    report.fate_of(BOB)


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: multipart/report; boundary=x\r\n\r\n" + b"--x\r\n" * 200_000,
        b"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n" + b"--\r\n" * 100_000,
        b"Subject: " + b"re: " * 200_000 + b"\r\n\r\n",
        b"From: mailer-daemon@x\r\n\r\n" + b"user " * 200_000,
        b"From: mailer-daemon@x\r\n\r\n" + b"message " * 200_000,
        b"From: mailer-daemon@x\r\nContent-Type: text/html\r\n\r\n<html" + b"<" * 800_000,
        b"X: " + b" \r\n" * 300_000,
        b"Content-Type: a/b" + b";a=b" * 200_000 + b"\r\n\r\n",
        b"Content-Type: message/delivery-status\r\n\r\n" + b"Action: failed\r\n\r\n" * 60_000,
    ],
    ids=["delimiters", "no-boundary", "subject", "user", "message", "html", "folds", "parameters", "groups"],
)
def test_hostile_octets_cost_no_more_than_their_number(raw: bytes) -> None:
    began = time.process_time()
    for fate in parse(raw).fates:
        judge(fate)
    # Linear reading of a MiB takes some 50 ms; what grows with the square takes minutes.
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("status", "text", "permanent", "class_", "own"),
    [
        ("5.1.1", "550 5.1.1 no such user", True, "mailbox_unknown", False),
        ("5.1.1", "550 5.1.1 Blocked: listed at zen.spamhaus.org", True, "reputation", True),
        ("", "550 User unknown", True, "mailbox_unknown", False),
        ("5.7.30", "REQUIRETLS support required: the remote host does not offer REQUIRETLS", True, "tls", False),
        ("5.7.30", "550 5.7.30 REQUIRETLS support required", True, "tls", False),
        ("", "550 5.7.30 Basic authentication is not supported for Client Submission.", True, "policy", False),
        ("", "450 User unknown", False, "mailbox_unknown", False),
        ("4.2.2", "452 4.2.2 over quota", False, "mailbox_full", False),
        ("5.2.1", "550 5.2.1 The account is disabled", True, "mailbox_disabled", False),
        ("5.7.1", "550 5.7.1 Message rejected as spam", True, "content", False),
        ("5.7.1", "550 5.7.1 Client host rejected: cannot find your hostname", True, "reputation", True),
        ("5.7.25", "550 5.7.25 The IP address does not have a PTR record", True, "reputation", True),
        ("4.7.0", "421 4.7.0 Too many connections from your IP", False, "rate", True),
        ("4.7.1", "451 4.7.1 Greylisting in action", False, "greylisted", True),
        ("5.7.1", "550 5.7.1 refused by policy", True, "policy", False),
        ("5.1.2", "550 5.1.2 Host unknown", True, "domain_unknown", False),
        ("5.1.7", "553 5.1.7 bad sender address", True, "sender", False),
        ("5.3.4", "552 5.3.4 message size exceeds limit", True, "too_large", False),
        ("5.4.6", "554 5.4.6 too many hops", True, "loop", False),
        ("", "", False, "unknown", False),
        ("nonsense", "nothing that could be read", False, "unknown", False),
    ],
)
def test_the_table_of_classes(status: str, text: str, permanent: bool, class_: str, own: bool) -> None:
    found = classify(status, text)
    assert (found.permanent, found.class_, found.own_fault) == (permanent, class_, own)
    assert found.reason == REASONS[found.class_]


def test_of_several_recipients_the_named_one_counts_else_the_least_grave() -> None:
    failed, delayed = Fate("failed", "5.1.1", final="a@x.test"), Fate("delayed", "4.2.2", final="b@x.test")
    report = Report("bounce", fates=(failed, delayed))
    assert report.fate_of("A@x.test") is failed
    assert report.fate_of("elsewhere@y.test") is delayed
