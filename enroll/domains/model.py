"""What a domain is to those who ask: values, free of rows and seals; and how they are made from rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

from enroll.domains.lifecycle import Features
from enroll.errors import EnrollError, invalid, not_found
from enroll.records import BY_NAME
from relay.base import names
from relay.base.domain_options import MAX_LABEL, BadOption, Notes, Options, change
from relay.base.storage import Tx
from relay.base.storage import domains as rows
from relay.base.storage.domains import KeyRow, Row
from relay.replies import LABEL_TOO_LONG

Form = Literal["txt", "cname"]
"""How records are entered: as they are, or as aliases into the relay's own zone where that can be."""


_HOSTS = ("custom_subdomain", "track_prefix", "tracking")


def changed(options: Options, changes: Mapping[str, Any]) -> Options:
    """`options` with `changes` (by name) applied. Raises EnrollError 422 naming the field that can't be used."""
    try:
        after = change(options, changes)
    except BadOption as e:
        raise invalid(e.name, e.reason) from None
    # RFC 1035 §2.3.4: the two make one label.
    named = {"track_prefix", "custom_subdomain"} & changes.keys()
    if named and len(after.tracking_label) > MAX_LABEL:
        at_fault = "track_prefix" if "track_prefix" in changes else "custom_subdomain"
        text = f"Prefix and subdomain together may have {MAX_LABEL - 1} characters at most."
        raise EnrollError(LABEL_TOO_LONG, text, at_fault)
    return after


def with_chosen(notes: Notes, changes: Iterable[str]) -> Notes:
    """`notes` where the options in `changes` have been named by the owner."""
    return replace(notes, chosen=(*notes.chosen, *(n for n in _HOSTS if n in changes and n not in notes.chosen)))


class HasFeatures(Protocol):
    """A row, or a domain, as far as its features go."""

    @property
    def return_path_ok(self) -> bool:
        """Whether a return path of its own is in use."""
        ...

    @property
    def tracking_ok(self) -> bool:
        """Whether links carry its own name."""
        ...


def features_of(row: HasFeatures, options: Options, notes: Notes) -> Features:
    """What `options`, those of `row`, have come to."""
    path = (notes.former_subdomain or options.custom_subdomain) if row.return_path_ok else ""
    return Features(notes.awaits, path, row.tracking_ok)


def noting(notes: Notes, options: Options, features: Features) -> Notes:
    """`notes` with what `features` of `options` have to be remembered."""
    former = features.path if features.path != options.custom_subdomain else ""
    return replace(notes, awaits=features.awaits, former_subdomain=former)


class HasStem(Protocol):
    """A DKIM pair, as far as its name goes."""

    @property
    def stem(self) -> str:
        """The selectors' common part."""
        ...

    @property
    def state(self) -> str:
        """pending, live, retiring or removed."""
        ...


def spare_stem(stems: Sequence[str], pairs: Iterable[HasStem]) -> str:
    """The stem of a hosted domain that no pair uses, "" when both are in use."""
    used = {pair.stem for pair in pairs if pair.state != "removed"}
    return next((stem for stem in stems if stem not in used), "")


class KeyState(NamedTuple):
    """A DKIM pair as its owner sees it. Selectors are `<stem>r` and `<stem>e`; times in Unix seconds."""

    stem: str
    state: str
    rsa_txt: str
    ed_txt: str
    created_at: float
    state_at: float


@dataclass(frozen=True, slots=True)
class Domain:
    """One enrolled domain; times in Unix seconds.

    findings: those of the last look, one for each record; flags: the same in short, record's name → ok, where it could
    ever be asked. checked_at: of the last look by anybody; asked_at: when the owner last asked for one. consent:
    parents, held by other members, at which this domain's ownership record must stand too. age: in the answer to a
    check, how many seconds ago DNS was asked.
    """

    id: int
    uuid: str
    member_id: int
    name: str
    state: str
    reason: str
    options: Options
    notes: Notes
    tier: str | None
    created_at: float
    first_verified_at: float | None
    checked_at: float | None
    asked_at: float | None
    next_check_at: float | None
    failing: int
    findings: list[dict[str, Any]]
    flags: dict[str, bool]
    keys: list[KeyState]
    return_path_ok: bool
    tracking_ok: bool
    provider: str
    consent: tuple[str, ...]
    ownership_token: str = field(repr=False)
    age: float | None = field(default=None, compare=False)

    @property
    def signing_pair(self) -> KeyState | None:
        """The pair whose records the domain's state depends on: the live one, before the first proof the pending."""
        by_state = {k.state: k for k in self.keys}
        return by_state.get("live") or by_state.get("pending")

    @property
    def next_pair(self) -> KeyState | None:
        """The pending pair of a rotation under way, beside the live one."""
        by_state = {k.state: k for k in self.keys}
        return by_state.get("pending") if "live" in by_state else None

    @property
    def waits(self) -> bool:
        """Whether a record that its owner asked for has still to be looked for or seen, though mail may go on."""
        return self.notes.regenerated or bool(self.notes.awaits)

    @property
    def features(self) -> Features:
        """What its options have come to."""
        return features_of(self, self.options, self.notes)

    @property
    def proved(self) -> bool:
        """Whether the last look saw every record that its owner has to publish."""
        needed = [f["ok"] for f in self.findings if f.get("needed", f["required"])]
        return bool(needed) and all(ok is True for ok in needed)

    @property
    def unicode_name(self) -> str:
        """The name for people."""
        return names.to_unicode(self.name)

    @property
    def flag(self) -> str | None:
        """A sentence when the name may be taken for another one."""
        return names.confusable(self.name)


def as_of(seconds: float) -> str:
    """How old an answer is, in words."""
    for unit, most in (("second", 120), ("minute", 7200), ("hour", 172_800)):
        if seconds < most:
            count = int(seconds / {"second": 1, "minute": 60, "hour": 3600}[unit])
            return f"as of {count} {unit}{'' if count == 1 else 's'} ago" if count else "as of now"
    return f"as of {int(seconds / 86_400)} days ago"


def lasting(findings: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Those findings that are about the zone as it is, whatever the domain's owner asks for: into them records are
    merged."""
    return [f for f in findings or () if f["purpose"] in BY_NAME and BY_NAME[f["purpose"]].merges] or None


def domain_of(row: Row, keys: Sequence[KeyRow], consent: tuple[str, ...] = ()) -> Domain:
    """The value for a row and its pairs."""
    # By position, for names cost more than all else where there are thousands.
    return Domain(
        id=row.id, uuid=row.uuid, member_id=row.member_id, name=row.name, state=row.state, reason=row.reason,
        options=Options.read(row.options), notes=Notes.of(row), tier=row.tier, created_at=row.created_at,
        first_verified_at=row.first_verified_at, checked_at=row.checked_at, asked_at=row.asked_at,
        next_check_at=row.next_check_at, failing=row.failing, findings=row.findings or [], flags=row.flags or {},
        keys=[KeyState(k.stem, k.state, k.rsa_txt, k.ed_txt, k.created_at, k.state_at) for k in keys],
        return_path_ok=row.return_path_ok, tracking_ok=row.tracking_ok, provider=row.provider, consent=consent,
        ownership_token=row.ownership_token,
    )


async def load(tx: Tx, found: Sequence[Row]) -> list[Domain]:
    """The domains of `found`, in order."""
    pairs = await rows.pairs(tx, [row.id for row in found])
    above = {row.name: names.parents(row.name) for row in found}
    held = await holders(tx, above.values())
    return [domain_of(row, pairs.get(row.id, []), consent_for(row, above[row.name], held)) for row in found]


async def load_one(tx: Tx, row: Row | None) -> Domain:
    """The domain of `row`. Raises EnrollError 404 for None and for a deleted one."""
    if row is None or row.state == "deleted":
        raise not_found("No such domain")
    return (await load(tx, [row]))[0]


async def holders(tx: Tx, parents: Iterable[tuple[str, ...]]) -> dict[str, list[Row]]:
    """Who holds any of these names."""
    held: dict[str, list[Row]] = {}
    for holder in await rows.holders(tx, sorted({parent for above in parents for parent in above})):
        held.setdefault(holder.name, []).append(holder)
    return held


def consent_for(row: Row, parents: Iterable[str], held: Mapping[str, list[Row]]) -> tuple[str, ...]:
    """The nearest held parent, if it is another member's and was proved before this name was."""
    for parent in parents:
        holders = held.get(parent)
        if not holders:
            continue
        if any(h.member_id == row.member_id for h in holders):
            return ()
        since = min(h.first_verified_at or 0.0 for h in holders)
        # A name that was proved first owes nothing to a parent that came later.
        if row.first_verified_at is not None and row.first_verified_at <= since:
            return ()
        return (parent,)
    return ()
