"""Where the database is, for those who check a machine: a file or a server, without opening it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError

from relay.base.config import Config
from relay.base.storage.engine import database_url, sqlite_path


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
        url = database_url(config)
    except (ArgumentError, ValueError):
        if fault := _misread(config, None):
            return Place("PostgreSQL", None, None, fault)
        return Place("", None, None, "is not a database url: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
    if url.get_backend_name() == "postgresql" and (fault := _misread(config, url)):
        return Place("PostgreSQL", None, None, fault)
    password = str(url.password) if url.password is not None else None
    match url.get_backend_name():
        case "sqlite":
            return Place("SQLite", sqlite_path(config), None)
        case "postgresql":
            server = f"{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"
            return Place("PostgreSQL", None, password, server=server)
        case other:
            return Place(other, None, password, f"{other} is not supported: sqlite:///FILE or postgresql://…")


def _misread(config: Config, url: URL | None) -> str:
    """Where a password with signs that mean something in a URL was taken for other parts of it, or ""."""
    own = config.database.password.get_secret_value()
    scheme, _, text = config.database.url.partition("://")
    if not scheme.startswith("postgresql"):
        return ""
    user = text.rpartition("@")[0]
    if ":" in user and own:
        return "has a password, and so has database.password: take it out of the url"
    # What is before the last @ is user and password: an @ or / in it, or a host with one, was cut at another place.
    if "@" in user or "/" in user or (url is not None and "@" in (url.host or "")):
        return (
            "the password holds signs that mean something in a url: write @ : / as %40 %3A %2F, or put it as it is "
            "into database.password"
        )
    return ""
