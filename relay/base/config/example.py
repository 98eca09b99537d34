"""`config.example.toml`, written from the model: every key, its default, its sentence."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from relay.base.config.model import Config

HEAD = """\
# Posthouse configuration: every key with its default. Copy it, keep what you change.
# The environment overrides any key: POSTHOUSE_SERVER__HOSTNAME=mail.example.org
"""


def example() -> str:
    """The whole example file as text."""
    out = [HEAD]
    roles = Config.model_fields["roles"]
    out.append(_comment(roles.description or "") + f"roles = {_toml(roles.default)}\n")
    for name, field in Config.model_fields.items():
        section = field.default
        if isinstance(section, BaseModel):
            out.append("\n" + _comment((type(section).__doc__ or "").strip()) + f"[{name}]")
            out.extend(_keys(name, section))
    return "\n".join(out) + "\n"


def _keys(section: str, model: BaseModel) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        says = _comment(field.description or "")
        if isinstance(value, list) and value and isinstance(value[0], BaseModel):
            tables.append(says.rstrip("\n"))
            for item in value:
                tables.append(f"[[{section}.{name}]]")
                tables.extend(f"{k} = {_toml(getattr(item, k))}" for k in type(item).model_fields)
        else:
            lines.append(f"{says}{name} = {_toml(value)}")
    return lines + tables


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, 110))


def _toml(value: Any) -> str:
    if isinstance(value, SecretStr):
        return json.dumps(value.get_secret_value())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return json.dumps(str(value))
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    return repr(value)
