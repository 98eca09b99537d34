"""What an examination returns, the bounds it judges by, and what it is handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.resolver import Resolver
from relay.base.storage import Storage

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `saw` is what was seen; `fix` the command or record that fixes it, empty when all is well."""

    name: str
    status: str
    saw: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where "well" ends. Times in seconds, sizes in bytes."""

    seconds: float = 15.0
    free_bytes_warn: int = 2 * 1024**3
    free_bytes_fail: int = 256 * 1024**2
    free_share_warn: float = 0.1
    certificate_warn_days: float = 14.0
    overdue_warn: float = 120.0
    overdue_fail: float = 900.0
    future_seconds: float = 60.0
    negative_ttl_warn: float = 3600.0
    # A mail exchanger that takes connections from everybody: what is tried is the way, not the host.
    port_25_probe: str = "gmail-smtp-in.l.google.com"
    connect_seconds: float = 8.0
    # A name that is signed, and one whose signatures are wrong on purpose: what a validating resolver tells apart.
    dnssec_signed: str = "."
    dnssec_bogus: str = "dnssec-failed.org"


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined. `storage` is None when it can't be opened, and `trouble` says why. `tasks` are the running
    process's own: name → what is wrong with it, or ""; empty where the doctor is another process."""

    config: Config
    clock: Clock
    limits: Limits
    resolver: Resolver
    storage: Storage | None
    trouble: str = ""
    tasks: Mapping[str, str] = field(default_factory=dict)

    @property
    def public(self) -> bool:
        """False for a relay that is only tried out: what the internet must know of it is then not looked for."""
        name = self.config.server.hostname
        return "." in name and name.rsplit(".", 1)[-1] not in ("test", "localhost", "localdomain", "invalid", "example")
