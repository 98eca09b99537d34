"""The arguments of MAIL and RCPT: the path between its brackets and the ESMTP parameters behind it.

Pure and linear. Promises that a parameter comes out as it was written (ENVID and ORCPT keep their case) and only in
a form its RFC allows; everything else is a `BadArgument` with its reply. Whether the path is an address is left to
`relay.base.names`, and whose, to the sessions. How long a command line may be, and which words are not SMTP at all,
stands here too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from relay import replies
from relay.replies import Reply

# RFC 5321 §4.5.3.1.4: 512 octets with CRLF; SIZE, BODY, SMTPUTF8, DSN and AUTH= widen MAIL and RCPT
# (RFC 1870 §3, RFC 6531 §3.1, RFC 3461 §4, RFC 4954 §3).
MAX_LINE = 512
MAX_LINES: Mapping[str, int] = {"MAIL": 2048, "RCPT": 2048}
HTTP = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI"})


# RFC 5321 §4.1.2: Path = "<" Mailbox ">"; a quoted local part may hold blanks and brackets. The blank after the
# colon is not in the grammar, but common. Alternatives differ in their first character: no backtracking.
_ARGUMENT = re.compile(r'(?:FROM|TO):[ \t]*<((?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>(?:[ \t]+(.*))?', re.IGNORECASE)
# RFC 5321 §4.1.2: esmtp-keyword, esmtp-value; RFC 6531 §3.3 widens the value to UTF-8.
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\U0010ffff]+))?")
# RFC 3461 §4: xtext.
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]+")

_MAX_ENVID = 100  # RFC 3461 §4.4
_MAX_ORCPT = 500  # RFC 3461 §4.2
_MAX_SIZE_DIGITS = 20  # RFC 1870 §4
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})


class BadArgument(Exception):
    """An argument that is refused: with which reply, and what is wrong, in our words."""

    def __init__(self, reply: Reply, saw: str) -> None:
        super().__init__(saw)
        self.reply, self.saw = reply, saw


@dataclass(frozen=True, slots=True)
class MailArgument:
    """MAIL's argument. `path` is "" for the null sender; `size` in octets; `ret`, `envid` as given (xtext)."""

    path: str
    size: int | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    require_tls: bool = False


@dataclass(frozen=True, slots=True)
class RcptArgument:
    """RCPT's argument. `notify` is upper case, `orcpt` as given (`type;xtext`)."""

    path: str
    notify: str | None = None
    orcpt: str | None = None


def mail(argument: str, *, extended: bool = True, tls_offered: bool = False) -> MailArgument:
    """Read `FROM:<path> [parameters]` (RFC 5321 §4.1.1.2). Raises BadArgument; without EHLO parameters are wrong.
    `tls_offered`: REQUIRETLS is."""
    path, given = _split(argument, "FROM", extended, replies.BAD_ARGUMENTS)
    size: int | None = None
    smtputf8 = require_tls = False
    ret = envid = None
    for keyword, value in given.items():
        match keyword:
            case "SIZE":
                size = _size(value)
            case "BODY":
                # RFC 6152 §3.
                _one_of(keyword, value, "7BIT", "8BITMIME")
            case "SMTPUTF8":
                # RFC 6531 §3.4.
                smtputf8 = _alone(keyword, value)
            case "RET":
                # RFC 3461 §4.3.
                ret = _one_of(keyword, value, "FULL", "HDRS")
            case "ENVID":
                # RFC 3461 §4.4.
                if not value or len(value) > _MAX_ENVID or not _XTEXT.fullmatch(value):
                    raise BadArgument(replies.BAD_ARGUMENTS, "ENVID is xtext of at most 100 characters")
                envid = value
            case "AUTH":
                # RFC 4954 §5: who first submitted it. Only a peer we trust could say so, and we trust none.
                if not value or (value != "<>" and not _XTEXT.fullmatch(value)):
                    raise BadArgument(replies.BAD_ARGUMENTS, "AUTH is xtext or <>")
            case "REQUIRETLS" if tls_offered:
                # RFC 8689 §2.
                require_tls = _alone(keyword, value)
            case _:
                # RFC 5321 §4.1.1.11: 555 for parameters not known.
                raise BadArgument(replies.BAD_PARAMETER, keyword[:40])
    return MailArgument(path, size, smtputf8, ret, envid, require_tls)


def _size(value: str | None) -> int:
    # RFC 1870 §4: size-value, at most 20 digits.
    if not (value and value.isascii() and value.isdigit() and len(value) <= _MAX_SIZE_DIGITS):
        raise BadArgument(replies.BAD_ARGUMENTS, "SIZE is a number of octets")
    return int(value)


def _one_of(keyword: str, value: str | None, one: str, other: str) -> str:
    if value is None or value.upper() not in (one, other):
        raise BadArgument(replies.BAD_ARGUMENTS, f"{keyword} is {one} or {other}")
    return value.upper()


def _alone(keyword: str, value: str | None) -> bool:
    if value is not None:
        raise BadArgument(replies.BAD_ARGUMENTS, f"{keyword} takes no value")
    return True


def rcpt(argument: str, *, extended: bool = True) -> RcptArgument:
    """Read `TO:<path> [parameters]` (RFC 5321 §4.1.1.3). Raises BadArgument; without EHLO parameters are wrong."""
    path, given = _split(argument, "TO", extended, replies.INVALID_RECIPIENT)
    if not path:
        raise BadArgument(replies.INVALID_RECIPIENT, "there is nothing between the brackets")
    notify = orcpt = None
    for keyword, value in given.items():
        match keyword:
            case "NOTIFY":
                notify = _notify(value)
            case "ORCPT":
                orcpt = _orcpt(value)
            case _:
                raise BadArgument(replies.BAD_PARAMETER, keyword[:40])
    return RcptArgument(path, notify, orcpt)


def _notify(value: str | None) -> str:
    # RFC 3461 §4.1: NEVER stands alone.
    words = (value or "").upper().split(",")
    if words == ["NEVER"] or (set(words) <= _NOTIFY and len(set(words)) == len(words)):
        return ",".join(words)
    raise BadArgument(replies.BAD_ARGUMENTS, "NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY")


def _orcpt(value: str | None) -> str:
    # RFC 3461 §4.2: addr-type ";" xtext; RFC 6533 §3: an address of type utf-8 may stand unencoded.
    kind, semicolon, text = (value or "").partition(";")
    good = bool(semicolon and text) and len(value or "") <= _MAX_ORCPT and _ADDRESS_TYPE.fullmatch(kind)
    if not good or not (_XTEXT.fullmatch(text) or (kind.lower() == "utf-8" and "=" not in text)):
        raise BadArgument(replies.BAD_ARGUMENTS, "ORCPT is type;xtext of at most 500 characters")
    return value or ""


def _split(argument: str, word: str, extended: bool, bad_path: Reply) -> tuple[str, dict[str, str | None]]:
    """The path and the parameters by upper-case keyword, in order. `bad_path` is for what `word`: doesn't lead to."""
    if argument[: len(word) + 1].upper() != f"{word}:":
        raise BadArgument(replies.BAD_ARGUMENTS, f"expected {word}:<address> and parameters")
    found = _ARGUMENT.fullmatch(argument)
    if found is None:
        raise BadArgument(bad_path, f"expected {word}:<address> and parameters")
    given: dict[str, str | None] = {}
    for text in (found.group(2) or "").split():
        parameter = _PARAMETER.fullmatch(text)
        if parameter is None:
            raise BadArgument(replies.BAD_ARGUMENTS, "a parameter is KEYWORD or KEYWORD=value")
        keyword = parameter.group(1).upper()
        # RFC 5321 §4.1.1.11: each parameter once.
        if keyword in given:
            raise BadArgument(replies.BAD_ARGUMENTS, "a parameter stands twice")
        given[keyword] = parameter.group(2)
    if given and not extended:
        raise BadArgument(replies.BAD_ARGUMENTS, "parameters need EHLO")
    return found.group(1), given
