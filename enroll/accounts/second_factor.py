"""The second factor of a sign-in: codes by time (RFC 6238), and recovery codes for when the device is lost.

Promises that a code is taken once, that what is kept of secrets is sealed and of recovery codes hashed, and that a
factor begins only when its owner has shown a code of it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

import pyotp
from itsdangerous import BadData

from enroll.errors import EnrollError, invalid
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, second_factors, sessions
from relay.base.storage.second_factors import Factor
from relay.replies import FORM_EXPIRED

STEP_SECONDS = 30
RECOVERY_CODES = 10
_EITHER_SIDE = 1  # RFC 6238 §5.2: a step for the clock and the way
_SETUP_SECONDS = 1800
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
_CODE = re.compile(r"\d{6}")


@dataclass(frozen=True, slots=True)
class Setup:
    """A factor about to begin: the secret (Base32), the address that devices read, and what the form hands back."""

    secret: str
    uri: str
    token: str


class SecondFactor:
    """Second factors of members."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, vault: Vault) -> None:
        self._storage, self._clock, self._vault = storage, clock, vault
        self._issuer = config.server.hostname

    async def state(self, member_id: int) -> int | None:
        """How many recovery codes are left; None without a second factor."""
        async with self._storage.read() as tx:
            if await second_factors.of_member(tx, member_id) is None:
                return None
            return await second_factors.codes_left(tx, member_id)

    def offer(self, member_id: int, handle: str, token: str = "") -> Setup:
        """A new secret, or that of `token` once more."""
        secret = self._offered(member_id, token) if token else pyotp.random_base32()
        signed = token or self._vault.signer("second-factor").dumps({"m": member_id, "s": secret})
        return Setup(
            secret, pyotp.TOTP(secret).provisioning_uri(name=handle, issuer_name=self._issuer),
            signed if isinstance(signed, str) else signed.decode(),
        )

    async def begin(self, member_id: int, token: str, code: str, session_id: int) -> list[str]:
        """The factor of an offer holds from now on, instead of any before; returns the recovery codes, which are shown
        once. The sign-in that did it has proved it; all others end.

        Raises EnrollError 422 for a wrong code, 403 for an offer that is too old; StorageError.
        """
        secret = self._offered(member_id, token)
        step = self._step(secret, code, 0)
        if step is None:
            raise invalid("code", "this is not the code that the device shows now; is its clock right?")
        codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
        sealed = self._vault.seal(secret.encode(), *_context(member_id))
        hashes = [self.hashes(member_id, code)[0] for code in codes]
        now = self._clock.now()

        async def do(tx: Tx) -> None:
            await second_factors.put(tx, member_id, sealed, step, hashes, now)
            await sessions.close_all(tx, member_id, keep=session_id)
            await sessions.proved(tx, session_id, now)

        await self._storage.write(do)
        return codes

    async def remove(self, member_id: int, *, end_sessions: bool = False) -> bool:
        """Sign-ins need a password alone again, and those that are open have proved no more than one; False where that
        was so. `end_sessions`: nobody knows any more whose they are."""

        async def do(tx: Tx) -> bool:
            if not await second_factors.remove(tx, member_id):
                return False
            if end_sessions:
                await sessions.close_all(tx, member_id)
            await sessions.unproved(tx, member_id)
            return True

        return await self._storage.write(do)

    async def of(self, member_id: int) -> Factor | None:
        """The factor a sign-in has to prove, if there is one. StorageError."""
        async with self._storage.read() as tx:
            return await second_factors.of_member(tx, member_id)

    async def proves(self, factor: Factor, given: str) -> bool:
        """Whether this is a code of the factor, or a recovery code, that was not used before; it is now."""
        text = "".join(given.split()).lower()
        if _CODE.fullmatch(text):
            secret = self._vault.open(factor.secret, *_context(factor.member_id)).decode()
            step = self._step(secret, text, factor.last_step)
            return step is not None and await self._storage.write(
                lambda tx: second_factors.use_step(tx, factor, step)
            )
        hashes = self.hashes(factor.member_id, text)
        return await self._storage.write(lambda tx: second_factors.use_code(tx, factor.member_id, hashes))

    def _step(self, secret: str, code: str, after: int) -> int | None:
        """The time step, later than `after`, that has this code."""
        text = "".join(code.split())
        if not _CODE.fullmatch(text) or not text.isascii():
            return None
        now = int(self._clock.now()) // STEP_SECONDS
        codes = pyotp.TOTP(secret, interval=STEP_SECONDS)
        near = range(max(after + 1, now - _EITHER_SIDE), now + _EITHER_SIDE + 1)
        return next((step for step in near if secrets.compare_digest(codes.generate_otp(step), text)), None)

    def _offered(self, member_id: int, token: str) -> str:
        try:
            said = self._vault.signer("second-factor").loads(token, max_age=_SETUP_SECONDS)
        except BadData:
            said = {}
        if said.get("m") != member_id:
            raise EnrollError(FORM_EXPIRED, "This form has expired. Go back, reload the page and try again")
        return str(said["s"])

    def hashes(self, member_id: int, code: str) -> tuple[str, ...]:
        """Under the master key in use, then under previous ones."""
        data = f"{member_id} {code.replace('-', '')}".encode("utf-8", "replace")
        return tuple(mac.hex() for mac in self._vault.macs("recovery-code", data))


def _context(member_id: int) -> tuple[str, ...]:
    return ("second-factor", str(member_id))


def _recovery_code() -> str:
    text = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"
