"""Checking DKIM: our own signatures pass, and each way of being wrong has its own result."""

from __future__ import annotations

import time

import pytest

from relay.base.keys import generate_ed25519, generate_rsa
from relay.base.resolver import Answer, Later, Nothing, Result
from relay.message import Field
from relay.signing import SigningKey, body_hash, load_ed25519, load_rsa, sign
from relay.verify import Signature, signatures

RSA, ED = generate_rsa(), generate_ed25519()
BODY = b"Hello  there \r\n\r\nBye\r\n\r\n"
FIELDS = [
    Field("from", b"From: A <a@shop.test>\r\n"), Field("to", b"To: b@sink.test\r\n"),
    Field("subject", b"Subject: One\r\n two\r\n"),
]


class Table:
    """DNS as a table; a value that is a Result is given as it stands."""

    def __init__(self, **records: str | Result) -> None:
        self._records = {f"{k}._domainkey.shop.test": v for k, v in records.items()}

    async def txt(self, name: str) -> Result:
        found = self._records.get(name, Nothing("nxdomain", 60))
        return Answer((found,), 60) if isinstance(found, str) else found


GOOD = Table(sr=RSA.txt, se=ED.txt)


def signed(*, body: bytes = BODY, now: float | None = None, lifetime: int = 86400) -> bytes:
    keys = [
        SigningKey("shop.test", "sr", "rsa-sha256", load_rsa(RSA.private)),
        SigningKey("shop.test", "se", "ed25519-sha256", load_ed25519(ED.private)),
    ]
    at = int(time.time() if now is None else now)
    head = sign(FIELDS, body_hash(body), keys, now=at, lifetime_seconds=lifetime)
    return head + b"".join(f.raw for f in FIELDS) + b"\r\n" + body


def results(found: list[Signature]) -> list[str]:
    return [f.result for f in found]


async def test_our_two_signatures_pass() -> None:
    found = await signatures(signed(), GOOD)
    assert [(f.algorithm, f.domain, f.selector, f.result) for f in found] == [
        ("rsa-sha256", "shop.test", "sr", "pass"), ("ed25519-sha256", "shop.test", "se", "pass")
    ]
    assert await signatures(b"From: a@b.test\r\n\r\nno signature\r\n", GOOD) == []


@pytest.mark.parametrize("change", [
    (b"Subject: One", b"Subject: Two"),
    (b"To: b@sink.test", b"To: c@sink.test"),
    (b"\r\n\r\nHello", b"\r\nFrom: evil@shop.test\r\n\r\nHello"),
    (b"From: A", b"Reply-To: x@evil.test\r\nFrom: A"),
])
async def test_a_changed_header_fails(change: tuple[bytes, bytes]) -> None:
    raw = signed()
    assert change[0] in raw
    assert results(await signatures(raw.replace(*change), GOOD)) == ["fail", "fail"]


async def test_a_changed_body_fails_and_relaxed_white_space_does_not() -> None:
    raw = signed()
    found = await signatures(raw.replace(b"Bye", b"Buy"), GOOD)
    assert [(f.result, f.says) for f in found] == [("fail", "the body was changed")] * 2
    assert results(await signatures(raw.replace(b"Hello  there \r\n", b"Hello there\r\n"), GOOD)) == ["pass", "pass"]
    assert results(await signatures(raw + b"\r\n\r\n", GOOD)) == ["pass", "pass"]


@pytest.mark.parametrize(("table", "result", "says"), [
    (Table(sr=Later("timeout"), se=Later("timeout")), "temperror", "could not be looked up"),
    (Table(), "permerror", "no key"),
    (Table(sr="v=DKIM1; p=", se="v=DKIM1; k=ed25519; p="), "permerror", "revoked"),
    (Table(sr=ED.txt, se=RSA.txt), "permerror", "the wrong type"),
    (Table(sr=Answer((RSA.txt, RSA.txt), 1), se=Answer((ED.txt, "x"), 1)), "permerror", "more than one record"),
    (Table(sr="v=spf1 -all", se="hello"), "permerror", "is not a key"),
    (Table(sr="v=DKIM1; p=AAAA", se="v=DKIM1; k=ed25519; p=AAAA"), "permerror", "can't be read"),
    (Table(sr=RSA.txt.replace("k=rsa", "k=rsa; h=sha1"), se=ED.txt + "; h=sha1"), "permerror", "the hash used"),
    (Table(sr=RSA.txt.replace("; ", ", "), se=ED.txt.replace("; ", ", ")), "permerror", "the tags run together"),
    (Table(sr=RSA.txt.replace("p=", "P="), se=ED.txt.replace("k=", "K=")), "permerror", "tag names are case-sensitive"),
    (Table(sr=RSA.txt + "; s=tlsrpt", se=ED.txt + "; s=tlsrpt"), "permerror", "not meant for mail"),
])
async def test_what_is_wrong_with_a_key(table: Table, result: str, says: str) -> None:
    found = await signatures(signed(), table)
    assert results(found) == [result, result]
    assert all(says in f.says and "{" not in f.says for f in found)


async def test_a_key_of_somebody_else_fails() -> None:
    other = Table(sr=generate_rsa().txt, se=generate_ed25519().txt)
    assert results(await signatures(signed(), other)) == ["fail", "fail"]


async def test_an_expired_signature_counts_no_more() -> None:
    found = await signatures(signed(now=time.time() - 30 * 86400), GOOD)
    assert results(found) == ["permerror", "permerror"]


@pytest.mark.parametrize("field", [
    b"DKIM-Signature: v=1; a=rsa-sha256\r\n",
    b"DKIM-Signature: nonsense\r\n",
    b"DKIM-Signature: v=1; a=rsa-sha1; c=relaxed/relaxed; d=shop.test; s=sr; h=from; bh=AAAA; b=AAAA\r\n",
    b"DKIM-Signature: v=1; a=rsa-sha256; c=odd/odd; d=shop.test; s=sr; h=from; bh=AAAA; b=AAAA\r\n",
    b"DKIM-Signature: v=1; a=rsa-sha256; d=shop.test; s=sr; h=to; bh=AAAA; b=AAAA\r\n",
    b"DKIM-Signature: v=1; a=rsa-sha256; d=shop.test; s=sr; l=99999; h=from; bh=AAAA; b=AAAA\r\n",
    b"DKIM-Signature: v=1; a=rsa-sha256; b=" + b"A" * 20_000 + b"\r\n",
])
async def test_a_field_that_is_no_signature(field: bytes) -> None:
    found = await signatures(field + b"From: a@shop.test\r\n\r\nx\r\n", GOOD)
    assert results(found) == ["permerror"]
    assert all(f.says for f in found)


async def test_work_is_bounded() -> None:
    field = b"DKIM-Signature: v=1; a=rsa-sha256; d=shop.test; s=sr; h=from; bh=AAAA; b=AAAA\r\n"
    assert len(await signatures(field * 50 + b"From: a@shop.test\r\n\r\nx\r\n", GOOD)) == 10
    huge = b"X: y\r\n" * 100_000 + b"\r\nbody"
    assert results(await signatures(huge, GOOD)) == ["neutral"]


async def test_a_key_that_forbids_subdomains() -> None:
    raw = signed()
    # Ours has no i=; a signature for a subdomain is put together from the same key by hand.
    assert b" i=" not in raw
    strict = Table(sr=RSA.txt + "; t=s", se=ED.txt + "; t=s")
    assert results(await signatures(raw, strict)) == ["pass", "pass"]
    with_identity = raw.replace(b"d=shop.test;", b"d=shop.test; i=@sub.shop.test;")
    assert {f.says for f in await signatures(with_identity, strict)} == {"the key is not for subdomains"}

