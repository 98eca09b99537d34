"""What a question to the DNS comes back with: an answer, nothing there, or ask again later.

The three are kept apart because each means another thing to mail: `Nothing` is a fact that may end a message or
a claim, `Later` is the absence of a fact and may end neither. Whatever is not understood is `Later`.
Values only; who asks and how is in the modules beside this one.
"""

from dataclasses import dataclass
from typing import Literal

Record = str | tuple[int, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """Records found.

    records: for MX `(preference, host)` sorted by preference, for TXT one joined string a record, else strings;
    hosts are lower-case A-labels without the trailing dot (the root, as in a null MX, is ".").
    ttl: seconds they may still be kept. cname_chain: the alias targets passed on the way, in order.
    authentic: a trusted resolver says that it validated them with DNSSEC.
    """

    records: tuple[Record, ...]
    ttl: int
    cname_chain: tuple[str, ...] = ()
    authentic: bool = False

    def texts(self) -> tuple[str, ...]:
        """The records of a type whose records are plain strings (everything but MX)."""
        return tuple(record for record in self.records if isinstance(record, str))

    def exchanges(self) -> tuple[tuple[int, str], ...]:
        """The `(preference, host)` records of an MX answer, best first."""
        return tuple(record for record in self.records if not isinstance(record, str))


@dataclass(frozen=True, slots=True)
class Nothing:
    """The DNS says that there is no such record: the name does not exist, or has no record of this type.

    negative_ttl: seconds for which resolvers may repeat the "no" (RFC 2308 §5). soa: the zone that said so,
    "" when the reply did not tell. authentic as in Answer: that there is nothing was proved.
    """

    kind: Literal["nxdomain", "nodata"]
    negative_ttl: int
    soa: str = ""
    cname_chain: tuple[str, ...] = ()
    authentic: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """No fact was learned: time ran out, a server failed, the reply made no sense. Ask again later.

    reason is for the log and for the owner's page; it holds no text of an exception.
    """

    reason: str


Result = Answer | Nothing | Later

State = Literal["present", "absent", "unreachable", "later"]


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What one authoritative server said.

    server, ip: its host name and the address asked ("" when it has none). values: TXT strings joined per record,
    host names, or "preference host" for MX. cname: alias targets followed. negative_until_seconds: how long
    resolvers may keep the "no" of an absent record. reason: why nothing was learned, when nothing was.
    """

    server: str
    ip: str
    state: State
    values: tuple[str, ...] = ()
    cname: tuple[str, ...] = ()
    negative_until_seconds: int | None = None
    reason: str = ""
