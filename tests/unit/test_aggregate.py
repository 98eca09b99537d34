"""Reading aggregate reports: the forms of large receivers, and whatever else somebody may send instead."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import zipfile

import pytest

from enroll.domains.reports import summed
from relay.aggregate import BadReport, Bounds, DmarcReport, TlsReport, read
from relay.base.storage.aggregate import DmarcDay
from tests.kit.aggregate import bomb, row, tls, xml, zipped

BOUNDS = Bounds(size=1_000_000, ratio=200, depth=20, rows=100)
AT = 1_900_000_000


def one(octets: bytes) -> DmarcReport:
    (found,) = read(octets, BOUNDS)
    assert isinstance(found, DmarcReport)
    return found


@pytest.mark.parametrize("shape", ["google", "microsoft", "yahoo", "fastmail", "mail.ru", "prefixed"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress, zipped])
def test_the_forms_of_large_receivers(shape: str, packed: object) -> None:
    text = xml(
        shape, row("192.0.2.25", 12), row("2001:DB8::1", 3, dkim="fail", spf="softfail", then="reject"), at=AT
    )
    found = one(packed(text))  # type: ignore[operator]
    assert (found.organization, found.report_id, found.domain) == (f"{shape} Inc.", "1", "example.test")
    assert (found.begins_at, found.ends_at) == (AT, AT + 86_399)
    good, bad = found.rows
    assert (good.address, good.count, good.dkim, good.spf, good.signed_by) == (
        "192.0.2.25", 12, True, True, "example.test"
    )
    assert (bad.address, bad.dkim, bad.spf) == ("2001:db8::1", False, False)
    assert (bad.disposition, bad.signed_by) == ("reject", "")


def test_what_comes_before_and_after_does_not_matter() -> None:
    assert one(b"\xef\xbb\xbf\r\n" + xml(at=AT) + b"\r\n\r\n").domain == "example.test"
    assert one(xml(at=AT).decode().replace('encoding="UTF-8"', 'encoding="UTF-16"').encode("utf-16")).rows
    assert one(gzip.compress(xml(at=AT)[:300]) + gzip.compress(xml(at=AT)[300:])).rows
    assert one(xml(at=AT, domain="EXAMPLE.test.")).domain == "example.test"
    assert one(xml("google", row("::ffff:192.0.2.25"), at=AT)).rows[0].address == "192.0.2.25"


def test_a_tls_report() -> None:
    (found,) = read(gzip.compress(tls()), BOUNDS)
    assert isinstance(found, TlsReport)
    assert (found.organization, found.domain, found.report_id) == ("Google Inc.", "example.test", "t1")
    assert [(r.policy, r.result, r.host, r.count) for r in found.rows] == [
        ("sts", "success", "", 40), ("sts", "certificate-expired", "mx.example.test", 3), ("sts", "unspecified", "", 2),
    ]


_LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'


def two_files(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, xml(at=AT))
    return out.getvalue()


def lying_zip() -> bytes:
    """Its directory says that the file is small."""
    packed = bytearray(zipped(b"<feedback>" + b" " * 3_000_000))
    for mark, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        begin = packed.find(mark) + at
        packed[begin : begin + 4] = (100).to_bytes(4, "little")
    return bytes(packed)


BAD = {
    "nothing": b"", "blanks": b" \r\n", "words": b"Hello", "html": b"<html><body>x</body></html>",
    "cut": xml(at=AT)[:-9],
    "entities": xml(at=AT, head="").replace(b"<feedback>", _LAUGHS.encode() + b"<feedback>", 1),
    "external": xml(at=AT).replace(b"<feedback>", b'<!DOCTYPE feedback SYSTEM "file:///etc/passwd"><feedback>', 1),
    "parameter entity": xml(at=AT).replace(
        b"<feedback>", b'<!DOCTYPE f [<!ENTITY % p SYSTEM "http://127.0.0.1/x"> %p;]><feedback>', 1
    ),
    "undeclared entity": xml("google", row("&xxe;"), at=AT),
    "deep": xml("google", "<a>" * 30 + "</a>" * 30, at=AT), "many rows": xml("google", *[row()] * 101, at=AT),
    "wide row": xml("google", row().replace("</record>", "<x/>" * 600 + "</record>"), at=AT),
    "wide": xml("google", "<x/>" * 600, row(), at=AT), "no rows": xml("google", "<x/>", at=AT),
    "bomb": bomb(50_000_000), "ratio": gzip.compress(b"<feedback>" + b" " * 900_000),
    "zip bomb": zipped(b" " * 50_000_000),
    "lying zip": lying_zip(), "gzip cut": gzip.compress(xml(at=AT))[:-20], "gzip broken": b"\x1f\x8b" + b"x" * 50,
    "zip broken": zipped(xml(at=AT))[:60], "zip of many": two_files(*(f"{i}.xml" for i in range(30))),
    "empty zip": b"PK\x05\x06" + bytes(18), "gzip in gzip": gzip.compress(gzip.compress(xml(at=AT))),
    "negative": xml("google", row(n=-1), at=AT), "huge": xml("google", row(n=10**13), at=AT),
    "float": xml("google", row().replace("<count>1<", "<count>1.5<"), at=AT),
    "no address": xml("google", row("mx.far.test"), at=AT), "no domain": xml(at=AT, domain="x y"),
    "backwards": xml(at=AT).replace(str(AT + 86_399).encode(), b"5"),
    "years": xml(at=AT).replace(str(AT).encode(), b"0"), "no id": xml(at=AT, id=" "),
    "encoding": xml(at=AT).replace(b"UTF-8", b"klingon"), "json": b"{}", "json list": b"[1]", "json cut": tls()[:-3],
    "json deep": b'{"a":' * 100 + b"1" + b"}" * 100, "json policies": json.dumps({"policies": 3}).encode(),
    "json negative": tls().replace(b"40", b"-40"), "json no offset": tls(at="2030-01-01T00:00:00"),
    "json nan": tls().replace(b"40", b"NaN"), "json text": tls().replace(b'"policies": [{', b'"policies": ["x", {'),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_report_is_refused_whole(what: str) -> None:
    with pytest.raises(BadReport):
        read(BAD[what], BOUNDS)


@pytest.mark.parametrize("octets", [bomb(200_000_000), zipped(b"<feedback>" + b" " * 200_000_000)])
def test_a_bomb_takes_no_memory(octets: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadReport):
            read(octets, BOUNDS)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


# -- what is shown ---------------------------------------------------------------------------------------------------


def day(address: str, n: int, *, good: bool = True, proved: bool = True, at: str = "2030-03-17") -> DmarcDay:
    return DmarcDay(at, "google.test", proved, address, good, good, "none", "", n)


OURS, OTHER = "192.0.2.25", "203.0.113.9"
NOW = 1_900_000_000.0  # 2030-03-17


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], None),
        ([day(OURS, 1000), day(OTHER, 20, good=False)], None),
        ([day(OURS, 1000), day(OURS, 3, good=False)], None),
        ([day(OURS, 100), day(OURS, 10, good=False)], "own_unaligned"),
        ([day(OURS, 100), day(OTHER, 100, good=False)], "stranger"),
        ([day(OURS, 5000), day(OTHER, 100, good=False)], None),
        ([day(OTHER, 500, good=False), day(OURS, 10, good=False)], "own_unaligned"),
        ([day(OURS, 100), day(OTHER, 10_000, good=False, proved=False)], None),
        ([day(OURS, 100), day(OTHER, 100, good=False, at="2030-03-01")], None),
        ([day(OTHER, 10_000)], None),
    ],
)
def test_one_thing_is_said_to_be_wrong(rows: list[DmarcDay], code: str | None) -> None:
    found = summed(rows, [], {OURS}, NOW, 30).problem
    assert (found.code if found else None) == code


def test_what_proved_nobodys_counts_for_nothing() -> None:
    found = summed([day(OURS, 5), day(OURS, 2, good=False), day(OTHER, 70, proved=False)], [], {OURS}, NOW, 30)
    assert (found.messages, found.aligned, found.unproved) == (7, 5, 70)
    assert [(s.address, s.ours, s.messages, s.aligned) for s in found.sources] == [(OURS, True, 7, 5)]
    assert found.by_day == (("2030-03-17", 7, 5),)
