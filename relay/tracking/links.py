"""An `href` → the address that a browser would go to, if it is one that can be tracked. Pure.

Only http and https, complete or relative to a base that is. Left alone: mailto, tel, cid, javascript, `#there`,
addresses with a login, templates that somebody fills in later, and what browsers read in ways of their own.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit

from relay.base import names
from relay.base.charsets import Charset

_ABSOLUTE = re.compile(r"(https?)://([^/?#]+)([^?#]*)(\?[^#]*)?(#.*)?\Z", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_TRIMMED = "".join(map(chr, range(33)))
_LINE_ENDS = dict.fromkeys(map(ord, "\t\r\n"))
_TEMPLATE = ("{{", "}}", "${", "*|", "|*", "<%", "[[")
_AS_IT_IS = "!#$%&'()*+,-./:;=?@[]_~|{}^"  # of ASCII, all that may stand in a Location field


def target(value: str, base: str, charset: Charset | None, limit: int) -> str | None:
    """The address in printable ASCII, at most `limit` octets, or None to leave the link as it is.

    `value` and `base` have their references read; `charset` is the document's, None where it can't be known.
    """
    url = value.strip(_TRIMMED).translate(_LINE_ENDS)
    if not url or url.startswith("#") or len(url) > limit or any(mark in url for mark in _TEMPLATE):
        return None
    if _ABSOLUTE.match(url) is None:
        root = base.strip(_TRIMMED).translate(_LINE_ENDS)
        if _SCHEME.match(url) or "\\" in url or _ABSOLUTE.match(root) is None:
            return None
        try:
            url = urljoin(root, url)
        except ValueError:
            return None
    found = _ABSOLUTE.match(url)
    if found is None or "\\" in url or not url.isprintable():
        return None
    scheme, authority, path, query, fragment = found.groups(default="")
    # RFC 3986 §3.2.1: a login in an address would end up in events and logs.
    host = None if "@" in authority else _host(authority)
    asked = _query(query, charset)
    if host is None or asked is None:
        return None
    url = f"{scheme.lower()}://{host}{quote(path, _AS_IT_IS)}{asked}{quote(fragment, _AS_IT_IS)}"
    return url if len(url) <= limit else None


def host_of(url: str) -> str:
    """The lower-case host of an address that `target` returned."""
    return urlsplit(url).hostname or ""


def _host(authority: str) -> str | None:
    """The authority in ASCII, or None."""
    try:
        parts = urlsplit(f"//{authority}")
        port = parts.port
        if authority.isascii():
            return authority if parts.hostname and '"' not in authority and "<" not in authority else None
        host = names.domain(parts.hostname or "")
    except (ValueError, names.BadName):
        return None
    return host if port is None else f"{host}:{port}"


def _query(query: str, charset: Charset | None) -> str | None:
    """WHATWG URL §5.2: browsers write a query in the document's charset, the rest in UTF-8."""
    if query.isascii():
        return quote(query, _AS_IT_IS)
    if charset is None:
        return None
    try:
        # WHATWG Encoding §4.3: what stands in for the forms of Unicode that aren't like ASCII.
        octets = query.encode() if charset.name.startswith("utf-") else charset.write(query)
    except UnicodeEncodeError:
        return None
    return quote(octets, _AS_IT_IS)
