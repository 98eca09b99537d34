"""queue: look at what waits, and act on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from posthouse.cli.members import Yes, sure
from posthouse.cli.shell import NOT_FOUND, OK, USAGE, Failure, Run, Shell, command

if TYPE_CHECKING:
    from posthouse.operating.queue import Filter
    from posthouse.wiring import Core
    from relay.base.storage.operator_queries import Queued

Which = Annotated[list[str] | None, typer.Argument(metavar="[MESSAGE]...", help="Queue ids or recipient numbers.")]
Member = Annotated[str | None, typer.Option("--member", help="Only this member's (handle).")]
Domain = Annotated[str | None, typer.Option("--domain", help="Only from this sending domain.")]
To = Annotated[str | None, typer.Option("--to", help="Only to this address or destination domain.")]
Error = Annotated[str | None, typer.Option("--error", help="Only where the last reply contains this.")]
PAGE = 500


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    group = typer.Typer(no_args_is_help=True, help="Mail waiting in the queue.")
    app.add_typer(group, name="queue")
    commands: dict[str, Run] = {
        "list": list_, "show": show, "retry": retry, "hold": hold, "release": release, "drop": drop,
    }
    for name, function in commands.items():
        command(group, name)(function)


async def list_(
    shell: Shell, member: Member = None, domain: Domain = None, to: To = None, error: Error = None,
    held: Annotated[bool, typer.Option("--held", help="Only what is held.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")] = 200,
) -> int:
    """Recipients that are still waiting."""
    from posthouse.operating import queue

    async with shell.core() as core:
        wanted = await _filter(core, [], member, domain, to, error, held=held or None)
        found = await queue.find(core, wanted, limit=limit)
        now = core.clock.now()
    rows = [
        (q.queue_id, q.id, q.mail_from, q.address, queue.state(q), q.attempts, queue.next_try(q, now), q.says[:100])
        for q in found
    ]
    columns = ["MESSAGE", "NUMBER", "FROM", "TO", "STATE", "TRIES", "NEXT TRY", "LAST REPLY"]
    shell.answer([queue.facts(q) for q in found], lambda: shell.table(columns, rows, "The queue is empty."))
    return OK


async def show(shell: Shell, message: Annotated[str, typer.Argument(help="Queue id or recipient number.")]) -> int:
    """All recipients of a message, finished ones too. See also: posthouse explain."""
    from posthouse.operating import queue

    async with shell.core() as core:
        found = await queue.find(core, queue.Filter([message]), only_open=False)
        now = core.clock.now()
    if not found:
        raise Failure(NOT_FOUND, f"{message}: no such message")

    def people() -> None:
        for q in found:
            shown = queue.facts(q)
            shown["nextAttemptAt"] = queue.next_try(q, now)
            shell.pairs(shown)
            shell.say("")

    shell.answer([queue.facts(q) for q in found], people)
    return OK


async def retry(
    shell: Shell, message: Which = None, member: Member = None, domain: Domain = None, to: To = None,
    error: Error = None,
) -> int:
    """Retry now, including held mail."""
    return await _act(shell, "retry", message, member, domain, to, error)


async def hold(
    shell: Shell, message: Which = None, member: Member = None, domain: Domain = None, to: To = None,
    error: Error = None,
) -> int:
    """Hold mail until it is released. What a worker has in hand already is left, and counted."""
    return await _act(shell, "hold", message, member, domain, to, error)


async def release(
    shell: Shell, message: Which = None, member: Member = None, domain: Domain = None, to: To = None,
    error: Error = None,
) -> int:
    """Release held mail: it is retried on its schedule."""
    return await _act(shell, "release", message, member, domain, to, error)


async def drop(
    shell: Shell, message: Which = None, member: Member = None, domain: Domain = None, to: To = None,
    error: Error = None, yes: Yes = False,
) -> int:
    """Remove mail from the queue; the sender gets no report."""
    def ask(first: list[Queued]) -> None:
        many = f"{len(first)} or more" if len(first) == PAGE else str(len(first))
        one = f" ({first[0].queue_id} to {first[0].address})" if len(first) == 1 else ""
        sure(shell, yes, f"Drop {many} waiting{one} permanently, without a report to the sender?")

    return await _act(shell, "drop", message, member, domain, to, error, ask=ask)


async def _act(
    shell: Shell, action: str, message: list[str] | None, member: str | None, domain: str | None,
    to: str | None, error: str | None, *, ask: Callable[[list[Queued]], None] = lambda first: None,
) -> int:
    """`ask`: what is done is confirmed once something is found."""
    from posthouse.operating import queue

    if not (message or member or domain or to or error):
        raise Failure(USAGE, "choose the mail: queue ids, or --member, --domain, --to, --error")
    async with shell.core() as core:
        wanted = await _filter(core, message or [], member, domain, to, error)
        first = await queue.find(core, wanted, limit=PAGE)
        if not first:
            raise Failure(NOT_FOUND, "no such mail in the queue")
        ask(first)
        changed, left = await queue.act(core, action, wanted)
    note = f" {left} {'is' if left == 1 else 'are'} being delivered at this moment and left alone." if left else ""
    shell.answer(
        {"action": action, "recipients": changed, "left": left}, f"{len(changed)} {queue.ACTIONS[action]}.{note}"
    )
    return OK


async def _filter(
    core: Core, which: list[str], member: str | None, domain: str | None, to: str | None, error: str | None,
    *, held: bool | None = None,
) -> Filter:
    from posthouse.operating.queue import Filter
    from relay.base import names

    member_id = (await core.enroll.accounts.get(member)).id if member else None
    try:
        sender = names.domain(domain) if domain else None
    except names.BadName as e:
        raise Failure(USAGE, f"--domain {domain}: {e.reason}") from None
    return Filter(which, member_id, sender, to, error, held)
