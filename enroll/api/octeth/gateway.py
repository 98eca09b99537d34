"""`emailgateway.*`: domains, their keys, SMTP credentials and queue, as the clients of the Email Gateway call them.

A domain is what `user.senderdomain.*` makes of it, under other names. Its API keys and SMTP credentials are the API
keys that are limited to it and to no other domain: the latter have an SMTP user name, the former have none.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import Field

from enroll.api.octeth import responses
from enroll.api.octeth.calls import SenderDomains
from enroll.api.octeth.errors import Fault, missing, not_found, unauthorised
from enroll.api.octeth.requests import Parameters
from enroll.api.octeth.views import ACCESS, Asking, CodedAnswer, OfDomain, OptionsView, Status, VerificationView, View
from enroll.api_keys import Key
from enroll.domains import Domain, Domains
from enroll.services import Services
from enroll.sessions import Actor
from relay.base.config import Config
from relay.base.web.calls import Calls
from relay.queue import Queue
from relay.replies import Refused

TAG = ("Email Gateway", "At `/api.php` too, each by its `Command`.")
_PATH = "/api/v1/emailgateway"
_MERGE = "-"
_SHOWN_ONCE = "The text of a key is shown once, by addapi or replaceapi."
_FOR_DOMAIN = {
    "Subdomain": "CustomSubdomain", "TrackPrefix": "CustomTrackPrefix", "TrackPrefixDisabled": "TrackPrefixDisabled",
    "LinkTracking": "LinkTracking", "OpenTracking": "OpenTracking", "UnsubscribeLink": "UnsubscribeLink",
    "DomainID": "DomainID",
}
"""Parameters here, and in `user.senderdomain.*`."""
_calls = Calls(TAG[0], ACCESS, scope="manage", hands=("p",))


class Named(Asking):
    """How a domain's hosts are named."""

    Subdomain: str = Field("", description="Empty: as the relay does.")
    TrackPrefix: str = Field("", description="Empty: as the relay does.")
    TrackMerge: str = Field(_MERGE, description="Always a hyphen here.")
    TrackPrefixDisabled: bool = False


class AddDomain(Named):
    """What adddomain takes."""

    DomainName: str = Field(examples=["example.org"])


class UpdateDomain(Named):
    """What updatedomain takes; what is left out keeps its value."""

    DomainID: int
    LinkTracking: bool = True
    OpenTracking: bool = True
    UnsubscribeLink: bool = False


class AddKey(OfDomain):
    """What addapi and replaceapi take."""

    Description: str = Field(max_length=255, examples=["The shop"])


class OfKey(Asking):
    """What deleteapi takes."""

    APIKeyID: int


class OfLogin(Asking):
    """What calls about one SMTP credential take."""

    SMTPID: int


class GatewayDomain(View):
    """A domain."""

    DomainID: int
    SenderDomain: str
    CreatedAt: str
    Status: Status
    VerificationMeta: VerificationView
    PolicyMeta: list[Any]
    Options: OptionsView


class ListedDomain(GatewayDomain):
    """A domain in the list."""

    DomainID: str  # type: ignore[assignment]


class KeyView(View):
    """A key; its text where it was just made, else how it begins."""

    APIKeyID: int
    APIKey: str
    Description: str
    DomainID: int


class LoginView(View):
    """An SMTP credential; the password where it was just made."""

    SMTPID: int
    SMTPUsername: str
    SMTPPassword: str = ""
    SMTPHost: str = ""
    SMTPPorts: list[int] = Field(default_factory=list)


class DoneAnswer(CodedAnswer):
    """Done."""


class AddDomainAnswer(CodedAnswer):
    """emailgateway.adddomain"""

    NewSenderDomainID: int
    Domain: GatewayDomain


class GetDomainAnswer(CodedAnswer):
    """emailgateway.getdomain"""

    Domain: GatewayDomain


class GetDomainsAnswer(CodedAnswer):
    """emailgateway.getdomains"""

    Domains: list[ListedDomain]


class UpdateDomainAnswer(GetDomainAnswer):
    """emailgateway.updatedomain; `SubdomainChanged`: other records must be published now."""

    SubdomainChanged: bool


class VerifyDomainAnswer(GetDomainAnswer):
    """emailgateway.verifydomain"""

    DNSVerificationResults: dict[str, tuple[str, str, bool]]


class AddKeyAnswer(CodedAnswer):
    """emailgateway.addapi, emailgateway.replaceapi"""

    NewAPIKeyID: int
    APIKey: KeyView


class KeysAnswer(CodedAnswer):
    """emailgateway.getapis"""

    APIKeys: list[KeyView]
    Note: str


class AddLoginAnswer(CodedAnswer):
    """emailgateway.addsmtp"""

    NewSMTPID: int
    SMTP: LoginView


class LoginsAnswer(CodedAnswer):
    """emailgateway.getsmtps"""

    SMTPs: list[LoginView]


class LoginAnswer(CodedAnswer):
    """emailgateway.resetsmtppassword"""

    SMTP: LoginView


class GatewayDomains:
    """The calls about domains. Raises Fault, and what the services raise."""

    FAMILY = "emailgateway."

    def __init__(self, domains: SenderDomains, services: Domains, config: Config) -> None:
        self._calls, self._domains, self._config = domains, services, config

    @_calls.post(f"{_PATH}.adddomain", "Enroll a domain", takes=AddDomain)
    async def adddomain(self, who: Actor, p: Parameters) -> AddDomainAnswer:
        """emailgateway.adddomain"""
        if not p.has("DomainName"):
            raise missing("DomainName")
        said = self._named(p, 4, SenderDomain=p.given("DomainName"))
        with _renumbered({4: 2, 5: 3, 6: 4, 7: 500, 8: 500}):
            made = await self._calls.create(who, said)
        return AddDomainAnswer(NewSenderDomainID=made.DomainID, Domain=await self._shown(who, made.DomainID))

    @_calls.post(f"{_PATH}.getdomain", "Show a domain", takes=OfDomain, reads=True)
    async def getdomain(self, who: Actor, p: Parameters) -> GetDomainAnswer:
        """emailgateway.getdomain"""
        return GetDomainAnswer(Domain=await self._shown(who, p.domain_id()))

    @_calls.post(f"{_PATH}.getdomains", "List the domains", takes=Asking, reads=True)
    async def getdomains(self, who: Actor, p: Parameters) -> GetDomainsAnswer:
        """emailgateway.getdomains"""
        found = await self._domains.list(who.member.id, limit=self._config.octeth.max_list)
        shown = [self._view(domain) | {"DomainID": str(domain.id)} for domain in found if who.may_use(domain.name)]
        return GetDomainsAnswer.model_validate({"Domains": shown})

    @_calls.post(f"{_PATH}.updatedomain", "Change a domain", takes=UpdateDomain)
    async def updatedomain(self, who: Actor, p: Parameters) -> UpdateDomainAnswer:
        """emailgateway.updatedomain"""
        said = self._named(p, 6)
        with _renumbered({2: 5, 7: 5}):
            done = await self._calls.update(who, said)
        return UpdateDomainAnswer(Domain=await self._shown(who, p.domain_id()), SubdomainChanged=done.DnsRegenerated)

    @_calls.post(f"{_PATH}.verifydomain", "Look at a domain's DNS now", takes=OfDomain)
    async def verifydomain(self, who: Actor, p: Parameters) -> VerifyDomainAnswer:
        """emailgateway.verifydomain"""
        domain = await self._domains.check((await self._calls.one(who, p)).id)
        found = responses.probed(domain, self._domains.records(domain, recommended=False))
        shown = GatewayDomain.model_validate(self._view(domain))
        return VerifyDomainAnswer(Domain=shown, DNSVerificationResults=found)

    @_calls.post(f"{_PATH}.deletedomain", "Delete a domain", takes=OfDomain)
    async def deletedomain(self, who: Actor, p: Parameters) -> DoneAnswer:
        """emailgateway.deletedomain"""
        with _renumbered({}):
            await self._calls.delete(who, p)
        return DoneAnswer()

    async def _shown(self, who: Actor, domain_id: int) -> GatewayDomain:
        domain = await self._calls.one(who, Parameters([("DomainID", domain_id)]))
        return GatewayDomain.model_validate(self._view(domain))

    def _view(self, domain: Domain) -> dict[str, Any]:
        shown = responses.brief(domain, self._domains.records(domain, recommended=False)).model_dump(exclude_unset=True)
        del shown["UserID"]
        return shown | {"DomainID": domain.id}

    def _named(self, p: Parameters, bad: int, **more: Any) -> Parameters:
        """The parameters in the names of `user.senderdomain.*`. Raises Fault `bad` for a hyphen that is none."""
        if p.text("TrackMerge") not in ("", _MERGE):
            raise Fault(bad, f"Invalid TrackMerge. It is always {_MERGE} here")
        said = {name: p.given(given) for given, name in _FOR_DOMAIN.items()}
        octeth = self._config.octeth
        # Given and empty: as it is where nobody says anything.
        for name, usual in (("CustomSubdomain", octeth.subdomain), ("CustomTrackPrefix", octeth.track_prefix)):
            if said[name] == "":
                said[name] = None if "SenderDomain" in more else usual
        return Parameters((said | more).items())


class GatewayCredentials:
    """The calls about what a domain's programs sign in with, and about its queue."""

    FAMILY = "emailgateway."

    def __init__(self, domains: SenderDomains, services: Services, queue: Queue | None) -> None:
        self._calls, self._credentials, self._queue = domains, services.credentials, queue
        self._config, self._clock = services.config, services.clock

    @_calls.post(f"{_PATH}.addapi", "Issue an API key for a domain", takes=AddKey)
    async def addapi(self, who: Actor, p: Parameters) -> AddKeyAnswer:
        """emailgateway.addapi"""
        return await self._new_key(who, p, replaces=False)

    @_calls.post(f"{_PATH}.replaceapi", "Issue an API key in the place of all that a domain has", takes=AddKey)
    async def replaceapi(self, who: Actor, p: Parameters) -> AddKeyAnswer:
        """emailgateway.replaceapi"""
        return await self._new_key(who, p, replaces=True)

    @_calls.post(f"{_PATH}.getapis", "List a domain's API keys", takes=OfDomain, reads=True)
    async def getapis(self, who: Actor, p: Parameters) -> KeysAnswer:
        """emailgateway.getapis"""
        domain = await self._calls.one(who, p)
        found = [
            _key_view(key, domain, f"ph_{key.public_id}_…")
            for key in await self._credentials.of_domain(who.member.id, domain.name) if key.smtp_user is None
        ]
        return KeysAnswer(APIKeys=found, Note=_SHOWN_ONCE)

    @_calls.post(f"{_PATH}.deleteapi", "Revoke an API key", takes=OfKey)
    async def deleteapi(self, who: Actor, p: Parameters) -> DoneAnswer:
        """emailgateway.deleteapi"""
        key = await self._key(who, p, "APIKeyID", "API Key")
        await self._credentials.revoke(who.member.id, key.id)
        return DoneAnswer()

    @_calls.post(f"{_PATH}.addsmtp", "Issue SMTP credentials for a domain", takes=OfDomain)
    async def addsmtp(self, who: Actor, p: Parameters) -> AddLoginAnswer:
        """emailgateway.addsmtp"""
        domain = await self._calls.one(who, p)
        text, key = await self._issue(who, domain, f"SMTP for {domain.name}", ("send",), f"smtp_{secrets.token_hex(6)}")
        return AddLoginAnswer(NewSMTPID=key.id, SMTP=self._login_view(key, SMTPPassword=text))

    @_calls.post(f"{_PATH}.getsmtps", "List a domain's SMTP credentials", takes=OfDomain, reads=True)
    async def getsmtps(self, who: Actor, p: Parameters) -> LoginsAnswer:
        """emailgateway.getsmtps"""
        domain = await self._calls.one(who, p)
        found = await self._credentials.of_domain(who.member.id, domain.name)
        return LoginsAnswer(SMTPs=[self._login_view(key) for key in found if key.smtp_user is not None])

    @_calls.post(f"{_PATH}.deletesmtp", "Revoke SMTP credentials", takes=OfLogin)
    async def deletesmtp(self, who: Actor, p: Parameters) -> DoneAnswer:
        """emailgateway.deletesmtp"""
        key = await self._key(who, p, "SMTPID", "SMTP credentials")
        await self._credentials.revoke(who.member.id, key.id)
        return DoneAnswer()

    @_calls.post(f"{_PATH}.resetsmtppassword", "Give SMTP credentials another password", takes=OfLogin)
    async def resetsmtppassword(self, who: Actor, p: Parameters) -> LoginAnswer:
        """emailgateway.resetsmtppassword"""
        key = await self._key(who, p, "SMTPID", "SMTP credentials")
        maker = await self._maker(who)
        if maker is not None and not _within(key, maker):
            raise unauthorised()
        text, key = await self._credentials.renew(who.member.id, key.id)
        return LoginAnswer(SMTP=LoginView(SMTPID=key.id, SMTPUsername=key.smtp_user or "", SMTPPassword=text))

    @_calls.post(f"{_PATH}.cleardomainqueue", "Cancel all that waits from a domain", takes=OfDomain)
    async def cleardomainqueue(self, who: Actor, p: Parameters) -> DoneAnswer:
        """emailgateway.cleardomainqueue"""
        domain = await self._calls.one(who, p)
        if self._queue is not None:
            await self._queue.clear(who.member.id, domain.name)
        return DoneAnswer()

    async def _new_key(self, who: Actor, p: Parameters, *, replaces: bool) -> AddKeyAnswer:
        if not p.has("Description"):
            raise missing("Description")
        if not p.has("DomainID"):
            raise missing("DomainID", 2)
        with _renumbered({2: 3}):
            domain = await self._calls.one(who, p)
        text, key = await self._issue(who, domain, p.text("Description"), ("send", "read"), None, replaces=replaces)
        return AddKeyAnswer(NewAPIKeyID=key.id, APIKey=_key_view(key, domain, text))

    async def _issue(
        self, who: Actor, domain: Domain, description: str, scopes: tuple[str, ...], smtp_user: str | None, *,
        replaces: bool = False,
    ) -> tuple[str, Key]:
        """A key of one domain: no key makes one that may do more, is taken from elsewhere, or lasts longer."""
        maker = await self._maker(who)
        return await self._credentials.issue(
            who.member.id, description=description, domains=[domain.name],
            scopes=[scope for scope in scopes if maker is None or scope in maker.scopes],
            networks=maker.networks if maker is not None else None,
            expires_at=maker.expires_at if maker is not None else None, smtp_user=smtp_user,
            replaces=(lambda key: key.smtp_user is None) if replaces else None,
        )

    async def _maker(self, who: Actor) -> Key | None:
        """The API key that asks; None for a sign-in. Raises Fault 0 for one that may not send: it makes no key that
        may."""
        if who.login is None:
            return None
        if "send" not in who.login.scopes:
            raise unauthorised()
        return await self._credentials.get(who.member.id, who.login.key_id)

    async def _key(self, who: Actor, p: Parameters, parameter: str, kind: str) -> Key:
        """The live key of one domain that is named. Raises Fault 1, 2."""
        if not p.has(parameter):
            raise missing(parameter)
        try:
            key = await self._credentials.get(who.member.id, p.id(parameter))
        except Refused as e:
            raise Fault(2, f"{kind} not found", 404) from e
        live = key.state(self._clock.now()) == "live"
        of_one = key.domains is not None and len(key.domains) == 1 and who.may_use(key.domains[0])
        if not (live and of_one and (key.smtp_user is not None) == (parameter == "SMTPID")):
            raise Fault(2, f"{kind} not found", 404)
        return key

    def _login_view(self, key: Key, **secret: str) -> LoginView:
        submission = self._config.submission
        # Those with STARTTLS first: clients that take one take the first.
        ports = [p for listen in (submission.listen, submission.listen_tls) for p in sorted(map(_port, listen)) if p]
        return LoginView(
            SMTPID=key.id, SMTPUsername=key.smtp_user or "", **secret, SMTPHost=self._config.server.hostname,
            SMTPPorts=list(dict.fromkeys(ports)),
        )


def _port(listen: str) -> int:
    return int(listen.rpartition(":")[2])


def _key_view(key: Key, domain: Domain, text: str) -> KeyView:
    return KeyView(APIKeyID=key.id, APIKey=text, Description=key.description, DomainID=domain.id)


def _within(key: Key, maker: Key) -> bool:
    """Whether a key may do no more than another, is taken from nowhere else, and lasts no longer."""
    lasts = key.expires_at is not None and maker.expires_at is not None and key.expires_at <= maker.expires_at
    return (
        set(key.scopes) <= set(maker.scopes) and (maker.networks is None or key.networks == maker.networks)
        and (maker.expires_at is None or lasts) and (maker.null_sender or not key.null_sender)
    )


@contextmanager
def _renumbered(codes: dict[int, int]) -> Iterator[None]:
    """A call of `user.senderdomain.*` in the codes and names of this family, which names no status of its own; what it
    has no number for is a status."""
    try:
        yield
    except (Fault, Refused) as e:
        if isinstance(e, Refused) and e.status != 404:
            raise
        fault = not_found() if isinstance(e, Refused) else e
        code, message = codes.get(fault.code, fault.code), fault.message
        for here, there in _FOR_DOMAIN.items():
            message = message.replace(there, here)
        raise Fault(code, message, max(code, fault.status), fault.wait) from e

