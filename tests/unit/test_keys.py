"""DKIM key pairs and the record that publishes them."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from relay.base.keys import dkim_txt, generate_ed25519, generate_rsa, zone_strings
from relay.signing import load_ed25519, load_rsa
from relay.verify import read_key


def test_an_rsa_pair_is_published_as_its_public_half() -> None:
    pair = generate_rsa()
    tags = read_key(pair.txt).tags
    public = load_der_public_key(base64.b64decode(tags["p"]))
    assert (tags["v"], tags["k"]) == ("DKIM1", "rsa")
    assert isinstance(public, RSAPublicKey)
    assert public.key_size == 2048
    assert load_rsa(pair.private).public_key() == public
    with pytest.raises(ValueError, match="2048"):
        generate_rsa(1024)


def test_an_ed25519_pair_is_published_as_32_octets() -> None:
    pair = generate_ed25519()
    tags = read_key(pair.txt).tags
    assert tags["k"] == "ed25519"
    assert base64.b64decode(tags["p"]) == load_ed25519(pair.private).public_key().public_bytes_raw()
    assert pair.private.hex() not in repr(pair)
    assert repr(pair.private) not in repr(pair)


@pytest.mark.parametrize(
    "text",
    [
        "v=DKIM1; k=rsa; p=AAAABBBB",
        '"v=DKIM1; k=rsa; p=AAAA" "BBBB"',
        '"v=DKIM1; k=rsa; p=AAAA"\n  "BBBB";',
        "v=DKIM1;k=rsa;p=AAAA BBBB ;",
        "v = DKIM1 ; k = rsa ; p = AA\tAA\r\n BBBB",
    ],
)
def test_a_pasted_record_is_read_as_receivers_would(text: str) -> None:
    assert read_key(text).tags == {"v": "DKIM1", "k": "rsa", "p": "AAAABBBB"}


def test_a_revoked_key_has_an_empty_p() -> None:
    assert read_key("v=DKIM1; p=").tags["p"] == ""


@pytest.mark.parametrize("text", ["", "hello", "p=A; p=B", "v=DKIM1;; p=A", "=x"])
def test_what_is_no_tag_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_key(text)


def test_long_values_are_split_for_the_zone() -> None:
    text = dkim_txt("rsa-sha256", b"\x01" * 294)
    strings = zone_strings(text)
    assert "".join(strings) == text
    assert [len(part) for part in strings[:-1]] == [255]
    assert zone_strings("short") == ["short"]
    assert zone_strings("") == [""]
