"""A report within a message: what a mail system that got it sends on to the return path, as message/rfc822.

Asked last, and only of what no person has written: a bounce that somebody forwards is somebody's letter. Of the
enclosed message only a notification (RFC 3464) or a mail system's own words count, never a copy of what was sent out.
"""

from __future__ import annotations

from relay.bounces.parse import notification, prose, status
from relay.bounces.parse.automatic import is_answer, is_system
from relay.bounces.parse.entity import Entity, Report, decoded, leaves
from relay.bounces.parse.entity import read as read_entity

_WHOLE = ("message/rfc822", "message/global")


def holds(entity: Entity) -> bool:
    """Whether a message is enclosed at all."""
    return any(p.type in _WHOLE for p in leaves(entity))


def read(entity: Entity) -> Report | None:
    """The report that is enclosed, or None."""
    found = [p for p in leaves(entity) if p.type in _WHOLE]
    if len(found) != 1 or is_answer(entity) or not (is_system(entity) or entity.get("return-path").strip() == "<>"):
        return None
    inner = read_entity(decoded(found[0]).lstrip(b"\r\n"), found[0].depth + 1)
    if not is_system(inner):
        return None
    return status.read(inner) or notification.read(inner) or prose.read(inner)
