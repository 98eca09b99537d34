"""Opening, finding and ending sign-ins.

Promises a new unguessable token at every sign-in, kept as a keyed hash only; that a sign-in ends when unused for
`session_hours` and in any case after `session_max_days`; that its member can list and end each; and that one of a
deleted member is not found.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace

from enroll.errors import not_found
from relay.base.clock import DAY, HOUR, MINUTE, Clock
from relay.base.config import Config
from relay.base.secrets import SIGN_IN, Vault
from relay.base.storage import Storage, StorageError, Tx, sessions
from relay.base.storage.sessions import SessionRow

PREFIX = SIGN_IN
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}\Z")
_MAX_AGENT = 255
_MAX_ADDRESS = 64


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in. Times are Unix seconds; `csrf` is what unsafe requests with the cookie must repeat."""

    id: int
    member_id: int
    csrf: str
    created_at: float
    seen_at: float
    expires_at: float
    address: str
    agent: str
    second_factor_at: float | None = None
    """When it proved a second factor; None: by a password alone."""


class Sessions:
    """The sign-ins of members."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, vault: Vault, *, seen_every_seconds: float = 5 * MINUTE
    ) -> None:
        """`seen_every_seconds`: a use is written down at most so often, because reading needs no disk."""
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._seen_every = seen_every_seconds

    async def open(
        self, member_id: int, address: str, agent: str, *, instead_of: str = "", second_factor: bool = False
    ) -> tuple[str, Session]:
        """(token, session) of a new sign-in; the one of the token `instead_of` ends. StorageError."""
        token, csrf = PREFIX + secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        now = self._clock.now()
        expires_at = self._expiry(now, now)
        address, agent = address[:_MAX_ADDRESS], _printable(agent)[:_MAX_AGENT]

        async def do(tx: Tx) -> int:
            if instead_of:
                await sessions.close(tx, self._hashes(instead_of))
            made = await sessions.add(
                tx, token_hash=self._hashes(token)[0], member_id=member_id, csrf=csrf, address=address, agent=agent,
                now=now, expires_at=expires_at, second_factor=second_factor,
            )
            await sessions.trim(tx, member_id, self._config.enrollment.max_sessions)
            return made

        made = await self._storage.write(do)
        proved_at = now if second_factor else None
        return token, Session(
            id=made, member_id=member_id, csrf=csrf, created_at=now, seen_at=now, expires_at=expires_at,
            address=address, agent=agent, second_factor_at=proved_at,
        )

    async def find(self, token: str) -> Session | None:
        """The sign-in of a token, its life prolonged; None for every token that isn't one (any more)."""
        if not _TOKEN.match(token):
            return None
        now = self._clock.now()
        async with self._storage.read() as tx:
            row = await sessions.find(tx, self._hashes(token), now)
        if row is None:
            return None
        if now - row.seen_at < self._seen_every:
            return _session(row)
        found, expires_at = row, self._expiry(row.created_at, now)

        async def do(tx: Tx) -> None:
            await sessions.seen(tx, found.id, now, expires_at)

        try:
            await self._storage.write(do)
        except StorageError:
            # A disk that takes no writes must not sign people out; the next look tries again.
            return _session(row)
        return replace(_session(row), seen_at=now, expires_at=expires_at)

    async def close(self, token: str) -> None:
        """End the sign-in of a token; nothing happens when there is none."""

        async def do(tx: Tx) -> None:
            await sessions.close(tx, self._hashes(token))

        if _TOKEN.match(token):
            await self._storage.write(do)

    async def list(self, member_id: int) -> list[Session]:
        """A member's sign-ins, the latest used first."""
        async with self._storage.read() as tx:
            rows = await sessions.of_member(
                tx, member_id, self._clock.now(), limit=self._config.enrollment.max_sessions
            )
        return [_session(row) for row in rows]

    async def revoke(self, member_id: int, session_id: int) -> None:
        """End one sign-in of a member. EnrollError 404."""

        async def do(tx: Tx) -> bool:
            return await sessions.revoke(tx, member_id, session_id)

        if not await self._storage.write(do):
            raise not_found("There is no such session")

    async def revoke_others(self, member_id: int, keep: int) -> int:
        """End every sign-in of a member but `keep`; returns how many."""

        async def do(tx: Tx) -> int:
            return await sessions.close_all(tx, member_id, keep=keep)

        return await self._storage.write(do)

    def _expiry(self, created_at: float, now: float) -> float:
        enrollment = self._config.enrollment
        return min(now + enrollment.session_hours * HOUR, created_at + enrollment.session_max_days * DAY)

    def _hashes(self, token: str) -> tuple[str, ...]:
        """Under the master key in use, then under previous ones."""
        return tuple(mac.hex() for mac in self._vault.macs("session", token.encode("utf-8", "replace")))


def _session(row: SessionRow) -> Session:
    return Session(
        id=row.id, member_id=row.member_id, csrf=row.csrf, created_at=row.created_at, seen_at=row.seen_at,
        expires_at=row.expires_at, address=row.address, agent=row.agent, second_factor_at=row.second_factor_at,
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text.strip())
