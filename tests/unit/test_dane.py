"""TLSA records against certificates: each usage, selector and matching, and what never matches (RFC 7672)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from relay.delivery.dane import Tlsa, judge, usable

NOW = time.time()
HOST = "mx.b.test"
DIGESTS: dict[int, Callable[[bytes], bytes]] = {
    0: lambda octets: octets, 1: lambda octets: hashlib.sha256(octets).digest(),
    2: lambda octets: hashlib.sha512(octets).digest(),
}  # fmt: skip


@cache
def chain() -> tuple[bytes, ...]:
    """A host's certificate, the authority between, the root: all sent, as RFC 7672 §3.1.2 wants."""
    root = trustme.CA()
    leaf = root.create_child_ca().issue_cert(HOST)
    pems = [*(pem.bytes() for pem in leaf.cert_chain_pems), root.cert_pem.bytes()]
    return tuple(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER) for pem in pems)


def record(der: bytes, usage: int = 3, selector: int = 1, matching: int = 1) -> Tlsa:
    certificate = x509.load_der_x509_certificate(der)
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Tlsa(usage, selector, matching, DIGESTS[matching](key if selector else der))


def made(name: str, *, days: tuple[int, int]) -> bytes:
    """A certificate of its own making, good between so many days before and after now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1])).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    )


def verdict(shown: Sequence[bytes], *records: Tlsa, names: Sequence[str] = (HOST,), now: float = NOW) -> str:
    return judge(shown, usable(records), names, now)


@pytest.mark.parametrize(("selector", "matching"), list(product((0, 1), (0, 1, 2))))
def test_the_host_s_own_certificate(selector: int, matching: int) -> None:
    good = record(chain()[0], 3, selector, matching)
    assert verdict(chain(), good) == ""
    assert verdict(chain(), good, names=("other.test",), now=10.0**8) == "", "neither name nor date counts"
    assert verdict(chain(), record(chain()[1], 3, selector, matching)) == "certificate-not-trusted"
    assert verdict([made(HOST, days=(-9, 9))], good) == "certificate-not-trusted"


@pytest.mark.parametrize(("at", "selector", "matching"), list(product((1, 2), (0, 1), (0, 1, 2))))
def test_the_authority_it_hangs_on(at: int, selector: int, matching: int) -> None:
    good = record(chain()[at], 2, selector, matching)
    assert verdict(chain(), good) == ""
    assert verdict(chain(), good, names=("other.test", "b.test")) == "certificate-host-mismatch"
    assert verdict(chain(), good, names=("other.test", HOST)) == ""
    assert verdict(chain(), good, now=10.0**8) == "certificate-expired"
    other = [made(HOST, days=(-9, 9)), *chain()[1:]]
    assert verdict(other, good) in ("certificate-not-trusted", "certificate-host-mismatch"), "not signed by it"


def test_an_authority_that_is_whole_in_the_record_need_not_be_sent() -> None:
    assert verdict(chain()[:2], record(chain()[2], 2, 0, 0)) == ""
    assert verdict(chain()[:2], record(chain()[2], 2, 0, 1)) == "certificate-not-trusted"


def test_the_host_s_own_certificate_is_no_authority() -> None:
    assert verdict(chain(), record(chain()[0], 2, 1, 1)) == "certificate-not-trusted"


@pytest.mark.parametrize(
    "text",
    ["0 1 1 " + "ab" * 32, "1 1 1 " + "ab" * 32, "4 1 1 " + "ab" * 32, "3 2 1 " + "ab" * 32, "3 1 3 " + "ab" * 32,
     "3 1 1 " + "ab" * 31, "3 1 2 " + "ab" * 32, "3 0 0 abcd", "3 1 0 abcd", "2 0 0 abcd", "3 1 1"],
)  # fmt: skip
def test_a_record_that_can_t_be_used(text: str) -> None:
    found = Tlsa.read(text)
    assert found is not None
    assert usable([found]) == ()


@pytest.mark.parametrize("text", ["", "3 1", "three 1 1 ab", "3 1 1 zz"])
def test_what_is_no_record(text: str) -> None:
    assert Tlsa.read(text) is None


def test_one_of_several_is_enough_and_the_strongest_digest_counts() -> None:
    wrong, good = Tlsa(3, 1, 1, b"x" * 32), record(chain()[0], 3, 1, 1)
    assert verdict(chain(), wrong, good) == ""
    assert verdict(chain(), record(chain()[2], 2, 0, 1), wrong) == ""
    # RFC 7671 §9: who publishes SHA-512 beside it means that.
    assert verdict(chain(), good, Tlsa(3, 1, 2, b"x" * 64)) == "certificate-not-trusted"
    assert len(usable([Tlsa(3, 1, 1, bytes([n]) * 32) for n in range(200)])) == 50


def test_nonsense_is_never_trusted() -> None:
    good = record(chain()[0])
    assert judge([], [good], [HOST], NOW) == "validation-failure"
    assert judge([b"junk"], [good], [HOST], NOW) == "validation-failure"
    assert judge(chain(), [], [HOST], NOW) == "certificate-not-trusted"
