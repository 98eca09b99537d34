"""Handles and DIDs, resolved: a handle to the DID that it names, a DID to the handles that its document names.

A handle is a host name. It names a DID by a TXT record at `_atproto.<handle>` or at
`https://<handle>/.well-known/atproto-did` (AT Protocol, Handle Resolution). A document is asked for by did:plc's
directory or by the host of a did:web. Requests go by the guarded client. Promises that what could not be asked is told
apart from what is not there, and that nothing of an answer but names is believed or shown.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from enroll.accounts.identity import AT
from relay.base import names
from relay.base.config import Config
from relay.base.http_client import Answered, HttpBounds, HttpClient
from relay.base.resolver import Answer, Later, Resolver

WELL_KNOWN = "/.well-known/atproto-did"
_MAX_HANDLES = 10
_MAX_DID = 2048
_TOO_MANY, _GONE = 429, (404, 410)
_TXT = re.compile(r"did=(\S+)")


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was found: the one DID of a handle, or the handles of a DID. None: nothing, and `why` says so in a
    sentence; `later`: it could not be asked just now."""

    value: tuple[str, ...] | None
    why: str = ""
    later: bool = False


class Resolution:
    """Asks the DNS and the web."""

    def __init__(self, config: Config, resolver: Resolver) -> None:
        self._config, self._resolver = config, resolver

    async def did_of(self, handle: str) -> Resolved:
        """The DID that a handle (A-labels) names."""
        name = f"_atproto.{handle}"
        answer = await self._resolver.txt(name, fresh=True)
        said = answer.texts() if isinstance(answer, Answer) else ()
        named = {found[1] for text in said if (found := _TXT.fullmatch(text.strip()))}
        if len(named) > 1:
            return Resolved(None, f"{name} names several DIDs")
        if named:
            return _one_did(named.pop(), name)
        unasked = isinstance(answer, Later)
        url = f"https://{handle}{self._port}{WELL_KNOWN}"
        got = await self._get(url)
        if got.status == 200:
            return _one_did(got.body[:_MAX_DID].decode("utf-8", "replace"), url)
        at_name = f"{name} could not be asked" if unasked else f"{name} names no DID"
        return Resolved(None, f"{at_name}, and {url}: {_reason(got)}", unasked or _passes(got))

    async def handles_of(self, did: str) -> Resolved:
        """The handles that the document of a DID names, ten at most."""
        plc = did.startswith("did:plc:")
        url = f"{self._config.identity.plc_directory}/{did}" if plc else self._document_url(did)
        got = await self._get(url, ours=plc)
        if got.status != 200:
            return Resolved(None, f"{url}: {_reason(got)}", _passes(got))
        try:
            found = json.loads(got.body)
        except (ValueError, RecursionError):
            return Resolved(None, f"{url} is no JSON, or too long")
        if not isinstance(found, dict) or not isinstance(found.get("id"), str) or found["id"].lower() != did.lower():
            return Resolved(None, f"{url} is not the document of {did}")
        handles = _handles(found.get("alsoKnownAs"))
        return Resolved(handles) if handles else Resolved(None, f"{url} names no handle ({AT}…) in alsoKnownAs")

    def _document_url(self, did: str) -> str:
        # did:web method §3.2: the first part is the host, with its port escaped; the rest is a path.
        host, *path = did.removeprefix("did:web:").split(":")
        name, _, port = host.partition("%3A")
        where = "/".join(quote(part, safe="") for part in path) or ".well-known"
        return f"https://{name}{f':{port}' if port else self._port}/{where}/did.json"

    @property
    def _port(self) -> str:
        port = self._config.identity.web_port
        return "" if port == 443 else f":{port}"

    async def _get(self, url: str, *, ours: bool = False) -> Answered:
        """`ours`: the operator chose where it goes, so it may go anywhere."""
        i, delivery = self._config.identity, self._config.delivery
        port = (urlsplit(url).port,) if ours else (i.web_port,)
        bounds = HttpBounds(
            i.timeout_seconds, i.max_document_bytes, ports=tuple(p for p in port if p is not None),
            private=ours or delivery.allow_private_networks, networks=self._config.delivery_networks,
        )
        trust = ssl.create_default_context()
        async with HttpClient(bounds, self._resolver, time.monotonic, tls=trust, fresh=True) as client:
            return await client.request("GET", url, {"Accept": "*/*", "User-Agent": "Posthouse-Identity"})


def _one_did(text: str, where: str) -> Resolved:
    try:
        return Resolved((names.did(text),))
    except names.BadName:
        return Resolved(None, f"{where} names no did:plc or did:web")


def _handles(given: Any) -> tuple[str, ...]:
    found: list[str] = []
    for text in given if isinstance(given, list) else ():
        if isinstance(text, str) and text.startswith(AT):
            try:
                found.append(names.domain(text.removeprefix(AT)))
            except names.BadName:
                continue
    return tuple(dict.fromkeys(found))[:_MAX_HANDLES]


def _passes(got: Answered) -> bool:
    """Whether asking again may bring another answer without anybody changing something."""
    return got.status is None or got.status == _TOO_MANY or got.status >= 500


def _reason(got: Answered) -> str:
    if got.status is None:
        return got.says
    return "there is none" if got.status in _GONE else f"HTTP {got.status}"
