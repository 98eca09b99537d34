"""DNS: an answer, nothing there, or ask again later; and what a zone's own servers say.

`Resolver` asks the configured name servers (`recursive`) and, for proofs, each authoritative server itself
(`authoritative`). One question to one server is `exchange`, one reply is read in `response`, what was learned is
kept in `caching`. Nothing else in the relay imports dnspython. Names go in and come out as lower-case A-labels
without a trailing dot.
"""

from relay.base.resolver.recursive import Resolver
from relay.base.resolver.results import Answer, Later, Nothing, Record, Result, ServerAnswer, State

__all__ = ["Answer", "Later", "Nothing", "Record", "Resolver", "Result", "ServerAnswer", "State"]
