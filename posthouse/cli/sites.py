"""site: how receiving sites are treated, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.shell import NOT_FOUND, OK, REFUSED, Failure, Run, Shell, command

if TYPE_CHECKING:
    from posthouse.wiring import Core
    from relay.base.storage.sites import Share, Site
    from relay.delivery.sites import SiteLimits

Name = Annotated[str, typer.Argument(help="A site's name, or a recipient's domain of it.")]
_MOST = 10_000
_DOMAINS = 20


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    group = typer.Typer(no_args_is_help=True, help="Receiving sites: how fast mail goes to each, and why.")
    app.add_typer(group, name="site")
    commands: dict[str, Run] = {"list": list_, "show": show, "pause": pause, "resume": resume}
    for name, function in commands.items():
        command(group, name)(function)


@dataclass(frozen=True)
class _Seen:
    """One site: its bounds as configured, its row if it is in trouble, who has shares of it."""

    name: str
    limits: SiteLimits
    row: Site | None
    shares: list[Share]
    now: float

    @property
    def state(self) -> str:
        return state(self.row, self.now)

    @property
    def why(self) -> str:
        if self.row is not None:
            return f"{self.row.source}: {self.row.host} said {self.row.says}" if self.row.says else self.row.source
        return "configuration" if self.limits.configured else "default"

    def facts(self) -> dict[str, Any]:
        """For programs."""
        from relay.base.clock import iso

        row = self.row
        paused = row is not None and not row.held and row.paused_until > self.now
        return {
            "site": self.name, "state": self.state, "lanes": int(row.lanes) if row else self.limits.lanes,
            "rate": (row.rate if row else None) or self.limits.rate,
            "in_use": sum(s.lanes for s in self.shares), "waiting": sum(s.waiting for s in self.shares),
            "paused_until": iso(row.paused_until) if row is not None and paused else None,
            "failures": row.failures if row else 0,
            "source": row.source if row else "configuration" if self.limits.configured else "default",
            "host": row.host if row else "", "reply": row.says if row else "",
            "changed_at": iso(row.changed_at) if row else None,
        }


def state(row: Site | None, now: float) -> str:
    """A site's state in a word."""
    if row is None:
        return "ok"
    if row.held:
        return "paused by the operator"
    return "paused" if row.paused_until > now else "slowed"


def in_words(row: Site, now: float) -> str:
    """Why mail to a site waits, in a sentence; "" where it doesn't."""
    from relay.base.clock import iso

    if row.held:
        return f"{row.name} is paused by the operator: posthouse site resume {row.name}"
    said = f": {row.host} said {row.says}" if row.says else ""
    if row.paused_until > now:
        return f"{row.name} is paused until {iso(row.paused_until)}{said}"
    rate = f" and {row.rate:g} messages a second" if row.rate is not None else ""
    return f"{row.name} is slowed to {1 if row.failures else int(row.lanes)} conversations{rate}{said}"


async def list_(
    shell: Shell,
    all_: Annotated[bool, typer.Option("--all", help="Also known sites that are in no trouble.")] = False,
) -> int:
    """Those that are paused, slowed or in use; with --all those that are known by name too."""
    async with shell.core() as core:
        found = await _seen(core, known=all_)
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
    from relay.base.storage import sites

    async with shell.core() as core:
        found = await _one(core, name)
        async with core.storage.read() as tx:
            served = await sites.served(tx, found.name, _DOMAINS)
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
    from relay.base.storage import Tx, sites, versions

    async with shell.core() as core:
        found = await _one(core, name)

        async def do(tx: Tx) -> None:
            await sites.pause(tx, found.name, found.limits.lanes, core.clock.now())
            await versions.bump(tx, versions.SITES)

        await core.storage.write(do)
    shell.answer(
        {"site": found.name, "state": "paused by the operator"},
        f"{found.name} is paused: posthouse site resume {found.name}",
    )
    return OK


async def resume(shell: Shell, name: Name) -> int:
    """End a pause, whoever made it; what went back into the queue for it is due at once."""
    from relay.base.storage import Tx, mail, sites, versions

    async with shell.core() as core:
        found = await _one(core, name)
        now = core.clock.now()

        async def do(tx: Tx) -> tuple[bool, int]:
            if not await sites.resume(tx, found.name, now):
                return False, 0
            await versions.bump(tx, versions.SITES)
            return True, await mail.unpark(tx, found.name, now)

        done, due = await core.storage.write(do)
    if not done:
        raise Failure(REFUSED, f"{found.name} is not paused")
    shell.answer(
        {"site": found.name, "state": "resumed", "recipients": due},
        f"{found.name} is resumed; {due} that waited are due.",
    )
    return OK


async def _seen(core: Core, *, known: bool) -> list[_Seen]:
    from relay.base.storage import sites
    from relay.delivery.sites import SiteTable

    table, now = SiteTable(core.config), core.clock.now()
    async with core.storage.read() as tx:
        rows = {s.name: s for s in await sites.listing(tx, _MOST)}
        shares = await sites.shares(tx, now, _MOST)
    names = sorted({*rows, *(s.site for s in shares), *(table.names if known else ())})
    return [
        _Seen(n, table.limits(n.partition("/")[0]), rows.get(n), [s for s in shares if s.site == n], now) for n in names
    ]


async def _one(core: Core, name: str) -> _Seen:
    """The site of this name, or of this domain. Raises Failure."""
    import random

    from posthouse.wiring import courier
    from relay.base import names
    from relay.base.storage import sites
    from relay.delivery.sites import SiteTable

    known = {s.name: s for s in await _seen(core, known=True)}
    if name in known:
        return known[name]
    try:
        domain = names.domain(name)
    except names.BadName as e:
        raise Failure(NOT_FOUND, f"{name}: no such site, and no domain either ({e.reason})") from None
    async with core.storage.read() as tx:
        site = (await sites.serving(tx, [domain])).get(domain)
    if site is None:
        carrier = courier(core, random.Random())
        try:
            site = await carrier.site(domain)
        finally:
            await carrier.close()
    return known.get(site) or _Seen(site, SiteTable(core.config).limits(site), None, [], core.clock.now())
