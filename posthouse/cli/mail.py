"""send, preflight, events, audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.shell import FAILED, OK, REFUSED, Failure, Shell, command

if TYPE_CHECKING:
    from relay.base.events import Event

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="A recipient's address.")]
PAGE = 500
_MARKS = {True: "ok ", False: "no ", None: "?  "}


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    command(app, "send")(send)
    command(app, "preflight")(preflight)
    command(app, "events")(events)
    command(app, "audit")(audit)


async def send(
    shell: Shell,
    domain: Annotated[str, typer.Argument(help="The verified domain to send from.")],
    to: Address,
    subject: Annotated[str | None, typer.Option(help="Its subject.")] = None,
    member: Annotated[str | None, typer.Option("--member", help="The member, if several enrolled it.")] = None,
) -> int:
    """Queue a test message from a domain; it counts in the domain's warming. A running relay delivers it."""
    async with shell.core() as core:
        member_id = (await core.enroll.accounts.get(member)).id if member else None
        found = await core.operator.find(domain, member_id)
        taken = await core.domains.send_test(found.member_id, found.id, to, subject)
    shell.answer(
        {"message": taken.queue_id, "to": to}, f"{taken.queue_id} is queued. See: posthouse explain {taken.queue_id}"
    )
    return OK


async def preflight(
    shell: Shell,
    domain: Annotated[str, typer.Argument(help="The verified domain to send from.")],
    receivers: Annotated[list[str], typer.Option("--for", help="gmail, yahoo or microsoft (repeatable).")],
    category: Annotated[str, typer.Option(help="The category of the mail.")] = "bulk",
    member: Annotated[str | None, typer.Option("--member", help="The member, if several enrolled it.")] = None,
) -> int:
    """Would mail from a domain meet the rules that large receivers publish? Exit code 1: not all of them."""
    from relay.intake import RECEIVERS
    from relay.intake.receivers import rules
    from relay.suppression import CATEGORIES

    if category not in CATEGORIES:
        raise typer.BadParameter(f"{category}: {', '.join(sorted(CATEGORIES))}", param_hint="--category")
    wanted = [one for one in RECEIVERS if one in receivers]
    if unknown := sorted(set(receivers) - set(RECEIVERS)):
        raise typer.BadParameter(f"{unknown[0]}: {', '.join(RECEIVERS)}", param_hint="--for")
    data: dict[str, Any] = {}
    lines: list[str] = []
    async with shell.core() as core:
        member_id = (await core.enroll.accounts.get(member)).id if member else None
        found = await core.operator.find(domain, member_id)
        entry = core.directory.domain_of_member(found.member_id, found.name)
        if entry is None:
            raise Failure(REFUSED, f"{found.name} is {found.state}: only a verified domain sends")
        for name in wanted:
            asked = await rules(name, entry, category, core.storage, core.config, core.clock, core.resolver)
            data[name] = {rule.name: {"met": rule.met, "says": rule.says} for rule in asked}
            lines += [f"{name}:", *(f"  {_MARKS[rule.met]} {rule.name}: {rule.says}" for rule in asked)]
    shell.answer(data, "\n".join(lines))
    return OK if all(rule["met"] is not False for of in data.values() for rule in of.values()) else FAILED


async def events(
    shell: Shell,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow new events until Ctrl-C.")] = False,
    member: Annotated[str | None, typer.Option("--member", help="Only this member's (handle).")] = None,
    type: Annotated[list[str] | None, typer.Option("--type", help="Only of this type (repeatable).")] = None,
    after: Annotated[int, typer.Option(min=0, help="Only with a higher id.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most this many (without --follow).")] = 1000,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between polls with --follow.")] = 1.0,
) -> int:
    """What happened, oldest first; with --json one object a line."""
    import asyncio

    from relay.base.storage import events as rows

    shown = 0
    async with shell.core() as core:
        member_id = (await core.enroll.accounts.get(member)).id if member else None
        while True:
            async with core.storage.read() as tx:
                most = PAGE if follow else min(PAGE, limit - shown)
                found = await rows.after(tx, after, member_id=member_id, types=type or (), limit=most)
            for e in found:
                who = core.directory.member(e.member_id)
                shell.stream(_event(e, who.handle if who else ""), _lines(e, who.handle if who else str(e.member_id)))
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


def _lines(e: Event, handle: str) -> str:
    from relay.base.clock import iso

    # By the vocabulary of events, what is called …At is a time.
    facts = "  ".join(
        f"{k}={iso(v) if k.endswith('At') and isinstance(v, int | float) else v}" for k, v in e.data.items()
    )
    return f"{e.id}  {iso(e.at)}  {e.type:16}  {handle}  {facts}"


async def audit(
    shell: Shell,
    search: Annotated[str, typer.Option(help="Only where who, what, whom or where from contains this.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")] = 200,
) -> int:
    """Who changed what on the operator's pages, newest first: from where, before and after."""
    from relay.base.clock import iso
    from relay.base.storage import audit as rows

    async with shell.core() as core, core.storage.read() as tx:
        found = await rows.search(tx, search, limit=limit)
    facts = [
        {
            "id": e.id, "at": iso(e.at), "actor": e.actor, "who": e.who, "address": e.address, "action": e.action,
            "subject": e.subject, "before": e.before, "after": e.after,
        }
        for e in found
    ]
    columns = ["AT", "WHO", "FROM", "WHAT", "WHOM", "BEFORE", "AFTER"]
    lines = [(iso(e.at), e.who, e.address, e.action, e.subject, dict(e.before), dict(e.after)) for e in found]
    shell.answer(facts, lambda: shell.table(columns, lines, "Nothing has been changed there."))
    return OK
