"""The relay's letters to members, written by enrollment's notices."""

from __future__ import annotations

from enroll.errors import EnrollError
from enroll.services import Services
from relay.base.letters import Join, Letter, NoticeLater, Tell
from relay.base.storage import Tx


def tell(enroll: Services, about: str) -> Tell:
    """What prepares a letter to a member. `about`: for the log."""

    async def prepare(letter: Letter) -> Join:
        assert enroll.for_domains is not None
        try:
            member = await enroll.accounts.by_id(letter.member_id)
            join = await enroll.for_domains.notices.mail(
                member.email, letter.subject, f"Hello {member.handle},\n\n{letter.text}", about=about
            )
        except EnrollError as e:
            raise NoticeLater from e

        async def joined(tx: Tx) -> None:
            try:
                await join(tx)
            except EnrollError as e:
                raise NoticeLater from e

        return joined

    return prepare
