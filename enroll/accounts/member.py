"""What the rest of enrollment sees of an account and of an invite: everything but the password's hash."""

from __future__ import annotations

from dataclasses import dataclass

from relay.base.storage.accounts import MemberRow
from relay.base.storage.invites import InviteRow


@dataclass(frozen=True, slots=True)
class Member:
    """An account. `status` is active, suspended or deleted; times are Unix seconds."""

    id: int
    handle: str
    did: str
    email: str
    status: str
    reason: str
    status_at: float | None
    created_at: float
    has_password: bool
    system: bool = False
    operator: bool = False

    @classmethod
    def of(cls, row: MemberRow) -> Member:
        """The member of a row."""
        return cls(
            id=row.id, handle=row.handle, did=row.did, email=row.email, status=row.status, reason=row.reason,
            status_at=row.status_at, created_at=row.created_at, has_password=row.password_hash is not None,
            system=row.system, operator=row.operator,
        )


@dataclass(frozen=True, slots=True)
class Invite:
    """An invite without its code. `used_by` is the handle of the member made with it."""

    id: int
    note: str
    created_at: float
    expires_at: float
    used_by: str | None

    def state(self, now: float) -> str:
        """open, used or expired."""
        return "used" if self.used_by is not None else "open" if self.expires_at > now else "expired"

    @classmethod
    def of(cls, row: InviteRow) -> Invite:
        """The invite of a row."""
        return cls(row.id, row.note, row.created_at, row.expires_at, row.used_by)
