"""backup and restore."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.shell import FAILED, OK, Failure, Shell, command

if TYPE_CHECKING:
    from posthouse.backup import Progress, Summary

Passphrase = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File whose first line seals the master key within the backup."),
]


def register(app: typer.Typer) -> None:
    """Put the commands in."""
    command(app, "backup")(backup)
    command(app, "restore")(restore)


async def backup(
    shell: Shell,
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
    passphrase_file: Passphrase = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> int:
    """Write everything in the database to one file, while mail flows. The master key only with a passphrase."""
    from posthouse.backup import backup as take
    from relay.base.clock import Clock

    config = shell.config()
    with _bar(shell) as progress:
        made = await take(
            config, file, Clock(), passphrase=_first_line(passphrase_file), overwrite=force, progress=progress
        )
    text = f"{made.path}: {sum(made.rows.values())} rows, {made.bytes} bytes."
    if not made.with_key:
        text += (
            f"\nThe master key is not in it. Keep a copy of {config.master_key_path} in another place:"
            "\nwithout it no DKIM key opens and no API key matches after a restore."
        )
    shell.answer(_facts(made), text)
    return OK


async def restore(
    shell: Shell,
    file: Annotated[Path, typer.Argument(help="A backup file.", exists=True, dir_okay=False)],
    passphrase_file: Passphrase = None,
) -> int:
    """Restore a backup into an empty database. First stop the relay that it was taken from first."""
    from posthouse.backup import restore as fill

    config = shell.config()
    with _bar(shell) as progress:
        done = await fill(config, file, passphrase=_first_line(passphrase_file), progress=progress)
    queued = done.rows.get("recipients", 0)
    text = (
        f"Restored the state of {done.made_at}: {sum(done.rows.values())} rows, {queued} recipients among them."
        "\nWhat was still queued then will be delivered again when posthouse serve starts."
    )
    if done.previous_written:
        names = ", ".join(f'"{one.name}"' for one in done.previous_written)
        text += f"\nMaster keys were changing then. Add to [secrets] previous_key_files before the start: {names}"
    if done.previous_missing:
        text += (
            f"\nA previous master key of that time (id {', '.join(done.previous_missing)}) is neither here nor in the "
            "backup.\nPut its file into data_dir and name it in secrets.previous_key_files before the start."
        )
    facts = _facts(done) | {
        "previous_keys_written": [str(one) for one in done.previous_written],
        "previous_keys_missing": list(done.previous_missing),
    }
    shell.answer(facts, text)
    return OK


def _facts(summary: Summary) -> dict[str, Any]:
    return {
        "file": str(summary.path), "made_at": summary.made_at, "schema": summary.revision, "rows": summary.rows,
        "with_master_key": summary.with_key, "bytes": summary.bytes,
    }


def _first_line(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise Failure(FAILED, f"{path}: can't be read") from None
    if not lines or len(lines[0]) < 12:
        raise Failure(FAILED, f"{path}: the passphrase (first line) must have at least 12 characters")
    return lines[0]


@contextmanager
def _bar(shell: Shell) -> Iterator[Progress | None]:
    """A line that moves, where somebody looks."""
    if shell.as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    with Bar(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("opening", total=None)
        yield lambda table, rows: bar.update(task, description=f"{table}: {rows} rows")
