"""Signatures: what leaves verifies everywhere, and what is changed on the way does not."""

import hashlib
import time
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import signing
from relay.base import keys
from relay.message import BadMessage, Field, parse
from relay.signing import OVERSIGNED, SIGNED, SigningKey, body_hash, load_ed25519, load_rsa, sign
from tests.kit.dkim_check import dkimpy_verifies, plainly_verifies

MESSAGE = (
    b"From: Ann  Lee <ann@demo.test>\r\n"
    b"TO:   bob@example.com,\r\n\t carol@example.com \r\n"
    b"Subject: a  long\r\n   subject\t \r\n"
    b"Date: Sat, 21 Nov 2026 04:11:05 +0000\r\n"
    b"Message-ID: <1@demo.test>\r\n"
    b"Reply-To: ann@demo.test\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"References: <0@demo.test>\r\n"
    b"Feedback-ID: x\r\n"
    b"X-Other: not signed\r\n"
    b"\r\n"
    b"Hello  \t world  \r\n\r\n  two\r\n\r\n \r\n\r\n"
)


class Pair(NamedTuple):
    """Both keys of one domain, and the zone that publishes them."""

    keys: list[SigningKey]
    table: dict[str, str]


def pair_for(domain: str) -> Pair:
    rsa, ed = keys.generate_rsa(), keys.generate_ed25519()
    return Pair(
        [
            SigningKey(domain, "p26r", "rsa-sha256", load_rsa(rsa.private)),
            SigningKey(domain, "p26e", "ed25519-sha256", load_ed25519(ed.private)),
        ],
        {f"p26r._domainkey.{domain}": rsa.txt, f"p26e._domainkey.{domain}": ed.txt},
    )


@pytest.fixture(scope="module")
def pair() -> Pair:
    return pair_for("demo.test")


def signed(raw: bytes, pair: Pair, **more: int) -> bytes:
    parsed = parse(raw)
    return sign(parsed.fields, body_hash(parsed.body), pair.keys, now=time.time(), **more) + raw


def verdicts(message: bytes, pair: Pair) -> list[bool]:
    return [
        verifies(message, pair.table, index)
        for verifies in (dkimpy_verifies, plainly_verifies)
        for index in range(len(pair.keys))
    ]


def h_of(message: bytes) -> list[bytes]:
    """The names in h= of the first signature."""
    return b"".join(message.split()).partition(b";h=")[2].partition(b";")[0].split(b":")


def test_both_signatures_verify_with_two_verifiers(pair: Pair) -> None:
    message = signed(MESSAGE, pair)
    assert message.count(b"DKIM-Signature:") == 2
    assert verdicts(message, pair) == [True] * 4


def test_the_field_is_folded_and_dated_and_signs_the_whole_body(pair: Pair) -> None:
    parsed = parse(MESSAGE)
    lines = sign(parsed.fields, body_hash(parsed.body), pair.keys[:1], now=1_800_000_000.9)
    assert lines.endswith(b"\r\n")
    assert all(len(line) <= 78 for line in lines.split(b"\r\n"))
    value = b"".join(lines.split())
    assert b";t=1800000000;x=1800604800;" in value
    assert b";c=relaxed/relaxed;" in value
    assert b";l=" not in value
    named = h_of(lines)
    for name in OVERSIGNED:
        assert named.count(name) == len(parsed.all(name.decode())) + 1
    assert set(named) == set(OVERSIGNED)


def test_a_signature_survives_what_relaxed_lets_pass(pair: Pair) -> None:
    message = signed(MESSAGE, pair)
    touched = message.replace(b"Hello  \t world  \r\n", b"Hello world\r\n").replace(b"TO:   bob", b"To: bob")
    assert touched != message
    assert verdicts(touched + b"\r\n\r\n", pair) == [True] * 4


def test_one_more_of_every_field_that_is_signed_breaks_both_signatures(pair: Pair) -> None:
    own = b"".join(name.title() + b": <a@demo.test>\r\n" for name in SIGNED)
    for raw in (MESSAGE, own + MESSAGE):
        message = signed(raw, pair)
        assert verdicts(message, pair) == [True] * 4
        head, _, body = message.partition(b"\r\n\r\n")
        for name in h_of(message):
            line = name.title() + b": <eve@evil.test>"
            assert verdicts(line + b"\r\n" + message, pair) == [False] * 4, name
            assert verdicts(head + b"\r\n" + line + b"\r\n\r\n" + body, pair) == [False] * 4, name


@pytest.mark.parametrize(
    "line",
    [
        b"From: Eve <eve@evil.test>",
        b"Sender: Eve <eve@evil.test>",
        b"To: eve@evil.test",
        b"Cc: eve@evil.test",
        b"Subject: other",
        b"Date: Sun, 22 Nov 2026 04:11:05 +0000",
        b"Message-ID: <2@evil.test>",
        b"Reply-To: eve@evil.test",
        b"In-Reply-To: <2@evil.test>",
        b"References: <2@evil.test>",
        b"MIME-Version: 1.0",
        b"Content-Type: text/html",
        b"Content-Transfer-Encoding: base64",
        b"List-Unsubscribe: <https://evil.test/>",
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        b"Feedback-ID: a:b:c:evil",
    ],
)
def test_what_a_stranger_may_add_breaks_both_signatures(pair: Pair, line: bytes) -> None:
    for raw in (MESSAGE, b"From: ann@demo.test\r\n\r\nHello\r\n"):
        message = signed(raw, pair)
        head, _, body = message.partition(b"\r\n\r\n")
        assert verdicts(line + b"\r\n" + message, pair) == [False] * 4
        assert verdicts(head + b"\r\n" + line + b"\r\n\r\n" + body, pair) == [False] * 4


def test_a_list_may_put_its_own_fields_on_top(pair: Pair) -> None:
    """Where the message has none of them, they are a list's or a resender's to add."""
    message = signed(MESSAGE, pair)
    added = b"".join(name.title() + b": <a@lists.test>\r\n" for name in SIGNED)
    assert verdicts(added + message, pair) == [True] * 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ann@demo.test>", b"eve@demo.test>"),
        (b"Hello", b"Hullo"),
        (b"References: <0@", b"References: <9@"),
        (b"; x=", b"; x=9"),
    ],
)
def test_a_changed_message_does_not_verify(pair: Pair, old: bytes, new: bytes) -> None:
    message = signed(MESSAGE, pair)
    assert old in message
    assert not any(verdicts(message.replace(old, new), pair))


def test_text_added_after_the_body_does_not_verify(pair: Pair) -> None:
    assert not any(verdicts(signed(MESSAGE, pair) + b"more\r\n", pair))


def test_an_expired_signature_is_refused(pair: Pair) -> None:
    message = signed(MESSAGE, pair, lifetime_seconds=-11 * 3600)
    assert not dkimpy_verifies(message, pair.table, 0)


def test_a_very_long_domain_still_verifies() -> None:
    pair = pair_for(".".join(["d" * 60, "e" * 60, "f" * 60, "test"]))
    assert verdicts(signed(MESSAGE, pair), pair) == [True] * 4


def test_many_repeated_fields_still_verify(pair: Pair) -> None:
    message = signed(b"".join(b"References: <%d@demo.test>\r\n" % n for n in range(300)) + MESSAGE, pair)
    assert verdicts(message, pair) == [True] * 4


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \r\n\t\r\n", b".\r\n", b"a\r\n", b" a\r\n"])
def test_bodies_at_the_edge_verify(pair: Pair, body: bytes) -> None:
    assert verdicts(signed(b"From: ann@demo.test\r\n\r\n" + body, pair), pair) == [True] * 4


def test_what_can_not_be_signed_says_so(pair: Pair) -> None:
    with pytest.raises(ValueError, match="From"):
        sign([Field("to", b"To: x@y.test\r\n")], body_hash(b""), pair.keys, now=0)
    with pytest.raises(ValueError, match="key"):
        sign([Field("from", b"From: x@y.test\r\n")], body_hash(b""), [], now=0)


@pytest.mark.parametrize(
    "body",
    [b" " * 5000, b"a" + b" " * 5000 + b"b", b" \t" * 3000 + b"\r\n" + b"x \r\n" * 3, b"\r\n" * 4000 + b"x",
     b"a\r", b"a\n", b"a\r\r\n", b"\n\r\n\r\n", b" ", b"a ", b"\t\r\n \r\na"],
)  # fmt: skip
def test_the_relaxed_body_is_dkimpys(body: bytes) -> None:
    assert body_hash(body) == hashlib.sha256(Relaxed.canonicalize_body(body)).digest()


@pytest.mark.parametrize("octet", [b"\x0b", b"\x0c"])
def test_what_dkimpy_takes_for_a_blank_and_the_standard_does_not_is_refused_before(octet: bytes) -> None:
    # RFC 5234's WSP is space and tab; dkimpy would strip these two as well, and then no other verifier agrees.
    with pytest.raises(BadMessage, match="control character"):
        parse(b"From: ann@demo.test\r\nSubject: x" + octet + b"\r\n\r\n")


FIELD = st.builds(
    lambda name, pieces: name + b":" + b"".join(pieces) + b"\r\n",
    st.sampled_from([b"Subject", b"TO", b"References", b"X-Other", b"resent-To", b"List-ID"]),
    st.lists(st.sampled_from([b" ", b"\t", b"\r\n x", b"\r\n\ty", b"a", b"b,", b"\xc3\xa4"])),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(FIELD, max_size=8))
def test_whatever_the_header_both_verifiers_agree(pair: Pair, fields: list[bytes]) -> None:
    assert verdicts(signed(b"".join(fields) + b"From: ann@demo.test\r\n\r\nx\r\n", pair), pair) == [True] * 4


def test_the_body_hash_does_not_depend_on_the_pieces() -> None:
    body = b"one  two \r\n\r\n\r\n three\t\r\n" * 50 + b"\r\n" * 20
    assert {body_hash(body, block=size) for size in (2, 3, 7, 64, 1000, 10**6)} == {body_hash(body)}


@pytest.mark.parametrize("text", [b" ", b"\t", b"a  ", b" \r\n", b"\r\n", b"  a\t\r\n"])
def test_a_million_blanks_cost_no_more_than_their_number(text: bytes) -> None:
    def cost(octets: int) -> float:
        body = text * (octets // len(text))
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            body_hash(body)
            best = min(best, time.process_time() - begun)
        return best

    # Four times the octets: linear work takes four times as long, quadratic sixteen times.
    cost(250_000)
    assert cost(1_000_000) < 10 * cost(250_000) + 0.02


def test_keys_that_verifiers_refuse_are_not_loaded() -> None:
    weak = generate_private_key(65537, 1024)
    der = weak.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="2048"):
        load_rsa(der)
    for junk in (b"", b"junk", b"-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(ValueError, match="not an RSA private key"):
            load_rsa(junk)
    with pytest.raises(ValueError, match="32"):
        load_ed25519(b"short")


def test_keys_load_from_both_forms() -> None:
    key = generate_private_key(65537, 2048)
    for encoding in (Encoding.DER, Encoding.PEM):
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            data = key.private_bytes(encoding, form, NoEncryption())
            assert load_rsa(data, validated=False).public_key() == key.public_key()
    assert "PrivateKey" not in repr(SigningKey("demo.test", "s", "rsa-sha256", key))
    assert signing.DEFAULT_LIFETIME_SECONDS == 7 * 86400
