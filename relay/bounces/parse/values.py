"""What a report says, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from relay.base import names

Kind = Literal["bounce", "complaint", "auto_reply", "other"]
Action = Literal["failed", "delayed", "delivered", "relayed", "expanded", ""]
SUCCEEDED = ("delivered", "relayed", "expanded")


@dataclass(frozen=True, slots=True)
class Fate:
    """What a report says of one recipient (RFC 3464 §2.3). Addresses are the report's own claim, nothing more.

    `status` is "" where none could be read; `diagnostic` is one printable line; `host` is who reports; `stage` is the
    command that was refused, as the text around the reply has it (`relay.bounces.classify.frames`), ""
    where it doesn't say. `will_retry`: it names a time until which it is tried on.
    """

    action: Action
    status: str = ""
    diagnostic: str = ""
    final: str = ""
    original: str = ""
    host: str = ""
    stage: str = ""
    will_retry: bool = False

    @property
    def addresses(self) -> str:
        """The addresses that the report names for this recipient."""
        return f"{self.original} {self.final}".strip()


@dataclass(frozen=True, slots=True)
class Report:
    """One message that came back. `other` is mail that is no report.

    `shape` names the form it was recognised by. For complaints: `paths` are the envelope senders the enclosed
    message names, `marks` the values of its X-Posthouse-Message fields, `leave_by` the addresses and the
    URLs' tokens in its List-Unsubscribe: claims, to be checked. For bounces in prose, `writer` is the address in From,
    unless a mail system's.
    """

    kind: Kind
    shape: str = ""
    fates: tuple[Fate, ...] = ()
    feedback: str = ""
    paths: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    leave_by: tuple[str, ...] = ()
    agent: str = field(default="")
    writer: str = ""

    @property
    def is_report(self) -> bool:
        """True for what a mail system or a feedback loop reports, of whatever kind; False for what somebody wrote and
        for an automatic answer. Who sends a message on by hand and complains is somebody."""
        if self.kind == "auto_reply":
            return self.shape == "receipt"
        if self.kind == "bounce":
            return not self.writer
        return bool(self.shape) and self.shape != "enclosed"

    def fate_of(self, address: str) -> Fate | None:
        """The fate that concerns the recipient `address`: the one that names it, else the least grave of all.

        A host may report under another name (an alias, a forward); with several recipients in one report and none
        of them ours, only what holds for each of them holds for ours. None where the recipient itself wrote it: what
        comes from an address is an automatic answer of its owner, however it is worded, and no bounce.
        """
        wanted = address.lower()
        if not self.fates or self.writer == wanted:
            return None
        named = [f for f in self.fates if wanted in (f.final.lower(), f.original.lower())]
        if not named:
            # Another spelling: with or without quotes, a U-label, without its tag.
            key = _key(address)
            named = [f for f in self.fates if key in (_key(f.final), _key(f.original))]
        rank = {"failed": 2, "delayed": 1, "": 1, "delivered": 0, "relayed": 0, "expanded": 0}
        return min(named or self.fates, key=lambda f: (rank[f.action], f.status[:1]))


def _key(address: str) -> str:
    try:
        return names.canonical(address)
    except names.BadName:
        return address.lower()
