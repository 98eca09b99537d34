"""What enrollment refuses, as one exception: status, code and a sentence for the person who asked.

Promises that nothing in it comes from an exception's text or from another member's data. How it looks as JSON or
on a page is left to `enroll.app` and `enroll.pages`.
"""

from __future__ import annotations

from typing import Any


class EnrollError(Exception):
    """A refusal. `status` is the HTTP status, `code` the machine's word, `text` the person's sentence.

    `field` names the wrong field of the request; `passes_at` (Unix seconds) is when trying again can help;
    `extra` goes into the answer's `detail`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        field: str | None = None,
        *,
        passes_at: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {text}")
        self.status, self.code, self.text, self.field = status, code, text, field
        self.passes_at, self.extra = passes_at, extra or {}

    @property
    def detail(self) -> dict[str, Any]:
        """The `detail` of the JSON error, without the time."""
        return ({"field": self.field} if self.field else {}) | self.extra


def not_found(what: str = "Not found") -> EnrollError:
    """404: there is no such thing, or it is another member's. Nobody can tell which."""
    return EnrollError(404, "NOT_FOUND", what)


def invalid(field: str, text: str) -> EnrollError:
    """422: a field's value can't be used; `text` says why."""
    return EnrollError(422, "INVALID_VALUE", text, field)


def conflict(text: str, field: str | None = None) -> EnrollError:
    """409: the thing is in a state in which this can't be done."""
    return EnrollError(409, "CONFLICT", text, field)


def suspended(reason: str) -> EnrollError:
    """403: the member is suspended; `reason` is what its owner may know."""
    return EnrollError(403, "MEMBER_SUSPENDED", f"Member suspended: {reason or 'see your account'}")
