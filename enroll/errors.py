"""What enrollment refuses, as one exception: a reply of the table, and a sentence for the person who asked.

Promises that nothing in it comes from an exception's text or from another member's data. How it looks as JSON or
on a page is left to `enroll.app` and `enroll.pages`.
"""

from __future__ import annotations

from typing import Any

from relay.replies import INVALID_VALUE, MEMBER_SUSPENDED, NOT_FOUND, NOT_POSSIBLE, Reply


class EnrollError(Exception):
    """A refusal out of the one table of replies, in a sentence for this case.

    `field` names the wrong field of the request; `passes_at` (Unix seconds) is when trying again can help;
    `extra` goes into the answer's `detail`.
    """

    def __init__(
        self,
        reply: Reply,
        text: str = "",
        field: str | None = None,
        *,
        passes_at: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.reply, self.text, self.field = reply, text or reply.text, field
        super().__init__(f"{reply.http} {reply.code}: {self.text}")
        self.passes_at, self.extra = passes_at, extra or {}

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.reply.http

    @property
    def code(self) -> str:
        """The same for programs."""
        return self.reply.code

    @property
    def detail(self) -> dict[str, Any]:
        """The `detail` of the JSON error, without the time."""
        return ({"field": self.field} if self.field else {}) | self.extra


def not_found(what: str = "Not found") -> EnrollError:
    """404: there is no such thing, or it is another member's. Nobody can tell which."""
    return EnrollError(NOT_FOUND, what)


def invalid(field: str, text: str) -> EnrollError:
    """422: a field's value can't be used; `text` says why."""
    return EnrollError(INVALID_VALUE, text, field)


def conflict(text: str, field: str | None = None) -> EnrollError:
    """409: the thing is in a state in which this can't be done."""
    return EnrollError(NOT_POSSIBLE, text, field)


def suspended(reason: str) -> EnrollError:
    """403: the member is suspended; `reason` is what its owner may know."""
    return EnrollError(MEMBER_SUSPENDED, f"Member suspended: {reason or 'see your account'}")
