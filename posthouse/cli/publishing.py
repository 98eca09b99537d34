"""domain link: getting a domain's records into DNS."""

from __future__ import annotations

from typing import Annotated

import typer

from posthouse.cli.forwarding import Name, Whose, find_domain
from posthouse.cli.shell import OK, Shell
from relay.base.clock import iso


async def link(
    shell: Shell,
    name: Name,
    mail: Annotated[str, typer.Option(metavar="ADDRESS", help="Mail the link to this address.")] = "",
    show: Annotated[bool, typer.Option("--list", help="List the links that can be used.")] = False,
    revoke: Annotated[int | None, typer.Option(metavar="ID", help="End a link.")] = None,
    member: Whose = None,
) -> int:
    """Make a link to a domain's records for whoever runs its DNS: no account, one domain, revocable."""
    from enroll.api.native.dns_links import LinkList, link_view

    async with shell.core() as core:
        domain = await find_domain(core, name, member)
        handoff = core.enroll.for_domains.handoff
        if revoke is not None:
            await handoff.revoke(domain.member_id, domain.id, revoke)
            shell.answer({"id": revoke, "revoked": True}, f"Link {revoke} of {domain.name} is revoked.")
            return OK
        if show:
            found = await handoff.list(domain.member_id, domain.id)
            rows = [(one.id, iso(one.expires_at), one.mailed_to, one.url) for one in found]
            shell.answer(
                LinkList(links=[link_view(one) for one in found]),
                lambda: shell.table(["ID", "UNTIL", "MAILED TO", "LINK"], rows, "No links."),
            )
            return OK
        made = await handoff.create(domain.member_id, domain.id, mail)
    sent = f"\nMailed to {made.mailed_to}." if made.mailed_to else ""
    shell.answer(link_view(made), f"{made.url}\nCan be used until {iso(made.expires_at)}.{sent}")
    return OK
