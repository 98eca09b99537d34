"""What a change of the master key leaves behind: rows that still need a previous one, and sealing them anew.

Sealed rows are DKIM pairs and the secrets of webhooks and of second factors. `reseal` works from the newest row to the
oldest, a few in a transaction, and passes over what opens with the key in use: stopped half way, it is run again. While
it runs, every process must know both keys. API keys can't be hashed anew without their secret: `relay.directory` does
it when one is used, and here they are counted. Tokens that are out in the world end with their time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from relay.base.secrets import SecretsError, Vault
from relay.base.storage import Storage, Tx, credentials, domains, second_factors, webhooks
from relay.base.storage.domains import SealedPair
from relay.base.storage.second_factors import Factor
from relay.base.storage.webhooks import EndpointRow

BATCH = 100
Progress = Callable[[int], None]
"""Told how many rows have been looked at."""


@dataclass(slots=True)
class Left:
    """What doesn't do with the master key in use alone."""

    pairs: int = 0
    """DKIM pairs that a previous key opens."""
    webhooks: int = 0
    """Webhook endpoints of which that is true."""
    api_keys: int = 0
    """Live API keys known to be hashed with another master key."""
    api_keys_unknown: int = 0
    """Live API keys of which nobody knows (made before schema 0009)."""
    unreadable: list[str] = field(default_factory=list)
    """What no key at hand opens, in words."""
    factors: int = 0
    """Second factors that a previous key opens."""


async def left(storage: Storage, vault: Vault, now: float) -> Left:
    """Look through everything. Raises StorageError."""
    found = Left()
    counts = []
    for kind in _kinds(now):
        n = 0
        async for rows in _newest_first(storage, kind.read, BATCH):
            for row in rows:
                if not _alone(vault, kind.sealed(row)):
                    n += _openable(vault, kind.sealed(row), found, kind.words(row))
        counts.append(n)
    found.pairs, found.webhooks, found.factors = counts
    async with storage.read() as tx:
        found.api_keys, found.api_keys_unknown = await credentials.hashed_otherwise(tx, vault.key_id, now)
    return found


async def reseal(
    storage: Storage, vault: Vault, now: float, *, batch: int = BATCH, progress: Progress | None = None
) -> tuple[int, list[str]]:
    """Seal anew what only a previous key opens: (rows that were, what no key opens). Raises StorageError."""
    looked = done = 0
    unreadable: list[str] = []
    for kind in _kinds(now):
        async for rows in _newest_first(storage, kind.read, batch):
            todo = [
                (row, new) for row in rows if (new := _anew(vault, kind.sealed(row), unreadable, kind.words(row)))
            ]
            if todo:
                done += await storage.write(partial(_write, kind.write, todo))
            looked += len(rows)
            if progress is not None:
                progress(looked)
    return done, unreadable


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of sealed rows: how they are found, what of one is sealed and what it is called, how it is replaced."""

    read: Callable[..., Awaitable[list[Any]]]
    sealed: Callable[[Any], _Sealed]
    words: Callable[[Any], str]
    write: Callable[[Tx, Any, list[bytes]], Awaitable[bool]]


def _kinds(now: float) -> tuple[_Kind, ...]:
    return (
        _Kind(
            domains.sealed_pairs, _halves, lambda pair: f"the DKIM pair {pair.stem} of {pair.name}",
            lambda tx, pair, new: domains.reseal_pair(tx, pair, new[0], new[1]),
        ),
        _Kind(
            webhooks.sealed, lambda one: _secrets(one, now), lambda one: f"the secret of webhook {one.public_id}",
            lambda tx, one, new: webhooks.reseal(tx, one, new[0], new[1] if len(new) > 1 else None),
        ),
        _Kind(
            second_factors.sealed, _factor, lambda one: f"the second factor of member {one.member_id}",
            lambda tx, one, new: second_factors.reseal(tx, one, new[0]),
        ),
    )


async def _write(
    write: Callable[[Tx, Any, list[bytes]], Awaitable[bool]], todo: Sequence[tuple[Any, list[bytes]]], tx: Tx
) -> int:
    return sum([await write(tx, row, new) for row, new in todo])


async def refuse_wrong_keys(storage: Storage, vault: Vault) -> None:
    """With previous keys configured, one of the keys must open the oldest sealed rows, which a re-sealing comes to
    last. Raises SecretsError (one line), StorageError."""
    if not vault.previous:
        return
    async with storage.read() as tx:
        _, unreadable = await oldest(tx, vault)
    if unreadable:
        raise none_opens(unreadable[0])


def none_opens(what: str) -> SecretsError:
    """For an operator whose keys are all wrong ones."""
    return SecretsError(
        f"neither the master key nor those in secrets.previous_key_files open {what}: name the key file "
        "that was in use before, or, if that is lost, take the wrong one out of secrets.previous_key_files"
    )


async def oldest(tx: Tx, vault: Vault) -> tuple[int, list[str]]:
    """Of the oldest DKIM pair and the oldest webhook, how many open, and in words those that don't."""
    pair, endpoint = await domains.oldest_sealed_pair(tx), await webhooks.oldest_sealed(tx)
    rows: list[tuple[_Sealed, str]] = []
    if pair is not None:
        rows.append((_halves(pair), f"the DKIM pair {pair.stem} of {pair.name}"))
    if endpoint is not None:
        # The secret before it may be of any time.
        sealed: _Sealed = [(endpoint.secret, ("webhook", endpoint.public_id))]
        rows.append((sealed, f"the secret of webhook {endpoint.public_id}"))
    found = Left()
    opened = sum([_openable(vault, sealed, found, what) for sealed, what in rows])
    return opened, found.unreadable


# -- rows ------------------------------------------------------------------------------------------------------

_Sealed = list[tuple[bytes, tuple[str, ...]]]
"""Sealed bytes, each with what it is sealed to."""


class _HasId(Protocol):
    @property
    def id(self) -> int: ...


_Row = TypeVar("_Row", bound=_HasId)


async def _newest_first(
    storage: Storage, read: Callable[..., Awaitable[list[_Row]]], batch: int
) -> AsyncIterator[list[_Row]]:
    """All that `read` finds, by so many at once."""
    below: int | None = None
    while True:
        async with storage.read() as tx:
            found = await read(tx, below=below, limit=batch)
        if not found:
            return
        yield found
        below = found[-1].id


def _halves(pair: SealedPair) -> _Sealed:
    context = ("dkim", str(pair.member_id), pair.name, pair.stem)
    return [(pair.rsa_private, (*context, "rsa")), (pair.ed_private, (*context, "ed25519"))]


def _secrets(endpoint: EndpointRow, now: float) -> _Sealed:
    """The second one only while it is good."""
    context = ("webhook", endpoint.public_id)
    found: _Sealed = [(endpoint.secret, context)]
    if endpoint.old_secret is not None and (endpoint.old_until or 0.0) > now:
        found.append((endpoint.old_secret, context))
    return found


def _factor(factor: Factor) -> _Sealed:
    return [(factor.secret, ("second-factor", str(factor.member_id)))]


def _alone(vault: Vault, sealed: _Sealed) -> bool:
    return all(vault.opens_alone(one, *context) for one, context in sealed)


def _openable(vault: Vault, sealed: _Sealed, found: Left, what: str) -> bool:
    try:
        for one, context in sealed:
            vault.open(one, *context)
    except SecretsError:
        found.unreadable.append(what)
        return False
    return True


def _anew(vault: Vault, sealed: _Sealed, unreadable: list[str], what: str) -> list[bytes]:
    """All of a row sealed with the key in use; nothing when it is already, or when no key opens it."""
    if _alone(vault, sealed):
        return []
    try:
        return [vault.seal(vault.open(one, *context), *context) for one, context in sealed]
    except SecretsError:
        unreadable.append(what)
        return []
