"""Who failed, as it is kept: keyed hashes, so that the table tells nobody's address."""

from __future__ import annotations

from collections.abc import Iterable

from relay.base import names
from relay.base.secrets import Vault
from relay.base.storage.standing import Failure
from relay.standing.feed import Seen

_WHO, _DOMAIN = 16, 8


def hashed(vault: Vault, seen: Iterable[Seen]) -> list[Failure]:
    """The rows for these recipients. Spellings and tags of one mailbox are one recipient; the domains of one
    organisation, which anybody who has one can have in any number, are one domain.

    Under the next master key the hashes are others: who failed before and after its change within one window counts
    twice.
    """
    return [_row(vault, one) for one in seen]


def _row(vault: Vault, seen: Seen) -> Failure:
    try:
        canonical = names.canonical(seen.address)
    except names.BadName:
        canonical = seen.address.lower()
    domain = canonical.rpartition("@")[2]
    organisation = names.registrable(domain) or domain
    # Bound to the member: the rows of two don't tell that they mail the same person.
    own = f"{seen.member_id}\n"
    return Failure(
        seen.member_id, seen.kind, vault.mac("standing-recipient", f"{own}{canonical}".encode())[:_WHO],
        vault.mac("standing-domain", f"{own}{organisation}".encode())[:_DOMAIN], seen.at,
    )
