"""site: how receiving sites are treated, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from posthouse.cli.shell import OK, Run, Shell, command

Name = Annotated[str, typer.Argument(help="A site's name, or a recipient's domain of it.")]
_DOMAINS = 20


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    group = typer.Typer(no_args_is_help=True, help="Receiving sites: how fast mail goes to each, and why.")
    app.add_typer(group, name="site")
    commands: dict[str, Run] = {"list": list_, "show": show, "pause": pause, "resume": resume}
    for name, function in commands.items():
        command(group, name)(function)


async def list_(
    shell: Shell,
    all_: Annotated[bool, typer.Option("--all", help="Also known sites that are in no trouble.")] = False,
) -> int:
    """Those that are paused, slowed or in use; with --all those that are known by name too."""
    from posthouse.operating import sites

    async with shell.core() as core:
        found = await sites.seen(core, known=all_)
    rows = [
        (f["site"], f["state"], f["lanes"], f["in_use"], f["waiting"], "" if f["rate"] is None else f"{f['rate']:g}",
         f["paused_until"] or "", s.why[:100])
        for s in found for f in [s.facts()]
    ]  # fmt: skip
    columns = ["SITE", "STATE", "LANES", "IN USE", "WAITING", "RATE", "PAUSED UNTIL", "WHY"]
    shell.answer([s.facts() for s in found], lambda: shell.table(columns, rows, "No site is in trouble."))
    return OK


async def show(shell: Shell, name: Name) -> int:
    """One site: its limits, where they come from, who uses it, some domains that it serves."""
    from posthouse.operating import sites
    from relay.base.storage import sites as rows

    async with shell.core() as core:
        found = await sites.one(core, name)
        async with core.storage.read() as tx:
            served = await rows.served(tx, found.name, _DOMAINS)
    data = found.facts() | {
        "domains": served, "shares": [{"owner": s.owner, "lanes": s.lanes, "waiting": s.waiting} for s in found.shares],
    }

    def people() -> None:
        shell.pairs({k: v for k, v in data.items() if k not in ("domains", "shares")})
        if served:
            shell.say(f"serves {', '.join(served)}" + (" …" if len(served) == _DOMAINS else ""))
        if found.shares:
            shell.table(["PROCESS", "LANES", "WAITING"], [(s.owner, s.lanes, s.waiting) for s in found.shares])

    shell.answer(data, people)
    return OK


async def pause(shell: Shell, name: Name) -> int:
    """No mail to a site until it is resumed. What is under way ends; what waits is kept, and not given up."""
    from posthouse.operating import sites

    async with shell.core() as core:
        found = await sites.pause(core, name)
    shell.answer(
        {"site": found.name, "state": sites.HELD}, f"{found.name} is paused: posthouse site resume {found.name}",
    )
    return OK


async def resume(shell: Shell, name: Name) -> int:
    """End a pause, whoever made it; what went back into the queue for it is due at once."""
    from posthouse.operating import sites

    async with shell.core() as core:
        found, due = await sites.resume(core, name)
    shell.answer(
        {"site": found.name, "state": "resumed", "recipients": due},
        f"{found.name} is resumed; {due} that waited are due.",
    )
    return OK
