"""Fixtures of the kit, for every test."""

from tests.kit.storage import config, postgres, sqlite_config, storage

__all__ = ["config", "postgres", "sqlite_config", "storage"]
