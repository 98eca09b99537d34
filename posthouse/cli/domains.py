"""domain: enroll, show, set, records, check, tier, approve, rotate, delete; `forwarding` and `publishing` have more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli import forwarding, publishing
from posthouse.cli.members import Yes, sure
from posthouse.cli.shell import FAILED, OK, USAGE, Failure, Run, Shell, command
from relay.base.domain_options import OPTIONS, BadOption

if TYPE_CHECKING:
    from enroll.domains.model import Domain, Form
    from enroll.records import Record
    from posthouse.wiring import Core

Name = Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain's name.")]
Whose = Annotated[
    str | None, typer.Option("--member", help="The member, if several have enrolled the name.")
]
PAGE = 200
_SETTABLE = ", ".join(f"{o.name}={o.values}" for o in OPTIONS.values())


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    group = typer.Typer(no_args_is_help=True, help="Sending domains.")
    app.add_typer(group, name="domain")
    commands: dict[str, Run] = {
        "add": add, "list": list_, "show": show, "set": set_, "records": records, "check": check, "tier": tier,
        "approve": approve, "suspend": suspend, "release": release, "rotate": rotate, "delete": delete,
        "forward": forwarding.forward, "replies": forwarding.replies,
        "link": publishing.link,
    }
    for name, function in commands.items():
        command(group, name)(function)


async def _member_id(core: Core, handle: str | None) -> int | None:
    return None if handle is None else (await core.enroll.accounts.get(handle)).id


async def _find(core: Core, name: str, member: str | None) -> Domain:
    return await core.operator.find(name, await _member_id(core, member))


async def add(
    shell: Shell,
    handle: Annotated[str, typer.Argument(help="The member's handle.")],
    name: Name,
    return_path: Annotated[bool, typer.Option(help="Use a return path of the domain's own, which aligns SPF.")] = False,
    hosted: Annotated[bool, typer.Option(help="Publish CNAMEs into the relay's own zone, once.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option, as for domain set.")
    ] = None,
) -> int:
    """Enroll a domain for a member; shows the records to publish."""
    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        options = {name: True for name, wanted in (("return_path", return_path), ("hosted", hosted)) if wanted}
        options |= _changes(settings or [])
        domain, new = await core.domains.enter(member.id, name, options)
        wanted = core.domains.records(domain)
    if not new and not shell.as_json:
        shell.say(f"{domain.unicode_name} was already enrolled; it stays as it was.")
    shell.answer(
        _shown(domain, records=_records(domain, wanted)),
        lambda: _records_table(shell, domain, wanted),
    )
    return OK


async def list_(
    shell: Shell, handle: Annotated[str | None, typer.Argument(help="Only this member's.")] = None
) -> int:
    """Domains of one member or of all."""
    found: list[Domain] = []
    async with shell.core() as core:
        member_id = await _member_id(core, handle)
        while True:
            page = await core.operator.list(member_id, after=found[-1].id if found else 0, limit=PAGE)
            found += page
            if len(page) < PAGE:
                break
        handles = {d.member_id: _handle(core, d.member_id) for d in found}
    rows = [(d.unicode_name, handles[d.member_id], d.state, d.tier or "by age", d.reason) for d in found]
    shell.answer(
        [_shown(d, member=handles[d.member_id]) for d in found],
        lambda: shell.table(["DOMAIN", "MEMBER", "STATE", "TIER", "REASON"], rows, "No domains yet."),
    )
    return OK


def _handle(core: Core, member_id: int) -> str:
    member = core.directory.member(member_id)
    return member.handle if member else str(member_id)


async def show(shell: Shell, name: Name, member: Whose = None) -> int:
    """Show a domain: state, keys, what the last DNS check found, and its options."""
    async with shell.core() as core:
        domain = await _find(core, name, member)
        handle, age = _handle(core, domain.member_id), core.domains.as_of(domain)

    def say() -> None:
        _people(shell, domain, handle, age)
        shell.say("")
        _options(shell, domain)

    shell.answer(_shown(domain, member=handle), say)
    return OK


def _changes(settings: list[str]) -> dict[str, Any]:
    """NAME=VALUE, several times."""
    changes: dict[str, Any] = {}
    for one in settings:
        name, equals, value = one.partition("=")
        name = name.strip().replace("-", "_")
        declared = OPTIONS.get(name) or next((o for o in OPTIONS.values() if o.alias == name), None)
        if not equals or declared is None:
            raise Failure(USAGE, f"{one}: what can be set is {_SETTABLE}")
        try:
            changes[declared.name] = declared.parse(value.strip())
        except BadOption as e:
            raise Failure(USAGE, f"{one}: {e.reason}") from None
    return changes


async def set_(
    shell: Shell,
    name: Name,
    settings: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help=_SETTABLE)],
    member: Whose = None,
) -> int:
    """Set options of a domain. Another forward_to is used once the code sent to it is given to domain forward."""
    changes = _changes(settings)
    async with shell.core() as core:
        found = await _find(core, name, member)
        domain, anew = await core.domains.revise(found.member_id, found.id, changes)
    shell.answer(_shown(domain), lambda: _set(shell, domain, anew))
    return OK


def _set(shell: Shell, domain: Domain, anew: bool) -> None:
    _options(shell, domain)
    if domain.notes.forward_wanted:
        wanted = domain.notes.forward_wanted
        shell.say(f"A code was sent to {wanted}: posthouse domain forward {domain.name} --code CODE")
    if anew:
        shell.say(f"The records have changed: posthouse domain records {domain.name}")


def _options(shell: Shell, domain: Domain) -> None:
    shell.pairs({o.name: o.show(getattr(domain.options, o.name)) for o in OPTIONS.values()})


async def records(
    shell: Shell,
    name: Name,
    output: Annotated[str, typer.Option("--format", help="table, zone or json.")] = "table",
    form: Annotated[
        str, typer.Option(help="txt, or cname for aliases into the relay's own zone; else as the domain is set.")
    ] = "",
    member: Whose = None,
) -> int:
    """The DNS records to publish."""
    if output not in ("table", "zone", "json"):
        raise Failure(USAGE, f"--format {output}: table, zone or json")
    if form not in ("", "txt", "cname"):
        raise Failure(USAGE, f"--form {form}: txt or cname")
    shell.as_json = shell.as_json or output == "json"
    chosen: Form | None = "txt" if form == "txt" else "cname" if form == "cname" else None
    async with shell.core() as core:
        domain = await _find(core, name, member)
        wanted = core.domains.records(domain, chosen)
        zone = core.domains.zone(domain, chosen)
    if output == "zone" and not shell.as_json:
        sys.stdout.write(zone)
        return OK
    shell.answer(_records(domain, wanted), lambda: _records_table(shell, domain, wanted))
    return OK


def _records_table(shell: Shell, domain: Domain, wanted: list[Record]) -> None:
    shell.say(f"{domain.unicode_name} is {domain.state}. Publish these records,")
    shell.say(f"then: posthouse domain check {domain.name}\n")
    for r in wanted:
        shell.say(f"{'required' if r.required else 'optional'}  {r.explained}\n  {r.name}  {r.type}")
        shell.say(f"  {r.value or '(no record yet)'}")
        shell.say(f"  or  CNAME  {r.alias}\n" if r.alias and r.value != r.alias else "")


async def check(shell: Shell, name: Name, member: Whose = None) -> int:
    """Ask DNS now, and act on the answer; exit 1 unless the domain may send."""
    async with shell.core() as core:
        found = await _find(core, name, member)
        domain = await core.domains.check(found.id, by="owner", fresh=True)
        handle = _handle(core, domain.member_id)
    shell.answer(_shown(domain), lambda: _people(shell, domain, handle, "as of now"))
    return OK if domain.state == "verified" else FAILED


async def tier(
    shell: Shell,
    name: Name,
    to: Annotated[str, typer.Argument(metavar="TIER", help="A tier's name, unlimited, or age.")],
    member: Whose = None,
) -> int:
    """Pin a domain to a warming tier, lift the cap (unlimited), or let its age decide again (age)."""
    async with shell.core() as core:
        pinned = None if to == "age" else to
        domain = await core.operator.set_tier(name, pinned, await _member_id(core, member))
    shell.answer(_shown(domain), f"{domain.name}: {domain.tier or 'by age'}")
    return OK


async def approve(shell: Shell, name: Name, member: Whose = None) -> int:
    """Approve a domain (enrollment.manual_approval)."""
    async with shell.core() as core:
        domain = await core.operator.approve(name, await _member_id(core, member))
    shell.answer(_shown(domain), f"{domain.name} has been approved and is now {domain.state}.")
    return OK


async def suspend(
    shell: Shell, name: Name,
    reason: Annotated[str, typer.Option(help="What the owner is told.")] = "suspended by the operator",
    member: Whose = None,
) -> int:
    """Stop a domain from sending; its owner can't undo this."""
    async with shell.core() as core:
        domain = await core.operator.suspend(name, reason, await _member_id(core, member))
    shell.answer(_shown(domain), f"{domain.name} is suspended: {reason}")
    return OK


async def release(shell: Shell, name: Name, member: Whose = None) -> int:
    """Lift a suspension; the domain's DNS is checked again at once."""
    async with shell.core() as core:
        domain = await core.operator.release(name, await _member_id(core, member))
    shell.answer(_shown(domain), f"{domain.name} is released and now {domain.state}.")
    return OK


async def rotate(shell: Shell, name: Name, member: Whose = None) -> int:
    """Create new DKIM keys; they take over once their records are found."""
    async with shell.core() as core:
        found = await _find(core, name, member)
        domain = await core.domains.rotate(found.member_id, found.id)
        wanted = core.domains.records(domain)
    shell.answer(
        _shown(domain, records=_records(domain, wanted)),
        lambda: _records_table(shell, domain, wanted),
    )
    return OK


async def delete(shell: Shell, name: Name, member: Whose = None, yes: Yes = False) -> int:
    """Delete a domain; its keys are destroyed."""
    async with shell.core() as core:
        found = await _find(core, name, member)
        sure(shell, yes, f"Delete {found.name} of {_handle(core, found.member_id)} and destroy its keys?")
        await core.domains.delete(found.member_id, found.id)
    shell.answer({"name": found.name, "state": "deleted"}, f"{found.name} is deleted.")
    return OK


def _people(shell: Shell, domain: Domain, handle: str, age: str) -> None:
    shown = {
        "domain": domain.unicode_name, "member": handle, "state": domain.state, "reason": domain.reason,
        "awaits": ", ".join(domain.notes.awaits), "DNS": age,
    }
    shell.pairs({k: v for k, v in shown.items() if v} | {"tier": domain.tier or "by age"})
    if domain.flag:
        shell.say(f"Careful: {domain.flag}")
    marks = {True: "ok  ", False: "FAIL", None: "?   "}
    for f in domain.findings:
        shell.say(f"{marks[f.get('ok')]} {f.get('name', '')}: {f.get('says', '')}")
        if f.get("ok") is not True and f.get("fix"):
            shell.say(f"     {f['fix']}")


def _shown(d: Domain, **beside: Any) -> dict[str, Any]:
    """A domain for programs: as `GET /v1/domains/{id}` shows it."""
    from enroll.api.native.domain_views import domain_view

    return domain_view(d).model_dump(mode="json", by_alias=True) | beside


def _records(d: Domain, records: list[Record]) -> list[dict[str, Any]]:
    """Its records for programs: as `GET /v1/domains/{id}/records` shows them."""
    from enroll.api.native.domain_views import records_view

    return [r.model_dump(mode="json", by_alias=True) for r in records_view(d, records, "").records]
