"""incident: faults of the relay itself, as other hosts told us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from posthouse.cli.shell import OK, Run, Shell, command

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
    from posthouse.operating import incidents
    from relay.base.clock import iso

    async with shell.core() as core:
        found = await incidents.listing(core, closed=all_, limit=limit)
    rows = [(i.id, i.kind, i.state, i.count, iso(i.opened_at), iso(i.seen_at), _first(i)) for i in found]
    columns = ["NUMBER", "KIND", "STATE", "COUNT", "OPENED", "LAST SEEN", "FOR EXAMPLE"]
    shell.answer([incidents.facts(i) for i in found], lambda: shell.table(columns, rows, "None."))
    return OK


async def show(shell: Shell, number: Number) -> int:
    """Show an incident with examples, and what to check."""
    from posthouse.operating import incidents
    from relay.base.clock import iso

    async with shell.core() as core:
        found = await incidents.get(core, number)

    def people() -> None:
        shell.pairs({k: v for k, v in incidents.facts(found).items() if k != "examples"})
        shell.say("")
        rows = [(iso(e["at"]), e["host"], e["recipient"], e["reply"]) for e in found.examples]
        shell.table(["AT", "HOST", "RECIPIENT", "REPLY"], rows)

    shell.answer(incidents.facts(found), people)
    return OK


async def close(shell: Shell, number: Number) -> int:
    """Close an incident that is fixed; if it recurs, a new one opens."""
    from posthouse.operating import incidents
    from relay.base.storage.incidents import CLOSED

    async with shell.core() as core:
        await incidents.close(core, number)
    shell.answer({"number": number, "state": CLOSED}, f"Incident {number} is closed.")
    return OK


def _first(i: Incident) -> str:
    return str(i.examples[0]["reply"])[:100] if i.examples else ""
