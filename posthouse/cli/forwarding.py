"""domain forward, domain replies: where a domain's replies and bounce reports go, and whether replies are taken in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from posthouse.cli.shell import OK, USAGE, Failure, Shell

if TYPE_CHECKING:
    from enroll.domains.model import Domain
    from posthouse.wiring import Core

Name = Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain's name.")]
Whose = Annotated[
    str | None, typer.Option("--member", help="The member, if several have enrolled the name.")
]


async def find_domain(core: Core, name: str, member: str | None) -> Domain:
    """The domain of this name, of `member` (a handle) if given. Raises EnrollError."""
    member_id = None if member is None else (await core.enroll.accounts.get(member)).id
    return await core.operator.find(name, member_id)


async def forward(
    shell: Shell,
    name: Name,
    mailbox: Annotated[str | None, typer.Argument(help="A mailbox; without it, the current one is shown.")] = None,
    code: Annotated[str | None, typer.Option(help="The code that was sent to the mailbox.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Set none.")] = False,
    member: Whose = None,
) -> int:
    """Show or set the mailbox for replies and bounce reports; a code sent to it confirms."""
    if clear and (mailbox or code):
        raise Failure(USAGE, "--clear takes no other argument")
    async with shell.core() as core:
        domain = await find_domain(core, name, member)
        # A code alone is for the mailbox that waits for it.
        mailbox = mailbox or (domain.notes.forward_wanted if code else None)
        if code and not mailbox:
            raise Failure(USAGE, "no mailbox is waiting for a code: set one first")
        if clear or mailbox:
            domain = await core.forwarding.set(domain.member_id, domain.name, mailbox or "", code)
    shell.answer(_facts(domain), lambda: _people(shell, domain))
    return OK


async def replies(
    shell: Shell,
    name: Name,
    to: Annotated[str, typer.Argument(metavar="on|off", help="Whether mail for the domain is accepted and forwarded.")],
    member: Whose = None,
) -> int:
    """Turn reply forwarding on or off; on, the domain's MX record must point here."""
    if to not in ("on", "off"):
        raise Failure(USAGE, f"{to}: on or off")
    async with shell.core() as core:
        found = await find_domain(core, name, member)
        domain = await core.domains.update(found.member_id, found.id, {"replies": to == "on"})
    shell.answer(_facts(domain), lambda: _people(shell, domain))
    return OK


def _facts(d: Domain) -> dict[str, object]:
    o = d.options
    return {
        "name": d.name, "state": d.state, "replies": o.replies, "forward_to": o.forward_to,
        "pending": d.notes.forward_wanted or None,
    }


def _people(shell: Shell, d: Domain) -> None:
    o = d.options
    shell.pairs({
        "domain": d.unicode_name, "state": d.state, "replies": "forwarded" if o.replies else "not accepted",
        "mailbox": o.forward_to or "(none)",
    })  # fmt: skip
    if d.notes.forward_wanted:
        shell.say(f"A code was sent to {d.notes.forward_wanted}: posthouse domain forward {d.name} --code CODE")
    if o.replies and not o.forward_to:
        shell.say(f"Replies are refused until there is a mailbox: posthouse domain forward {d.name} MAILBOX")
    if o.replies and d.state == "pending":
        shell.say(f"The MX record is required now: posthouse domain records {d.name}")
