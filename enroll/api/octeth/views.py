"""What goes out, named as the clients of this shape name it, and the parameters as they are described to them.

Fields with a default are left out of an answer unless they were given. What comes in is read more leniently than it
is described here (see `asking`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic_core import to_json

from relay.base.domain_options import OPTIONS, Option
from relay.base.web import raw_answer
from relay.base.web.calls import Access

ACCESS = Access(keys=("octethKey", "apiKey"), sign_ins=("octethSession",))
DOMAIN_KEY = Access(keys=("octethSenderKey", "apiKey"))
"""The programs of a domain."""
OPERATOR_KEY = Access(keys=("octethAdminKey", "apiKey"))
"""The operator's: a key of the relay's own member."""
Flag = Literal[0, 1]
Probed = tuple[str, str, bool]
Record = tuple[str, str] | Probed
Status = Literal["Approval Pending", "Enabled", "Disabled", "Suspended", "Blocked"]
Bucket = Literal["excellent", "good", "fair", "poor"]
Model = TypeVar("Model", bound=BaseModel)
NAMED = [o for kind in ("switch", "label") for o in OPTIONS.values() if o.octeth and o.kind == kind]
"""The options that have a name in this shape, switches first."""
CREATED: dict[str, Any] = {"return_path": True, "tracking": True, "link_tracking": True, "open_tracking": True}
"""What a domain created here has, unless its options are named."""


def _with_options(field: Callable[[Option], Any]) -> Callable[[type[Model]], type[Model]]:
    """A model with a field for each of `NAMED`: (type, default)."""

    def made(model: type[Model]) -> type[Model]:
        fields: dict[str, Any] = {o.octeth: field(o) for o in NAMED}
        return create_model(
            model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **fields
        )

    return made


class View(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid")


class Answer(View):
    """A whole one."""

    Success: Literal[True] = True

    def response(self) -> web.Response:
        """This as JSON, without what was not given."""
        self.Success = True
        return raw_answer(self.model_dump_json(exclude_unset=True), 200)


class CodedAnswer(Answer):
    """One of the older families, whose clients look at `ErrorCode`."""

    ErrorCode: Literal[0] = 0

    def response(self) -> web.Response:
        """This as JSON, without what was not given."""
        self.ErrorCode = 0
        return super().response()


class ErrorView(View):
    """One error."""

    Code: int
    Message: str


class ErrorsView(View):
    """Every refusal; `ErrorCode` and `ErrorText` are what older clients read, those of the first error."""

    Success: Literal[False] = False
    ErrorCode: int
    ErrorText: str
    Errors: list[ErrorView]


@_with_options(lambda o: (Flag, ...) if o.kind == "switch" else (str, ""))
class _ShownOptions(View):
    """Those that have a name in this shape."""


class OptionsView(_ShownOptions):
    """A domain's switches."""

    TrackPrefixDisabled: bool = False


class VerificationView(View):
    """The records, by host: type, value and, once it could be asked, whether it stands there."""

    DNSRecords: dict[str, Record]


class DomainView(View):
    """A domain, as create and update show it."""

    DomainID: str
    SenderDomain: str
    UserID: str
    CreatedAt: str
    Status: Status
    VerificationMeta: VerificationView
    PolicyMeta: list[Any]
    Options: OptionsView


class ListedView(DomainView):
    """A domain with its figures, as list and get show it."""

    LastVerifiedAt: str | None
    Volume7d: int
    VolumeDelta: str | None
    Reputation: int | None
    ReputationBucket: Bucket | None
    DeliveryRate: float | None
    BounceRate: float | None


class PeriodView(View):
    """One UTC day, in recipients."""

    Period: str
    Sent: int
    Delivered: int
    Bounced: int
    Complaints: int


class ListAnswer(Answer):
    """user.senderdomain.list"""

    SenderDomains: list[ListedView]

    @classmethod
    def of(cls, listed: list[dict[str, Any]]) -> ListAnswer:
        """The answer for plain values, which are not validated again: there may be thousands."""
        return cls.model_construct(SenderDomains=listed)

    def response(self) -> web.Response:
        """This as JSON."""
        return raw_answer(to_json({"Success": True, "SenderDomains": self.SenderDomains}), 200)


class GetAnswer(Answer):
    """user.senderdomain.get; `Days` and `Stats` (by day, the latest first) where `days` was asked for."""

    SenderDomain: ListedView
    Days: int = 0
    Stats: dict[str, PeriodView] = Field(default_factory=dict)


class CreateAnswer(Answer):
    """user.senderdomain.create"""

    DomainID: int
    SenderDomain: DomainView


class UpdateAnswer(Answer):
    """user.senderdomain.update; `DnsRegenerated`: other records must be published now."""

    DnsRegenerated: bool
    SenderDomain: DomainView


class DeleteAnswer(Answer):
    """user.senderdomain.delete"""


class VerifyAnswer(Answer):
    """user.senderdomain.verify of one domain."""

    DomainID: int
    IsVerified: bool
    Status: Status
    DNSRecords: dict[str, Probed]


class VerifiedView(View):
    """One domain of many."""

    DomainID: int
    IsVerified: bool
    Status: Status


class VerifyAllAnswer(Answer):
    """user.senderdomain.verify of all pending domains; `Truncated`: call again for the rest."""

    VerifyAll: Literal[True] = True
    Verified: int
    Failed: int
    Truncated: bool
    Domains: list[VerifiedView]


class RecordView(View):
    """A record; `IsVerified` null: it could not be asked so far."""

    Type: str
    Value: str
    IsVerified: bool | None


class DnsAnswer(Answer):
    """user.senderdomain.dns"""

    DomainID: int
    SenderDomain: str
    DNSRecords: dict[str, RecordView]


class SendTestAnswer(Answer):
    """user.senderdomain.sendtest"""

    DomainID: int
    SenderDomain: str
    To: str
    Subject: str
    MessageID: str


class DnsHostAnswer(Answer):
    """user.senderdomain.dnshost"""

    DomainID: int
    SenderDomain: str
    DnsHost: str
    Nameservers: list[str]


class Asking(BaseModel):
    """Who asks; one of the two. `Command` is needed at /api.php only."""

    Command: str = ""
    APIKey: str = ""
    SessionID: str = ""


class OneDomain(BaseModel):
    """Which domain, in a query."""

    DomainID: int | None = Field(None, examples=[1])


class OneDomainOrFigures(OneDomain):
    """Which domain, and whether with its figures."""

    days: int | None = Field(None, description="With it come the figures of so many days, at most 365.")


class AnyCommand(OneDomainOrFigures):
    """What a query names to make any call that reads."""

    Command: str | None = Field(None, examples=["user.senderdomain.get"])


class OfDomain(Asking):
    """What each call about one domain takes."""

    DomainID: int


@_with_options(lambda o: (bool, CREATED.get(o.name, o.default)) if o.kind == "switch" else (str, ""))
class Create(Asking):
    """What create takes."""

    SenderDomain: str = Field(examples=["example.org"])
    UseTrackingSubdomain: bool = True


@_with_options(lambda o: (bool, False) if o.kind == "switch" else (str, ""))
class Update(OfDomain):
    """What update takes; what is left out keeps its value."""

    UseTrackingSubdomain: bool = True
    TrackPrefixDisabled: bool = Field(False, description="The inverse of UseTrackingSubdomain, which counts for more.")
    status: Literal["Enabled", "Disabled"] = "Enabled"


class Verify(Asking):
    """What verify takes: `DomainID`, or `verifyall`."""

    DomainID: int = Field(0, examples=[1])
    verifyall: bool = False


class SendTest(OfDomain):
    """What sendtest takes."""

    to: str = Field(examples=["you@example.net"])
    subject: str = ""
