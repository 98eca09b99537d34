"""zone: the relay's own zone of members' records, for a DNS server that isn't this relay's; and what its own names can
publish about TLS."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from posthouse.cli.shell import OK, REFUSED, Failure, Shell, command


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    group = typer.Typer(no_args_is_help=True, help="The hosted zone, and DNS records for the relay itself.")
    app.add_typer(group, name="zone")
    command(group, "export")(export)
    command(group, "tls")(tls)


async def export(
    shell: Shell,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to replace once complete; default: standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file whose serial is higher.")] = False,
) -> int:
    """Write the hosted zone as a zone file (RFC 1035 §5), for nsd, knot or BIND to load."""
    from enroll.domains import export as pages
    from enroll.zone import zone_text

    config = shell.config()
    if not config.hosted_zone:
        raise Failure(REFUSED, "dns.hosted_zone is not set: there is no zone to export")
    lines = 0

    async def texts() -> AsyncIterator[str]:
        nonlocal lines
        async with shell.core(config) as core:
            async for page in pages(core.storage, config):
                lines += len(page)
                yield zone_text(page)

    if output is None:
        async for text in texts():
            sys.stdout.write(text)
        return OK
    try:
        # A server that reloads meanwhile sees the old file or the new one, never half of one.
        with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=output.parent, delete=False) as file:
            try:
                async for text in texts():
                    if not file.tell() and not force:
                        _refuse_older(output, text)
                    file.write(text)
                os.fchmod(file.fileno(), 0o644)
                os.replace(file.name, output)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)  # noqa: ASYNC240
                raise
    except OSError as e:
        raise Failure(REFUSED, f"{output}: {(e.strerror or str(e)).lower()}") from None
    shell.answer({"zone": config.hosted_zone, "records": lines, "file": str(output)}, f"{output}: {lines} records")
    return OK


async def tls(shell: Shell) -> int:
    """Print the lines about TLS that the relay's own names can publish: TLSA, MTA-STS, TLSRPT."""
    from posthouse.own_tls import lines

    found = lines(shell.config())

    def people() -> None:
        for line in found:
            shell.say(f"; {line.why}\n{line.text}")

    shell.answer([{"name": o.name, "type": o.type, "value": o.value, "why": o.why} for o in found], people)
    return OK


def _refuse_older(output: Path, text: str) -> None:
    """An empty or older database must not take members' records out of a zone that is served."""
    from enroll.zone import serial_of

    try:
        with output.open(encoding="ascii", errors="replace") as there:
            was = serial_of(there.readline())
    except FileNotFoundError:
        return
    now = serial_of(text)
    # RFC 1982 §3.2: which of two serials is the later one.
    if was is not None and now is not None and 0 < (was - now) % 2**32 < 2**31:
        raise Failure(
            REFUSED, f"{output}: has serial {was}, and this database is only at {now}: is database.url right? "
            "--force replaces it all the same"
        )
