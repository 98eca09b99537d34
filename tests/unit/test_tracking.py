"""Rewriting for tracking: only hrefs change, every part reads as before, and nothing signed is touched."""

from __future__ import annotations

import base64
import quopri
import re
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.charsets import charset
from relay.base.secrets import Vault
from relay.message import Field, parse
from relay.tracking import tokens
from relay.tracking.html import read, references
from relay.tracking.links import target
from relay.tracking.parts import content_type, decode, encode, quoted
from relay.tracking.record import machine, proxy
from relay.tracking.template import Hole, Template, Wanted, template
from relay.tracking.tokens import Mark

ALL = Wanted(
    links=True, opens=True, unsubscribe="Unsubscribe", max_links=100, max_url_bytes=2000, max_part_bytes=1 << 20,
    own=lambda url: "relay.test" in url,
)
LINKS = Wanted(
    links=True, opens=False, unsubscribe="", max_links=100, max_url_bytes=2000, max_part_bytes=1 << 20,
    own=lambda url: False,
)


def fill(hole: Hole) -> str:
    return f"https://t.test/{hole.kind[0]}/{hole.n}"


def rewritten(raw: bytes, wanted: Wanted = ALL) -> bytes:
    """A whole message, rewritten; as it was where there is no template."""
    parsed = parse(raw)
    made = template(parsed.fields, parsed.body, wanted)
    if isinstance(made, str):
        return raw
    fields, body = made.fill(fill)
    return b"".join([*(f.raw for f in fields), b"\r\n", body])


def whole(body: bytes, kind: str = "text/html; charset=utf-8", encoding: str = "8bit") -> bytes:
    head = f"From: a@b.test\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return head.encode() + b"\r\n" + body


def html_of(text: str, wanted: Wanted = LINKS) -> str:
    """An HTML text, rewritten."""
    raw = whole(base64.encodebytes(text.encode()).replace(b"\n", b"\r\n"), encoding="base64")
    got = rewritten(raw, wanted).split(b"\r\n\r\n", 1)[1]
    return base64.b64decode(got).decode()


# -- which places -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<a href="https://x.test/a">', '<a href="https://t.test/c/0">'),
        ("<A title='>' HREF = 'https://x.test'>", "<A title='>' HREF = 'https://t.test/c/0'>"),
        ("<a\nhref=http://x.test/ class=b>", "<a\nhref=https://t.test/c/0 class=b>"),
        ('<area shape="rect" href="//x.test">', None),
        ('<area href="https://x.test/">', '<area href="https://t.test/c/0">'),
        ('<link href="https://x.test/a.css"><img src="https://x.test/a.png">', None),
        ('<a href="mailto:a@b.test"><a href="tel:1"><a href="#top"><a href="cid:1"><a href="javascript:x()">', None),
        ('<a href="https://x.test" href="https://y.test">', '<a href="https://t.test/c/0" href="https://y.test">'),
        ('<!-- <a href="https://x.test"> --><!--[if mso]><a href="https://x.test"><![endif]-->', None),
        ('<style>a { b: "<a href=https://x.test>" }</style><script>"<a href=https://x.test>"</script>', None),
        ('<a href="{{link}}"><a href="https://x.test/{{id}}"><a href="*|UNSUB|*">', None),
        ('<a href="https://me:secret@x.test/">', None),
        ('<a data-no-track href="https://x.test/">', None),
        ('<a href="page"><a href="/page">', None),
        ('<base href="https://x.test/"><a href="page">', '<base href="https://x.test/"><a href="https://t.test/c/0">'),
        ('<a href="https://x.test" title="', None),
        ("<a href=\"https://x.test'>", None),
        ("<abbr href='https://x.test'><a-b href='https://x.test'>", None),
        ("<script><!--<script></script><a href=https://x.test></script>--></script>", None),
        ("<p><td class='a>b'><a href=https://x.test>", "<p><td class='a>b'><a href=https://t.test/c/0>"),
        ("a < b <a href=https://x.test>", "a < b <a href=https://t.test/c/0>"),
    ],
)
def test_links_are_found_where_browsers_find_them(before: str, after: str | None) -> None:
    assert html_of(before) == (before if after is None else after)


def targets(text: str) -> list[str | None]:
    found = read(text)
    return [target(references(one.raw), references(found.base), charset("utf-8"), 2000) for one in found.links]


@pytest.mark.parametrize(
    ("href", "goes_to"),
    [
        ("https://x.test/?a=1&amp;b=2", "https://x.test/?a=1&b=2"),
        ("https://x.test/?a=1&copy=2&reg;", "https://x.test/?a=1&copy=2%C2%AE"),
        (" https://x.test/a\tb\n ", "https://x.test/ab"),
        ("HTTPS://x.test/%20a b", "https://x.test/%20a%20b"),
        ("https://x.test/ü?q=ü", "https://x.test/%C3%BC?q=%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://x.test&#47;y", "https://x.test/y"),
        ("https://x.test/\\..", None),
        ("https:x.test", None),
        ("ftp://x.test/", None),
        ("https://x.test/" + "a" * 2000, None),
    ],
)
def test_a_link_leads_where_it_led(href: str, goes_to: str | None) -> None:
    assert targets(f'<a href="{href}">') == [goes_to]


def test_a_query_is_written_in_the_charset_of_the_page() -> None:
    assert target("https://x.test/ü?q=ü", "", charset("iso-8859-1"), 2000) == "https://x.test/%C3%BC?q=%FC"
    assert target("https://x.test/?q=ü", "", charset("utf-16"), 2000) == "https://x.test/?q=%C3%BC"
    assert target("https://x.test/?q=日", "", charset("iso-8859-1"), 2000) is None
    assert target("https://x.test/?q=ü", "", None, 2000) is None


def test_links_beyond_the_bound_stay_as_they_are() -> None:
    text = '<a href="https://x.test/">' * 101
    assert html_of(text).count("t.test") == 100


PIECES = st.lists(
    st.sampled_from([
        "<a href=", "'", '"', ">", "<", "https://x.test/", "<!--", "-->", "<script>", "</script>", " ", "=", "/", "a",
        "</body>", "<base href='https://b.test/'>", "<area ", "href", "&amp;", "ü", "\r\n", "<style>", "<title>", "<a ",
        "<svg>", "<plaintext>", "<!", "<?", "</", "{{x}}",
    ]),
    max_size=40,
).map("".join)


@given(PIECES)
def test_whatever_the_html_only_hrefs_change(text: str) -> None:
    found = [i for i in read(text).links if target(references(i.raw), references(read(text).base), "utf-8", 2000)]
    expected, at = "", 0
    for n, link in enumerate(found):
        expected += text[at : link.start] + f"https://t.test/c/{n}"
        at = link.end
    assert html_of(text) == expected + text[at:]
    # Reading it again finds the same number of links: no value grew out of its quotes.
    assert len(read(html_of(text)).links) == len(read(text).links)


@given(st.text(max_size=300))
def test_reading_never_fails(text: str) -> None:
    found = read(text)
    assert 0 <= found.end <= len(text)
    assert all(text[link.start : link.end] == link.raw for link in found.links)


@pytest.mark.parametrize("text", ["<a " * 50_000, '<a href="' * 50_000, "<!-" * 50_000, "<a x" + " " * 200_000])
def test_long_nonsense_is_read_once(text: str) -> None:
    assert read(text).links == []


# -- which octets -----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400), st.sampled_from(["quoted-printable", "base64"]))
def test_what_is_encoded_reads_as_before(content: bytes, encoding: str) -> None:
    octets, name = encode(content, encoding)
    assert (decode(octets, name), name) == (content, encoding)
    assert all(len(line) <= 76 for line in octets.split(b"\r\n"))
    assert quopri.decodestring(quoted(content)) == content


LETTER = '<html><body><p>Grüße, {}</p><a href="https://x.test/?a=1&amp;b=2">hier</a></body></html>\r\n'


SPECIAL = {
    "utf-8": "äöü€", "iso-8859-15": "äöü€", "windows-1252": "äöü€", "iso-2022-jp": "日本語", "shift_jis": "表ソ能",
    "gb18030": "中文𠀀", "big5": "功許蓋",
}


@pytest.mark.parametrize("charset", SPECIAL)
@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
def test_every_charset_and_encoding_keeps_its_words(charset: str, encoding: str) -> None:
    special = SPECIAL[charset]
    text = LETTER.replace("ü", "ü" if "ü" in special else "u").replace("ß", "ss").format(special)
    content = text.encode(charset)
    octets = content if encoding == "8bit" else encode(content, encoding)[0] + b"\r\n"
    raw = whole(octets, f"text/html; charset={charset}", encoding)
    got = message_from_bytes(rewritten(raw), policy=policy.compat32)
    shown = got.get_payload(decode=True).decode(charset)
    assert special in shown
    assert got["Content-Transfer-Encoding"] == encoding
    without = re.sub(r"<p style.*?</p>\r\n<img[^>]*>\r\n", "", shown).rstrip()
    assert without == text.replace("https://x.test/?a=1&amp;b=2", "https://t.test/c/0").rstrip()
    assert shown.index("t.test/u/0") < shown.index("t.test/o/0") < shown.index("</body>")


def test_a_line_that_grows_too_long_is_written_in_another_encoding() -> None:
    line = b"<a href='https://x.test'>" * 45
    raw = whole(line[:990] + b"\r\n", encoding="7bit").replace(b"Content-Transfer-Encoding: 7bit\r\n", b"")
    parsed = parse(raw)
    made = template(parsed.fields, parsed.body, LINKS)
    assert isinstance(made, Template)
    fields, body = made.fill(lambda hole: f"https://t.test/c/{'a' * 900}{hole.n}")
    assert [f.value.strip() for f in fields if f.name == "content-transfer-encoding"] == [b"quoted-printable"]
    assert max(len(one) for one in body.split(b"\r\n")) <= 76
    assert quopri.decodestring(body).count(b"t.test") == 39


def test_in_a_message_of_many_parts_only_the_text_parts_change() -> None:
    page = '<html><body><a href="https://x.test/">ä</a><img src="cid:1"></body></html>'
    parts = [
        b"Content-Type: text/plain; charset=utf-8; format=flowed\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        b"Gr\xc3\xbc\xc3\x9fe \r\nflowed",
        b"Content-Type: text/x-amp-html\r\n\r\n<a href='https://x.test/'>amp</a>",
        b"Content-Type: multipart/related; boundary=\"rel--b\"\r\n\r\nnobody reads this\r\n--rel--b\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        + quoted(page.encode()) + b"\r\n--rel--b\r\nContent-Type: image/gif\r\nContent-ID: <1>\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nR0lGODlhAQABAIAAAP\r\n--rel--b--\r\n",
    ]
    other = [
        b"Content-Type: text/html\r\nContent-Disposition: attachment; filename=a.html\r\n\r\n<a href='https://x.test/'>",
        b"Content-Type: message/rfc822\r\n\r\nContent-Type: text/html\r\n\r\n<a href='https://x.test/'>",
        b"Content-Type: text/html; name=a.html\r\n\r\n<a href='https://x.test/'>",
    ]
    inner = b"".join(b"--alt\r\n" + p + b"\r\n" for p in parts) + b"--alt--\r\n"
    body = b"--mix\r\nContent-Type: multipart/alternative; boundary=alt\r\n\r\n" + inner
    body += b"".join(b"\r\n--mix\r\n" + p for p in other) + b"\r\n--mix--\r\nepilogue\r\n"
    raw = whole(body, "multipart/mixed;\r\n boundary=mix")
    got = rewritten(raw)
    for kept in (parts[1], parts[2].split(b"\r\n--rel--b\r\n")[2], *other):
        assert kept in got
    text, amp, related = message_from_bytes(got).get_payload()[0].get_payload()
    assert text.get_payload(decode=True).decode() == "Grüße \r\nflowed\r\n\r\nUnsubscribe: https://t.test/u/0"
    assert b"t.test" not in amp.as_bytes()
    shown = related.get_payload()[0].get_payload(decode=True).decode()
    assert shown.startswith('<html><body><a href="https://t.test/c/0">ä</a><img src="cid:1"><p')
    assert got.endswith(b"\r\n--mix--\r\nepilogue\r\n")
    assert got.count(b"t.test/o/") == 1


PGP = b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA512\r\n\r\nhello\r\n-----BEGIN PGP SIGNATURE-----\r\n"
PAGE = b"Content-Type: text/html\r\n\r\n<a href='https://x.test/'>x</a>"


@pytest.mark.parametrize(
    "raw",
    [
        whole(b"--b\r\n" + PAGE + b"\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n",
              'multipart/signed; micalg=pgp-sha512; protocol="application/pgp-signature"; boundary=b'),
        whole(b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n" + PAGE + b"\r\n--b--\r\n",
              'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b'),
        whole(b"MIAGCSqGSIb3DQEHA6CAMIACAQAx\r\n", "application/pkcs7-mime; smime-type=enveloped-data", "base64"),
        whole(PGP, "text/plain"),
        whole(b"--b\r\n" + PAGE + b"\r\n--b\r\n\r\n" + PGP + b"\r\n--b--\r\n", "multipart/alternative; boundary=b"),
        whole(b"--b\r\n" + PAGE + b"\r\n--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"
              + base64.b64encode(PGP) + b"\r\n--b--\r\n", "multipart/mixed; boundary=b"),
        b"DKIM-Signature: v=1; a=rsa-sha256; d=own.test; s=s; bh=x; b=x; h=from\r\n" + whole(PAGE[27:]),
        b"Content-Type: text/html\r\n" + whole(b"<a href='https://x.test/'>x</a>\r\n", "text/plain"),
        whole(b"<a href='https://x.test/'>x</a>\r\n", "text/html", "x-uuencode"),
        whole(b"not base64!\r\n", "text/html", "base64"),
        whole(b"<a href='https://x.test/'>x</a>\r\n", "text/html; charset=cp037"),
        whole(b"--b\r\n" + PAGE + b"\r\nno end\r\n", "multipart/mixed; boundary=b"),
    ],
    ids=["pgp-signed", "pgp-encrypted", "smime", "pgp-inline", "pgp-beside", "pgp-hidden", "dkim", "two-types",
         "uuencode", "not-base64", "ebcdic", "no-end"],
)  # fmt: skip
def test_what_is_signed_sealed_or_unclear_passes_untouched(raw: bytes) -> None:
    assert rewritten(raw) == raw


def test_signed_text_inside_a_list_message_keeps_its_octets() -> None:
    signed = (b'Content-Type: multipart/signed; boundary=s; protocol="application/pgp-signature"\r\n\r\n--s\r\n' + PAGE
              + b"\r\n--s\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n")
    raw = whole(b"--b\r\n" + signed + b"\r\n--b\r\n" + PAGE + b"\r\n--b--\r\n", "multipart/mixed; boundary=b")
    got = rewritten(raw)
    assert signed in got
    assert got.count(b"t.test/c/") == 1


def test_a_changed_part_that_would_look_like_its_own_end_stays_as_it_was() -> None:
    kept = 0
    for n in range(80):
        page = '<a href="https://x.test/">' + "x" * n + "--b\r\nafter"
        raw = whole(
            b"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            + quoted(page.encode()).replace(b"=\r\n--b", b"-=\r\n-b") + b"\r\n--b--\r\n", "multipart/mixed; boundary=b",
        )
        got = rewritten(raw, LINKS)
        kept += got == raw
        assert message_from_bytes(got).get_payload()[0].get_payload(decode=True).endswith(b"--b\r\nafter")
    assert 0 < kept < 40


def test_a_base64_part_ends_before_its_delimiter() -> None:
    page = base64.encodebytes(b'<a href="https://x.test/">').replace(b"\n", b"\r\n")
    part = b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n" + page
    raw = whole(b"--b\r\n" + part + b"--b\r\n" + part + b"--b--\r\n", "multipart/mixed; boundary=b")
    got = message_from_bytes(rewritten(raw, LINKS)).get_payload()
    assert [p.get_payload(decode=True) for p in got] == [b'<a href="https://t.test/c/%d">' % n for n in range(2)]


def test_what_is_added_stands_at_the_end_of_the_body_whatever_follows_it() -> None:
    got = html_of('<body>x</body><a href="https://x.test/">late</a>', ALL)
    assert re.sub("<p .*<img[^>]*>\r\n", "+", got, flags=re.DOTALL) == (
        '<body>x+</body><a href="https://t.test/c/0">late</a>'
    )


def test_our_own_addresses_are_not_tracked_once_more() -> None:
    assert "t.test/c/" not in html_of('<a href="https://relay.test/u/abc">', ALL)


def test_text_that_could_not_be_written_back_as_it_was_is_left_alone() -> None:
    odd = b"\x1b$B\x1b(Bno need to switch <a href='https://x.test/'>\r\n"
    assert rewritten(whole(odd, "text/html; charset=iso-2022-jp", "7bit"), LINKS).endswith(b"\r\n\r\n" + odd)


def test_a_public_key_that_is_attached_is_no_reason_to_leave_the_text() -> None:
    key = b"Content-Type: application/pgp-keys; name=k.asc\r\n\r\n-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n"
    raw = whole(b"--b\r\n" + PAGE + b"\r\n--b\r\n" + key + b"\r\n--b--\r\n", "multipart/mixed; boundary=b")
    assert b"t.test/c/0" in rewritten(raw, LINKS)


def test_long_content_types_are_read_in_one_pass() -> None:
    assert content_type("text/html; " + "a" * 50_000)[0] == "text/html"
    assert content_type('text/html; charset="utf-8"; charset=x') == ("", {})


# -- tokens -----------------------------------------------------------------------------------------------------------

VAULT = Vault(bytes(32))
MARK = Mark("a" * 16, tokens.who("bob@sink.test"), 7, 9, 20_000, 3, "https://x.test/?a=1")


def test_a_token_comes_back_and_shows_nothing() -> None:
    token = tokens.write(VAULT, "click", MARK)
    assert tokens.read(VAULT, "click", token) == MARK
    assert token == tokens.write(VAULT, "click", MARK)
    assert b"x.test" not in base64.urlsafe_b64decode(token + "==")
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)


@given(st.integers(min_value=0, max_value=83), st.sampled_from("ABCDabcd0123_-"))
def test_a_token_that_was_changed_or_cut_says_nothing(at: int, letter: str) -> None:
    token = tokens.write(VAULT, "click", MARK)
    assert tokens.read(VAULT, "click", token[:at]) is None
    changed = token[:at] + letter + token[at + 1 :]
    assert tokens.read(VAULT, "click", changed) == (MARK if changed == token else None)


@pytest.mark.parametrize("token", ["", "x", "ä" * 40, "A" * 7000, "=" * 40, "a b c"])
def test_other_texts_are_no_tokens(token: str) -> None:
    assert tokens.read(VAULT, "click", token) is None


def test_a_token_is_good_for_its_own_use_and_relay_only() -> None:
    assert tokens.read(VAULT, "open", tokens.write(VAULT, "click", MARK)) is None
    assert tokens.read(Vault(b"1" * 32), "click", tokens.write(VAULT, "click", MARK)) is None


# -- machines ---------------------------------------------------------------------------------------------------------

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"


@pytest.mark.parametrize(
    ("kind", "agent", "after", "says"),
    [
        ("open", FIREFOX, 60.0, ""), ("click", FIREFOX, 60.0, ""), ("open", "Mozilla/5.0", 60.0, "privacy"),
        ("open", GMAIL, 60.0, ""), ("open", GMAIL, 1.0, "at-once"), ("click", FIREFOX, None, "at-once"),
        ("click", FIREFOX, 0.5, "at-once"), ("click", "curl/8.0", 60.0, "scanner"), ("open", "", 60.0, "scanner"),
        ("click", "Mozilla/5.0 (compatible; bingbot/2.0)", 60.0, "scanner"),
    ],
)
def test_machines_are_told_from_people(kind: str, agent: str, after: float | None, says: str) -> None:
    assert machine(kind, {"User-Agent": agent}, after, 2.0) == says


def test_a_browser_that_looks_ahead_is_no_reader() -> None:
    assert machine("click", {"User-Agent": FIREFOX, "Sec-Purpose": "prefetch;prerender"}, 60.0, 2.0) == "ahead"
    assert (proxy({"User-Agent": GMAIL}), proxy({"User-Agent": FIREFOX})) == ("google", "")


def test_the_fields_of_a_message_are_not_changed_in_place() -> None:
    fields = [Field("content-type", b"Content-Type: text/html\r\n")]
    made = template(fields, b"<a href='https://x.test/'>" + b"x" * 960 + b"\r\n", ALL)
    assert isinstance(made, Template)
    assert made.fill(lambda hole: "https://t.test/" + "a" * 100)[0] != fields
    assert len(fields) == 1
