"""Writing reports: what stands in the line it stands in, whatever characters come from outside."""

from __future__ import annotations

import base64
import email
import email.policy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.storage.mail import ReportedRecipient, ReportFacts
from relay.bounces.parse import parse
from relay.bounces.report import compose

_TEXT = st.text(max_size=200)


def facts(address: str = "bob@sink.test", kind: str = "failed", **more: Any) -> ReportFacts:
    """One recipient's refusal."""
    who = {k: more.pop(k) for k in ("orcpt", "code", "enhanced", "says", "host", "late") if k in more}
    person = ReportedRecipient(
        7, address, who.get("orcpt"), who.get("code", 550), who.get("enhanced", "5.1.1"),
        who.get("says", "550 5.1.1 who?"), who.get("host", "mx.sink.test"), 1_800_000_000.0, 1_800_400_000.0,
        who.get("late", False),
    )  # fmt: skip
    whole = ReportFacts(
        kind, (person,), 1, "q1", "news@example.test", "news@example.test", "<1@example.test>", None, None, "Hello",
        1_800_000_000.0, b"From: news@example.test\r\nMessage-ID: <1@example.test>\r\n\r\nHi\r\n",
    )  # fmt: skip
    return replace(whole, **more)


def written(shown: ReportFacts, to: str = "postmaster@example.test", whole_max: int = 1000) -> bytes:
    return compose(
        shown, hostname="relay.test", sender="Mail delivery <relay@relay.test>", to=to, now=1_800_000_100.0,
        whole_max=whole_max,
    )


def parts(raw: bytes) -> tuple[str, str, Any]:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    people, _, original = message.iter_parts()
    # As it stands: the library would fold it anew.
    status = raw.decode().split("Content-Type: message/delivery-status\r\n\r\n")[1].split("\r\n--")[0]
    return str(people.get_content()), status.replace("\r\n", "\n"), original


def enclosed(raw: bytes) -> bytes:
    """The original's part, which is in base64."""
    return base64.b64decode(raw.rsplit(b"base64\r\n\r\n", 1)[1].split(b"\r\n--")[0])


def test_an_internationalized_message_is_reported_in_plain_ascii() -> None:
    header = "From: jörg@bücher.test\r\nSubject: Grüße\r\nMessage-ID: <1@example.test>\r\n".encode()
    shown = facts(
        "δοκιμή+x@παράδειγμα.test", orcpt="utf-8;δοκιμή@παράδειγμα.test", content=header + b"\r\nHi\r\n",
        subject="Grüße", says="550 5.1.1 άγνωστος",
    )  # fmt: skip
    raw = written(shown)
    assert raw.isascii()
    people, status, original = parts(raw)
    assert "δοκιμή+x@παράδειγμα.test" in people
    assert "άγνωστος" in people
    # RFC 6533 §3
    assert "Final-Recipient: utf-8; \\x{3B4}\\x{3BF}" in status
    assert "\\x{2B}x@" in status
    assert "Original-Recipient: utf-8; \\x{3B4}" in status
    assert original.get_content_type() == "message/global-headers"
    assert enclosed(raw) == header
    whole = parts(written(replace(shown, ret="FULL")))[2]
    assert whole.get_content_type() == "message/global"
    gone = enclosed(written(replace(shown, content=b"", header_from="jörg@bücher.test")))
    assert "From: <jörg@bücher.test>" in gone.decode()


@pytest.mark.parametrize(
    ("ret", "kind", "size", "type_"),
    [
        ("FULL", "failed", 100, "message/rfc822"), ("full", "failed", 100, "message/rfc822"),
        ("FULL", "failed", 2000, "text/rfc822-headers"), ("HDRS", "failed", 100, "text/rfc822-headers"),
        (None, "failed", 100, "text/rfc822-headers"), ("FULL", "delayed", 100, "text/rfc822-headers"),
    ],
)  # fmt: skip
def test_the_whole_message_comes_back_only_where_asked_for(ret: str | None, kind: str, size: int, type_: str) -> None:
    content = b"From: news@example.test\r\n\r\n" + b"x" * size + b"\r\n"
    assert parts(written(facts(kind=kind, ret=ret, content=content)))[2].get_content_type() == type_


@pytest.mark.parametrize(
    ("kind", "more", "action", "status"),
    [
        ("failed", {}, "failed", "5.1.1"),
        ("failed", {"enhanced": "4.2.2", "code": 452}, "failed", "5.4.7"),
        ("failed", {"enhanced": "4.4.1", "code": None, "late": True}, "failed", "4.4.1"),
        ("failed", {"enhanced": "", "code": 550, "says": "550 no"}, "failed", "5.0.0"),
        ("delayed", {"enhanced": "4.2.2", "code": 452}, "delayed", "4.2.2"),
        ("relayed", {"enhanced": "2.6.0", "code": 250}, "relayed", "2.6.0"),
        ("arrived", {"enhanced": "2.0.0", "code": None, "late": True, "says": ""}, "delivered", "2.0.0"),
        ("expanded", {"enhanced": "", "code": None, "late": True, "says": ""}, "expanded", "2.0.0"),
    ],
)
def test_what_a_report_says_is_what_we_read_in_it(kind: str, more: dict[str, Any], action: str, status: str) -> None:
    read = parse(written(facts(kind=kind, **more)))
    fate = read.fate_of("bob@sink.test")
    assert fate is not None
    assert (fate.action, fate.status, fate.host) == (action, status, "relay.test")


@given(_TEXT, _TEXT, _TEXT, _TEXT)
@settings(max_examples=200, deadline=None)
def test_no_words_from_outside_break_out_of_their_line(says: str, host: str, subject: str, name: str) -> None:
    shown = facts(f"{name[:60]}@sink.test", says=says, host=host, subject=subject, header_id=name, late=True)
    raw = written(replace(shown, content=b""))
    assert raw.isascii()
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    _, status, _ = parts(raw)
    assert status.count("\nAction: ") == 1
