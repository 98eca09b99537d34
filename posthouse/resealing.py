"""What a change of the master key leaves behind: rows that still need a previous one, and sealing them anew.

Sealed rows are DKIM pairs and the secrets of webhooks. `reseal` works from the newest row to the oldest, a few in a
transaction, and passes over what opens with the key in use: stopped half way, it is run again. While it runs, every
process must know both keys. API keys can't be hashed anew without their secret: `relay.directory` does it when one
is used, and here they are counted. Tokens that are out in the world end with their time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from relay.base.secrets import SecretsError, Vault
from relay.base.storage import Storage, Tx, credentials, domains, webhooks
from relay.base.storage.domains import SealedPair
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


async def left(storage: Storage, vault: Vault, now: float) -> Left:
    """Look through everything. Raises StorageError."""
    found = Left()
    async for pairs in _newest_first(storage, domains.sealed_pairs, BATCH):
        for pair in pairs:
            if not _alone(vault, _halves(pair)):
                found.pairs += _openable(vault, _halves(pair), found, f"the DKIM pair {pair.stem} of {pair.name}")
    async for endpoints in _newest_first(storage, webhooks.sealed, BATCH):
        for one in endpoints:
            if not _alone(vault, _secrets(one, now)):
                found.webhooks += _openable(vault, _secrets(one, now), found, f"the secret of webhook {one.public_id}")
    async with storage.read() as tx:
        found.api_keys, found.api_keys_unknown = await credentials.hashed_otherwise(tx, vault.key_id, now)
    return found


async def reseal(
    storage: Storage, vault: Vault, now: float, *, batch: int = BATCH, progress: Progress | None = None
) -> tuple[int, list[str]]:
    """Seal anew what only a previous key opens: (rows that were, what no key opens). Raises StorageError."""
    looked = done = 0
    unreadable: list[str] = []

    async def write_pairs(tx: Tx, todo: Sequence[tuple[SealedPair, list[bytes]]]) -> int:
        return sum([await domains.reseal_pair(tx, pair, new[0], new[1]) for pair, new in todo])

    async def write_endpoints(tx: Tx, todo: Sequence[tuple[EndpointRow, list[bytes]]]) -> int:
        return sum([
            await webhooks.reseal(tx, one, new[0], new[1] if len(new) > 1 else None) for one, new in todo
        ])

    async for pairs in _newest_first(storage, domains.sealed_pairs, batch):
        todo = [
            (pair, new) for pair in pairs
            if (new := _anew(vault, _halves(pair), unreadable, f"the DKIM pair {pair.stem} of {pair.name}"))
        ]
        if todo:
            done += await storage.write(lambda tx, todo=todo: write_pairs(tx, todo))  # type: ignore[misc]
        looked += len(pairs)
        if progress is not None:
            progress(looked)
    async for endpoints in _newest_first(storage, webhooks.sealed, batch):
        due = [
            (one, new) for one in endpoints
            if (new := _anew(vault, _secrets(one, now), unreadable, f"the secret of webhook {one.public_id}"))
        ]
        if due:
            done += await storage.write(lambda tx, due=due: write_endpoints(tx, due))  # type: ignore[misc]
        looked += len(endpoints)
        if progress is not None:
            progress(looked)
    return done, unreadable


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
