"""The log: one JSON line an event, on standard error, for our own modules and for the libraries' loggers alike.

Promises that a line stays a line (control characters are escaped, also those that JSON leaves alone), that values
named like secrets and anything shaped like an API key are blanked, that a statement's parameters never come with a
database error, and, if configured, that mail addresses are shortened. What is worth an event is the modules' business;
where lines are kept is the service manager's.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, TextIO

import structlog

from relay.base.clock import Clock, iso
from relay.base.config import Config
from relay.base.log_writer import Stream, Writer

Line = MutableMapping[str, Any]

BLANK = "[secret]"
MAX_VALUE = 2000
MAX_FRAMES = 30
_SECRET_NAME = re.compile(
    r"password|passwd|secret|authorization|cookie|master_key|private|api_?key$|token|csrf|credential", re.IGNORECASE
)
_API_KEY = re.compile(r"ph_[a-z2-7]{12}_[A-Za-z0-9_-]{20,}")
_BEARER = re.compile(r"(?i)\b(bearer|basic|plain)\s+[A-Za-z0-9+/=_.-]{16,}")
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")
_ADDRESS = re.compile(r"([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-])[^\s@<>\"',;:()\[\]]*@([A-Za-z0-9.\-\u00a1-\uffff]+)")
# What a terminal or a line reader could take for something else: C0, DEL, C1, line separators, bidirectional marks.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# A driver's error repeats the statement and its values after these words.
_STATEMENT = re.compile(r"\s*\[(?:SQL|parameters): .*", re.DOTALL)


def configure(config: Config, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's root logger for this process.

    `stream` defaults to the standard error of the moment of writing. Call it once, before anything is started.
    """
    level = getattr(logging, config.log.level.upper())
    first: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _exception,
        redactor(shorten=config.log.shorten_addresses),
    ]
    last = _render_json if config.log.format == "json" else _render_console
    structlog.configure(
        processors=[*first, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Output(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Forward)]:
        root.removeHandler(old)
    root.addHandler(_Forward([*first, last], _Output(stream)))
    root.setLevel(max(level, logging.WARNING))
    # It writes client bytes at WARNING and below; what matters of a session our own code logs.
    logging.getLogger("mail.log").setLevel(logging.ERROR)


@contextlib.contextmanager
def in_background(config: Config, *, printed: bool = False) -> Iterator[None]:
    """Within, standard error (`printed`: standard output too) is written by a thread, out of a bounded queue: a reader
    that doesn't read stops nothing. At the end what is waiting gets `log.close_seconds`.

    A stream that is no file stays as it is.
    """
    before = sys.stderr, sys.stdout
    fold = config.log.fold_seconds
    error = _writer(config, sys.stderr, fold)
    # What is printed for people is never folded.
    output = _writer(config, sys.stdout, 0.0) if printed else None
    try:
        if error is not None:
            sys.stderr = Stream(error)
        if output is not None:
            sys.stdout = Stream(output)
        yield
    finally:
        sys.stderr, sys.stdout = before
        for writer in (error, output):
            if writer is not None:
                writer.close()


def _writer(config: Config, stream: TextIO, fold_seconds: float) -> Writer | None:
    try:
        stream.flush()
        fd = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    parts = _json_parts if config.log.format == "json" else _console_parts

    def dropped(lines: int) -> str:
        at = iso(Clock().now())
        return "".join(parts({"at": at, "level": "warning", "event": "lines.dropped", "lines": lines}))

    return Writer(
        fd, max_bytes=config.log.queue_bytes, fold_seconds=fold_seconds, close_seconds=config.log.close_seconds,
        repeated=_repeated, dropped=dropped,
    )


def lines_dropped() -> int:
    """Lines that nobody will read, since the start: the queue was full, or they could not be written."""
    return sys.stderr.writer.dropped if isinstance(sys.stderr, Stream) else 0


def redactor(*, shorten: bool) -> Callable[[Any, str, Line], Line]:
    """A structlog processor that blanks secrets, and shortens mail addresses when `shorten`."""

    def redact(_logger: Any, _method: str, line: Line) -> Line:
        for name, value in line.items():
            line[name] = BLANK if value and _SECRET_NAME.search(name) else _clean(value, shorten)
        return line

    return redact


def shortened(text: str) -> str:
    """Every mail address in `text` with one letter and three stars for its local part."""
    return _ADDRESS.sub(r"\1***@\2", text)


def one_line(text: str) -> str:
    r"""`text` with control characters, line separators and bidirectional marks as `\xNN` or `\uNNNN`."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


def _clean(value: Any, shorten: bool, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict) and depth < 3:
        return {
            str(k): BLANK if v and _SECRET_NAME.search(str(k)) else _clean(v, shorten, depth + 1)
            for k, v in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < 3:
        return [_clean(v, shorten, depth + 1) for v in value]
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    text = _URL_PASSWORD.sub(rf"\1:{BLANK}@", _BEARER.sub(rf"\1 {BLANK}", _API_KEY.sub(BLANK, text)))
    text = _STATEMENT.sub("", text)
    if shorten:
        text = shortened(text)
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"


def _exception(_logger: Any, _method: str, line: Line) -> Line:
    """`exc_info` as class, text and the innermost frames, all of them values that can be cleaned like others."""
    given = line.pop("exc_info", None)
    if not given:
        return line
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if error is None:
        return line
    chain: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(chain) < 5:
        chain.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    line["exception"] = chain
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    line["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in frames]
    return line


_Parts = tuple[str, str]
"""When it was, and what: the second is the same when the same happens again."""


def _render_json(_logger: Any, _method: str, line: Line) -> tuple[_Parts, dict[str, Any]]:
    return _json_parts(line), {}


def _render_console(_logger: Any, _method: str, line: Line) -> tuple[_Parts, dict[str, Any]]:
    return _console_parts(line), {}


def _json_parts(line: Line) -> _Parts:
    at = line.pop("at", "")
    ordered = {k: line.pop(k) for k in ("level", "event") if k in line} | dict(line)
    # ensure_ascii escapes C1, separators and bidirectional marks; DEL is the one control it leaves.
    text = json.dumps(ordered, ensure_ascii=True, default=str, separators=(",", ":")).replace("\x7f", "\\u007f")
    return f'{{"at":"{at}",', text[1:]


def _console_parts(line: Line) -> _Parts:
    at = line.pop("at", "")
    head = f" {line.pop('level', ''):7} {line.pop('event', '')}"
    return str(at), one_line(head + "".join(f"  {k}={v}" for k, v in line.items()))


def _repeated(text: str, times: int) -> str:
    """The same line once more, for so many."""
    return f'{text[:-1]},"repeated":{times}}}' if text.endswith("}") else f"{text}  repeated={times}"


class _Output:
    """Writes one line at a time; a log that can't be written must not stop the mail."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def msg(self, at: str, what: str) -> None:
        try:
            stream = self._stream or sys.stderr
            if isinstance(stream, Stream):
                stream.writer.put(at, what)
                return
            stream.write(f"{at}{what}\n")
            stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = fatal = log = warn = msg


class _Forward(logging.Handler):
    """The standard library's records, through the same steps."""

    def __init__(self, steps: list[Any], out: _Output) -> None:
        super().__init__()
        self._steps, self._out = steps, out

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line: Any = {"event": record.name, "message": record.getMessage(), "exc_info": record.exc_info}
            for step in self._steps:
                line = step(None, record.levelname.lower(), line)
            parts: _Parts = line[0]
        except Exception:
            parts = "", '{"level":"error","event":"log.failed"}'
        self._out.msg(*parts)
