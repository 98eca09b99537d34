"""`suppression.*`: the member's suppression list, by the five sources that this shape knows.

What its documentation calls the source of an entry is our reason: see `SOURCES`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field

from enroll.api.octeth.errors import Fault
from enroll.api.octeth.requests import Parameters
from enroll.api.octeth.views import ACCESS, Asking, CodedAnswer, View
from enroll.sessions import Actor
from relay.base.config import Config
from relay.base.names import BadName
from relay.base.web.calls import Calls
from relay.suppression import Lists, New, Suppression

TAG = ("Suppressions", "At `/api.php` too, each by its `Command`.")
SOURCES = {
    "Administrator": "import", "User": "manual", "SPAM complaint": "complaint", "Hard Bounced": "hard_bounce",
    "Unsubscribe": "unsubscribe",
}
_SHOWN = {reason: source for source, reason in SOURCES.items()}
_BY_WORD = {source.lower(): reason for source, reason in SOURCES.items()}
_REASON, _REASON_MAX = "Suppression List Import", 250
_MOST_CHECKED = 500
_MOST_BEFORE = 10**9
_calls = Calls(TAG[0], ACCESS, scope="manage", hands=("p",), limited=False)


class Filter(BaseModel):
    """Which entries."""

    SearchPattern: str | int | float = Field("", description="A whole address; `*` stands for any text.")
    SuppressionSource: str | int | float = Field(
        "", description=f"Some of these, with a comma between: {', '.join(SOURCES)}."
    )


class Browse(Filter):
    """Which of them."""

    StartFrom: Any = Field(0, description="A whole number; whatever is none counts as left out.")
    RetrieveCount: Any = Field(100, description="A whole number; whatever is none counts as left out.")


class Addresses(Asking):
    """Addresses, in either form or both."""

    EmailAddresses: str = Field("", description="A JSON array of addresses, as text.", examples=['["ben@example.net"]'])
    EmailAddressesBulk: str = Field("", description="Addresses, one a line.")


class Import(Addresses):
    """What import takes."""

    SuppressionSource: str = "User"
    Reason: str = Field(_REASON, max_length=_REASON_MAX)


class Delete(Addresses):
    """What delete takes."""

    EmailAddress: str = ""


class EntryView(View):
    """One entry."""

    SuppressionID: str
    RelListID: str
    RelOwnerUserID: str
    EmailAddress: str
    SuppressionSource: str
    Reason: str


class BrowseAnswer(CodedAnswer):
    """suppression.browse: entries by address; `TotalRecords` counts those beyond this page too."""

    TotalRecords: int
    SuppressedEmails: dict[str, EntryView]


class StatsAnswer(CodedAnswer):
    """suppression.stats"""

    Total: int
    BySource: dict[str, int]


class CheckAnswer(CodedAnswer):
    """suppression.check: those of the addresses that are on the list."""

    TotalChecked: int
    TotalSuppressed: int
    SuppressedEmails: dict[str, EntryView]


class ImportAnswer(CodedAnswer):
    """suppression.import; what was there already counts as imported."""

    TotalImported: int
    TotalFailed: int
    FailedEmailAddresses: list[str]


class DeleteAnswer(CodedAnswer):
    """suppression.delete; the totals where many were named."""

    TotalDeleted: int = 0
    TotalFailed: int = 0
    FailedEmailAddresses: list[str] = Field(default_factory=list)


class SuppressionCalls:
    """The list is the member's, whatever domain mailed: no key that is limited to some."""

    FAMILY = "suppression."

    def __init__(self, lists: Lists, config: Config) -> None:
        self._lists, self._config = lists, config

    @_calls.get("/api/v1/suppression.browse", "List whom you no longer mail", asks=Browse)
    async def browse(self, who: Actor, p: Parameters) -> BrowseAnswer:
        """suppression.browse"""
        reasons, pattern = _filter(p)
        counts = await self._lists.by_reason(who.member.id, reasons, pattern)
        found = await self._lists.matching(
            who.member.id, reasons, pattern, start=p.count("StartFrom", 0, _MOST_BEFORE),
            limit=p.count("RetrieveCount", 100, self._config.octeth.max_list),
        )
        return BrowseAnswer(TotalRecords=sum(counts.values()), SuppressedEmails={e.original: _entry(e) for e in found})

    @_calls.get("/api/v1/suppression.stats", "Count them by source", asks=Filter)
    async def stats(self, who: Actor, p: Parameters) -> StatsAnswer:
        """suppression.stats"""
        counts = await self._lists.by_reason(who.member.id, *_filter(p))
        by_source = {source: counts.get(reason, 0) for source, reason in SOURCES.items()}
        return StatsAnswer(Total=sum(by_source.values()), BySource=by_source)

    @_calls.post("/api/v1/suppression.check", "Look addresses up", takes=Addresses, reads=True)
    async def check(self, who: Actor, p: Parameters) -> CheckAnswer:
        """suppression.check"""
        wanted = _addresses(p)
        if len(wanted) > _MOST_CHECKED:
            raise Fault(5, f"At most {_MOST_CHECKED} email addresses at once")
        found: dict[str, EntryView] = {}
        for address in wanted:
            try:
                entry = await self._lists.look_up(who.member.id, address)
            except BadName:
                continue
            if entry is not None:
                found[address] = _entry(entry)
        return CheckAnswer(TotalChecked=len(wanted), TotalSuppressed=len(found), SuppressedEmails=found)

    @_calls.post("/api/v1/suppression.import", "Stop mailing many", takes=Import)
    async def import_(self, who: Actor, p: Parameters) -> ImportAnswer:
        """suppression.import"""
        wanted = _addresses(p)
        reason = _BY_WORD.get((p.text("SuppressionSource") or "User").lower())
        if reason is None:
            raise Fault(3, f"Invalid SuppressionSource. Allowed: {', '.join(SOURCES)}")
        detail = p.text("Reason") or _REASON
        if len(detail) > _REASON_MAX:
            raise Fault(4, f"Reason may have {_REASON_MAX} characters at most")
        most, failed = self._config.suppression.max_batch, []
        for at in range(0, len(wanted), most):
            some = wanted[at : at + most]
            done = await self._lists.put_many(who.member.id, [New(address, reason, detail) for address in some])
            failed += [address for address, taken in zip(some, done, strict=True) if taken.entry is None]
        return ImportAnswer(
            TotalImported=len(wanted) - len(failed), TotalFailed=len(failed), FailedEmailAddresses=failed
        )

    @_calls.post("/api/v1/suppression.delete", "Mail addresses again", takes=Delete)
    async def delete(self, who: Actor, p: Parameters) -> DeleteAnswer:
        """suppression.delete"""
        one = p.text("EmailAddress")
        wanted = [one] if one else _addresses(p)
        failed = await self._lists.remove_many(who.member.id, wanted)
        if not one:
            return DeleteAnswer(
                TotalDeleted=len(wanted) - len(failed), TotalFailed=len(failed), FailedEmailAddresses=failed
            )
        if failed:
            raise Fault(2, "Invalid email address or email address not in suppression list", 404)
        return DeleteAnswer()


def _filter(p: Parameters) -> tuple[list[str], str]:
    words = [word.strip().lower() for word in p.text("SuppressionSource").split(",") if word.strip()]
    if any(word not in _BY_WORD for word in words):
        raise Fault(1, f"Invalid SuppressionSource. Allowed: {', '.join(SOURCES)}")
    return [_BY_WORD[word] for word in words] or list(SOURCES.values()), p.text("SearchPattern")


def _addresses(p: Parameters) -> list[str]:
    """What both parameters name, each once. Raises Fault 1 for nothing, 2 for what is no list of addresses."""
    given: Any = p.given("EmailAddresses")
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else []
        except (ValueError, RecursionError):
            raise Fault(2, "EmailAddresses is not a JSON array of email addresses") from None
    given = [] if given is None else given
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise Fault(2, "EmailAddresses is not a JSON array of email addresses")
    found = list(_distinct([*given, *p.text("EmailAddressesBulk").splitlines()]))
    if not found:
        raise Fault(1, "Missing email addresses")
    return found


def _distinct(texts: Iterable[str]) -> dict[str, None]:
    return dict.fromkeys(text.strip() for text in texts if text.strip())


def _entry(e: Suppression) -> EntryView:
    return EntryView(
        SuppressionID=str(e.id), RelListID="0", RelOwnerUserID=str(e.member_id), EmailAddress=e.original,
        SuppressionSource=_SHOWN[e.reason], Reason=e.detail,
    )
