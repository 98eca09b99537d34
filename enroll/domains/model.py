"""What a domain is to those who ask: values, free of rows and seals, and the switches its owner may set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

from enroll.domains.lifecycle import Features
from enroll.errors import EnrollError, invalid
from relay.base import names
from relay.base.storage.domains import KeyRow, Row

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_MARKS = (
    "approved", "pending_since", "failed_at", "forward_wanted", "forward_failing", "forward_says", "forward_told",
    "former_subdomain", "regenerated", "lost_at", "stems", "chosen", "awaits", "missing", "left",
)
_TUPLES = ("stems", "chosen", "awaits", "missing", "left")

Form = Literal["txt", "cname"]
"""How records are entered: as they are, or as aliases into the relay's own zone where that can be."""


@dataclass(frozen=True, slots=True)
class Options:
    """A domain's switches. Those named in `DNS_AFFECTING` decide which records must be published.

    `hosted`: the owner publishes aliases into the relay's own zone, once; keys then change there.
    `link_tracking`, `open_tracking` and `unsubscribe_link` say what the relay puts into messages of the domain.
    `default_sender`: of a member's domains, the one that messages without a From are sent from.
    The last fifteen are not the owner's to set: `approved` is the operator's word, `pending_since` and `failed_at`
    (Unix seconds) say since when records are waited for and when a look last counted as failed, `forward_wanted`
    is a mailbox that has not said yes yet, `forward_failing` since when the one in use takes nothing (0: it does),
    `forward_says` its last word, `forward_told` when the owner last had a letter about it, `former_subdomain` that of
    the return path which serves until the one at `custom_subdomain` is seen ("": that one serves itself), `regenerated`
    whether other records were asked for since the last look, `lost_at` when the domain stopped being verified, `stems`
    are the two between which the keys of a hosted domain take turns, `chosen` the names of those host options that the
    owner has named, whatever their values, `awaits` the options whose feature waits for its record, `missing` the names
    of the records that keep a pending domain from being verified, as far as a look has shown, `left` the hosts in use
    no more that mail under way still bears (see `altering.leaving`).
    """

    return_path: bool = False
    custom_subdomain: str = "sl"
    tracking: bool = False
    track_prefix: str = "track"
    replies: bool = False
    hosted: bool = False
    report_to: str = "forward_to"
    forward_to: str = ""
    link_tracking: bool = False
    open_tracking: bool = False
    unsubscribe_link: bool = False
    default_sender: bool = False
    approved: bool = False
    pending_since: float = 0.0
    failed_at: float = 0.0
    forward_wanted: str = ""
    forward_failing: float = 0.0
    forward_says: str = ""
    forward_told: float = 0.0
    former_subdomain: str = ""
    regenerated: bool = False
    lost_at: float = 0.0
    stems: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Options:
        """The options of a row; what an older or newer program wrote besides is left alone."""
        known = cls.__dataclass_fields__
        if list(stored) == list(known):  # as this program wrote it: quickest in order
            values = list(stored.values())
            values[-len(_TUPLES) :] = map(tuple, values[-len(_TUPLES) :])
            return cls(*values)
        named = {name: value for name, value in stored.items() if name in known}
        return cls(**named | {name: tuple(stored.get(name) or ()) for name in _TUPLES})

    def public(self) -> dict[str, Any]:
        """The owner's own switches by name."""
        return {name: value for name, value in asdict(self).items() if name not in _MARKS}

    def return_path_host(self, name: str) -> str:
        """The return path's own host under the domain `name`, whether it is switched on or not."""
        return f"{self.custom_subdomain}.{name}"

    def tracking_host(self, name: str) -> str:
        """The host of links under the domain `name`; without one of its own, the return path's."""
        return f"{self.track_prefix}-{self.custom_subdomain}.{name}" if self.tracking else self.return_path_host(name)

    def stored(self) -> dict[str, Any]:
        """As a row keeps it."""
        return asdict(self)


DNS_AFFECTING = ("return_path", "custom_subdomain", "tracking", "track_prefix", "replies")
IN_MESSAGES = ("link_tracking", "open_tracking", "unsubscribe_link")
SETTABLE = (*DNS_AFFECTING, *IN_MESSAGES, "hosted", "report_to", "default_sender")
_HOSTS = ("custom_subdomain", "track_prefix", "tracking")
_MAX_LABEL = 63


def changed(options: Options, changes: Mapping[str, Any]) -> Options:
    """`options` with `changes` (by name) applied. Raises EnrollError 422 naming the field that can't be used."""
    checked: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in SETTABLE:
            raise invalid(name, "There is no such option.")
        checked[name] = _checked(name, value)
    after = replace(options, **checked)
    # RFC 1035 §2.3.4: the two make one label.
    named = {"track_prefix", "custom_subdomain"} & changes.keys()
    if named and len(f"{after.track_prefix}-{after.custom_subdomain}") > _MAX_LABEL:
        at_fault = "track_prefix" if "track_prefix" in changes else "custom_subdomain"
        text = f"Prefix and subdomain together may have {_MAX_LABEL - 1} characters at most."
        raise EnrollError(422, "LABEL_TOO_LONG", text, at_fault)
    chosen = (*options.chosen, *(name for name in _HOSTS if name in changes and name not in options.chosen))
    return replace(after, chosen=chosen)


def affects_dns(before: Options, after: Options) -> bool:
    """True when the two need different records: a name that is switched off on both sides makes no difference."""
    return published(before) != published(after)


def published(o: Options) -> dict[str, tuple[str, ...]]:
    """The options that ask for a record, each with what names it."""
    wanted = {
        "return_path": (o.custom_subdomain,), "tracking": (o.track_prefix, o.custom_subdomain), "replies": (),
    }
    return {name: record for name, record in wanted.items() if getattr(o, name)}


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


def features_of(row: HasFeatures, options: Options) -> Features:
    """What `options`, those of `row`, have come to."""
    path = (options.former_subdomain or options.custom_subdomain) if row.return_path_ok else ""
    return Features(options.awaits, path, row.tracking_ok)


def marked(options: Options, features: Features) -> Options:
    """`options` with the marks of `features`."""
    former = features.path if features.path != options.custom_subdomain else ""
    return replace(options, awaits=features.awaits, former_subdomain=former)


def _checked(name: str, value: Any) -> Any:
    if name in ("return_path", "tracking", "replies", "hosted", "default_sender", *IN_MESSAGES):
        if not isinstance(value, bool):
            raise invalid(name, "This switch is either true or false.")
        return value
    if not isinstance(value, str):
        raise invalid(name, "This option is text.")
    if name == "report_to":
        if value not in ("forward_to", "mail_from"):
            raise invalid(name, "Reports go to forward_to or to mail_from.")
        return value
    label = value.lower()
    # RFC 1123 §2.1
    if not _LABEL.fullmatch(label):
        raise invalid(name, "Use 1 to 32 letters, digits and hyphens, with no hyphen at either end.")
    return label


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
    parents, held by other members, at which this domain's ownership record must stand too.
    """

    id: int
    uuid: str
    member_id: int
    name: str
    state: str
    reason: str
    options: Options
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
        return self.options.regenerated or bool(self.options.awaits)

    @property
    def features(self) -> Features:
        """What its options have come to."""
        return features_of(self, self.options)

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


def domain_of(row: Row, keys: Sequence[KeyRow], consent: tuple[str, ...] = ()) -> Domain:
    """The value for a row and its pairs."""
    # By position, for names cost more than all else where there are thousands.
    return Domain(
        id=row.id, uuid=row.uuid, member_id=row.member_id, name=row.name, state=row.state, reason=row.reason,
        options=Options.read(row.options), tier=row.tier, created_at=row.created_at,
        first_verified_at=row.first_verified_at, checked_at=row.checked_at, asked_at=row.asked_at,
        next_check_at=row.next_check_at, failing=row.failing, findings=row.findings or [], flags=row.flags or {},
        keys=[KeyState(k.stem, k.state, k.rsa_txt, k.ed_txt, k.created_at, k.state_at) for k in keys],
        return_path_ok=row.return_path_ok, tracking_ok=row.tracking_ok, provider=row.provider, consent=consent,
        ownership_token=row.ownership_token,
    )
