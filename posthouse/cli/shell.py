"""What every command stands on: the two options they all have, output for people or programs, exit codes.

A command is a function that takes a `Shell` first. It may be a coroutine. What it raises becomes one clear line and
an exit code here, and nowhere else; with `--json` the line is `{"error", "code"}` on standard output.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from posthouse.wiring import Core
    from relay.base.config import Config

OK, FAILED, USAGE, CONFIG, NOT_FOUND, UNAVAILABLE, REFUSED = range(7)
EXIT_CODES = {
    OK: "done",
    FAILED: "failed (also: doctor found a fault, demo --check did not pass)",
    USAGE: "bad command line",
    CONFIG: "the configuration can't be used, or the master key is missing or not this database's",
    NOT_FOUND: "no such member, domain, key or message",
    UNAVAILABLE: "the database or a key is unavailable",
    REFUSED: "refused: the message says why",
}
INTERRUPTED = 130

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file (TOML); default: the one in POSTHOUSE_CONFIG.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON output, for programs.")]


class Failure(Exception):
    """The command ends with `code` and one line. `data` goes into the JSON answer."""

    def __init__(self, code: int, text: str, *, word: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.code, self.text, self.word, self.data = code, text, word, data or {}


class Shell:
    """One run of one command."""

    def __init__(self, config: Path | None, as_json: bool) -> None:
        self.config_path, self.as_json = config, as_json

    def config(self) -> Config:
        """The configuration. Raises ConfigError."""
        from relay.base.config import load

        return load(self.config_path)

    def core(self, config: Config | None = None) -> AbstractAsyncContextManager[Core]:
        """Everything opened: `async with shell.core() as core`."""
        return _Opened(config or self.config())

    def answer(self, data: Any, people: str | Callable[[], None] | None = None) -> None:
        """Print `data` for programs, or for people a text or whatever the function prints."""
        if self.as_json:
            sys.stdout.write(json.dumps(_in_api_names(data), ensure_ascii=False, default=str) + "\n")
        elif callable(people):
            people()
        elif people is not None:
            self.say(people)
        sys.stdout.flush()

    def stream(self, data: Any, people: str) -> None:
        """One line of many: JSON Lines for programs."""
        self.answer(data, people)

    def say(self, text: str) -> None:
        """Lines for people; what came from outside can't steer the terminal."""
        from relay.base.log import one_line

        sys.stdout.write("\n".join(one_line(line) for line in text.split("\n")) + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "Nothing.") -> None:
        """Rows for people, as wide as they need where nobody looks at a terminal."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from relay.base.log import one_line

        if not rows:
            self.say(empty)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(one_line("" if v is None else str(v))) for v in row))
        Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(table)

    def pairs(self, facts: dict[str, Any]) -> None:
        """Names and values, one a line."""
        wide = max(map(len, facts), default=0)
        self.say("\n".join(f"{name + ':':{wide + 1}} {'' if v is None else v}" for name, v in facts.items()))


_JOINT = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")


def _in_api_names(data: Any) -> Any:
    """Answers as the HTTP API gives them: its models as they are, names in camelCase."""
    if hasattr(data, "model_dump"):
        return data.model_dump(mode="json", by_alias=True)
    if isinstance(data, dict):
        return {_JOINT.sub(lambda m: m[1].upper(), str(name)): _in_api_names(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_in_api_names(value) for value in data]
    return data


class _Opened:
    """The core, opened for one command, with the log kept down to what goes wrong."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._core: Core | None = None

    async def __aenter__(self) -> Core:
        from posthouse.wiring import Core
        from relay.base.clock import Clock
        from relay.base.log import configure

        quiet = self._config.log.model_copy(update={"level": "error"})
        configure(self._config.model_copy(update={"log": quiet}))
        self._core = await Core.open(self._config, Clock())
        return self._core

    async def __aexit__(self, *_: object) -> None:
        if self._core is not None:
            await self._core.close()


Run = Callable[..., Any]
"""A command: a function or coroutine function of a Shell and its own options, returning an exit code."""


def command(app: typer.Typer, name: str) -> Callable[[Run], Run]:
    """Register a function as the command `name`, with --config and --json; its docstring is the help. "": what the
    group of commands does by itself."""

    def register(function: Run) -> Run:
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.name != "shell"]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        keyword = inspect.Parameter.KEYWORD_ONLY
        shared = [
            inspect.Parameter("ctx", keyword, annotation=typer.Context),
            inspect.Parameter("config", keyword, default=None, annotation=ConfigOption),
            inspect.Parameter("as_json", keyword, default=False, annotation=JsonOption),
        ]

        @functools.wraps(function)
        def run(*, ctx: typer.Context, config: Path | None, as_json: bool, **given: Any) -> None:
            before = ctx.find_root().obj or {}
            if ctx.invoked_subcommand is not None:
                ctx.find_root().obj = {"config": config or before.get("config"), "json": as_json or before.get("json")}
                return
            shell = Shell(config or before.get("config"), as_json or bool(before.get("json")))
            raise typer.Exit(_run(shell, lambda: function(shell, **given)))

        parameters = sorted([*own, *shared], key=lambda p: p.default is not inspect.Parameter.empty)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        if name:
            app.command(name)(run)
        else:
            app.callback(invoke_without_command=True)(run)
        return function

    return register


def _run(shell: Shell, call: Callable[[], Any]) -> int:
    try:
        result = call()
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        return OK if result is None else int(result)
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; nothing can be said any more.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115
        return OK
    except Exception as e:
        failure = _understood(e)
        if failure is None:
            raise
        _fail(shell, failure)
        return failure.code


def _understood(error: Exception) -> Failure | None:
    """The line and the code for what services raise; None for what nobody foresaw."""
    if isinstance(error, Failure):
        return error
    from enroll.errors import EnrollError
    from posthouse.backup import BackupError
    from relay.base.config import ConfigError
    from relay.base.secrets import SecretsError
    from relay.base.storage import SchemaTooNew, StorageError
    from relay.replies import Refused

    match error:
        case ConfigError():
            return Failure(CONFIG, "\n".join(error.lines), word="CONFIG")
        case EnrollError():
            field = f" ({error.field})" if error.field else ""
            code = NOT_FOUND if error.status == 404 else UNAVAILABLE if error.status == 503 else REFUSED
            return Failure(code, error.text + field, word=error.code, data=error.detail)
        case Refused():
            code = UNAVAILABLE if error.status == 503 else REFUSED
            return Failure(code, error.verdict.text(), word=error.code)
        case BackupError():
            return Failure(FAILED, str(error), word="BACKUP")
        case SecretsError():
            return Failure(CONFIG, str(error), word="SECRETS")
        case SchemaTooNew():
            return Failure(CONFIG, str(error), word="SCHEMA_TOO_NEW")
        case StorageError():
            return Failure(UNAVAILABLE, f"the database can't be used: {_first_line(error)}", word="UNAVAILABLE")
    return None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]


def _fail(shell: Shell, failure: Failure) -> None:
    if shell.as_json:
        word = failure.word or {NOT_FOUND: "NOT_FOUND", REFUSED: "REFUSED"}.get(failure.code, "FAILED")
        shell.answer({"error": failure.text, "code": word, "detail": failure.data})
    else:
        from relay.base.log import one_line

        for line in failure.text.split("\n"):
            sys.stderr.write(f"posthouse: {one_line(line)}\n")
