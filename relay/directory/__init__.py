"""Who is this login, which domains, which keys: `service` answers from `view`, a snapshot a second old at most."""

from relay.directory.service import Directory
from relay.directory.view import DomainEntry, Login, MemberEntry

__all__ = ["Directory", "DomainEntry", "Login", "MemberEntry"]
