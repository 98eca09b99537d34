"""Second factors of sign-ins (RFC 6238), and the codes that stand in for one.

Writes `second_factors` and `recovery_codes`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update

from relay.base.storage.engine import Tx
from relay.base.storage.tables import recovery_codes, second_factors

_F, _R = second_factors.c, recovery_codes.c


@dataclass(frozen=True, slots=True)
class Factor:
    """A member's second factor; `secret` is sealed, `last_step` the time step of the last code that was taken."""

    id: int
    member_id: int
    secret: bytes
    last_step: int


async def of_member(tx: Tx, member_id: int) -> Factor | None:
    """The factor of a member, if there is one."""
    found = select(_F.id, _F.member_id, _F.secret, _F.last_step).where(_F.member_id == member_id)
    row = (await tx.execute(found)).first()
    return None if row is None else Factor(*row)


async def codes_left(tx: Tx, member_id: int) -> int:
    """How many recovery codes the member has not used."""
    count = select(func.count()).select_from(recovery_codes).where(_R.member_id == member_id)
    return int((await tx.execute(count)).scalar_one())


async def put(tx: Tx, member_id: int, secret: bytes, step: int, code_hashes: Sequence[str], now: float) -> None:
    """A factor in place of the one that was, with new recovery codes."""
    await remove(tx, member_id)
    await tx.execute(insert(second_factors).values(
        member_id=member_id, secret=secret, last_step=step, created_at=now
    ))
    await tx.execute(insert(recovery_codes), [{"member_id": member_id, "code_hash": h} for h in code_hashes])


async def use_step(tx: Tx, factor: Factor, step: int) -> bool:
    """A code of this time step is taken; False where this or a later one was before."""
    done = await tx.execute(
        update(second_factors).where(_F.id == factor.id, _F.last_step < step).values(last_step=step)
    )
    return bool(done.rowcount)


async def use_code(tx: Tx, member_id: int, hashes: Collection[str]) -> bool:
    """A recovery code is used up; False where there is none like it."""
    done = await tx.execute(delete(recovery_codes).where(_R.member_id == member_id, _R.code_hash.in_(hashes)))
    return bool(done.rowcount)


async def remove(tx: Tx, member_id: int) -> bool:
    """Take a member's factor and recovery codes away; False where there was none."""
    await tx.execute(delete(recovery_codes).where(_R.member_id == member_id))
    return bool((await tx.execute(delete(second_factors).where(_F.member_id == member_id))).rowcount)


async def sealed(tx: Tx, *, below: int | None, limit: int) -> list[Factor]:
    """Up to `limit` factors of anybody, ids below `below`, newest first."""
    query = select(_F.id, _F.member_id, _F.secret, _F.last_step).order_by(_F.id.desc()).limit(limit)
    return [Factor(*row) for row in await tx.execute(query if below is None else query.where(_F.id < below))]


async def reseal(tx: Tx, factor: Factor, secret: bytes) -> bool:
    """Put the secret, sealed anew, in its place; False if it changed."""
    done = await tx.execute(
        update(second_factors).where(_F.id == factor.id, _F.secret == factor.secret).values(secret=secret)
    )
    return bool(done.rowcount)
