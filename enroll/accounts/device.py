"""Browsers that have signed in before: what their cookie says, unreadable and not to be made up.

Such a browser's tries are counted for itself, so whatever others try keeps nobody out of it. It says nothing else: who
has the cookie has no account with it.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass

from relay.base.clock import DAY
from relay.base.secrets import Vault

_PURPOSE = "device"
_HEAD = struct.Struct(">8sI")  # its id, the day of its last sign-in
_MEMBER = struct.Struct(">Q")
_MOST_MEMBERS = 5


@dataclass(frozen=True, slots=True)
class Device:
    """A browser: its id, and the members who have signed in with it, the last one first."""

    id: bytes
    members: tuple[int, ...]

    @classmethod
    def read(cls, vault: Vault, token: str, now: float, days: int) -> Device | None:
        """The browser of a token that was made within `days`; None for every other text. `now` in Unix seconds."""
        raw = vault.read_token(_PURPOSE, token) if token else None
        if raw is None or len(raw) < _HEAD.size + _MEMBER.size or (len(raw) - _HEAD.size) % _MEMBER.size:
            return None
        id_, day = _HEAD.unpack_from(raw)
        if now >= (day + 1 + days) * DAY:
            return None
        return cls(id_, tuple(member for (member,) in _MEMBER.iter_unpack(raw[_HEAD.size :])))

    @staticmethod
    def token(vault: Vault, device: Device | None, member_id: int, now: float) -> str:
        """The token of a browser (None: a new one) in which a member has just signed in."""
        id_ = device.id if device is not None else secrets.token_bytes(8)
        others = [m for m in device.members if m != member_id] if device is not None else []
        members = [member_id, *others][:_MOST_MEMBERS]
        return vault.token(_PURPOSE, _HEAD.pack(id_, int(now // DAY)) + b"".join(map(_MEMBER.pack, members)))
