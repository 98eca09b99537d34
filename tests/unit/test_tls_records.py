"""What domains publish about TLS: MTA-STS records and policies (RFC 8461), where reports go (RFC 8460)."""

import pytest

from relay.verify.record_fault import BadRecord
from relay.verify.tls_records import MAX_AGE, StsPolicy, read_policy, report_addresses, sts_id

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: MX.b.test\r\nmx: *.c.test\r\nmax_age: 86400\r\n"


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"), (["v=STSv1;id=a"], "a"),
        (["v=spf1 -all", "v=STSv1; id=a;"], "a"), (["v=STSv1; id=a; future=x"], "a"),
        (["v=STSv1; id=a;", "v=STSv1; id=b;"], None), ([], None), (["v=STSv1; id=;"], None),
        (["v=STSv1; id=with-dash;"], None), (["v=STSv1; id=" + "a" * 33], None), (["v=STSv2; id=a;"], None),
        (["v=STSv1 id=a"], None), (["id=a; v=STSv1"], None),
    ],
)  # fmt: skip
def test_the_record_of_mta_sts(texts: list[str], found: str | None) -> None:
    assert sts_id(texts) == found


def test_a_policy_is_read() -> None:
    policy = read_policy(GOOD)
    assert policy == StsPolicy("enforce", ("mx.b.test", "*.c.test"), 86400)
    assert read_policy(GOOD.replace(b"\r\n", b"\n") + b"later: x\nmode: none\n") == policy, "the first of a key counts"
    assert read_policy(b"version: STSv1\nmode: none\nmax_age: 9999999999\n") == StsPolicy("none", (), MAX_AGE)
    assert policy.lines == ("version: STSv1", "mode: enforce", "mx: mx.b.test", "mx: *.c.test", "max_age: 86400")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"STSv1", b"STSv2", "bad_version"), (b"version: STSv1\r\n", b"", "bad_version"),
        (b"enforce", b"force", "bad_mode"), (b"86400", b"-1", "bad_max_age"), (b"86400", b"99999999999", "bad_max_age"),
        (b"max_age: 86400\r\n", b"", "bad_max_age"), (b"*.c.test", b"*.*.test", "bad_mx"),
        (b"*.c.test", b"mx.*.test", "bad_mx"), (b"*.c.test", b"m\xc3\xbcller.test", "bad_mx"),
        (b"mx: *.c.test", b"<html>", "bad_line"), (b"enforce", b"\xff", "not_text"),
    ],
)  # fmt: skip
def test_what_is_no_policy(old: bytes, new: bytes, code: str) -> None:
    with pytest.raises(BadRecord) as caught:
        read_policy(GOOD.replace(old, new))
    assert caught.value.fault.code == code


def test_a_policy_without_exchangers_is_none() -> None:
    with pytest.raises(BadRecord):
        read_policy(b"version: STSv1\nmode: enforce\nmax_age: 1\n")


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("mx.b.test", True), ("b.test", False), ("a.mx.b.test", False), ("one.c.test", True), ("c.test", False),
        ("two.one.c.test", False), ("xc.test", False), ("", False), (".c.test", True),
    ],
)  # fmt: skip
def test_a_pattern_is_one_label(host: str, fits: bool) -> None:
    assert read_policy(GOOD).allows(host) is fits


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=TLSRPTv1; rua=mailto:r@b.test"], ("mailto:r@b.test",)),
        (["v=TLSRPTv1;rua=https://b.test/tls, mailto:r%2Bx@b.test ;"], ("https://b.test/tls", "mailto:r%2Bx@b.test")),
        (["v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1; rua=mailto:c@b.test"], ()),
        (["v=TLSRPTv1; rua=http://b.test/, mailto:nobody, ftp://x, https://u:p@b.test/"], ()),
        (["v=TLSRPTv1;"], ()), (["v=DMARC1; rua=mailto:a@b.test"], ()), ([], ()),
    ],
)  # fmt: skip
def test_where_reports_go(texts: list[str], found: tuple[str, ...]) -> None:
    assert report_addresses(texts) == found
