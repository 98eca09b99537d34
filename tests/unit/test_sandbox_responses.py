"""What the sandbox sends back, read by the relay's own readers; and that nothing loops or smuggles a header line."""

from __future__ import annotations

import email
from email.policy import SMTP

import pytest

from relay.bounces.parse import parse
from relay.sandbox import Received, scenario
from relay.sandbox.responses import MARK, Mail, Press, Silence, answer

PATH = "b-token@bounce.relay.test"
MESSAGE = (
    b"From: Alice <alice@demo.test>\r\nTo: x@s.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Message-ID: <1@demo.test>\r\nX-Posthouse-Message: abcdefghijklmnop.aaaaaaaaaaaaaaaaaaaaaaaa\r\n"
    b"List-Unsubscribe: <mailto:u-1@bounce.relay.test?subject=stop>,\r\n <https://relay.test/u/1>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nHello\r\n"
)


def asked(recipient: str, raw: bytes = MESSAGE, *, sender: str = PATH) -> Mail | Press | Silence:
    received = Received(sender, (recipient,), raw, "127.0.0.1", "relay.test", None, 1000.0)
    return answer(received, recipient, scenario(recipient), host="sandbox.relay.test", now=2000.0)


def mail(recipient: str, raw: bytes = MESSAGE) -> Mail:
    found = asked(recipient, raw)
    assert isinstance(found, Mail)
    return found


@pytest.mark.parametrize(
    ("recipient", "action", "status"),
    [
        ("late-bounce+5.1.1@s.test", "failed", "5.1.1"),
        ("late-bounce+5.2.2@s.test", "failed", "5.2.2"),
        ("late-bounce@s.test", "failed", "5.1.1"),
        ("delayed@s.test", "delayed", "4.4.1"),
        ("delayed+4.2.2@s.test", "delayed", "4.2.2"),
        ("prose-bounce+5.1.1@s.test", "failed", "5.1.1"),
        ("prose-bounce+5.2.2@s.test", "failed", "5.2.2"),
    ],
)
def test_bounces_are_read_as_what_they_say(recipient: str, action: str, status: str) -> None:
    sent = mail(recipient)
    assert (sent.mail_from, sent.to) == ("", PATH)
    report = parse(sent.raw)
    assert report.kind == "bounce"
    fate = report.fate_of(recipient)
    assert fate is not None
    assert (fate.action, fate.status) == (action, status)
    assert status in fate.diagnostic


def test_a_bounce_in_words_has_no_part_for_programs() -> None:
    sent = email.message_from_bytes(mail("prose-bounce@s.test").raw, policy=SMTP)
    assert sent.get_content_type() == "text/plain"
    assert "X-Failed-Recipients" not in sent


@pytest.mark.parametrize(
    ("recipient", "to"), [("complain@s.test", PATH), ("complain-fbl@s.test", "fbl@bounce.relay.test")]
)
def test_complaints_name_the_message(recipient: str, to: str) -> None:
    sent = mail(recipient)
    assert (sent.mail_from, sent.to) == ("", to)
    report = parse(sent.raw)
    assert (report.kind, report.feedback) == ("complaint", "abuse")
    assert report.paths == (PATH,)
    assert report.marks == ("abcdefghijklmnop.aaaaaaaaaaaaaaaaaaaaaaaa",)
    assert report.leave_by == ("u-1@bounce.relay.test",)


def test_a_vacation_note_is_no_bounce() -> None:
    sent = mail("vacation@s.test")
    assert (sent.mail_from, sent.to) == ("", PATH)
    assert parse(sent.raw).kind == "auto_reply"


def test_a_reply_is_a_persons() -> None:
    sent = mail("reply@s.test")
    assert (sent.mail_from, sent.to) == ("reply@s.test", "alice@demo.test")
    read = email.message_from_bytes(sent.raw, policy=SMTP)
    assert (read["In-Reply-To"], read["From"], read["Auto-Submitted"]) == ("<1@demo.test>", "reply@s.test", None)
    assert read["Subject"] == "Re: Gr\u00fc\u00dfe"
    assert "> Hello" in read.get_content()
    elsewhere = MESSAGE.replace(b"To: x", b"Reply-To: desk@demo.test\r\nTo: x")
    assert mail("reply@s.test", elsewhere).to == "desk@demo.test"


def test_unsubscribing_by_link_and_by_mail() -> None:
    assert asked("unsubscribe@s.test") == Press("https://relay.test/u/1")
    sent = mail("unsubscribe-mailto@s.test")
    assert (sent.mail_from, sent.to) == ("unsubscribe-mailto@s.test", "u-1@bounce.relay.test")
    assert email.message_from_bytes(sent.raw, policy=SMTP)["Subject"] == "stop"
    # RFC 8058 §3.1: a link alone is no one-click.
    assert isinstance(asked("unsubscribe@s.test", MESSAGE.replace(b"-Post:", b"-Past:")), Silence)
    bare = MESSAGE.replace(b"List-Unsubscribe:", b"X:")
    assert isinstance(asked("unsubscribe@s.test", bare), Silence)
    assert isinstance(asked("unsubscribe-mailto@s.test", bare), Silence)


EVERY = ["late-bounce", "prose-bounce", "delayed", "vacation", "complain", "complain-fbl", "unsubscribe",
         "unsubscribe-mailto", "reply"]


@pytest.mark.parametrize("name", EVERY)
def test_nothing_loops(name: str) -> None:
    recipient = f"{name}@s.test"
    assert isinstance(asked(recipient, sender=""), Silence)
    assert isinstance(asked(recipient, b"Auto-Submitted: auto-replied\r\n" + MESSAGE), Silence)
    sent = asked(recipient)
    if isinstance(sent, Mail):
        assert MARK.encode() in sent.raw
        for other in EVERY:
            assert isinstance(asked(f"{other}@s.test", sent.raw), Silence)


@pytest.mark.parametrize("name", ["vacation", "reply"])
def test_nobody_answers_a_program(name: str) -> None:
    assert isinstance(asked(f"{name}@s.test", b"Auto-Submitted: auto-generated\r\n" + MESSAGE), Silence)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\r\n", b"no header at all", b"Subject: x\r\n\tX-Evil: 1\r\nFrom: a@b.test\nX-Evil: 2\r\n\r\n",
        b"Subject: =?utf-8?q?a=0D=0AX-Evil:_1?=\r\nFrom: =?utf-8?q?a=0D=0AX-Evil:_1?= <a@b.test>\r\n\r\n",
        b"From: a@b.test\r\nMessage-ID: <a\x0b\x85b@c>\r\nList-Unsubscribe: <mailto:a@b.test?subject=x%0D%0AX-Evil:1>"
        b"\r\n\r\n\r\nX-Evil: 1\r\n",
        "From: \u00fc@\u00fc.test\r\nSubject: \u2028X-Evil: 1\r\n\r\n\u00fc\r\n".encode(),
        b"\xff" * 100_000, b"From: a@b.test, c@d.test\r\n" * 2000 + b"\r\n",
    ],
)
def test_whatever_came_what_leaves_is_well_formed(name: str, raw: bytes) -> None:
    found = asked(f"{name}@s.test", raw)
    if isinstance(found, Mail):
        read = email.message_from_bytes(found.raw)
        assert "X-Evil" not in read
        assert read["From"] is not None
        assert read["Date"] is not None
        lines = found.raw.split(b"\r\n")
        assert not any(b"\r" in line or b"\n" in line for line in lines if raw.count(b"\n") == raw.count(b"\r\n"))


def test_recipients_that_are_not_ascii() -> None:
    sent = asked("late-bounce@\u00fc.test", MESSAGE)
    assert isinstance(sent, Mail)
    assert parse(sent.raw).kind == "bounce"
