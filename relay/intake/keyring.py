"""DKIM keys, opened and loaded once and kept: the newest `cached_keys` pairs."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from relay.base.config import Config
from relay.base.secrets import SecretsError, Vault
from relay.directory import DomainEntry
from relay.signing import SigningKey, load_ed25519, load_rsa


class NoKey(Exception):
    """Signing is not possible now: no live pair, or it does not open."""


class Keyring:
    """Signing keys by domain. Thread-safe enough: a pair loaded twice is only wasted work."""

    def __init__(self, vault: Vault, config: Config) -> None:
        self._vault, self._max = vault, config.signing.cached_keys
        self._pairs: OrderedDict[int, tuple[SigningKey, ...]] = OrderedDict()
        self.pool = _pool_key(config)

    def of(self, domain: DomainEntry) -> tuple[SigningKey, ...]:
        """The keys that sign for `domain`: its live pair, then the pool's. Raises NoKey."""
        if not domain.keys:
            raise NoKey(f"{domain.name} has no live DKIM pair")
        entry = domain.keys[-1]
        pair = self._pairs.get(entry.id)
        if pair is None:
            seal = ("dkim", str(domain.member_id), domain.name, entry.stem)
            try:
                rsa = load_rsa(self._vault.open(entry.rsa_private, *seal, "rsa"))
                ed = load_ed25519(self._vault.open(entry.ed_private, *seal, "ed25519"))
            except (SecretsError, ValueError) as e:
                raise NoKey(f"{domain.name}: {e}") from None
            pair = (
                SigningKey(domain.name, entry.stem + "r", "rsa-sha256", rsa),
                SigningKey(domain.name, entry.stem + "e", "ed25519-sha256", ed),
            )
            self._pairs[entry.id] = pair
            while len(self._pairs) > self._max:
                self._pairs.popitem(last=False)
        return (*pair, *self.pool)


def _pool_key(config: Config) -> tuple[SigningKey, ...]:
    s = config.signing
    if not s.pool_domain or not s.pool_key_file:
        return ()
    try:
        key = load_rsa(Path(s.pool_key_file).read_bytes(), validated=False)
    except (OSError, ValueError) as e:
        raise NoKey(f"signing.pool_key_file: {e}") from None
    return (SigningKey(s.pool_domain, s.pool_selector, "rsa-sha256", key),)
