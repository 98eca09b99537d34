"""Running it: demo, serve, check-config, migrate, doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from posthouse.cli.shell import CONFIG, FAILED, OK, USAGE, Failure, Shell, command


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    command(app, "demo")(demo)
    command(app, "serve")(serve)
    command(app, "check-config")(check_config)
    command(app, "migrate")(migrate)
    command(app, "doctor")(doctor)


def demo(
    shell: Shell,
    check: Annotated[bool, typer.Option("--check", help="Do it all once, print one JSON object, exit 0 or 1.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder for the demo's database; default: a temporary one.")] = None,
    port_base: Annotated[
        int | None, typer.Option(min=0, max=60000, help="Use ports N, N+1, …; 0 picks free ones.")
    ] = None,
) -> int:
    """The whole system on this machine: no root, no internet, no real domain."""
    from posthouse.demo import run

    return run(check=check or shell.as_json, data=data, port_base=port_base)


def serve(
    shell: Shell,
    role: Annotated[
        list[str] | None, typer.Option("--role", help="Run only this role (repeatable); default: those configured.")
    ] = None,
) -> int:
    """Run the relay until SIGTERM."""
    from posthouse.serve import run

    return run(shell.config_path, role or None)


async def check_config(
    shell: Shell,
    ports: Annotated[bool, typer.Option(help="Also check that the ports can be listened on.")] = True,
) -> int:
    """Check the configuration and report mistakes; changes nothing."""
    from posthouse.check_config import Mistake, mistakes, warnings
    from posthouse.unlocking import refuse_other
    from relay.base.clock import Clock
    from relay.base.secrets import SecretsError
    from relay.base.storage import StorageError

    config = shell.config()
    found = mistakes(config, Clock(), path=shell.config_path, ports=ports)
    doubtful = warnings(config)
    try:
        if not found:
            await refuse_other(config)
    except SecretsError as e:
        found.append(Mistake("secrets.master_key_file", str(e)))
    except StorageError as e:
        why = str(e).partition("\n")[0][:200]
        doubtful.append(Mistake("database.url", f"can't be asked whether the master key is its own: {why}"))
    if found:
        lines = [str(m) for m in found]
        raise Failure(CONFIG, "\n".join(lines), word="CONFIG", data={"mistakes": [asdict(m) for m in found]})
    shell.answer(
        {"ok": True, "mistakes": [], "warnings": [asdict(m) for m in doubtful]},
        "\n".join([*(f"warning: {m}" for m in doubtful), "The configuration is fine."]),
    )
    return OK


async def migrate(shell: Shell) -> int:
    """Upgrade the database schema to this version; serve does it too."""
    from relay.base.storage import migrate as bring_up

    changed = await bring_up(shell.config())
    shell.answer({"changed": changed}, "Upgraded." if changed else "Already up to date.")
    return OK


async def doctor(
    shell: Shell,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this check (repeatable).")] = None,
) -> int:
    """Check this relay and its surroundings; each finding says how to fix it. Exit 1 if something fails."""
    from posthouse.doctor import EXAMINATIONS, FAIL, examine

    if unknown := set(only or ()) - set(EXAMINATIONS):
        raise Failure(USAGE, f"--only {min(unknown)}: one of {', '.join(EXAMINATIONS)}")
    findings = await examine(shell.config(), only=only or ())
    failed = any(f.status == FAIL for f in findings)

    def people() -> None:
        for f in findings:
            shell.say(f"{_MARKS[f.status]} {f.name}: {f.saw}" + (f"\n     {f.fix}" if f.fix else ""))

    data: dict[str, Any] = {"ok": not failed, "findings": [asdict(f) for f in findings]}
    shell.answer(data, people)
    return FAILED if failed else OK


_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
