"""A prepared statement does on both engines what the statement it was made from would do."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, insert, select

from relay.base.storage import Storage, StorageError, Tx
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import events

_ADD = Prepared(lambda add: add(events).returning(events.c.id, sort_by_parameter_order=True))
_FIND = Prepared(lambda _: select(events.c.id, events.c.type).where(events.c.member_id == bindparam("member")))


def _row(kind: str, data: object) -> dict[str, object]:
    return {"at": 1.5, "type": kind, "member_id": 7, "domain_id": None, "data": data}


async def test_rows_and_types_arrive_as_with_the_plain_statement(storage: Storage) -> None:
    data = {"näme": ["x", None, 1], "q'": '"'}

    async def both(tx: Tx) -> list[int]:
        await tx.execute(insert(events), [_row("plain", data)])
        return await _ADD.ids(tx, [_row("first", data), _row("second", {}), _row("third", data)])

    ids = await storage.write(both)
    async with storage.read() as tx:
        rows = (await tx.execute(select(events).order_by(events.c.id))).all()
        found = await _FIND.all(tx, {"member": 7})
    assert [r.type for r in rows] == ["plain", "first", "second", "third"]
    assert [r.id for r in rows[1:]] == ids
    assert [r.data for r in rows] == [data, data, {}, data]
    assert sorted(tuple(r) for r in found) == [(r.id, r.type) for r in rows]


async def test_what_the_database_refuses_undoes_the_whole_transaction(storage: Storage) -> None:
    async def half(tx: Tx) -> None:
        await _ADD.ids(tx, [_row("kept?", {})])
        await _ADD.ids(tx, [{**_row("bad", {}), "type": None}])

    with pytest.raises(StorageError):
        await storage.write(half)
    async with storage.read() as tx:
        assert await _FIND.all(tx, {"member": 7}) == []


async def test_a_glance_sees_what_is_committed_and_keeps_nobody_from_writing(storage: Storage) -> None:
    await storage.write(lambda tx: _ADD.ids(tx, [_row("one", {})]))
    async with storage.glance() as tx:
        assert [kind for _, kind in await _FIND.all(tx, {"member": 7})] == ["one"]
        await storage.write(lambda tx: _ADD.ids(tx, [_row("two", {})]))
    async with storage.glance() as tx:
        assert [kind for _, kind in await _FIND.all(tx, {"member": 7})] == ["one", "two"]
