"""Forms as programs write them: the shapes of real clients, and those that the standards allow beside."""

from __future__ import annotations

import pytest

from relay.base.web.form import BadForm, Field, fields

PAIR = [Field("List-Unsubscribe", "One-Click")]
FORM = "multipart/form-data; boundary=xx"
URLENCODED = "application/x-www-form-urlencoded"


def part(*head: str, body: str = "One-Click") -> bytes:
    return ("--xx\r\n" + "".join(f"{line}\r\n" for line in head) + f"\r\n{body}\r\n--xx--\r\n").encode()


NAMED = 'Content-Disposition: form-data; name="List-Unsubscribe"'


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        # curl -F
        (part(NAMED).replace(b"xx", b"------a1b2c3"), "multipart/form-data; boundary=------a1b2c3"),
        # PHP (Guzzle)
        (part(NAMED, "Content-Length: 9"), FORM),
        # .NET: a quoted boundary, a bare name, the type first
        (part("Content-Type: text/plain; charset=utf-8", "Content-Disposition: form-data; name=List-Unsubscribe"),
         'multipart/form-data; boundary="xx"'),
        # Apache HttpClient
        (part(NAMED, "Content-Type: text/plain; charset=ISO-8859-1", "Content-Transfer-Encoding: 8bit"), FORM),
        # RFC 7578 §4.2, RFC 2231: parameters in any order and letter case, encoded, in pieces
        (part('CONTENT-disposition: FORM-DATA; filename="" ; NAME = "List-Unsubscribe"'), FORM),
        (part("Content-Disposition: form-data; name*=utf-8''List%2DUnsubscribe"), FORM),
        (part('Content-Disposition: form-data; name*0="List-"; name*1="Unsubscribe"'), FORM),
        (part('Content-Disposition: form-data;', ' name="List-Unsubscribe"'), FORM),
        (part(NAMED, "Content-Transfer-Encoding: base64", body="T25lLUNsaWNr"), FORM),
        (part(NAMED, "Content-Transfer-Encoding: quoted-printable", body="One=2DClick"), FORM),
        # RFC 2046 §5.1.1: preamble, epilogue, blanks behind the delimiter; LF alone; no end
        (b"preamble\r\n" + part(NAMED).replace(b"--xx\r\n", b"--xx \t\r\n", 1) + b"epilogue", FORM),
        (part(NAMED).replace(b"\r\n", b"\n"), FORM),
        (part(NAMED).partition(b"--xx--")[0], FORM),
        (part(NAMED), f"{FORM}; charset=utf-8"),
        (part(NAMED), "Multipart/Form-Data ;  Boundary=xx"),
        (part(NAMED), "multipart/form-data"),
        (part(NAMED), ""),
        (b"List-Unsubscribe=One-Click", URLENCODED),
        (b"List-Unsubscribe=One-Click", ""),
        (b"List-Unsubscribe=One-Click\r\n", f"{URLENCODED}; charset=UTF-8"),
        (b"List%2DUnsubscribe=One%2dClick", URLENCODED),
        (b"\xef\xbb\xbfList-Unsubscribe=One-Click", URLENCODED),
        ("List-Unsubscribe=One-Click".encode("utf-16"), f"{URLENCODED}; charset=utf-16"),
        (b"List-Unsubscribe=One-Click\r\n", "text/plain"),
        (b"List-Unsubscribe=One-Click", "application/json"),
    ],
)  # fmt: skip
def test_each_client_says_the_same(raw: bytes, content_type: str) -> None:
    assert [Field(f.name, f.value) for f in fields(raw, content_type)] == PAIR


def test_fields_come_in_order_and_files_are_told_apart() -> None:
    raw = (
        b'--xx\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\ntwo\r\n\r\n--xx\r\n\r\nnameless\r\n--xx\r\n'
        b'Content-Disposition: form-data; name="b"; filename="f"\r\n\r\n--xxy\r\n--xx\r\n'
        b'Content-Disposition: form-data; name="c"\r\n\r\n\r\n--xx--\r\n--xx\r\n'
    )
    assert fields(raw, FORM) == [Field("a", "one\r\ntwo\r\n"), Field("b", "--xxy", file=True), Field("c", "")]
    assert fields(b"a=1&a=+2&b=", URLENCODED) == [Field("a", "1"), Field("a", " 2"), Field("b", "")]


@pytest.mark.parametrize("raw", [b"", b"--xx--", b"--xx\r\n\r\n--xx--", b"no delimiter at all", b"--xx", b"--xx\r\nX"])
def test_an_empty_form_has_no_fields(raw: bytes) -> None:
    assert fields(raw, FORM) == []


def test_what_can_not_be_read_is_refused() -> None:
    with pytest.raises(BadForm):
        fields(b"&".join([b"a=1"] * 201), URLENCODED)
    with pytest.raises(BadForm):
        fields(b"--xx\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 201, FORM)
    # Parameters are read in time by the square of their length.
    with pytest.raises(BadForm):
        fields(part('Content-Disposition: form-data; name="' + ";" * 5000), FORM)
    with pytest.raises(BadForm):
        fields(b"no delimiter", "multipart/form-data")
    for raw in (b"a=%ff", b"a=\xff"):
        assert [f.name for f in fields(raw, URLENCODED)] == ["a"]
        with pytest.raises(BadForm):
            fields(raw, URLENCODED, strict=True)
