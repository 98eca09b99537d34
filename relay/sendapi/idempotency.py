"""Idempotency-Key: a repeated request gets the first answer again, and sends nothing again.

The key is taken in a transaction of its own before the work; the answer is kept in the transaction that writes the
message, so there is no moment at which one exists without the other. A process that dies in between leaves a key
without an answer: after `idempotency_stale_seconds` the request counts as lost and may be repeated, and should the
first one wake up after all, it finds its key taken over and writes nothing. Answers that ask to try again (429, 5xx)
are not kept: the key is free at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from relay.base.clock import HOUR
from relay.base.storage import StorageError, Tx, idempotency
from relay.base.web import reject
from relay.replies import IDEMPOTENCY_CONFLICT, IN_PROGRESS, Refused
from relay.sendapi.answers import REPLAYED, Answer, refused
from relay.sendapi.authenticate import Caller, SendServices

log = structlog.get_logger()
HEADER = "Idempotency-Key"
MAX_KEY = 255


class TakenOver(Exception):
    """This request was given up as lost and its key belongs to a later one."""


class Slot:
    """A taken key, waiting for its answer."""

    def __init__(self, services: SendServices, member_id: int, name: str, body_hash: str, at: float) -> None:
        self._services, self._member_id, self._name, self._hash, self._at = services, member_id, name, body_hash, at
        self.answer: Answer | None = None

    async def keep(self, tx: Tx, answer: Answer) -> None:
        """Write the answer in the caller's transaction. Raises TakenOver, which must undo that transaction."""
        never = float("-inf")
        stored = await idempotency.begin(
            tx, self._member_id, self._name, self._hash, self._at, stale=never, forget=never
        )
        if stored is not None and (stored.status is not None or stored.at != self._at):
            raise TakenOver
        await idempotency.finish(tx, self._member_id, self._name, answer.status, {"body": answer.text})
        self.answer = answer

    async def settle(self, answer: Answer) -> None:
        """Keep an answer that came without a message, or free the key where trying again can help.

        What came back decides: an answer that was kept in a transaction which then failed is not kept.
        """
        if not answer.final:
            await self.free()
        elif answer is not self.answer:
            await self._services.storage.write(lambda tx: self.keep(tx, answer))

    async def free(self) -> None:
        """Free the key: nothing was done. Where even that can't be written, the request counts as lost in time."""
        try:
            await self._services.storage.write(
                lambda tx: idempotency.forget(tx, self._member_id, self._name, self._at)
            )
        except StorageError as e:
            log.warning("idempotency.not_freed", cause=str(e))


async def once(
    services: SendServices,
    request: web.Request,
    caller: Caller,
    body: bytes,
    work: Callable[[Slot | None], Awaitable[Answer]],
) -> Answer:
    """The answer of `work`, or the one it gave the first time. Without the header, `work` simply runs.

    Raises Refused: INVALID_REQUEST for an unreadable key, IDEMPOTENCY_CONFLICT when the key came with another body
    (or route), IN_PROGRESS while the first request runs.
    """
    name = _key(request)
    if name is None:
        return await _answered(services, work, None)
    now = services.clock.now()
    digest = _fingerprint(request, body)
    http = services.config.http
    stored = await services.storage.write(
        lambda tx: idempotency.begin(
            tx, caller.login.member_id, name, digest, now,
            stale=now - http.idempotency_stale_seconds, forget=now - http.idempotency_hours * HOUR,
        )
    )
    if stored is None:
        slot = Slot(services, caller.login.member_id, name, digest, now)
        try:
            answer = await _answered(services, work, slot)
        except Exception:
            await slot.free()
            raise
        await slot.settle(answer)
        return answer
    if stored.body_hash != digest:
        raise Refused(IDEMPOTENCY_CONFLICT)
    if stored.status is None:
        raise Refused(IN_PROGRESS)
    return Answer(stored.status, (stored.answer or {}).get("body", ""), REPLAYED)


async def _answered(
    services: SendServices, work: Callable[[Slot | None], Awaitable[Answer]], slot: Slot | None
) -> Answer:
    try:
        return await work(slot)
    except Refused as e:
        return refused(e, services.config, services.clock)


def _key(request: web.Request) -> str | None:
    given = request.headers.getall(HEADER, [])
    if not given:
        return None
    key = given[0].strip()
    if len(given) > 1 or not 0 < len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        reject(f"{HEADER}: 1 to {MAX_KEY} printable ASCII characters are needed", field=HEADER)
    return key


def _fingerprint(request: web.Request, body: bytes) -> str:
    """A digest of everything that says what to send: route, query, envelope headers, body."""
    digest = hashlib.sha256()
    envelope = [*request.headers.getall("X-Envelope-From", []), "", *request.headers.getall("X-Envelope-To", [])]
    query = [f"{k}={v}" for k, v in request.query.items() if k != "did"]
    for part in (request.method, request.path, *query, "", *envelope):
        octets = part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(octets) + octets)
    digest.update(body)
    return digest.hexdigest()
