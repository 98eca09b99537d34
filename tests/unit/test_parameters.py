"""MAIL's and RCPT's arguments: what is kept is what was written, what is refused is refused in time."""

from __future__ import annotations

import pytest

from relay.smtpd import parameters
from relay.smtpd.parameters import BadArgument, MailArgument, RcptArgument


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("FROM:<a@b.test>", MailArgument("a@b.test")),
        ("from: <a@b.test>", MailArgument("a@b.test")),
        ("FROM:<>", MailArgument("")),
        ('FROM:<"a > b"@c.test> SIZE=12', MailArgument('"a > b"@c.test', size=12)),
        ("FROM:<a@b.test>  SIZE=12  BODY=8bitmime ", MailArgument("a@b.test", size=12)),
        ("FROM:<é@b.test> SMTPUTF8", MailArgument("é@b.test", smtputf8=True)),
        ("FROM:<a@b.test> RET=hdrs ENVID=QQ+3Dx", MailArgument("a@b.test", ret="HDRS", envid="QQ+3Dx")),
        ("FROM:<a@b.test> AUTH=<>", MailArgument("a@b.test")),
        ("FROM:<a@b.test> AUTH=e+3Dmc2@example.test", MailArgument("a@b.test")),
        ("FROM:<a@b.test> size=99999999999999999999", MailArgument("a@b.test", size=99999999999999999999)),
    ],
)
def test_mail_arguments_that_are_understood(text: str, wanted: MailArgument) -> None:
    assert parameters.mail(text) == wanted


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 501), ("FROM", 501), ("FROM:", 501), ("FROM:a@b.test", 501), ("FROM:<a@b.test", 501),
        ("FROM:<a@b.test>x", 501), ("FROM:<a@b.test>SIZE=1", 501), ("FROM:<<a@b.test>>", 501),
        ("FROM:<a b@c.test>", 501), ("TO:<a@b.test>", 501), ("FROM :<a@b.test>", 501),
        ("FROM:<a@b.test> SIZE", 501), ("FROM:<a@b.test> SIZE=", 501), ("FROM:<a@b.test> SIZE=-1", 501),
        ("FROM:<a@b.test> SIZE=1e9", 501), ("FROM:<a@b.test> SIZE=²", 501),
        ("FROM:<a@b.test> SIZE=100000000000000000000", 501),
        ("FROM:<a@b.test> BODY=BINARYMIME", 501), ("FROM:<a@b.test> BODY", 501),
        ("FROM:<a@b.test> SMTPUTF8=yes", 501), ("FROM:<a@b.test> RET=ALL", 501),
        ("FROM:<a@b.test> ENVID=a=b", 501), ("FROM:<a@b.test> ENVID=a+3d", 501),
        ("FROM:<a@b.test> ENVID=" + "x" * 101, 501), ("FROM:<a@b.test> AUTH=a+zz", 501),
        ("FROM:<a@b.test> SIZE=1 SIZE=2", 501), ("FROM:<a@b.test> -X=1", 501),
        ("FROM:<a@b.test> XYZZY=1", 555), ("FROM:<a@b.test> NOTIFY=NEVER", 555),
    ],
)
def test_mail_arguments_that_are_not(text: str, code: int) -> None:
    with pytest.raises(BadArgument) as caught:
        parameters.mail(text)
    assert caught.value.reply.smtp == code


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("TO:<b@c.test>", RcptArgument("b@c.test")),
        ("TO:<b@c.test> NOTIFY=never", RcptArgument("b@c.test", "NEVER")),
        ("TO:<b@c.test> NOTIFY=Success,DELAY", RcptArgument("b@c.test", "SUCCESS,DELAY")),
        ("TO:<b@c.test> ORCPT=rfc822;Bob+2B1@C.test", RcptArgument("b@c.test", orcpt="rfc822;Bob+2B1@C.test")),
        ("TO:<b@c.test> ORCPT=utf-8;böb@c.test", RcptArgument("b@c.test", orcpt="utf-8;böb@c.test")),
    ],
)
def test_rcpt_arguments_that_are_understood(text: str, wanted: RcptArgument) -> None:
    assert parameters.rcpt(text) == wanted


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("TO:<>", 501), ("TO:b@c.test", 501), ("FROM:<b@c.test>", 501), ("TO:<b@c.test> NOTIFY", 501),
        ("TO:<b@c.test> NOTIFY=NEVER,DELAY", 501), ("TO:<b@c.test> NOTIFY=DELAY,DELAY", 501),
        ("TO:<b@c.test> NOTIFY=", 501), ("TO:<b@c.test> ORCPT=b@c.test", 501),
        ("TO:<b@c.test> ORCPT=rfc822;", 501), ("TO:<b@c.test> ORCPT=rfc822;ü@c.test", 501),
        ("TO:<b@c.test> ORCPT=rfc822;" + "x" * 500, 501), ("TO:<b@c.test> SIZE=1", 555),
    ],
)
def test_rcpt_arguments_that_are_not(text: str, code: int) -> None:
    with pytest.raises(BadArgument) as caught:
        parameters.rcpt(text)
    assert caught.value.reply.smtp == code


def test_after_helo_there_are_no_parameters() -> None:
    assert parameters.mail("FROM:<a@b.test>", extended=False).path == "a@b.test"
    with pytest.raises(BadArgument):
        parameters.mail("FROM:<a@b.test> SIZE=1", extended=False)


@pytest.mark.parametrize("unit", ['"\\', "<", '""', "\\\\", "= ", "A=1 ", '"a'])
def test_junk_of_a_command_line_is_refused_without_backtracking(unit: str) -> None:
    # With a quadratic or worse grammar this would take minutes.
    for text in (unit * 60_000, "FROM:<" + unit * 60_000, "FROM:<a@b.test> " + unit * 60_000):
        with pytest.raises(BadArgument):
            parameters.mail(text)
