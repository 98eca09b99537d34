"""HTML of any quality → where its links stand, and where something can be added at its end.

A tokeniser after the WHATWG HTML rules (§13.2.5), as far as they decide what is a tag, an attribute, a comment or raw
text. It builds no tree and changes nothing: it names places. Promises time linear in the text; that what it can't
read (a tag or comment without an end) is left alone with everything after it; that comments, scripts and styles are
never looked into. Which address a link becomes is `links`' business.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from html.entities import html5

_SPACE = "\t\n\f\r "
_OPEN = re.compile(r"<(?:(!--)|([!?])|(/?)([A-Za-z][^\t\n\f\r />]*)|(/))")
_ATTRIBUTE = re.compile(
    r"[\t\n\f\r /]*(?:(?P<end>>)|(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*)"
    r"(?:[\t\n\f\r ]*=[\t\n\f\r ]*"
    r"(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>(?![\"'>])[^\t\n\f\r >]+)|(?=>)))?)"
)
_PLAIN = re.compile(r"[^\"'<>]*>")
_LOOKED_AT = ("a", "area", "base")
_LOST_VALUE = re.compile(r"[\t\n\f\r ]*=")
_COMMENT_END = re.compile(r"--!?>")
# Their content is text until the end tag of the same name (WHATWG §13.2.5.2 ff.); "noscript" is read: mail runs none.
_RAW = {
    name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}
_REFERENCE = re.compile(r"&(?:#(?:[0-9]{1,7}|[xX][0-9a-fA-F]{1,6});?|([A-Za-z][A-Za-z0-9]{0,40})(;?))")
_LEFT_ALONE = "data-no-track"


@dataclass(frozen=True, slots=True)
class Link:
    """The value of an `href` between two places of the text (quotes outside), as it stands there."""

    start: int
    end: int
    raw: str


@dataclass(frozen=True, slots=True)
class Markup:
    """What was found: links in order, the first base address ("" for none), and where the end of the body is."""

    links: list[Link]
    base: str
    end: int


def read(text: str) -> Markup:
    """The links of `<a>` and `<area>` in `text`. Those with the attribute data-no-track are left out."""
    links: list[Link] = []
    base, body_end, html_end = "", -1, -1
    at = 0
    while (found := _OPEN.search(text, at)) is not None:
        comment, bogus, closing, name, stray = found.groups()
        if comment:
            end = _comment_end(text, found.end())
        elif bogus or stray:
            end = text.find(">", found.end() - bool(stray)) + 1
        else:
            lowered = name.lower()
            plain = None if lowered in _LOOKED_AT else _PLAIN.match(text, found.end())
            # Without a quote in it a tag ends at the first ">".
            end, attributes = (plain.end(), {}) if plain else _attributes(text, found.end())
            if end and closing:
                body_end = found.start() if lowered == "body" else body_end
                html_end = found.start() if lowered == "html" else html_end
            elif end:
                if lowered in ("a", "area") and "href" in attributes:
                    start, stop = attributes["href"]
                    if _LEFT_ALONE not in attributes:
                        links.append(Link(start, stop, text[start:stop]))
                elif lowered == "base" and not base and "href" in attributes:
                    base = text[slice(*attributes["href"])]
                elif lowered in _RAW:
                    raw_end = _RAW[lowered].search(text, end)
                    end = raw_end.start() if raw_end and not _escaped(lowered, text[end : raw_end.start()]) else 0
                elif lowered == "plaintext":
                    end = 0
        if not end:
            # Nothing after an unfinished tag or comment is shown as markup: what is added goes before it.
            return Markup(links, base, body_end if body_end >= 0 else found.start())
        at = end
    return Markup(links, base, body_end if body_end >= 0 else html_end if html_end >= 0 else len(text))


def references(value: str) -> str:
    """An attribute's value with its character references read (WHATWG §13.2.5.73: `&copy=1` stays as it is)."""
    return _REFERENCE.sub(_reference, value) if "&" in value else value


def _reference(found: re.Match[str]) -> str:
    name = found[1]
    if name is None:
        return html.unescape(found[0])
    if found[2] and name + ";" in html5:
        return html5[name + ";"]
    # Without its semicolon an old name counts only as a whole, and not before "=": it is a query's parameter then.
    follows = found.string[found.end() : found.end() + 1]
    if not found[2] and name in html5 and follows != "=":
        return html5[name]
    return found[0]


def _comment_end(text: str, start: int) -> int:
    """Behind a comment whose `<!--` ends at `start`; 0 if it has no end."""
    for at_once in (">", "->"):
        if text.startswith(at_once, start):
            return start + len(at_once)
    found = _COMMENT_END.search(text, start)
    return found.end() if found else 0


def _escaped(name: str, raw: str) -> bool:
    """A script within a comment within a script, which may end elsewhere (WHATWG §13.2.5.26)."""
    return name == "script" and "<!--" in raw and "<script" in raw.lower()


def _attributes(text: str, start: int) -> tuple[int, dict[str, tuple[int, int]]]:
    """(behind the tag or 0 if it has no end, name → place of the value); of two alike the first one counts."""
    found: dict[str, tuple[int, int]] = {}
    at = start
    while (one := _ATTRIBUTE.match(text, at)) is not None:
        at = one.end()
        if one["end"]:
            return at, found
        place = (at, at)
        for quoting in ("double", "single", "bare"):
            if one[quoting] is not None:
                place = one.span(quoting)
                break
        else:
            if text[at : at + 1] != ">" and _LOST_VALUE.match(text, at):
                return 0, found  # a quote that is never closed
        found.setdefault(one["name"].lower(), place)
    return 0, found
