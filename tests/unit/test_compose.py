"""What a JSON request becomes: read back by the standard library, which stands in for a mail program."""

from __future__ import annotations

import base64
import email
import email.message
from email.header import decode_header, make_header
from email.utils import getaddresses
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.base.names import address, single_mailbox
from relay.base.web.models import read
from relay.message import parse, single_from
from relay.replies import Refused
from relay.sendapi import mailboxes, plain
from relay.sendapi.compose import compose
from relay.sendapi.headers import Named
from relay.sendapi.models import SendRequest

BASE = {"from": "a@tenant.example", "to": "b@there.example", "subject": "Hello", "text": "Hi"}


def built(named: list[Named] | None = None, sender: Named | None = None, limit: int = 30_000_000, **more: Any) -> bytes:
    body = {k: v for k, v in {**BASE, **more}.items() if v is not ...}
    request = read(SendRequest, body)
    numbers = count()
    return compose(
        request,
        sender=sender or Named("", address("a@tenant.example")),
        to=[Named("", address("b@there.example"))] if named is None else named,
        cc=[mailboxes.read("cc", m) for m in mailboxes.split(request.cc)],
        reply_to=[mailboxes.read("replyTo", m) for m in mailboxes.split(request.reply_to)],
        limit=limit,
        new_boundary=lambda: f"=_b{next(numbers)}",
    )


def reader(raw: bytes) -> email.message.Message:
    parse(raw)  # our own bounds and grammar agree
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    return email.message_from_bytes(raw)


def shown(message: email.message.Message, name: str) -> str:
    assert len(message.get_all(name, [])) == 1
    return str(make_header(decode_header(message[name].replace("\r\n", ""))))


def refused(**more: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        built(**more)
    return caught.value.verdict.reply.http, caught.value.verdict.saw


def test_a_plain_message_is_readable_as_it_stands() -> None:
    raw = built(text="Line one\nLine two\n")
    assert raw == (
        b"From: a@tenant.example\r\nTo: b@there.example\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        b"Line one\r\nLine two\r\n"
    )


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "Grüße aus Zürich",
        "日本語の件名です" * 20,
        "a" * 300,
        "word " * 60 + "end",
        "two  blanks " * 20 + "x",
        "=?utf-8?q?literal?=",
        "a =? b",
        "x" * 70 + " é",
        "😀" * 40,
        "tail=",
    ],
)
def test_a_subject_reads_back_as_given(subject: str) -> None:
    message = reader(built(subject=subject))
    assert shown(message, "Subject") == subject


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=200))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_subject_is_one_field_that_reads_back(subject: str) -> None:
    try:
        raw = built(subject=subject)
    except Refused:
        return
    message = reader(raw)
    assert shown(message, "Subject") == subject.strip(" ")
    assert all(len(line) <= 78 for line in raw.split(b"\r\n"))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=400))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_reads_back(text: str) -> None:
    message = reader(built(text=text))
    given = text.replace("\r\n", "\n").replace("\r", "\n")
    got = message.get_payload(decode=True).decode().replace("\r\n", "\n")
    assert got in (given, given + "\n")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain\n", "7bit"),
        ("Grüße, dies ist ein langer deutscher Satz\n", "quoted-printable"),
        ("日本語\n" * 5, "base64"),
        ("x" * 5000, "quoted-printable"),
        ("From here on\n", "quoted-printable"),
        ("bell\x07 and more text", "quoted-printable"),
    ],
)
def test_text_is_encoded_only_as_far_as_needed(text: str, encoding: str) -> None:
    raw = built(text=text)
    message = reader(raw)
    assert message["Content-Transfer-Encoding"] == encoding
    assert encoding == "7bit" or all(len(line) <= 76 for line in raw.partition(b"\r\n\r\n")[2].split(b"\r\n"))
    assert b"\r\nFrom " not in raw


def test_html_and_text_are_alternatives_and_html_alone_gets_a_text() -> None:
    both = reader(built(html="<p>Hi</p>"))
    assert both.get_content_type() == "multipart/alternative"
    assert [p.get_content_type() for p in both.get_payload()] == ["text/plain", "text/html"]
    alone = reader(built(text=..., html='<p>Hi <b>you</b></p><a href="https://x.example/?a=1&amp;b=2">Go</a>'))
    words = alone.get_payload()[0].get_payload(decode=True).decode()
    assert words == "Hi you\r\n\r\nGo <https://x.example/?a=1&b=2>\r\n"


def test_attachments_and_inline_images_come_back_whole() -> None:
    octets = bytes(range(256)) * 40
    message = reader(
        built(
            html='<img src="cid:logo">',
            attachments=[
                {"filename": "logo.png", "content": base64.b64encode(octets).decode(), "contentId": "<logo>"},
                {
                    "filename": "Übersicht für März 2026.pdf",
                    "content": base64.encodebytes(octets).decode(),
                    "contentType": "application/pdf",
                },
                {"filename": "日本" * 100, "content": "", "contentType": 'text/calendar; method=REQUEST; x="a b"'},
            ],
        )
    )
    assert message.get_content_type() == "multipart/mixed"
    alternative, pdf, calendar = message.get_payload()
    related = alternative.get_payload()[1]
    assert related.get_content_type() == "multipart/related"
    logo = related.get_payload()[1]
    assert (logo["Content-ID"], logo.get_content_disposition(), logo.get_content_type()) == (
        "<logo>",
        "inline",
        "image/png",
    )
    assert logo.get_payload(decode=True) == octets == pdf.get_payload(decode=True)
    assert pdf.get_filename() == "Übersicht für März 2026.pdf"
    assert calendar.get_filename() == "日本" * 100
    assert (calendar.get_param("method"), calendar.get_param("x")) == ("REQUEST", "a b")


@pytest.mark.parametrize(
    ("display", "local"),
    [
        ("Ann", "ann"),
        ("Ann B. O'Neil", "ann"),
        ('Say "hi" \\ there', "ann"),
        ("Zoë, Ltd", "ann"),
        ("名前" * 30, "ann"),
        ("=?utf-8?q?x?=", "ann"),
        ("x" * 200, "ann"),
        ("a@b", "ann"),
        ("(note)", "ann"),
    ],
)
def test_display_names_read_back(display: str, local: str) -> None:
    message = reader(
        built(named=[Named(display, address(f"{local}@bücher.example")), Named("", address("c@d.example"))])
    )
    value = message["To"].replace("\r\n", "")
    decoded = [(str(make_header(decode_header(name))), mail) for name, mail in getaddresses([value])]
    assert decoded == [(display, "ann@xn--bcher-kva.example"), ("", "c@d.example")]


def test_a_hundred_recipients_fold() -> None:
    many = [Named(f"Reader {i}", address(f"r{i}@there.example")) for i in range(100)]
    message = reader(built(named=many))
    assert [a for _, a in getaddresses([message["To"]])] == [f"r{i}@there.example" for i in range(100)]


def test_our_own_strict_parser_reads_the_from_we_write() -> None:
    for display in ("Ann", "Ann, B.", "Ä", "名前" * 10, 'q"q'):
        raw = built(sender=Named(display, address("a@bücher.example")))
        assert single_from(parse(raw)).display == display


def test_blind_copies_alone_name_nobody() -> None:
    raw = built(named=[])
    assert reader(raw)["To"] == "undisclosed-recipients:;"


EVIL = [
    "x\r\nBcc: e@evil.example",
    "x\nX: y",
    "x\rX: y",
    "x\x00y",
    "x\x0by",
    "x\x85y",
    "x\u2028y",
    "x\u2029y",
    "=?utf-8?q?x=0D=0ABcc:_e=40evil.example?=",
    "=?utf-8?b?eA0KQmNjOiBlQGV2aWwuZXhhbXBsZQ==?=",
    "x\x1b[2Jy",
    "a\tb",
]


@pytest.mark.parametrize("evil", EVIL)
def test_a_line_end_never_gets_into_a_header(evil: str) -> None:
    file = {"filename": "f", "content": ""}
    for more in (
        {"subject": evil},
        {"headers": {"X-Note": evil}},
        {"headers": {evil: "x"}},
        {"cc": [f"{evil} <c@d.example>"]},
        {"replyTo": f'"{evil}" <c@d.example>'},
        {"attachments": [{**file, "filename": evil}]},
        {"attachments": [{**file, "contentId": evil}]},
        {"attachments": [{**file, "contentType": f"text/plain; a={evil}"}]},
    ):
        status, _ = refused(**more)
        assert status in (400, 422), more
        assert status == 422 or "=?" in evil, more


@pytest.mark.parametrize(
    "name",
    [
        "From",
        "TO",
        "cc",
        "Bcc",
        "Subject",
        "Date",
        "Message-ID",
        "DKIM-Signature",
        "Received",
        "Return-Path",
        "List-Unsubscribe",
        "list-unsubscribe-post",
        "Content-Type",
        "MIME-Version",
        "X-Posthouse-Category",
        "X-Atmos-Category",
        "Feedback-ID",
        "Idempotency-Key",
        "DomainKey-Signature",
        "From ",
        "X:Y",
        "",
        "X Y",
        "Ünder",
        "x" * 80,
    ],
)
def test_reserved_and_malformed_header_names_are_refused(name: str) -> None:
    status, saw = refused(headers={name: "x"})
    assert (status, saw.startswith("headers")) == (422, True)


def test_headers_that_mail_servers_pass_on_are_taken() -> None:
    given = {
        "ARC-Seal": "i=1; a=rsa-sha256", "Received-SPF": "pass", "Authentication-Results": "mx.far.example; spf=pass",
        "Delivered-To": "b@there.example", "Resent-To": "b@there.example", "Sender": "Jörg <j@tenant.example>",
        "Resent-From": "nonsense",
    }
    raw = built(headers=given)
    message = reader(raw)
    assert {name: message[name] for name in given} | {"Sender": ""} == given | {"Sender": ""}
    assert single_mailbox(message["Sender"].encode()).address.text == "j@tenant.example"
    assert shown(message, "Sender") == "Jörg <j@tenant.example>"


def test_custom_headers_keep_their_grammar() -> None:
    refs = " ".join(f"<{i:040}@mail.example>" for i in range(30))
    message = reader(
        built(
            headers={
                "References": refs,
                "X-Ü".replace("Ü", "U"): "ü",
                "X-Enc": "=?utf-8?q?=C3=BC?= <a>",
                "X-Odd": "a=?b",
                "Reply-To": "r@tenant.example",
            }
        )
    )
    assert message["References"].replace("\r\n", "") == refs
    assert shown(message, "X-U") == "ü"
    assert message["X-Enc"] == "=?utf-8?q?=C3=BC?= <a>"
    assert shown(message, "X-Odd") == "a=?b"
    assert refused(headers={"X-A": "1", "x-a": "2"})[0] == 422
    assert refused(headers={"Reply-To": "x"}, replyTo="c@d.example")[0] == 422
    assert refused(headers={"X-Long": "y" * 2000})[0] == 422


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"attachments": [{"filename": "f", "content": "@@@"}]}, "attachments.0.content"),
        ({"attachments": [{"filename": "f", "content": "", "contentType": "nonsense"}]}, "attachments.0.contentType"),
        (
            {"attachments": [{"filename": "f", "content": "", "contentType": "message/rfc822"}]},
            "attachments.0.contentType",
        ),
        (
            {"attachments": [{"filename": "f", "content": "", "contentType": "text/plain; a=b; c"}]},
            "attachments.0.contentType",
        ),
        ({"subject": 5}, "subject"),
        ({"to": []}, "to"),
        ({"to": {"a": 1}}, "to"),
        ({"to": ...}, "to"),
        ({"nonsense": 1}, "nonsense"),
        ({"headers": {"X-A": 1}}, "headers.X-A"),
        ({"category": "spam"}, "category"),
        ({"sendAt": True}, "sendAt"),
        ({"metadata": {f"k{i}": "v" for i in range(11)}}, "metadata"),
        ({"metadata": {"k": []}}, "metadata.k"),
        ({"tags": "x"}, "tags"),
        ({"text": ...}, ""),
    ],
)
def test_a_wrong_field_is_named(more: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as caught:
        built(**more)
    assert (caught.value.verdict.reply.http, caught.value.verdict.extra["field"]) == (400, field)


def test_a_message_over_the_limit_is_refused_before_it_is_built() -> None:
    assert refused(text="x" * 5000, limit=4000)[0] == 413


def test_commas_divide_mailboxes_but_not_names() -> None:
    given = ['"B, Ann" <a@x.example>, c@x.example,, D <d@x.example>', "e@x.example"]
    assert [str(mailboxes.read("to", m).address.text) for m in mailboxes.split(given)] == [
        "a@x.example",
        "c@x.example",
        "d@x.example",
        "e@x.example",
    ]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<style>p{}</style><p>A</p><script>if(a<b){}</script><p>B &amp; C</p>", "A\n\nB & C\n"),
        ("<ul><li>one<li>two</ul>", "- one\n- two\n"),
        ("a<br>b<br/>c", "a\nb\nc\n"),
        ("1 < 2 and <!-- <p>hidden</p> --> 3 > 2", "1 < 2 and 3 > 2\n"),
        ('<p class="a>b" title=\'it"s\'>x</p>', "x\n"),
        ("<p class=it's>x</p>", "x\n"),
        ('<a href="mailto:a@b.example">a@b.example</a> <img alt="Logo">', "a@b.example Logo\n"),
        ('<a href="javascript:alert(1)">x</a>', "x\n"),
        ("<!-- never closed", "\n"),
        ("", "\n"),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    assert plain.from_html(html) == text


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<!--", "<a href='", '<a b="', "<script>", "<a>", "</a>", "&amp", "<p ''"]
)
def test_hostile_html_takes_steps_in_proportion_to_its_length(piece: str) -> None:
    # 600,000 characters of each finish at once; anything quadratic would not finish within the suite.
    assert isinstance(plain.from_html(piece * (600_000 // len(piece))), str)
