"""An upgrade, tried on a copy, finished, or taken back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from posthouse.cli.shell import OK, REFUSED, USAGE, Failure, Shell, command

if TYPE_CHECKING:
    from posthouse.upgrading import Trial


def register(app: typer.Typer) -> None:
    """Put the command in."""
    command(app, "upgrade")(upgrade)


async def upgrade(
    shell: Shell,
    check: Annotated[bool, typer.Option("--check", help="Try it on a copy; change nothing.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Every process has this version: wait for none.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Let the version before start again; stop this one.")] = False,
) -> int:
    """Look at an upgrade before it is made, finish it, or go back. `posthouse serve` makes it."""
    if check + finish + back != 1:
        raise Failure(USAGE, "one of --check, --finish, --back")
    return await (_check(shell) if check else _finish(shell) if finish else _back(shell))


async def _check(shell: Shell) -> int:
    from posthouse.upgrading import check
    from relay.base.clock import Clock

    trial = await check(shell.config(), Clock())
    shell.answer(asdict(trial) | {"goingBack": _GOING_BACK}, "\n".join(_lines(trial)))
    return OK


_GOING_BACK = (
    "Until posthouse upgrade --finish: stop this version, posthouse upgrade --back with it, start the version before. "
    "Later: restore the backup."
)


def _lines(trial: Trial) -> list[str]:
    same = "the same" if trial.schema == trial.wanted else f"brought up to {trial.wanted}"
    lines = [
        f"Schema {trial.schema}, {same}. Copied {trial.copied} of {trial.whole} rows; migrating the copy took "
        f"{trial.seconds:.1f} s, the whole will take about {trial.seconds_whole:.0f} s.",
        f"Of the last day's submissions {trial.decided} were decided again: {trial.differ} would not be taken now."
        + (" By these rules, or by what has changed since:" if trial.differences else ""),
    ]
    lines += [f"  {d.queue_id} from {d.sender}: {d.rule} {d.says}".rstrip() for d in trial.differences]
    return [*lines, _GOING_BACK]


async def _finish(shell: Shell) -> int:
    from relay.base.storage import beside

    async with shell.core() as core:
        await core.storage.write(beside.finish)
    shell.answer({"finished": True}, "Finished: no process of an older version is waited for.")
    return OK


async def _back(shell: Shell) -> int:
    from relay.base.storage import Storage, beside
    from relay.base.storage.migrate import REVISION

    storage = await Storage.open(shell.config())
    try:
        revision = await storage.write(lambda tx: beside.back(tx, REVISION))
    finally:
        await storage.close()
    if revision is None:
        raise Failure(REFUSED, "this schema can't be shared with the version before: restore the backup")
    text = f"Programs of schema {revision} can start again. This version brings the schema up again when it starts."
    shell.answer({"schema": revision}, text)
    return OK
