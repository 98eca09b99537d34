"""Was it a person? What mail services and scanners say and do when they fetch images and follow links. Pure.

Nobody can know for certain; what is recognised is marked and not counted. Apple's Mail Privacy Protection loads every
image whether or not anybody reads, and calls itself just "Mozilla/5.0". Gmail's and Yahoo's proxies load one when the
message is opened: that is somebody's opening, seen through a proxy, and is only named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PRIVACY = "mozilla/5.0"
_PROXIES = {"googleimageproxy": "google", "yahoomailproxy": "yahoo"}
_PROGRAMS = re.compile(
    r"bot\b|crawl|spider|scan|preview|barracuda|mimecast|proofpoint|fireeye|trendmicro|symantec|sophos|fortinet|zscaler|"
    r"headless|phantomjs|python|curl/|wget/|go-http|java/|okhttp|libwww|httpclient|axios|node-fetch|facebookexternalhit|"
    r"slack|whatsapp|telegram|discord"
)
_AHEAD = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")


def machine(kind: str, headers: Mapping[str, str], seconds_after_delivery: float | None, at_once: float) -> str:
    """Why a hit counts as a machine's, or "": `privacy` (Apple), `scanner`, `ahead` (a browser fetching before it is
    asked), `at-once` (before the delivery, None, or sooner after it than anybody reads). `kind`: open or click."""
    agent = headers.get("User-Agent", "").strip().lower()
    if kind == "open" and agent == _PRIVACY:
        return "privacy"
    if not agent or _PROGRAMS.search(agent[:500]):
        return "scanner"
    if any(word in headers.get(name, "").lower() for name in _AHEAD for word in ("prefetch", "preview")):
        return "ahead"
    if seconds_after_delivery is None or seconds_after_delivery < at_once:
        return "at-once"
    return ""


def proxy(headers: Mapping[str, str]) -> str:
    """The mail service whose image proxy asked, or ""."""
    agent = headers.get("User-Agent", "")[:500].lower()
    return next((name for word, name in _PROXIES.items() if word in agent), "")
