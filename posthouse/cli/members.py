"""member, invite, key."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.shell import OK, REFUSED, Failure, Run, Shell, command

if TYPE_CHECKING:
    from enroll.accounts import Invite, Member
    from enroll.api_keys import Key

Handle = Annotated[str, typer.Argument(help="The member's handle.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
PAGE = 200


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    member = typer.Typer(no_args_is_help=True, help="Members: the people who can send.")
    app.add_typer(member, name="member")
    commands: dict[str, Run] = {
        "add": add, "list": list_, "show": show, "suspend": suspend, "release": release, "limit": limit, "note": note,
        "operator": operator, "reset-factor": reset_factor, "delete": delete, "password-link": password_link,
    }
    for name, function in commands.items():
        command(member, name)(function)
    invites = typer.Typer(help="Invite codes, for creating accounts.")
    app.add_typer(invites, name="invite")
    commands = {"": invite, "list": invite_list, "revoke": invite_revoke}
    for name, function in commands.items():
        command(invites, name)(function)
    key = typer.Typer(no_args_is_help=True, help="API keys: the passwords for SMTP and HTTP.")
    app.add_typer(key, name="key")
    for name, function in {"new": key_new, "list": key_list, "revoke": key_revoke}.items():
        command(key, name)(function)


async def add(
    shell: Shell,
    handle: Handle,
    email: Annotated[str, typer.Option(help="Where notices about the member's domains go.")] = "",
    key: Annotated[bool, typer.Option(help="Also issue an API key.")] = True,
) -> int:
    """Add a member; the API key is shown only once."""
    async with shell.core() as core:
        made = await core.enroll.accounts.create(handle, email, None, by_operator=True)
        text = ""
        if key:
            text, _ = await core.enroll.credentials.issue(made.id, description="first key")
        link = await core.enroll.accounts.password_link(made.id)
        url = _link(core.config.server.public_url, link)
    data = {"handle": made.handle, "did": made.did, "api_key": text or None, "password_link": url}

    def people() -> None:
        shell.pairs(data)
        shell.say("\nThe API key will not be shown again. With the link, the member sets a password for /account.")

    shell.answer(data, people)
    return OK


def _link(public_url: str, token: str) -> str:
    return f"{public_url}/account/set-password?token={token}"


async def list_(
    shell: Shell,
    status: Annotated[str | None, typer.Option(help="active, suspended or deleted.")] = None,
    search: Annotated[str, typer.Option(help="Only where handle, e-mail address or DID contains this.")] = "",
) -> int:
    """All members, the newest first."""
    found: list[Member] = []
    async with shell.core() as core:
        while True:
            last = found[-1].id if found else None
            page = await core.enroll.accounts.search(search, status=status, before=last, limit=PAGE)
            found += page
            if len(page) < PAGE:
                break
    rows = [(m.handle, m.status, m.email, m.did, m.reason) for m in found]
    shell.answer(
        [_member(m) for m in found],
        lambda: shell.table(["HANDLE", "STATUS", "EMAIL", "DID", "REASON"], rows, "No members yet."),
    )
    return OK


async def show(shell: Shell, handle: Handle) -> int:
    """Show a member with standing, keys and domains."""
    from relay.standing import shown, standing_of

    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        keys = await core.enroll.credentials.list(member.id)
        domains = await core.operator.list(member.id)
        now = core.clock.now()
        async with core.storage.read() as tx:
            found = await standing_of(tx, core.config, member.id, member.status, now)
        standing = shown(found, core.config, member.reason)
    data = _member(member) | {
        "standing": standing,
        "keys": [_key(k, now) for k in keys],
        "domains": [{"name": d.name, "state": d.state, "tier": d.tier} for d in domains],
    }

    def people() -> None:
        shell.pairs(_member(member))
        shell.say("\nStanding")
        shell.pairs({"stage": standing["stage"]} | {
            name: f"{m['count']} of {m['of']}, lower bound {m['lowerBound']:.4f}, suspended at {m['suspendAt']:g}; "
            f"{m['domains']} of {m['domainsNeeded']} domains"
            + (f", or {m['refused']} of {m['refusedNeeded']} refused" if m["refusedNeeded"] else "")
            for name in ("bounces", "complaints") for m in (standing[name],)
        })
        shell.say("\nKeys")
        rows = [(f"ph_{k.public_id}_…", k.state(now), k.description) for k in keys]
        shell.table(["KEY", "STATE", "DESCRIPTION"], rows)
        shell.say("\nDomains")
        shell.table(["NAME", "STATE", "TIER"], [(d.name, d.state, d.tier or "by age") for d in domains])

    shell.answer(data, people)
    return OK


async def suspend(
    shell: Shell, handle: Handle,
    reason: Annotated[str, typer.Option(help="What the member is told.")] = "suspended by the operator",
) -> int:
    """Stop a member from sending, at once."""
    async with shell.core() as core:
        member = await core.enroll.accounts.suspend(handle, reason)
    shell.answer(_member(member), f"{member.handle} is suspended: {member.reason}")
    return OK


async def release(shell: Shell, handle: Handle) -> int:
    """End a suspension; the member's window for bounces and complaints begins anew."""
    async with shell.core() as core:
        member = await core.enroll.accounts.release(handle)
    shell.answer(_member(member), f"{member.handle} may send again.")
    return OK


async def limit(
    shell: Shell, handle: Handle,
    domains: Annotated[int | None, typer.Argument(help="How many; without it, the default.", min=0)] = None,
) -> int:
    """Set how many domains a member can enroll."""
    async with shell.core() as core:
        member = await core.enroll.accounts.set_max_domains(handle, domains)
        most = core.config.enrollment.max_domains if domains is None else domains
    shell.answer({"handle": member.handle, "max_domains": domains}, f"{member.handle} may enroll {most} domains.")
    return OK


async def operator(
    shell: Shell, handle: Handle,
    take: Annotated[bool, typer.Option("--take", help="Take the role away.")] = False,
) -> int:
    """Let a member open the operator's pages, at /operator; it also needs a second factor."""
    async with shell.core() as core:
        member = await core.enroll.accounts.set_operator(handle, not take)
        has_factor = await core.enroll.accounts.second_factor.state(member.id) is not None
    text = f"{member.handle} is {'no operator any more' if take else 'an operator'}."
    if not take and not has_factor:
        text += " The pages open once a second factor is set up, at /account/second-factor."
    shell.answer({"handle": member.handle, "operator": not take}, text)
    return OK


async def reset_factor(shell: Shell, handle: Handle) -> int:
    """Take a member's second factor away, when device and recovery codes are lost; all sessions end."""
    async with shell.core() as core:
        done = await core.enroll.accounts.reset_factor(handle)
    text = f"{handle} signs in with the password alone again." if done else f"{handle} has no second factor."
    shell.answer({"handle": handle, "reset": done}, text)
    return OK


async def note(
    shell: Shell, handle: Handle,
    text: Annotated[str | None, typer.Argument(help='The new note; "" takes it away.')] = None,
) -> int:
    """Show or set your note about a member; the member never sees it."""
    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        if text is not None:
            await core.enroll.accounts.set_note(handle, text)
        _, kept = await core.enroll.accounts.remarks(member.id)
    shell.answer({"handle": member.handle, "note": kept}, kept or "No note.")
    return OK


async def delete(shell: Shell, handle: Handle, yes: Yes = False) -> int:
    """End an account with its keys and domains; the handle stays reserved."""
    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        if member.status == "deleted":
            raise Failure(REFUSED, f"{member.handle} is deleted already", word="CONFLICT")
        domains = len(await core.operator.list(member.id))
        sure(shell, yes, f"Delete {member.handle} with all its keys and its {domains} domains?")
        await core.enroll.accounts.delete(handle)
    shell.answer({"handle": handle, "status": "deleted"}, f"{handle} is deleted.")
    return OK


async def password_link(shell: Shell, handle: Handle) -> int:
    """Create a link for the member to set a password."""
    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        token = await core.enroll.accounts.password_link(member.id)
        url = _link(core.config.server.public_url, token)
        hours = core.config.enrollment.password_link_hours
    shell.answer({"handle": member.handle, "password_link": url}, f"{url}\nValid for {hours} hours, for one use.")
    return OK


async def invite(shell: Shell, note: Annotated[str, typer.Option(help="Whom it is for; only you see it.")] = "") -> int:
    """Make an invite: a code with which one account can be made at /enroll, shown this once."""
    async with shell.core() as core:
        code = await core.enroll.accounts.make_invite(note)
        url = f"{core.config.server.public_url}/enroll?invite={code}"
        days = core.config.enrollment.invite_days
    shell.answer({"code": code, "url": url}, f"{code}\n{url}\nValid for {days} days, for one use.")
    return OK


async def invite_list(shell: Shell) -> int:
    """Invites that were made, the newest first; those used or expired are listed until they are cleaned up."""
    from relay.base.clock import iso

    found: list[Invite] = []
    async with shell.core() as core:
        while True:
            page = await core.enroll.accounts.list_invites(before=found[-1].id if found else None, limit=PAGE)
            found += page
            if len(page) < PAGE:
                break
        now = core.clock.now()
    facts = [
        {
            "id": i.id, "state": i.state(now), "note": i.note, "made_at": iso(i.created_at),
            "expires_at": iso(i.expires_at), "used_by": i.used_by,
        }
        for i in found
    ]
    shell.answer(
        facts,
        lambda: shell.table(
            ["ID", "STATE", "EXPIRES", "USED BY", "NOTE"],
            [(f["id"], f["state"], f["expires_at"], f["used_by"], f["note"]) for f in facts], "No invites.",
        ),
    )
    return OK


async def invite_revoke(
    shell: Shell, number: Annotated[int, typer.Argument(metavar="ID", help="As `posthouse invite list` shows it.")]
) -> int:
    """Revoke an unused invite; its code works no longer."""
    async with shell.core() as core:
        await core.enroll.accounts.revoke_invite(number)
    shell.answer({"id": number, "state": "revoked"}, f"Invite {number} is revoked.")
    return OK


async def key_new(
    shell: Shell,
    handle: Handle,
    domain: Annotated[list[str] | None, typer.Option(help="Only for this domain (repeatable).")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="send, read, manage (repeatable); else all.")] = None,
    network: Annotated[list[str] | None, typer.Option(help="Only from this network (repeatable).")] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    category: Annotated[str, typer.Option(help="Default category.")] = "bulk",
    null_sender: Annotated[
        bool, typer.Option("--null-sender", help="Allow MAIL FROM:<>, for a mail server's bounces and replies.")
    ] = False,
    days: Annotated[int | None, typer.Option(min=1, help="Expires after this many days.")] = None,
    smtp_user: Annotated[
        str | None, typer.Option("--smtp-user", help="A user name of its own, beside the handle and the DID.")
    ] = None,
) -> int:
    """Issue an API key; it is shown only once."""
    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        expires_at = core.clock.now() + days * 86400 if days else None
        text, key = await core.enroll.credentials.issue(
            member.id, description=description, scopes=scope or None, domains=domain or None,
            networks=network or None, default_category=category, null_sender=null_sender, expires_at=expires_at,
            smtp_user=smtp_user,
        )
        now = core.clock.now()
    shell.answer(_key(key, now) | {"key": text}, f"{text}\nIt will not be shown again.")
    return OK


async def key_list(shell: Shell, handle: Handle) -> int:
    """A member's keys."""
    from relay.base.clock import iso

    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        keys = await core.enroll.credentials.list(member.id)
        now = core.clock.now()
    rows = [
        (
            f"ph_{k.public_id}_…", k.state(now), ",".join((*k.scopes, *(("null sender",) if k.null_sender else ()))),
            ",".join(k.domains or ("all",)),
            ",".join(k.networks or ("anywhere",)), k.smtp_user or "",
            iso(k.last_used_at) if k.last_used_at else "never", k.description,
        )
        for k in keys
    ]
    columns = ["KEY", "STATE", "SCOPES", "DOMAINS", "NETWORKS", "SMTP USER", "LAST USED", "DESCRIPTION"]
    shell.answer([_key(k, now) for k in keys], lambda: shell.table(columns, rows, "No keys."))
    return OK


async def key_revoke(
    shell: Shell, key: Annotated[str, typer.Argument(help="ph_<public id>_… as key list shows it.")]
) -> int:
    """Revoke a key at once, in open sessions too."""
    async with shell.core() as core:
        found = await core.enroll.credentials.find(key.removesuffix("…"))
        done = await core.enroll.credentials.revoke(found.member_id, found.id)
        now = core.clock.now()
    shell.answer(_key(done, now), f"ph_{done.public_id}_… is revoked.")
    return OK


def sure(shell: Shell, yes: bool, question: str) -> None:
    """Ask a person, once it is known that there is something to do it to; a program must say --yes."""
    if yes:
        return
    if shell.as_json:
        raise Failure(REFUSED, "use --yes to confirm")
    # asyncio's own handler only asks the task to end, which waits here for an answer.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if not typer.confirm(question):
            raise Failure(REFUSED, "nothing was changed")
    finally:
        signal.signal(signal.SIGINT, before)


def _member(m: Member) -> dict[str, Any]:
    """A member for programs: as the API shows it, and whether there is a password."""
    from enroll.api.native.identity import member_view

    return member_view(m).model_dump(mode="json", by_alias=True) | {"has_password": m.has_password}


def _key(k: Key, now: float) -> dict[str, Any]:
    """A key for programs: as `GET /v1/keys/{id}` shows it."""
    from enroll.api.native.keys import key_view

    return key_view(k, now).model_dump(mode="json", by_alias=True)
