"""queue: look at what waits, and act on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.members import Yes, sure
from posthouse.cli.shell import NOT_FOUND, OK, USAGE, Failure, Run, Shell, command

if TYPE_CHECKING:
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
    async with shell.core() as core:
        found = await _find(core, [], member, domain, to, error, held=held or None, limit=limit)
        now = core.clock.now()
    rows = [
        (q.queue_id, q.id, q.mail_from, q.address, _state(q), q.attempts, _next(q, now), q.says[:100]) for q in found
    ]
    columns = ["MESSAGE", "NUMBER", "FROM", "TO", "STATE", "TRIES", "NEXT TRY", "LAST REPLY"]
    shell.answer([facts(q) for q in found], lambda: shell.table(columns, rows, "The queue is empty."))
    return OK


async def show(shell: Shell, message: Annotated[str, typer.Argument(help="Queue id or recipient number.")]) -> int:
    """All recipients of a message, finished ones too. See also: posthouse explain."""
    async with shell.core() as core:
        found = await _find(core, [message], None, None, None, None, only_open=False)
        now = core.clock.now()
    if not found:
        raise Failure(NOT_FOUND, f"{message}: no such message")

    def people() -> None:
        for q in found:
            shown = facts(q)
            shown["nextAttemptAt"] = _next(q, now)
            shell.pairs(shown)
            shell.say("")

    shell.answer([facts(q) for q in found], people)
    return OK


async def retry(
    shell: Shell, message: Which = None, member: Member = None, domain: Domain = None, to: To = None,
    error: Error = None,
) -> int:
    """Retry now, including held mail."""
    return await _act(shell, "retry", "will be tried now", message, member, domain, to, error)


async def hold(
    shell: Shell, message: Which = None, member: Member = None, domain: Domain = None, to: To = None,
    error: Error = None,
) -> int:
    """Hold mail until it is released. What a worker has in hand already is left, and counted."""
    return await _act(shell, "hold", "held", message, member, domain, to, error)


async def release(
    shell: Shell, message: Which = None, member: Member = None, domain: Domain = None, to: To = None,
    error: Error = None,
) -> int:
    """Release held mail: it is retried on its schedule."""
    return await _act(shell, "release", "released", message, member, domain, to, error)


async def drop(
    shell: Shell, message: Which = None, member: Member = None, domain: Domain = None, to: To = None,
    error: Error = None, yes: Yes = False,
) -> int:
    """Remove mail from the queue; the sender gets no report."""
    def ask(first: list[Queued]) -> None:
        many = f"{len(first)} or more" if len(first) == PAGE else str(len(first))
        one = f" ({first[0].queue_id} to {first[0].address})" if len(first) == 1 else ""
        sure(shell, yes, f"Drop {many} waiting{one} permanently, without a report to the sender?")

    return await _act(shell, "drop", "dropped", message, member, domain, to, error, ask=ask)


async def _act(
    shell: Shell, action: str, done: str, message: list[str] | None, member: str | None, domain: str | None,
    to: str | None, error: str | None, *, ask: Callable[[list[Queued]], None] = lambda first: None,
) -> int:
    """`ask`: what is done is confirmed once something is found."""
    if not (message or member or domain or to or error):
        raise Failure(USAGE, "choose the mail: queue ids, or --member, --domain, --to, --error")
    changed: list[int] = []
    asked, after = 0, 0
    async with shell.core() as core:
        while True:
            found = await _find(core, message or [], member, domain, to, error, after=after, limit=PAGE)
            if not found:
                break
            if not asked:
                ask(found)
            asked, after = asked + len(found), found[-1].id
            changed += await core.queue.change(action, [q.id for q in found])
    if not asked:
        raise Failure(NOT_FOUND, "no such mail in the queue")
    left = asked - len(changed)
    note = f" {left} {'is' if left == 1 else 'are'} being delivered at this moment and left alone." if left else ""
    shell.answer({"action": action, "recipients": changed, "left": left}, f"{len(changed)} {done}.{note}")
    return OK


async def _find(
    core: Core, which: list[str], member: str | None, domain: str | None, to: str | None, error: str | None,
    *, held: bool | None = None, only_open: bool = True, after: int = 0, limit: int = PAGE,
) -> list[Queued]:
    from relay.base import names
    from relay.base.storage import operator_queries

    member_id = (await core.enroll.accounts.get(member)).id if member else None
    try:
        sender = names.domain(domain) if domain else None
    except names.BadName as e:
        raise Failure(USAGE, f"--domain {domain}: {e.reason}") from None
    # A queue id has sixteen characters; a number is a recipient's.
    numbers = [int(w) for w in which if w.isascii() and w.isdigit() and len(w) < 16]
    async with core.storage.read() as tx:
        return await operator_queries.find(
            tx, ids=numbers, queue_ids=[w.lower() for w in which if not w.isdigit() or len(w) >= 16],
            member_id=member_id, domain=sender, to=to, error=error, held=held, only_open=only_open, after=after,
            limit=limit,
        )


def _state(q: Queued) -> str:
    return "held" if q.held else q.state


def _next(q: Queued, now: float) -> str:
    from relay.base.clock import iso

    if q.state not in ("queued", "deferred"):
        return ""
    if q.held:
        return "when released"
    if q.leased_until is not None and q.leased_until > now:
        return "being delivered"
    return "now" if q.next_at <= now else iso(q.next_at)


def facts(q: Queued) -> dict[str, Any]:
    """A recipient for programs."""
    from relay.base.clock import iso

    return {
        "id": q.queue_id, "recipientId": q.id, "domain": q.domain, "mailFrom": q.mail_from, "recipient": q.address,
        "status": q.state, "held": q.held, "attempts": q.attempts, "receivedAt": iso(q.received_at),
        "nextAttemptAt": iso(q.next_at), "expiresAt": iso(q.expires_at), "code": q.code, "reply": q.says,
    }
