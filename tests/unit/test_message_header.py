"""X-Posthouse-Message: what it names, what it survives, and that nobody makes one up."""

from __future__ import annotations

import pytest

from relay.base.secrets import Vault
from relay.bounces import address, header

OLD, OTHER = Vault(b"0" * 32), Vault(b"1" * 32)
NEW = Vault(b"2" * 32, [OLD])
QUEUE_ID = "abcdefghijklmnop"


def value(vault: Vault = OLD, queue_id: str = QUEUE_ID, recipient_id: int = 4711) -> str:
    name, _, rest = header.field(vault, queue_id, recipient_id).decode("ascii").partition(": ")
    assert (name, rest[-2:]) == (header.NAME, "\r\n")
    return rest[:-2]


def test_it_names_message_and_recipient_in_one_short_line() -> None:
    assert header.read(OLD, value()) == (QUEUE_ID, 4711)
    assert header.read(OLD, value(recipient_id=2**48 - 1)) == (QUEUE_ID, 2**48 - 1)
    assert len(header.field(OLD, QUEUE_ID, 2**48 - 1)) == 64  # no host has to fold it
    assert header.read(NEW, value()) == (QUEUE_ID, 4711)
    assert header.read(OLD, value(NEW)) is None


@pytest.mark.parametrize(
    "changed",
    [
        lambda v: v.upper(), lambda v: f" {v[:20]}\r\n\t{v[20:]} ", lambda v: f"<{v}>", lambda v: f"{v}\r\n",
        lambda v: f'"{v}"; x=1',
    ],
)
def test_it_survives_what_hosts_do_to_fields(changed: object) -> None:
    assert header.read(OLD, changed(value())) == (QUEUE_ID, 4711)  # type: ignore[operator]


def test_nobody_makes_one_up() -> None:
    good = value()
    token = good.partition(".")[2]
    path = address.local_part(OLD, 4711).removeprefix(address.PREFIX)
    forged = [
        QUEUE_ID, "", ".", good[:-1], f"bbcdefghijklmnop.{token}", f"{QUEUE_ID}.{'a' * 24}", f"{QUEUE_ID}.{path}",
        f"{QUEUE_ID}.{value(recipient_id=4712).partition('.')[2][:9]}{token[9:]}", f"a{good}", f"{good}a",
        " " * 300 + good, "é" + good[1:],
    ]
    assert [f for f in forged if header.read(OLD, f) is not None] == []
    assert header.read(OTHER, good) is None
    for at in range(len(good)):
        spoiled = f"{good[:at]}{'a' if good[at] != 'a' else 'b'}{good[at + 1 :]}"
        assert header.read(OLD, spoiled) is None, at
