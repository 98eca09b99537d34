"""tls: what recipients' domains ask of TLS, how sessions with them went, and the reports about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.shell import OK, REFUSED, Failure, Run, Shell, command

if TYPE_CHECKING:
    from relay.delivery.route import Host

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")]


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    group = typer.Typer(no_args_is_help=True, help="TLS with other mail servers: policies, sessions, reports.")
    app.add_typer(group, name="tls")
    commands: dict[str, Run] = {"policy": policy, "totals": totals, "reports": reports}
    for name, function in commands.items():
        command(group, name)(function)


async def policy(
    shell: Shell, domain: Annotated[str, typer.Argument(help="A recipient's domain.")]
) -> int:
    """Say where mail for a domain would go now, and which TLS policy holds for each exchanger."""
    import random

    from posthouse.wiring import policies
    from relay.base import names
    from relay.delivery.courier import route_settings
    from relay.delivery.route import Route, route

    try:
        name = names.domain(domain)
    except names.BadName as e:
        raise Failure(REFUSED, f"{domain}: {e.reason}") from None
    async with shell.core() as core:
        finder = policies(core)
        try:
            found = await route(
                name, resolver=core.resolver, settings=route_settings(core.config), rng=random.Random(),
                policies=finder,
            )
        finally:
            await finder.close()
    if not isinstance(found, Route):
        raise Failure(REFUSED, found.text)
    rows = [(h.preference, h.name, h.policy.word, _says(h)) for h in found.hosts]
    shell.answer([_facts(h) for h in found.hosts], lambda: shell.table(["MX", "HOST", "POLICY", "ABOUT IT"], rows))
    return OK


async def totals(
    shell: Shell, days: Annotated[int, typer.Option(min=1, max=366, help="This many days back.")] = 7
) -> int:
    """Count TLS sessions by day, policy and result."""
    from relay.base.clock import DAY, utc_day
    from relay.base.storage import outbound_tls

    async with shell.core() as core, core.storage.read() as tx:
        found = await outbound_tls.totals_since(tx, utc_day(core.clock.now() - (days - 1) * DAY))
    data = [{"day": d, "policy": p, "result": r or "success", "sessions": n} for d, p, r, n in found]
    rows = [(d, p, r or "success", n) for d, p, r, n in found]
    shell.answer(data, lambda: shell.table(["DAY", "POLICY", "RESULT", "SESSIONS"], rows, "No sessions yet."))
    return OK


async def reports(
    shell: Shell, domain: Annotated[str | None, typer.Option(help="Only about this domain.")] = None, limit: Limit = 100
) -> int:
    """List the TLS reports to other domains, newest first: sent, waiting, or given up and why."""
    from relay.base.clock import iso
    from relay.base.storage import outbound_tls

    async with shell.core() as core, core.storage.read() as tx:
        found = await outbound_tls.reports(tx, limit, domain)
    data = [
        {
            "day": r.day, "domain": r.domain, "state": r.state, "report_id": r.report_id, "sent_to": r.sent_to,
            "successes": r.successes, "failures": r.failures, "tries": r.tries, "says": r.says,
            "next_at": iso(r.next_at) if r.state == outbound_tls.WAITING else None,
        }
        for r in found
    ]
    rows = [(r.day, r.domain, r.state, r.successes, r.failures, " ".join(r.sent_to), r.says) for r in found]
    columns = ["DAY", "DOMAIN", "STATE", "GOOD", "FAILED", "SENT TO", "SAYS"]
    shell.answer(data, lambda: shell.table(columns, rows, "None."))
    return OK


def _says(host: Host) -> str:
    p = host.policy
    shown = p.blocked or p.noted or "; ".join(p.shown)
    return shown if shown or not host.secure else "its name came securely"


def _facts(host: Host) -> dict[str, Any]:
    p = host.policy
    return {
        "preference": host.preference, "host": host.name, "addresses": list(host.ips), "policy": p.word,
        "level": p.level.value, "blocked": p.blocked, "noted": p.noted, "shown": list(p.shown), "secure": host.secure,
    }
