"""The calls of an older version, in which there was one sender: its clients make them still.

The sender is the default of the sender details. A new address counts once it is verified; until then the old one stays.
"""

from __future__ import annotations

from pydantic import Field

from enroll.api.wix import views
from enroll.api.wix.calls import may
from enroll.api.wix.errors import FORMER
from enroll.api.wix.requests import Asked, VerifyEmail
from enroll.senders import Sender, SenderEmail
from enroll.services import SenderServices
from enroll.sessions import Actor
from relay.base.clock import iso
from relay.base.web.calls import KEY_OR_SIGN_IN, Calls
from relay.base.web.models import View

TAG = (FORMER, "One sender, as the first version of these calls had it.")
_PATH = "/email-marketing/v1/sender-details"
_calls = Calls(FORMER, KEY_OR_SIGN_IN, scope="manage")


class ChangedSender(Asked):
    """What may change."""

    from_name: str | None = Field(None, min_length=1, max_length=100, examples=["Anna"])
    from_email: str | None = Field(None, min_length=6, max_length=254, examples=["anna@example.org"])


class UpdateSender(Asked):
    """What updating takes."""

    sender_details: ChangedSender


class SenderView(View):
    """The sender; without `dateVerified` while its address waits for its code."""

    from_name: str = ""
    from_email: str = ""
    date_verified: str | None = None


class OneSender(View):
    """The sender."""

    sender_details: SenderView


class UpdatedSender(View):
    """Whether a code was sent, which has to come back first."""

    verification_needed: bool


class FormerCalls:
    """One method a call."""

    def __init__(self, services: SenderServices) -> None:
        self._only = services.only

    @_calls.get(_PATH, "Show the sender", description="Deprecated: use /sender-details/v1/sender-details/default.")
    async def get(self, who: Actor) -> OneSender:
        """Empty where there is none yet."""
        found = await self._only.get(who.member.id)
        if found is None or not who.may_use(found[1].domain):
            return OneSender(sender_details=SenderView())
        return OneSender(sender_details=_shown(*found))

    @_calls.patch(_PATH, "Change the sender", description="Deprecated: create sender emails and sender details.")
    async def update(self, who: Actor, body: UpdateSender) -> UpdatedSender:
        """At once, or after a code."""
        asked = body.sender_details
        if asked.from_email is not None:
            may(who, asked.from_email)
        done = await self._only.update(who.member.id, asked.from_name, asked.from_email)
        return UpdatedSender(verification_needed=not done)

    @_calls.post(
        f"{_PATH}/verify-email", "Verify the sender's address", description="Deprecated: verify a sender email."
    )
    async def verify(self, who: Actor, body: VerifyEmail) -> views.Nothing:
        """The code brought back."""
        await self._only.verify(who.member.id, body.verification_code)
        return views.Nothing()


def _shown(sender: Sender | None, email: SenderEmail) -> SenderView:
    name = sender.name if sender is not None else email.wanted_name or ""
    verified = iso(email.verified_at) if email.verified_at is not None else None
    return SenderView(from_name=name, from_email=email.address, date_verified=verified)
