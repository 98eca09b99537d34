"""What enrollment refuses: a reply of the table, and a sentence for the person who asked.

It is a `Refused` like any other, and whoever handles refusals catches `Refused`: a service may also pass on what the
relay refuses, such as a notice that can't be taken just now. Promises that nothing in it comes from an exception's text
or from another member's data. How it looks as JSON or on a page is left to `enroll.app` and `enroll.pages`.
"""

from __future__ import annotations

from typing import Any

from relay.replies import INVALID_VALUE, MEMBER_SUSPENDED, NOT_FOUND, NOT_POSSIBLE, Refused, Reply, Verdict


class EnrollError(Refused):
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
        self.field = field
        super().__init__(Verdict(reply, said=text or reply.text, passes_at=passes_at, extra=extra or {}))

    @property
    def text(self) -> str:
        """The sentence, in any letters."""
        return self.verdict.said

    @property
    def detail(self) -> dict[str, Any]:
        """The `detail` of the JSON error, without the time."""
        return ({"field": self.field} if self.field else {}) | self.verdict.extra


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
