"""A new DKIM pair for a domain: made in a thread, sealed before it is anywhere near the database."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from enroll.domains.model import HasStem
from relay.base.keys import generate_ed25519, generate_rsa
from relay.base.secrets import Vault
from relay.base.storage.domains import NewPair

_SUFFIX_BYTES = 3


def new_stem(now: float) -> str:
    """A selector stem: the day, so that people see its age, and a few random letters.

    The letters keep two members who enroll one name on one day from needing the same selector, where only one
    record may stand (RFC 6376 §3.6.2.2).
    """
    day = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d")
    return f"ph{day}{base64.b32encode(os.urandom(_SUFFIX_BYTES)).decode().lower()[:4]}"


def two_stems(before: Sequence[str], pairs: Iterable[HasStem], now: float) -> tuple[str, ...]:
    """The two stems of a hosted domain: those that its live and pending pairs have, then earlier ones, then new ones.

    Two and no more, because their names are published once and for all; two and not one, because while keys change
    the old one must still be found by those who check mail signed with it, and only one key may stand at a selector.
    """
    used = [p.stem for state in ("live", "pending") for p in pairs if p.state == state]
    if len(before) == 2 and set(used) <= set(before):
        return tuple(before)
    return tuple(dict.fromkeys([*used, *before, new_stem(now), new_stem(now)]))[:2]


async def new_pair(vault: Vault, member_id: int, name: str, now: float, stem: str = "") -> NewPair:
    """An RSA-2048 and an Ed25519 pair under `stem` (else a fresh one), private halves sealed to member, name, stem,
    algorithm."""
    stem = stem or new_stem(now)
    # Making an RSA key takes some hundred milliseconds of CPU: never on the event loop.
    rsa, ed = await asyncio.to_thread(lambda: (generate_rsa(), generate_ed25519()))
    context = ("dkim", str(member_id), name, stem)
    return NewPair(
        stem,
        vault.seal(rsa.private, *context, "rsa"), rsa.txt,
        vault.seal(ed.private, *context, "ed25519"), ed.txt,
    )
