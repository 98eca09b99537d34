"""Asking DNS about many of a member's domains in one call: those that wait, the longest unchecked first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from enroll.domains.model import Domain
from enroll.errors import EnrollError
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.storage import Storage, StorageError
from relay.base.storage import domains as rows

log = structlog.get_logger("domains")


async def check_batch(
    storage: Storage, config: Config, clock: Clock, check: Callable[[int], Awaitable[Domain]], member_id: int,
    names: Collection[str] | None = None,
) -> tuple[list[Domain], bool]:
    """`check` a member's pending domains, at most `verify_batch`; those checked within the cache time are left.

    With `names` (A-labels) all others are not there. Returns those that were checked, and whether others remain: one
    that is deleted meanwhile is simply gone, one whose check fails for now remains. Raises what a check raised only if
    none succeeded, or if nobody foresaw it.
    """
    e = config.enrollment
    async with storage.read() as tx:
        before = clock.now() - e.verify_cache_seconds
        ids = await rows.unchecked(tx, member_id, before, e.verify_batch + 1, names)
    at_once = asyncio.Semaphore(e.recheck_concurrency)

    async def one(domain_id: int) -> Domain:
        async with at_once:
            return await check(domain_id)

    looks = await asyncio.gather(*(one(i) for i in ids[: e.verify_batch]), return_exceptions=True)
    checked = [look for look in looks if isinstance(look, Domain)]
    failed = [look for look in looks if isinstance(look, BaseException) and not _gone(look)]
    for failure in failed:
        if not (checked and isinstance(failure, EnrollError | StorageError)):
            raise failure
        log.warning("domain.look_failed", member_id=member_id, cause=str(failure))
    return checked, bool(failed) or len(ids) > e.verify_batch


def _gone(failure: BaseException) -> bool:
    return isinstance(failure, EnrollError) and failure.status == 404
