"""send, events, suppression."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.shell import FAILED, NOT_FOUND, OK, Failure, Run, Shell, command

if TYPE_CHECKING:
    from relay.base.events import Event
    from relay.base.storage.suppressions import Suppression

Handle = Annotated[str, typer.Argument(help="The member's handle.")]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="A recipient's address.")]
PAGE = 500


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    command(app, "send")(send)
    command(app, "events")(events)
    group = typer.Typer(no_args_is_help=True, help="Recipients a member no longer mails.")
    app.add_typer(group, name="suppression")
    commands: dict[str, Run] = {
        "list": suppression_list, "add": suppression_add, "remove": suppression_remove,
        "import": suppression_import, "export": suppression_export,
    }
    for name, function in commands.items():
        command(group, name)(function)


async def send(
    shell: Shell,
    domain: Annotated[str, typer.Argument(help="The verified domain to send from.")],
    to: Address,
    subject: Annotated[str | None, typer.Option(help="Its subject.")] = None,
    member: Annotated[str | None, typer.Option("--member", help="Whose domain, where it isn't clear.")] = None,
) -> int:
    """Queue a test message from a domain; it counts in the domain's warming. A running relay delivers it."""
    async with shell.rooms() as rooms:
        member_id = (await rooms.enroll.accounts.get(member)).id if member else None
        found = await rooms.operator.find(domain, member_id)
        taken = await rooms.domains.send_test(found.member_id, found.id, to, subject)
    shell.answer(
        {"message": taken.queue_id, "to": to}, f"{taken.queue_id} is queued. Look: posthouse explain {taken.queue_id}"
    )
    return OK


async def events(
    shell: Shell,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    member: Annotated[str | None, typer.Option("--member", help="Only this member's (handle).")] = None,
    type: Annotated[list[str] | None, typer.Option("--type", help="Only of this type (repeatable).")] = None,
    after: Annotated[int, typer.Option(min=0, help="Only with a higher id.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many (without --follow).")] = 1000,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between looks with --follow.")] = 1.0,
) -> int:
    """What happened, oldest first; with --json one object a line."""
    import asyncio

    from relay.base.storage import events as rows

    shown = 0
    async with shell.rooms() as rooms:
        member_id = (await rooms.enroll.accounts.get(member)).id if member else None
        while True:
            async with rooms.storage.read() as tx:
                most = PAGE if follow else min(PAGE, limit - shown)
                found = await rows.after(tx, after, member_id=member_id, types=type or (), limit=most)
            for e in found:
                who = rooms.directory.member(e.member_id)
                shell.stream(_event(e, who.handle if who else ""), _told(e, who.handle if who else str(e.member_id)))
                after, shown = e.id, shown + 1
            if not follow and (len(found) < PAGE or shown >= limit):
                return OK
            if not found:
                await asyncio.sleep(every)


def _event(e: Event, handle: str) -> dict[str, Any]:
    from relay.base.clock import iso

    return {
        "id": e.id, "at": iso(e.at), "type": e.type, "member": handle, "message": e.message_id,
        "recipient": e.recipient_id, "data": e.data,
    }


def _told(e: Event, handle: str) -> str:
    from relay.base.clock import iso

    facts = "  ".join(f"{k}={v}" for k, v in e.data.items())
    return f"{e.id}  {iso(e.at)}  {e.type:16}  {handle}  {facts}"


async def suppression_list(
    shell: Shell, handle: Handle,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 1000,
) -> int:
    """A member's list."""
    found = await _entries(shell, handle, limit)
    rows = [(s.original, s.reason, _at(s), s.detail) for s in found]
    shell.answer(
        [_entry(s) for s in found], lambda: shell.table(["ADDRESS", "REASON", "SINCE", "DETAIL"], rows, "Nobody.")
    )
    return OK


async def suppression_add(
    shell: Shell, handle: Handle, address: Address,
    detail: Annotated[str, typer.Option(help="A note.")] = "",
) -> int:
    """Put an address on a member's list."""
    from relay.base.names import BadName

    async with shell.rooms() as rooms:
        member = await rooms.enroll.accounts.get(handle)
        try:
            entry = await rooms.suppressions.add(member.id, address, "manual", detail)
        except BadName as e:
            raise Failure(FAILED, f"{address}: {e.reason}") from None
    shell.answer(_entry(entry), f"{member.handle} no longer mails {address}.")
    return OK


async def suppression_remove(shell: Shell, handle: Handle, address: Address) -> int:
    """Take an address off a member's list."""
    from relay.base.names import BadName

    async with shell.rooms() as rooms:
        member = await rooms.enroll.accounts.get(handle)
        try:
            removed = await rooms.suppressions.remove(member.id, address)
        except BadName as e:
            raise Failure(FAILED, f"{address}: {e.reason}") from None
    if not removed:
        raise Failure(NOT_FOUND, f"{address} is not on the list of {member.handle}")
    shell.answer({"removed": address}, f"{member.handle} may mail {address} again.")
    return OK


async def suppression_import(
    shell: Shell, handle: Handle,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="One address a line, or CSV.")],
) -> int:
    """Add many addresses; lines that are no address are named and left out."""
    from relay.base import names
    from relay.base.storage import Tx, suppressions
    from relay.base.storage.suppressions import Suppression

    added, bad = 0, []
    async with shell.rooms() as rooms:
        member = await rooms.enroll.accounts.get(handle)
        batch: list[Suppression] = []

        async def write() -> None:
            wanted = list(batch)

            async def do(tx: Tx) -> None:
                await suppressions.add(tx, wanted)

            await rooms.storage.write(do)
            batch.clear()

        with file.open(encoding="utf-8-sig", errors="replace", newline="") as f:
            for number, row in enumerate(csv.reader(f), 1):
                text = row[0].strip() if row else ""
                if not text or (number == 1 and "@" not in text):
                    continue
                try:
                    canonical = names.canonical(names.address(text))
                except names.BadName as e:
                    bad.append({"line": number, "reason": e.reason})
                    continue
                batch.append(Suppression(0, member.id, canonical, text, "import", "", rooms.clock.now()))
                added += 1
                if len(batch) >= PAGE:
                    await write()
        if batch:
            await write()
    shown = "".join(f"\n  line {b['line']}: {b['reason']}" for b in bad[:20])
    shell.answer({"added": added, "bad": bad}, f"{added} addresses taken in, {len(bad)} lines left out.{shown}")
    return FAILED if bad else OK


async def suppression_export(
    shell: Shell, handle: Handle,
    form: Annotated[str, typer.Option("--format", help="csv or json.")] = "csv",
) -> int:
    """Write a member's list to standard output."""
    found = await _entries(shell, handle, 10_000_000)
    if form == "json" or shell.as_json:
        sys.stdout.write(json.dumps([_entry(s) for s in found], ensure_ascii=False) + "\n")
        return OK
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["address", "reason", "since", "detail"])
    # A spreadsheet runs a cell that begins like a formula; a quote before it keeps it text.
    writer.writerows([[_cell(s.original), s.reason, _at(s), _cell(s.detail)] for s in found])
    sys.stdout.write(out.getvalue())
    return OK


def _cell(text: str) -> str:
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


async def _entries(shell: Shell, handle: str, limit: int) -> list[Suppression]:
    found: list[Suppression] = []
    async with shell.rooms() as rooms:
        member = await rooms.enroll.accounts.get(handle)
        while len(found) < limit:
            wanted = min(PAGE, limit - len(found))
            page = await rooms.suppressions.page(member.id, after=found[-1].id if found else 0, limit=wanted)
            found += page
            if len(page) < wanted:
                break
    return found


def _at(s: Suppression) -> str:
    from relay.base.clock import iso

    return iso(s.created_at)


def _entry(s: Suppression) -> dict[str, Any]:
    return {"address": s.original, "reason": s.reason, "since": _at(s), "detail": s.detail}
