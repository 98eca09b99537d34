"""Who a member is by name: decentralized identifiers and handles.

Promises the one lower-case form that logins are compared by. Does not resolve a DID.
"""

import re

from relay.base.names.domains import BadName, domain

_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
_WEB_SEGMENT = re.compile(r"[a-z0-9._~-]{1,253}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_HANDLE = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])")
_MAX_DID = 512


def did(text: str) -> str:
    """Give the lower-case form of a `did:plc:` or `did:web:` identifier, or raise BadName.

    A port in `did:web:` keeps its escape as `%3A` (did:web method §3.1).
    """
    lowered = text.strip().lower() if len(text) <= _MAX_DID else ""
    if lowered.startswith("did:plc:"):
        if not _PLC.fullmatch(lowered):
            raise BadName("a did:plc has 24 characters of a–z and 2–7 after did:plc:")
        return lowered
    if lowered.startswith("did:web:"):
        return _did_web(lowered.removeprefix("did:web:"))
    raise BadName("not a DID: it starts with did:plc: or did:web:")


def handle(text: str) -> str:
    """Give the lower-case form of a member's handle, or raise BadName.

    Letters, digits, dots and hyphens, 2 to 253 of them, letter or digit at both ends; a domain name in
    Unicode becomes its A-label form.
    """
    lowered = text.strip().lower()
    if not lowered.isascii():
        lowered = domain(lowered)
    if not _HANDLE.fullmatch(lowered) or ".." in lowered:
        raise BadName("a handle has 2 to 253 letters, digits, dots or hyphens, and no dot or hyphen at an end")
    return lowered


def _did_web(rest: str) -> str:
    host, *path = rest.split(":")
    name, escaped, port = host.partition("%3a")
    if escaped and not (_PORT.fullmatch(port) and int(port) < 65536):
        raise BadName("the did:web has a port that is none")
    if not all(_WEB_SEGMENT.fullmatch(segment) for segment in path):
        raise BadName("the did:web has an empty or forbidden path segment")
    return ":".join(["did:web", domain(name) + ("%3A" + port if escaped else ""), *path])
