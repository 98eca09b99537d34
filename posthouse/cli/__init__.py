"""The command line: `posthouse COMMAND`.

One file a group of commands, `shell` is what they stand on (options, output, exit codes). Commands call the same
services as the pages and APIs and hold no logic of their own; services are imported when a command runs, so that
`posthouse --help` is there at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from posthouse import gc_tuning
from posthouse.cli import (
    domains,
    explain,
    incident,
    mail,
    master_key,
    members,
    queue,
    safekeeping,
    service,
    sites,
    suppressions,
    tls,
    upgrade,
    zone,
)
from posthouse.cli.shell import EXIT_CODES

__all__ = ["app", "main"]

_CODES = "\n\n".join(f"{code}  {text}" for code, text in EXIT_CODES.items())
app = typer.Typer(
    name="posthouse", no_args_is_help=True, pretty_exceptions_enable=False,
    help="A self-hosted SMTP relay with domain enrollment.", epilog=f"Exit codes:\n\n{_CODES}",
    context_settings={"help_option_names": ["-h", "--help"]}, rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"posthouse {version('posthouse')}\n")
        raise typer.Exit


@app.callback()
def _global(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", envvar="POSTHOUSE_CONFIG", help="Configuration file (TOML).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON output, for programs.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    ctx.obj = {"config": config, "json": as_json}


for group in (
    service, safekeeping, master_key, members, domains, zone, queue, explain, mail, suppressions, incident, sites, tls,
    upgrade,
):
    group.register(app)


def main() -> None:
    """The entry point of the installed command."""
    gc_tuning.begins()
    app(prog_name="posthouse")
