"""The one reader of a Content-Type field (RFC 2045 §5.1), its value unfolded. Never an exception; linear.

Whether what can't be read for certain is passed over or guessed at is for those who ask.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_TYPE = re.compile(r"\s*([!#-'*+.^-~\w-]{1,127}/[!#-'*+.^-~\w-]{1,127})")
_NEXT = re.compile(r"\s*(?:;|\Z)")
_PARAMETER = re.compile(r';\s*([\w*.-]{1,60})\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]+))')


class ContentType(NamedTuple):
    """`type`: type/subtype in lower case, "" for what can't be read. `parameters`: the first of each name, which is in
    lower case. `certain`: False where two programs could read the field differently. `whole`: nothing else is in it."""

    type: str
    parameters: Mapping[str, str]
    certain: bool
    whole: bool


def content_type(value: str) -> ContentType:
    """What the value says."""
    found = _TYPE.match(value)
    if found is None:
        return ContentType("", {}, False, False)
    parameters: dict[str, str] = {}
    certain = _NEXT.match(value, found.end()) is not None
    whole, at = True, found.end()
    for one in _PARAMETER.finditer(value, at):
        name = one[1].lower()
        certain = certain and name not in parameters
        whole = whole and not value[at : one.start()].strip()
        parameters.setdefault(name, one[3] or re.sub(r"\\(.)", r"\1", one[2]))
        at = one.end()
    return ContentType(found[1].lower(), parameters, certain, whole and not value[at:].strip())
