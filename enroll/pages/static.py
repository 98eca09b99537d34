"""The style sheet, the script and the icon: read once at start, named by their content, kept by browsers.

Promises that only the files of this package's folder are served, each with its type and nothing else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from aiohttp import hdrs, web

from relay.replies import NOT_FOUND, Refused

FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_YEAR = 31_536_000


class Assets:
    """The files in memory. `url` names one so that a changed file has another name."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in _TYPES}
        self._marks = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in self._files.items()}

    def url(self, name: str) -> str:
        """The path of a file. Raises KeyError for one that isn't there: a template's mistake."""
        return f"/static/{name}?v={self._marks[name]}"

    def routes(self) -> list[web.RouteDef]:
        """GET /static/{name}."""
        return [web.get("/static/{name}", self.get)]

    async def get(self, request: web.Request) -> web.Response:
        """One file. Under its marked name it never changes (RFC 9111 §5.2.2.2), otherwise it is asked for again."""
        name = request.match_info["name"]
        if name not in self._files:
            raise Refused(NOT_FOUND)
        mark = self._marks[name]
        fresh = request.query.get("v") == mark
        headers = {
            hdrs.CACHE_CONTROL: f"public, max-age={_YEAR}, immutable" if fresh else "no-cache",
            hdrs.ETAG: f'"{mark}"',
        }
        # RFC 9110 §13.1.2: a browser that has this very file is told so.
        if request.headers.get(hdrs.IF_NONE_MATCH) == f'"{mark}"':
            return web.Response(status=304, headers=headers)
        return web.Response(
            body=self._files[name], content_type=_TYPES[Path(name).suffix], charset="utf-8", headers=headers
        )
