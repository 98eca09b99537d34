"""suppression: a member's list, from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.shell import FAILED, NOT_FOUND, OK, UNAVAILABLE, USAGE, Failure, Run, Shell, command

if TYPE_CHECKING:
    from relay.suppression import Imported, Suppression

Handle = Annotated[str, typer.Argument(help="The member's handle.")]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="A recipient's address.")]
PAGE = 500
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    group = typer.Typer(no_args_is_help=True, help="Suppression lists: addresses that a member no longer sends to.")
    app.add_typer(group, name="suppression")
    commands: dict[str, Run] = {
        "list": show_list, "show": show, "add": add, "remove": remove, "import": take_in, "export": export,
    }
    for name, function in commands.items():
        command(group, name)(function)


async def show_list(
    shell: Shell, handle: Handle,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most this many.")] = 1000,
    reason: Annotated[str | None, typer.Option(help="Only with this reason.")] = None,
    search: Annotated[str, typer.Option(help="Only with this in the address.")] = "",
) -> int:
    """A member's list, oldest first."""
    found: list[Suppression] = []
    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        while len(found) < limit:
            wanted = min(PAGE, limit - len(found))
            page = await core.suppressions.page(
                member.id, after=found[-1].id if found else 0, reason=_reason(reason), search=search, limit=wanted
            )
            found += page
            if len(page) < wanted:
                break
    rows = [(e["address"], e["reason"], e["since"], e["detail"]) for e in map(_entry, found)]
    shell.answer(
        [_entry(s) for s in found], lambda: shell.table(["ADDRESS", "REASON", "SINCE", "DETAIL"], rows, "Nobody.")
    )
    return OK


async def show(shell: Shell, handle: Handle, address: Address) -> int:
    """Whether an address is on a member's list, since when and why."""
    from relay.base.names import BadName
    from relay.suppression import REASONS

    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        try:
            found = await core.suppressions.look_up(member.id, address)
        except BadName as e:
            raise Failure(FAILED, f"{address}: {e.reason}") from None
    if found is None:
        raise Failure(NOT_FOUND, f"{address} is not on the list of {member.handle}")
    facts = _entry(found)
    said = {**facts, "reason": f"{found.reason} ({REASONS[found.reason]})", "stops": found.categories or "all mail"}
    said.pop("categories")
    shell.answer(facts, lambda: shell.pairs(said))
    return OK


async def add(
    shell: Shell, handle: Handle, address: Address,
    detail: Annotated[str, typer.Option(help="A note.")] = "",
    reason: Annotated[str, typer.Option(help="Why.")] = "manual",
) -> int:
    """Put an address on a member's list."""
    from relay.base.names import BadName

    why = _reason(reason) or "manual"
    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        try:
            entry = await core.suppressions.add(member.id, address, why, detail)
        except BadName as e:
            raise Failure(FAILED, f"{address}: {e.reason}") from None
    shell.answer(_entry(entry), f"{member.handle} no longer sends to {address}.")
    return OK


async def remove(shell: Shell, handle: Handle, address: Address) -> int:
    """Take an address off a member's list."""
    from relay.base.names import BadName

    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        try:
            removed = await core.suppressions.remove(member.id, address)
        except BadName as e:
            raise Failure(FAILED, f"{address}: {e.reason}") from None
    if not removed:
        raise Failure(NOT_FOUND, f"{address} is not on the list of {member.handle}")
    shell.answer({"removed": address}, f"{member.handle} may mail {address} again.")
    return OK


async def take_in(
    shell: Shell, handle: Handle,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV, JSON or one address a line; - is standard input.")],
    reason: Annotated[
        str, typer.Option(help="The reason, if the file has none (SendGrid's unsubscribes: unsubscribe).")
    ] = "import",
) -> int:
    """Import a file: our own export, another service's (SendGrid, Mailgun, Amazon SES, …), or a plain list.

    Rows that are not taken are named; the exit code is 1 then. A file can be taken in again.
    """
    otherwise = _reason(reason) or "import"
    raw = _contents(file, shell.config().suppression.max_import_bytes)
    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        found = await core.suppressions.take_in(member.id, raw, otherwise)
    data = {
        "read": found.read, "added": found.added, "known": found.known, "refused": found.refusals,
        "bad": [{"line": line, "reason": why} for line, why in found.refused], "origins": dict(found.origins),
        "reasons": dict(found.reasons), "guessed": found.guessed, "line": found.line, "stopped": found.stopped,
    }
    shell.answer(data, _lines(found))
    if found.stopped:
        return UNAVAILABLE
    return FAILED if found.refusals else OK


def _contents(file: str, most: int) -> bytes:
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(most + 1)
        else:
            with Path(file).open("rb") as f:
                raw = f.read(most + 1)
    except OSError as e:
        raise Failure(FAILED, f"{file}: {e.strerror}") from None
    if len(raw) > most:
        raise Failure(FAILED, f"{file} is larger than {most} bytes (suppression.max_import_bytes): split it")
    return raw


def _lines(found: Imported) -> str:
    lines = [
        f"{found.added} addresses imported, {found.known} were already there, {found.refusals} lines skipped.",
        *(f"  line {line}: {why}" for line, why in found.refused[:_SHOWN]),
    ]
    if found.origins:
        lines.append("Read as: " + ", ".join(f"{name} ({n})" for name, n in found.origins.most_common()))
    if found.reasons["import"] and found.guessed:
        lines.append(
            f"{found.guessed} came without a known reason. If these people unsubscribed (as in SendGrid's "
            "unsubscribes), remove them and import the file again with --reason unsubscribe."
        )
    if found.stopped:
        lines.append(f"The database became unavailable after line {found.line}. Import the file again later.")
    return "\n".join(lines)


async def export(
    shell: Shell, handle: Handle,
    form: Annotated[str, typer.Option("--format", help="csv or json.")] = "csv",
) -> int:
    """Write a member's list to standard output; `import` takes it in again as it was."""
    from relay.suppression import FORMATS

    form = "json" if shell.as_json else form
    if form not in FORMATS:
        raise Failure(USAGE, f"--format is one of {', '.join(FORMATS)}")
    async with shell.core() as core:
        member = await core.enroll.accounts.get(handle)
        async for part in core.suppressions.written(member.id, form):
            sys.stdout.buffer.write(part.encode())
    sys.stdout.buffer.flush()
    return OK


def _reason(given: str | None) -> str | None:
    from relay.suppression import REASONS

    if given is not None and given not in REASONS:
        raise Failure(USAGE, f"the reason is one of {', '.join(REASONS)}")
    return given


def _entry(s: Suppression) -> dict[str, Any]:
    """An entry for programs: as `GET /v1/suppressions/{address}` shows it."""
    from enroll.api.native.suppressions import suppression_view

    return suppression_view(s).model_dump(mode="json", by_alias=True)
