"""People's passwords: argon2id, in a few threads of their own, with a bounded queue before them.

Promises that a password is only ever kept as its hash, that an unknown account costs the same work as a wrong
password, and that no flood of sign-ins takes more than the configured threads and memory. How many failures are
too many is `enroll.accounts`. API keys are not passwords: see `relay.base.secrets`.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from enroll.errors import EnrollError, invalid
from relay.base.config import Config
from relay.replies import UNAVAILABLE

T = TypeVar("T")
MAX_CHARACTERS = 1024


class Passwords:
    """Hashing and checking. `close` ends its threads."""

    def __init__(self, config: Config, hasher: PasswordHasher | None = None) -> None:
        """`hasher` defaults to argon2-cffi's profile (RFC 9106 §4, second recommendation: 64 MiB, 3 passes)."""
        enrollment = config.enrollment
        self._hasher = hasher or PasswordHasher()
        self._shortest = enrollment.min_password_length
        self._turns = asyncio.Semaphore(enrollment.password_threads)
        self._most_waiting = enrollment.password_waiting
        self._waiting = {True: 0, False: 0}
        # A pool of its own: a caller that hangs up leaves its turn, but its hash goes on and still counts here.
        self._threads = ThreadPoolExecutor(enrollment.password_threads, thread_name_prefix="password")
        self._nobodys: asyncio.Future[str] | None = None

    def close(self) -> None:
        """End the threads; what is being hashed is finished first."""
        self._threads.shutdown()

    @asynccontextmanager
    async def turn(self, *, known: bool = False) -> AsyncIterator[None]:
        """Wait for one of the few places; whatever must be true at the time of a check is asked inside. Who is `known`
        already is in nobody's way whom strangers' numbers keep waiting: both kinds have as many places.

        Raises EnrollError 503 when too many of the same kind wait already.
        """
        self.not_full(known=known)
        self._waiting[known] += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting[known] -= 1
        try:
            yield
        finally:
            self._turns.release()

    def not_full(self, *, known: bool = False) -> None:
        """Raises EnrollError 503 when `turn` would."""
        if self._turns.locked() and self._waiting[known] >= self._most_waiting:
            raise EnrollError(UNAVAILABLE, "Too many sign-ins at once, try again in a moment")

    def check(self, password: str, *names: str, field: str = "password") -> None:
        """Raises EnrollError 422 when `password` is too short, too long, or one of its owner's `names`."""
        # NIST SP 800-63B-4 §3.1.1.2: length counts, composition rules don't.
        if len(password) < self._shortest:
            raise invalid(field, f"a password has at least {self._shortest} characters")
        if len(password) > MAX_CHARACTERS:
            raise invalid(field, f"a password has at most {MAX_CHARACTERS} characters")
        if password.casefold() in {n.casefold() for n in names}:
            raise invalid(field, "the password must not be the handle or the e-mail address")
        if len(set(password)) == 1:
            raise invalid(field, "the password is one character repeated")

    async def hash(self, password: str) -> str:
        """The hash to keep. Call it inside `turn`."""
        return await self._run(lambda: self._hasher.hash(_octets(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """True when `password` is the one of `stored`. None takes the same work and is False. Inside `turn`."""
        against = await self._nobody() if stored is None else stored
        return await self._run(lambda: self._matches(against, password)) and stored is not None

    def outdated(self, stored: str) -> bool:
        """True when a hash was made with other parameters than today's."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return False

    async def _nobody(self) -> str:
        """A hash of no password, made once, to check against where there is no account."""
        if self._nobodys is None:
            self._nobodys = asyncio.ensure_future(self._run(lambda: self._hasher.hash(b"\0")))
        return await asyncio.shield(self._nobodys)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, _octets(password))
        except (Argon2Error, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _octets(password: str) -> bytes:
    # NIST SP 800-63B-4 §3.1.1.2: normalised, so that another keyboard's composition of é is the same password.
    # Half a surrogate pair has no octets of its own; replaced, it is merely a wrong password.
    return unicodedata.normalize("NFKC", password).encode("utf-8", "replace")
