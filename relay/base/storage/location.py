"""Where the database is, for those who check a machine: a file or a server, without opening it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from relay.base.config import Config
from relay.base.storage.engine import sqlite_path


@dataclass(frozen=True, slots=True)
class Place:
    """`file` is None for a server, whose `server` is HOST:PORT/NAME. `fault`: why the url can't be used, or empty."""

    engine: str
    file: Path | None
    password: str | None
    fault: str = ""
    server: str = ""


def place(config: Config) -> Place:
    """The place that `database.url` names."""
    try:
        url = make_url(config.database.url)
    except ArgumentError:
        return Place("", None, None, "is not a database url: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
    password = str(url.password) if url.password is not None else None
    match url.get_backend_name():
        case "sqlite":
            return Place("SQLite", sqlite_path(config), None)
        case "postgresql":
            server = f"{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"
            return Place("PostgreSQL", None, password, server=server)
        case other:
            return Place(other, None, password, f"{other} is not supported: sqlite:///FILE or postgresql://…")
