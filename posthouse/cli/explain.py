"""explain: everything about one message, in plain words."""

from __future__ import annotations

from typing import Annotated

import typer

from posthouse.cli.shell import OK, Shell, command


def register(app: typer.Typer) -> None:
    """Put the command in."""
    command(app, "explain")(explain)


async def explain(
    shell: Shell,
    message: Annotated[str, typer.Argument(help="Queue id, recipient number, or Message-ID.")],
) -> int:
    """Show everything about a message: who sent it, why it was accepted, what became of it, what happens next."""
    from posthouse.operating import explanation

    async with shell.core() as core:
        found = await explanation.explain(core, message)

    def people() -> None:
        shell.say("\n".join(found.story))
        for r in found.recipients:
            shell.say("")
            shell.say("\n".join(explanation.lines(r)))
        if found.retries:
            shell.say(f"\n{found.retries}")

    shell.answer(found.data, people)
    return OK
