"""Reading: TOML file, then environment, into the model; mistakes as clear lines."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from relay.base.config.model import Config

PREFIX = "POSTHOUSE_"


class ConfigError(Exception):
    """The configuration can't be used; `lines` says why, one mistake a line."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("; ".join(lines))


def load(path: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration from `path` (TOML; None: defaults only) with `POSTHOUSE_SECTION__KEY` laid over it.

    Raises ConfigError for a file that can't be read, an unknown key, or a wrong type or value.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError([f"{path}: no such file"]) from None
        except OSError as e:
            raise ConfigError([f"{path}: can't be read ({e.strerror})"]) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise ConfigError([f"{path}: not valid TOML: {e}"]) from None
    mistakes = _overlay(data, os.environ if environ is None else environ)
    if mistakes:
        raise ConfigError(mistakes)
    try:
        return Config.model_validate(data)
    except ValidationError as e:
        raise ConfigError([_line(err) for err in e.errors()]) from None


def _line(err: Any) -> str:
    where = ".".join(str(p) for p in err["loc"])
    if err["type"] == "extra_forbidden":
        return f"{where}: unknown key{_meant([str(p) for p in err['loc']])}"
    return f"{where}: {err['msg'].removeprefix('Value error, ')}"


def _meant(path: list[str]) -> str:
    """", did you mean …?" for a key that is like one there is, in its own section or another; else ""."""
    sections = {
        name: set(kind.model_fields)
        for name, field in Config.model_fields.items()
        if isinstance(kind := field.annotation, type) and issubclass(kind, BaseModel)
    }
    if len(path) == 1:
        # A whole table, or a key that has lost its table.
        inside = [f"{section}.{path[0]}" for section, keys in sections.items() if path[0] in keys]
        found = difflib.get_close_matches(path[0], Config.model_fields, 1) or inside
    elif len(path) == 2:
        near = difflib.get_close_matches(path[1], sections.get(path[0], set()), 1)
        elsewhere = [section for section, keys in sections.items() if path[1] in keys]
        found = [f"{path[0]}.{one}" for one in near] or [f"{section}.{path[1]}" for section in elsewhere]
    else:
        found = []
    return f": did you mean {' or '.join(found[:3])}?" if found else ""


def _overlay(data: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Write environment values into `data`; return mistakes. Lists and tables are written as JSON."""
    mistakes = []
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name == f"{PREFIX}CONFIG":
            continue
        section, _, keyname = name.removeprefix(PREFIX).lower().partition("__")
        field = Config.model_fields.get(section)
        if field is None:
            mistakes.append(f"{name}: unknown section {section}{_meant([section])}")
        elif section == "roles":
            data["roles"] = [r for r in text.replace(",", " ").split() if r]
        else:
            inner = field.annotation
            assert isinstance(inner, type)
            assert issubclass(inner, BaseModel)
            if keyname not in inner.model_fields:
                mistakes.append(f"{name}: unknown key {section}.{keyname}{_meant([section, keyname])}")
                continue
            table = data.setdefault(section, {})
            if isinstance(table, dict):
                table[keyname] = _value(text)
    return mistakes


def _value(text: str) -> Any:
    if text[:1] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
