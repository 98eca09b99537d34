"""What is noted of a domain, before it had a column of its own and after: nothing of it is lost on the way."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import text

from relay.base.config import Config
from relay.base.domain_options import Notes, Options, columns
from relay.base.storage import Storage, Tx, domains, migrate, revisions

# As a program of schema 0017 wrote it.
FORMER: dict[str, Any] = {
    "return_path": True, "custom_subdomain": "mail", "tracking": False, "track_prefix": "track", "replies": True,
    "hosted": True, "report_to": "forward_to", "forward_to": "a@b.test", "link_tracking": False, "open_tracking": False,
    "unsubscribe_link": False, "default_sender": False, "approved": True, "pending_since": 5.5, "failed_at": 0.0,
    "forward_wanted": "", "forward_failing": 0.0, "forward_says": "", "forward_told": 0.0, "former_subdomain": "sl",
    "regenerated": False, "lost_at": 0.0, "stems": ["a1", "b2"], "chosen": ["custom_subdomain"],
    "awaits": ["return_path"], "missing": [], "left": [],
}
NOTED = Notes(
    approved=True, pending_since=5.5, former_subdomain="sl", stems=("a1", "b2"), chosen=("custom_subdomain",),
    awaits=("return_path",),
)
INSERT = text(
    "INSERT INTO domains (uuid, member_id, name, state, ownership_token, options, created_at)"
    " VALUES (:name, 1, :name, 'pending', 't', :options, 1.0)"
)
WRITE = text("UPDATE domains SET options = :options")


async def at_0017(config: Config, names: list[str]) -> None:
    storage = await Storage.open(config)

    async def do(tx: Tx) -> None:
        await tx.run_sync(lambda c: revisions.upgrade(c, "0017"))
        await tx.execute(text(
            "INSERT INTO members (handle, did, email, status, created_at) VALUES ('alice', 'did:a', 'a@b.test',"
            " 'active', 1.0)"
        ))
        for name in names:
            await tx.execute(INSERT, {"name": name, "options": json.dumps(FORMER)})

    await storage.write(do)
    await storage.close()


async def rows(storage: Storage) -> list[domains.Row]:
    async with storage.read() as tx:
        return await domains.page(tx, None, limit=2000)


async def test_an_upgrade_keeps_what_was_noted_and_processes_of_before_go_on(empty_config: Config) -> None:
    await at_0017(empty_config, [f"n{n}.test" for n in range(1203)])
    assert await migrate(empty_config) is True
    storage = await Storage.open(empty_config)
    try:
        found = await rows(storage)
        assert len(found) == 1203
        chosen = Options(return_path=True, custom_subdomain="mail", replies=True, hosted=True, forward_to="a@b.test")
        assert {(Options.read(row.options), Notes.of(row)) for row in found} == {(chosen, NOTED)}
        # Those still read the notes where they were.
        assert all(row.options == FORMER and Notes.read(row.notes) == NOTED for row in found)

        async def of_before(tx: Tx) -> None:
            await tx.execute(INSERT, {"name": "new.test", "options": json.dumps(FORMER | {"stems": ["c", "d"]})})

        await storage.write(of_before)
        new = (await rows(storage))[-1]
        assert (new.notes, Notes.of(new).stems) == ({}, ("c", "d"))
    finally:
        await storage.close()


async def test_a_row_that_was_written_has_options_alone_and_a_former_process_undoes_no_note(storage: Storage) -> None:
    options, notes = Options(hosted=True), Notes(stems=("a", "b"), approved=True, missing=("x.test",))

    async def write(tx: Tx) -> int:
        await tx.execute(text(
            "INSERT INTO members (handle, did, email, status, created_at) VALUES ('alice', 'did:a', 'a@b.test',"
            " 'active', 1.0)"
        ))
        return await domains.add(
            tx, uuid="u", member_id=1, name="a.test", token="t", **columns(options, notes), now=1.0, next_check_at=1.0
        )

    await storage.write(write)
    (row,) = await rows(storage)
    assert (row.options, row.notes) == (
        options.stored(), {"approved": True, "stems": ["a", "b"], "missing": ["x.test"]}
    )
    assert (Options.read(row.options), Notes.of(row)) == (options, notes)

    async def of_before(tx: Tx) -> None:
        # It knows no column of notes, found none among the options, and noted something of its own.
        said = FORMER | {"approved": False, "stems": [], "awaits": [], "chosen": [], "former_subdomain": ""}
        await tx.execute(WRITE, {"options": json.dumps(said | {"forward_wanted": "new@b.test"})})

    await storage.write(of_before)
    (row,) = await rows(storage)
    seen = Notes.of(row)
    assert (seen.approved, seen.stems, seen.forward_wanted) == (True, ("a", "b"), "new@b.test")
    assert Options.read(row.options).custom_subdomain == "mail"
