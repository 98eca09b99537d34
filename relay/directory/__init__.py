"""Who is this login, which domains, which keys: `service` answers from `view`, a snapshot a second old at most."""

from relay.directory.entries import DomainEntry, Login, MemberEntry, PausedDomain, paused_of
from relay.directory.service import Directory

__all__ = ["Directory", "DomainEntry", "Login", "MemberEntry", "PausedDomain", "paused_of"]
