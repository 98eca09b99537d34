"""What enrollment is made of, gathered once: handed to every route, page and command.

`build` puts together what needs nothing but the relay's ground floor and its directory. Who may use what is the
gate's and the services' own business.
"""

from __future__ import annotations

from dataclasses import dataclass

from enroll.accounts import Accounts
from enroll.credentials import Credentials
from enroll.passwords import Passwords
from enroll.sessions import Gate, Sessions
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage
from relay.directory import Directory


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that routes call."""

    config: Config
    clock: Clock
    storage: Storage
    vault: Vault
    directory: Directory
    passwords: Passwords
    accounts: Accounts
    credentials: Credentials
    sessions: Sessions
    gate: Gate

    @classmethod
    def build(
        cls,
        storage: Storage,
        config: Config,
        clock: Clock,
        vault: Vault,
        directory: Directory,
        *,
        passwords: Passwords | None = None,
    ) -> Services:
        """Services whose changes this process's `directory` sees at once. `close` them at the end."""
        passwords = passwords or Passwords(config)
        accounts = Accounts(storage, config, clock, vault, passwords, changed=directory.refresh)
        credentials = Credentials(storage, config, clock, vault, changed=directory.refresh)
        sessions = Sessions(storage, config, clock, vault)
        gate = Gate(config, clock, directory, accounts, sessions)
        return cls(
            config, clock, storage, vault, directory, passwords, accounts, credentials, sessions, gate
        )

    def close(self) -> None:
        """End the threads that hash passwords."""
        self.passwords.close()
