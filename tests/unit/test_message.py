"""Message bytes: what is refused and where, what is kept to the octet, what is added."""

import pytest

from relay import message
from relay.base.names import BadName
from relay.message import BadMessage, Bounds, Field, Trace, header_safe, parse

PLAIN = (
    b"From: Ann <ann@demo.test>\r\n"
    b"To: bob@example.com\r\n"
    b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\tfrom  Ann\r\n"
    b"\r\n"
    b"Hello\r\n..\r\n\xff\xfe 8 bit\r\n"
)
TRACE = Trace(hostname="relay.example", protocol="ESMTPSA")
NOW = 1_795_234_265.5


def prepared(raw: bytes, trace: Trace = TRACE, feedback_id: str | None = None) -> message.Prepared:
    return message.prepare(
        parse(raw),
        now=NOW,
        message_id_domain="demo.test",
        queue_id="q7f3",
        trace=trace,
        feedback_id=feedback_id,
    )


def refused(raw: bytes, bounds: Bounds | None = None) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        parse(raw, bounds or Bounds())
    return caught.value


def test_fields_and_body_come_out_as_they_went_in() -> None:
    parsed = parse(PLAIN)
    assert b"".join(field.raw for field in parsed.fields) + b"\r\n" + parsed.body == PLAIN
    assert [field.name for field in parsed.fields] == ["from", "to", "subject"]
    assert parsed.fields[2].value == b" =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\tfrom  Ann"


def test_lookups() -> None:
    parsed = parse(b"A: 1\r\nB: 2\r\na: 3\r\n\r\n")
    assert [field.raw for field in parsed.all("a")] == [b"A: 1\r\n", b"a: 3\r\n"]
    assert parsed.one("b") == Field("b", b"B: 2\r\n")
    assert parsed.one("a") is None
    assert parsed.one("c") is None


def test_a_message_may_be_all_header() -> None:
    for raw in (b"From: a@b.test\r\n", b"From: a@b.test", b"From: a@b.test\r\n\r\n"):
        parsed = parse(raw)
        assert ([field.raw for field in parsed.fields], parsed.body) == ([b"From: a@b.test\r\n"], b"")


def test_a_last_line_gets_its_end() -> None:
    assert parse(b"From: a@b.test\r\n\r\nend ").body == b"end \r\n"


@pytest.mark.parametrize(
    ("raw", "line", "word"),
    [
        (b"From: a@b.test\r\n\r\nok\r\nba\rd\r\n", 4, "CR"),
        (b"From: a@b.test\r\n\r\nok\r\nba\nd\r\n", 4, "LF"),
        (b"From: a@b.test\nTo: c@d.test\r\n\r\n", 1, "LF"),
        (b"From: a@b.test\r\n\r\n\n.\r\n", 3, "LF"),
        (b"From: a@b.test\r\n\r\nx\r\r\n", 3, "CR"),
        (b"From: a@b.test\r\n\r\nx\n\r\n", 3, "LF"),
        (b"From: a@b.test\r\n\r\n\r", 3, "CR"),
        (b"From: a@b.test\r\n\r\nx\n.\rx\r\n", 3, "LF"),
        (b"From: a@b.test\r\n\r\nx\n\r.\n\rx\r\n", 3, "LF"),
        (b"From: a@b.test\r\n\r\n1\r\n2\r\n\x00", 5, "NUL"),
        (b"From: a@b.test\r\nX: \x00\r\n\r\n", 2, "NUL"),
        (b"From: a@b.test\r\nX: \x0bx\r\n\r\n", 2, "control"),
        (b"From: a@b.test\r\nTo: c@d.test\r\nFrom : e@f.test\r\n\r\n", 3, "forbidden"),
        (b"From ann@demo.test Sat Nov 21 04:11:05 2026\r\nFrom: a@b.test\r\n\r\n", 1, "forbidden"),
        (b"From: a@b.test\r\n folded\r\nhello world\r\n\r\n", 3, "colon"),
        (b"From: a@b.test\r\n: x\r\n\r\n", 2, "name"),
        (b"From: a@b.test\r\nS\xfcbject: x\r\n\r\n", 2, "forbidden"),
        (b" From: a@b.test\r\n\r\n", 1, "begin"),
        (b"\r\nFrom: a@b.test\r\n\r\n", 1, "begin"),
        (b"", None, "empty"),
    ],
)
def test_a_malformed_message_is_refused_at_its_line(raw: bytes, line: int | None, word: str) -> None:
    fault = refused(raw)
    assert (fault.kind, fault.line) == ("malformed", line)
    assert word in fault.fault


def test_a_fault_shows_no_more_than_a_short_escaped_name() -> None:
    fault = refused(b"From: a@b.test\r\nse cret\x1b[2J" + b"x" * 500 + b": value\r\n\r\n")
    assert len(fault.fault) < 120
    assert fault.fault.isprintable()
    assert "value" not in str(refused(b"value value\r\n\r\n"))


@pytest.mark.parametrize("where", [b"X: %s\r\n\r\nbody\r\n", b"X: y\r\n\r\nbody\r\n%s\r\nend\r\n", b"X: y\r\n\r\n%s"])
def test_a_line_may_hold_998_octets_and_no_more(where: bytes) -> None:
    prefix = 3 if where.startswith(b"X: %s") else 0
    parse(where % (b"a" * (998 - prefix)))
    fault = refused(where % (b"a" * (999 - prefix)))
    assert (fault.kind, fault.fault) == ("malformed", "a line of more than 998 octets")
    assert fault.line == where.partition(b"%s")[0].count(b"\n") + 1


def test_each_bound_holds_exactly() -> None:
    parse(PLAIN, Bounds(size=len(PLAIN)))
    assert refused(PLAIN, Bounds(size=len(PLAIN) - 1)).kind == "too_large"
    header = PLAIN.index(b"\r\n\r\n") + 2
    parse(PLAIN, Bounds(header=header))
    assert "header" in refused(PLAIN, Bounds(header=header - 1)).fault
    parse(PLAIN, Bounds(fields=3))
    assert "fields" in refused(PLAIN, Bounds(fields=2)).fault
    received = b"Received: x\r\n" * 3 + PLAIN
    parse(received, Bounds(received=3))
    assert refused(received, Bounds(received=2)).kind == "loop"


def test_a_header_that_never_ends_is_refused() -> None:
    fault = refused(b"X: y\r\n" * 100_000)
    assert (fault.kind, "header" in fault.fault) == ("malformed", True)
    assert refused(b"X: y\r\n" * 20_000 + b"\r\n").kind == "malformed"


def nested(levels: int, *, embed: bool = False) -> bytes:
    lines = [b"From: a@b.test\r\nMIME-Version: 1.0\r\n"]
    for level in range(levels):
        if embed and level % 2:
            lines.append(b"Content-Type: message/rfc822\r\n\r\n")
        else:
            lines.append(b'Content-Type: multipart/mixed;\r\n boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level))
    return b"".join(lines) + b"\r\nhello\r\n"


def wide(parts: int, *, kind: bytes = b"text/plain") -> bytes:
    part = b"--b\r\nContent-Type: " + kind + b"\r\n\r\nx\r\n"
    return b"From: a@b.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * parts + b"--b--\r\n"


@pytest.mark.parametrize("embed", [False, True])
def test_parts_may_nest_fifty_levels_deep(embed: bool) -> None:
    parse(nested(50, embed=embed))
    for levels in (51, 900, 5000):
        assert "deeper" in refused(nested(levels, embed=embed)).fault


def test_a_message_may_have_a_thousand_parts() -> None:
    parse(wide(1000))
    assert "parts" in refused(wide(1001)).fault
    assert "parts" in refused(wide(200_000)).fault


def test_side_by_side_is_not_deep() -> None:
    inner = b"--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n"
    raw = b"From: a@b.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + inner * 100 + b"--b--\r\n"
    parse(raw, Bounds(mime_depth=2))
    assert "deeper" in refused(raw, Bounds(mime_depth=1)).fault
    parse(wide(300, kind=b"message/rfc822"), Bounds(mime_depth=2))


@pytest.mark.parametrize(
    "content_type",
    [
        b"Content-Type: multipart/mixed; boundary=b",
        b"content-type:MULTIPART/Mixed;BOUNDARY=b",
        b'Content-Type: multipart/mixed;\r\n\tfoo=bar;\r\n boundary = "b"',
        b"Content-Type: (comment) multipart/mixed; boundary=b",
        b"Content-Type: multipart\r\n /mixed; boundary=b",
        b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=b",
        b'Content-Type: multipart/mixed; boundary="b  "',
    ],
)
@pytest.mark.parametrize("between", [b"", b"--x: y\r\n", b"A: content-type: text/plain\r\n"])
def test_a_level_can_not_hide(content_type: bytes, between: bytes) -> None:
    inner = b"--b\r\n" + between + b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c  \r\n\r\nx\r\n"
    raw = b"From: a@b.test\r\n" + content_type + b"\r\n\r\npreamble\r\n" + inner
    parse(raw, Bounds(mime_depth=2))
    assert "deeper" in refused(raw, Bounds(mime_depth=1)).fault
    assert "parts" in refused(raw, Bounds(mime_parts=1)).fault


def test_a_split_boundary_is_refused() -> None:
    fault = refused(b"From: a@b.test\r\nContent-Type: multipart/mixed; boundary*0=a; boundary*1=b\r\n\r\n--ab\r\n\r\n")
    assert "boundary" in fault.fault


def test_dashes_in_plain_text_mean_nothing() -> None:
    text = b"From: a@b.test\r\nContent-Type: text/plain; boundary=b\r\n\r\n"
    parse(text + b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" * 2000)


def test_what_must_not_leave_does_not_leave() -> None:
    raw = (
        b"Return-Path: <x@y.test>\r\nBCC: secret@y.test,\r\n other@y.test\r\nResent-Bcc: s@y.test\r\n"
        b"X-Posthouse-Category: bulk\r\nx-atmos-did: did:web:x\r\nX-Posthouse-Message: forged\r\n"
        b"Feedback-ID: theirs\r\nDKIM-Signature: v=1; theirs\r\n" + PLAIN
    )
    out = prepared(raw, feedback_id="1:demo.test:posthouse").content()
    assert out == (
        b"DKIM-Signature: v=1; theirs\r\n"
        + PLAIN.partition(b"\r\n\r\n")[0]
        + b"\r\nDate: Sat, 21 Nov 2026 04:11:05 +0000\r\nMessage-ID: <q7f3@demo.test>\r\n"
        + b"Feedback-ID: 1:demo.test:posthouse\r\n\r\n"
        + PLAIN.partition(b"\r\n\r\n")[2]
    )
    assert b"Feedback-ID: theirs\r\n" in prepared(raw).content()


def test_what_is_there_is_not_added() -> None:
    found = prepared(b"date: Sat, 21 Nov 2026 04:11:05 +0000\r\nMESSAGE-ID: <own@demo.test>\r\n" + PLAIN)
    assert found.replaced == {}
    assert found.message_id == "<own@demo.test>"
    assert found.content().lower().count(b"\r\ndate:") == 0
    assert found.content().lower().count(b"message-id:") == 1


@pytest.mark.parametrize(
    "value",
    ["", " ", "abc@demo.test", "<abc>", "<>", "<a@>", "<@b>", "<a@b", "a@b>", "<a@b@c>", "<a b@c>", "<a@b> <c@d>",
     "<a\r\n b@c>", "<ä@b>", "<a@b>x", '"<a@b>"'],
)  # fmt: skip
def test_a_message_id_that_receivers_refuse_is_replaced(value: str) -> None:
    found = prepared(f"Message-id:{value}\r\n".encode() + PLAIN)
    assert found.message_id == "<q7f3@demo.test>"
    assert found.content().lower().count(b"message-id:") == 1
    assert found.content().count(b"Message-ID: <q7f3@demo.test>\r\n") == 1
    assert found.replaced == {"Message-id": value.replace("\r\n", "").strip()}


@pytest.mark.parametrize(
    "value",
    [" <a@b>", "<a@b>  ", "\r\n <20260101.1/2:3$x=y@[192.0.2.1]>", " <a@b>\r\n (added by mx.far.example)",
     " <" + "x" * 500 + "@b>"],
)  # fmt: skip
def test_a_message_id_that_can_be_read_stays(value: str) -> None:
    raw = f"Message-ID:{value}\r\n".encode()
    assert raw in prepared(raw + PLAIN).content()


@pytest.mark.parametrize(
    ("value", "stays"),
    [("", False), ("  ", False), ("whenever", False), ("2026-11-21T04:11:05Z", False), ("1795234265", False),
     ("Sat, 21 Nov 2026 04:11:05 +0000", True), ("21 Nov 26 4:11 GMT", True), ("Sat, 21-Nov-2026 04:11:05 CET", True),
     ("Sat Nov 21 04:11:05 2026", True), ("Sat,\r\n\t21 Nov 2026 04:11:05 +0000 (UTC)", True)],
)  # fmt: skip
def test_a_date_that_nobody_can_read_is_replaced(value: str, stays: bool) -> None:
    found = prepared(f"Date:{value}\r\n".encode() + PLAIN)
    assert found.content().lower().count(b"date:") == 1
    assert (b"Date: Sat, 21 Nov 2026 04:11:05 +0000\r\n" not in found.content()) is (stays and True)
    assert found.replaced == ({} if stays else {"Date": value.strip()})


@pytest.mark.parametrize(
    "name",
    ["Message-ID", "Subject", "Date", "Sender", "Reply-To", "To", "Cc", "Bcc", "In-Reply-To", "References"],
)
def test_a_field_that_may_stand_once_stands_once(name: str) -> None:
    rest = b"".join(line + b"\r\n" for line in (b"From: a@b.test", b"X: y", b" z", b"X: y", b"Received: x"))
    once = name.encode() + b": <a@b.test>\r\n"
    message.check_once(parse(once + rest))
    for second in (once, once.swapcase()):
        with pytest.raises(BadMessage, match=f"^line 7: a second {name} field") as caught:
            message.check_once(parse(once + rest + second))
        assert caught.value.kind == "malformed"
    message.check_once(parse(rest + b"Resent-From: a@b.test\r\n" * 2 + b"Comments: x\r\n" * 2))


def test_results_in_our_name_do_not_leave() -> None:
    """What mail servers behind the relay pass on does."""
    name = b"Authentication-Results:"
    ours = (
        name + b" Relay.Example; spf=pass\r\n", name.lower() + b" (x) relay.example 1; none\r\n",
        name + b'\r\n "relay.example." ; dkim=pass\r\n', name + b" ;\r\n",
    )  # fmt: skip
    others = (
        name + b" mx.far.example; spf=pass\r\n", b"ARC-" + name + b" i=1; relay.example\r\n", b"ARC-Seal: i=1\r\n",
        b"Received-SPF: pass\r\n", b"DKIM-Signature: v=1\r\n", b"Delivered-To: a@b.test\r\n",
        b"Errors-To: a@b.test\r\n", b"Disposition-Notification-To: a@b.test\r\n", b"Resent-To: a@b.test\r\n",
    )  # fmt: skip
    found = message.prepare(
        parse(b"".join(ours + others) + PLAIN), now=NOW, message_id_domain="demo.test", queue_id="q7f3", trace=TRACE,
        ours={"relay.example"},
    )
    assert [f.raw for f in found.fields[: len(others)]] == list(others)
    assert b"spf=pass" not in found.content().replace(others[0], b"")


def test_the_subject_is_shown_decoded_and_harmless() -> None:
    assert prepared(PLAIN).subject == "Grüße from  Ann"
    assert prepared(b"From: a@b.test\r\n\r\n").subject is None
    evil = prepared(b"Subject: =?utf-8?Q?a=0D=0ABcc=3A_x?= \x1b[2J\r\n\r\n").subject
    assert evil is not None
    assert evil.isprintable()
    long = prepared(b"Subject: x\r\n" + b" abcdefghij\r\n" * 5000 + b"\r\n").subject
    assert long is not None
    assert len(long) == 200


def test_received_says_who_took_it_and_not_who_gave_it() -> None:
    line = prepared(PLAIN, Trace("relay.example", "ESMTPSA", helo="laptop", client_ip="192.0.2.7")).received
    assert line == (b"Received: by relay.example with ESMTPSA id q7f3;\r\n Sat, 21 Nov 2026 04:11:05 +0000\r\n")


def test_received_names_the_client_when_asked() -> None:
    trace = Trace("relay.example", "ESMTPS", "mx.y.test", "2001:db8::7", True, "bob@example.com")
    line = prepared(PLAIN, trace).received
    assert line == (
        b"Received: from mx.y.test ([IPv6:2001:db8::7]) by relay.example with ESMTPS\r\n"
        b" id q7f3 for <bob@example.com>; Sat, 21 Nov 2026 04:11:05 +0000\r\n"
    )


def test_a_greeting_can_not_write_into_the_header() -> None:
    for helo in ("x\r\nBcc: y@z.test", "a b", "(x)", "", "ü"):
        line = prepared(PLAIN, Trace("relay.example", "ESMTPS", helo, "192.0.2.7", True)).received
        assert line.startswith(b"Received: from unknown ([192.0.2.7]) by")
    with pytest.raises(ValueError, match="control"):
        prepared(PLAIN, Trace("relay.example\r\nX: y", "ESMTPS"))
    with pytest.raises(ValueError, match="control"):
        prepared(PLAIN, feedback_id="a\r\nX: y")


def test_received_is_folded() -> None:
    line = prepared(PLAIN, Trace("r." * 20 + "example", "UTF8SMTPSA", recipient="b" * 50 + "@example.com")).received
    parse(line + b"\r\n")
    assert all(len(part) <= 78 for part in line.split(b"\r\n"))


def test_a_message_that_keeps_coming_back_is_a_loop() -> None:
    here = b"Received: from a.test by\r\n Relay.Example with ESMTPS id 1; Sat\r\n"
    there = b"Received: from relay.example (by relay.example) by b.test with ESMTP; Sat\r\n"
    message.check_own_loop(parse(here * 4 + there * 9 + PLAIN), "relay.example")
    for raw in (here * 5 + PLAIN, here * 3 + b"X-Posthouse-Loop: relay.example\r\n" * 2 + PLAIN):
        with pytest.raises(BadMessage) as caught:
            message.check_own_loop(parse(raw), "relay.example")
        assert caught.value.kind == "loop"


@pytest.mark.parametrize(
    ("lines", "category"),
    [
        (b"", None),
        (b"X-Posthouse-Category:  Login-Link \r\n", "login-link"),
        (b"X-Atmos-Category: bulk\r\n", "bulk"),
        (b"X-Atmos-Category: bulk\r\nX-Posthouse-Category: broadcast\r\n", "broadcast"),
        (b"X-Posthouse-Category: a\r\nX-Posthouse-Category: b\r\n", None),
        (b"X-Posthouse-Category: a b\r\n", None),
        (b"X-Posthouse-Category: \xfc\r\n", None),
        (b"X-Posthouse-Category:\r\n", None),
    ],
)
def test_the_category_is_one_plain_word(lines: bytes, category: str | None) -> None:
    assert message.category(parse(lines + PLAIN)) == category


def test_exactly_one_from_counts() -> None:
    assert message.single_from(parse(PLAIN)).address.text == "ann@demo.test"
    for raw in (b"To: x@y.test\r\n\r\n", b"from: b@y.test\r\n" + PLAIN):
        with pytest.raises(BadName, match="exactly one"):
            message.single_from(parse(raw))


@pytest.mark.parametrize("char", ["\r", "\n", "\0", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"])
def test_controls_are_not_header_safe(char: str) -> None:
    assert not header_safe(f"a{char}b")
    assert header_safe("Grüße, 東京 👋")
