"""The text part of a message that came as HTML alone: readable, in time linear in its length, never a browser.

Promises text for whoever reads no HTML, with the targets of links and the words of images. It is a derivation, not a
rendering: style, scripts and comments vanish, tables become lines.
"""

from __future__ import annotations

import html
import re

# A tag may hold a ">" in quotes. No attempt looks past the next "<", so all of them together stay linear.
_TAG = re.compile(r"""<(/?)([A-Za-z][A-Za-z0-9:-]{0,30})((?:[^<>"']++|"[^"<]*+"|'[^'<]*+')*+)>""")
_TORN_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]{0,30})([^<>]*+)>")
_HREF = re.compile(r"""\bhref\s{0,4}=\s{0,4}(?:"([^"]*)"|'([^']*)'|([^\s>]+))""", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s{0,4}=\s{0,4}(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\r\n\f\u00a0]+")
_MANY_LINES = re.compile(r"\n{3,}")
_SKIPPED = frozenset({"head", "style", "script", "template", "noscript", "svg", "title"})
_LINE_TAGS = frozenset({"br", "tr", "div", "li", "dt", "dd", "option", "section", "header", "footer", "article"})
_BLOCK_TAGS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote", "pre", "hr"})
_MAX_HTML = 1_000_000


def from_html(source: str, limit: int = _MAX_HTML) -> str:
    """Readable text of an HTML document; what lies beyond `limit` characters is left out."""
    walk = _Walk(source[:limit])
    walk.run()
    lines = "".join(walk.pieces).split("\n")
    text = _MANY_LINES.sub("\n\n", "\n".join(_BLANKS.sub(" ", line).strip() for line in lines)).strip("\n")
    return text + "\n"


class _Walk:
    """One pass from tag to tag."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lower = source.lower() if source.isascii() else re.sub("[A-Z]", lambda m: m[0].lower(), source)
        self._link: tuple[str, int] | None = None
        self.pieces: list[str] = []

    def run(self) -> None:
        at = 0
        while (start := self._source.find("<", at)) >= 0:
            self._text(self._source[at:start])
            at = self._markup(start)
        self._text(self._source[at:])

    def _markup(self, start: int) -> int:
        """Take the markup at `start`; returns where the text goes on."""
        if self._source.startswith("<!--", start):
            return self._after("-->", start + 4)
        if self._source.startswith(("<!", "<?"), start):
            return self._after(">", start + 2)
        tag = _TAG.match(self._source, start) or _TORN_TAG.match(self._source, start)
        if tag is None:
            self._text("<")
            return start + 1
        closing, name = bool(tag[1]), tag[2].lower()
        if name in _SKIPPED and not closing and not tag[3].endswith("/"):
            return self._skip(name, tag.end())
        self._tag(name, closing, tag[3])
        return tag.end()

    def _tag(self, name: str, closing: bool, inside: str) -> None:
        if name == "a":
            self._anchor(closing, inside)
        elif name == "img" and (alt := _ALT.search(inside)):
            self._text(alt[1] or alt[2] or "")
        elif name == "li" and not closing:
            self.pieces.append("\n- ")
        elif name in ("td", "th") and closing:
            self.pieces.append(" ")
        elif name in _BLOCK_TAGS:
            self.pieces.append("\n\n")
        elif name in _LINE_TAGS:
            self.pieces.append("\n")

    def _anchor(self, closing: bool, inside: str) -> None:
        if not closing:
            found = _HREF.search(inside)
            target = html.unescape(next((g for g in found.groups() if g), "")) if found else ""
            wanted = target.lower().startswith(("http://", "https://", "mailto:"))
            self._link = (target if wanted else "", len(self.pieces))
        elif self._link is not None:
            target, begin = self._link
            self._link = None
            words = "".join(self.pieces[begin:]).strip()
            if target and words not in (target, target.removeprefix("mailto:")):
                self.pieces.append(f" <{target}>" if words else f"<{target}>")

    def _text(self, raw: str) -> None:
        if raw:
            self.pieces.append(_BLANKS.sub(" ", html.unescape(raw)))

    def _skip(self, name: str, at: int) -> int:
        end = self._find(f"</{name}", at)
        return self._after(">", end) if end >= 0 else len(self._source)

    def _after(self, mark: str, at: int) -> int:
        end = self._find(mark, at)
        return end + len(mark) if end >= 0 else len(self._source)

    def _find(self, mark: str, at: int) -> int:
        return self._lower.find(mark, at)
