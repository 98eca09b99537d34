"""The manual page posthouse(1), made from the commands themselves: `python -m posthouse.cli.manual`."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator
from typing import Any

import typer

from posthouse.cli import app
from posthouse.cli.shell import EXIT_CODES

_FILES = (
    ("/etc/posthouse/posthouse.toml", "The configuration, where --config or POSTHOUSE_CONFIG names it; "
     "config.example.toml describes every key."),
    ("master.key", "In the data directory unless secrets.master_key_file says otherwise: keep a copy elsewhere."),
)  # fmt: skip


def document() -> str:
    """The page, in roff."""
    root = typer.main.get_command(app)
    lines = [
        '.TH POSTHOUSE 1 "" "Posthouse" "Posthouse"', ".SH NAME", r"posthouse \- " + _text(_first(root.help or "")),
        ".SH SYNOPSIS", r".B posthouse",
        r"[\fB\-\-config\fR \fIFILE\fR] [\fB\-\-json\fR] \fICOMMAND\fR [\fIARGS\fR]...",
        ".SH DESCRIPTION", "A member proves a domain in DNS, gets an API key, and submits over SMTP or HTTP. "
        "The relay signs, queues, delivers, and reads what comes back.", ".SH OPTIONS", *_options(root),
        ".SH COMMANDS",
    ]
    for path, command in _commands(root, ()):
        lines += [f".SS {_text(_usage(path, command))}", _text(" ".join((command.help or "").split()))]
        lines += list(_options(command, shared={p.name for p in root.params} | {"config", "as_json"}))
    lines += [".SH EXIT STATUS"]
    for code, says in EXIT_CODES.items():
        lines += [".TP", f".B {code}", _text(says)]
    lines += [".SH ENVIRONMENT", ".TP", ".B POSTHOUSE_CONFIG", "The configuration file.", ".TP",
              r".B POSTHOUSE_SECTION__KEY", "A key of the configuration, instead of the file's.", ".SH FILES"]
    for name, says in _FILES:
        lines += [".TP", f".I {_text(name)}", _text(says)]
    return "\n".join(lines) + "\n"


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield (*path, name), command
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _usage(path: tuple[str, ...], command: Any) -> str:
    arguments = []
    for p in command.params:
        if p.param_type_name == "argument":
            shown = (p.metavar or p.name).upper()
            arguments.append(shown if p.required else f"[{shown}]")
    return " ".join([*path, *arguments])


def _options(command: Any, shared: Container[str | None] = ()) -> Iterator[str]:
    for p in command.params:
        if p.param_type_name == "option" and not p.hidden and p.name not in shared:
            names = ", ".join([*p.opts, *p.secondary_opts])
            value = "" if p.is_flag else rf" \fI{_text(p.metavar or p.type.name.upper())}\fR"
            yield from (".TP", rf"\fB{_text(names)}\fR{value}", _text(p.help or ""))


def _first(text: str) -> str:
    return text.partition("\n")[0].rstrip(".")


def _text(text: str) -> str:
    """Words that roff takes as they are."""
    safe = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{safe}" if safe.startswith((".", "'")) else safe


if __name__ == "__main__":
    sys.stdout.write(document())
