"""incident: faults of the relay itself, as other hosts told us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.shell import NOT_FOUND, OK, REFUSED, Failure, Run, Shell, command

if TYPE_CHECKING:
    from relay.base.storage.incidents import Incident

Number = Annotated[int, typer.Argument(min=1, help="The incident's number.")]


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    group = typer.Typer(no_args_is_help=True, help="Faults of the relay itself, as reported by other hosts.")
    app.add_typer(group, name="incident")
    commands: dict[str, Run] = {"list": list_, "show": show, "close": close}
    for name, function in commands.items():
        command(group, name)(function)


async def list_(
    shell: Shell,
    all_: Annotated[bool, typer.Option("--all", help="Include closed ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 100,
) -> int:
    """List open incidents, newest first."""
    from relay.base.clock import iso
    from relay.base.storage import incidents

    async with shell.core() as core, core.storage.read() as tx:
        found = await incidents.listing(tx, state=None if all_ else incidents.OPEN, limit=limit)
    rows = [(i.id, i.kind, i.state, i.count, iso(i.opened_at), iso(i.seen_at), _first(i)) for i in found]
    columns = ["NUMBER", "KIND", "STATE", "COUNT", "OPENED", "LAST SEEN", "FOR EXAMPLE"]
    shell.answer([_facts(i) for i in found], lambda: shell.table(columns, rows, "None."))
    return OK


async def show(shell: Shell, number: Number) -> int:
    """Show an incident with examples, and what to check."""
    from relay.base.clock import iso

    found = await _get(shell, number)

    def people() -> None:
        shell.pairs({k: v for k, v in _facts(found).items() if k != "examples"})
        shell.say("")
        rows = [(iso(e["at"]), e["host"], e["recipient"], e["reply"]) for e in found.examples]
        shell.table(["AT", "HOST", "RECIPIENT", "REPLY"], rows)

    shell.answer(_facts(found), people)
    return OK


async def close(shell: Shell, number: Number) -> int:
    """Close an incident that is fixed; if it recurs, a new one opens."""
    from relay.base.storage import incidents

    await _get(shell, number)
    async with shell.core() as core:
        now = core.clock.now()
        if not await core.storage.write(lambda tx: incidents.close(tx, number, now)):
            raise Failure(REFUSED, f"incident {number} is closed already")
    shell.answer({"number": number, "state": incidents.CLOSED}, f"Incident {number} is closed.")
    return OK


async def _get(shell: Shell, number: int) -> Incident:
    from relay.base.storage import incidents

    async with shell.core() as core, core.storage.read() as tx:
        found = await incidents.get(tx, number)
    if found is None:
        raise Failure(NOT_FOUND, f"there is no incident {number}")
    return found


def _first(i: Incident) -> str:
    return str(i.examples[0]["reply"])[:100] if i.examples else ""


def _facts(i: Incident) -> dict[str, Any]:
    from relay.base.clock import iso
    from relay.standing.feed import CURES, INCIDENTS

    return {
        "number": i.id, "kind": i.kind, "says": INCIDENTS.get(i.kind, ""), "cure": CURES.get(i.kind, ""),
        "state": i.state, "count": i.count, "opened_at": iso(i.opened_at), "seen_at": iso(i.seen_at),
        "closed_at": iso(i.closed_at) if i.closed_at is not None else None,
        "examples": [e | {"at": iso(e["at"])} for e in i.examples],
    }
