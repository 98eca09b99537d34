"""A domain's settings, its options: each declared here, once. And what the program notes of a domain besides.

`Options` is what the owner chose, `Notes` what the machine and the operator keep about it: two columns of its row. Both
packages read them here. From the declaration of an option come its field in the API and its place in the documents of
that, the domain's page and its form, `posthouse domain set`, its name in Octeth's shape, and docs/domain-options.md.
A new option is a new field of `Options`; what it does stands where it is asked for.

Pure. Regenerate the page of the documentation with `python -m relay.base.domain_options > docs/domain-options.md`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal["switch", "label", "choice", "mailbox"]
"""true or false; one label of a host name; one of some words; a mailbox that has to confirm by a code."""
_ON, _OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
MAX_MAILBOX = 320
MAX_LABEL = 63


class BadOption(Exception):
    """A value that an option can't have; `name` is the option's, `reason` a sentence."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


@dataclass(frozen=True, slots=True)
class Option:
    """What is declared of an option.

    name: in the program, in the row and on the command line; in the API the same in camelCase. says: one sentence.
    label and help: as on the page, help with `code` and with names that the page fills in. records: whether records
    follow from it; named_by: of a switch that asks for a record, the options that name that. choices: words and what
    each means. needs: a property of the configuration without which it can't be switched on. group: where it stands on
    the page. octeth: its name in that shape, "" for none or for one that the shape turns round.
    """

    name: str
    kind: Kind
    default: bool | str
    says: str
    label: str
    help: str
    records: bool
    named_by: tuple[str, ...]
    choices: Mapping[str, str]
    needs: str
    group: str
    octeth: str

    @property
    def alias(self) -> str:
        """The name in the API."""
        first, *others = self.name.split("_")
        return first + "".join(part.capitalize() for part in others)

    @property
    def values(self) -> str:
        """What may be written for it, in short."""
        if self.kind == "choice":
            return "|".join(self.choices)
        return {"switch": "on|off", "label": "LABEL", "mailbox": "MAILBOX"}[self.kind]

    def check(self, value: object) -> bool | str:
        """`value` as it is kept. Raises BadOption."""
        if self.kind == "switch":
            if not isinstance(value, bool):
                raise BadOption(self.name, "This switch is either true or false.")
            return value
        if not isinstance(value, str):
            raise BadOption(self.name, "This option is text.")
        if self.kind == "choice" and value not in self.choices:
            raise BadOption(self.name, f"This option is one of {', '.join(self.choices)}.")
        if self.kind == "label":
            value = value.lower()
            # RFC 1123 §2.1
            if not _LABEL.fullmatch(value):
                raise BadOption(self.name, "Use 1 to 32 letters, digits and hyphens, with no hyphen at either end.")
        if self.kind == "mailbox" and len(value) > MAX_MAILBOX:
            raise BadOption(self.name, f"A mailbox has {MAX_MAILBOX} characters at most.")
        return value

    def parse(self, text: str) -> bool | str:
        """What a person wrote for it. Raises BadOption."""
        if self.kind != "switch":
            return self.check(text)
        if text.lower() not in (*_ON, *_OFF):
            raise BadOption(self.name, "This switch is either on or off.")
        return text.lower() in _ON

    def show(self, value: bool | str) -> str:
        """A value as people read it, in the form that `parse` takes."""
        return ("on" if value else "off") if isinstance(value, bool) else value


def option(
    kind: Kind, default: bool | str, says: str, *, label: str, help: str = "", records: bool = False,
    named_by: tuple[str, ...] = (), choices: Mapping[str, str] | None = None, needs: str = "", group: str = "",
    octeth: str = "",
) -> Any:
    """A field of `Options`, see `Option`; without `help` the page shows `says`."""
    declared = {
        "kind": kind, "default": default, "says": says, "label": label, "help": help or says, "records": records,
        "named_by": named_by, "choices": choices or {}, "needs": needs, "group": group, "octeth": octeth,
    }
    return field(default=default, metadata=declared)


@dataclass(frozen=True, slots=True)
class Options:
    """What a domain's owner may choose."""

    return_path: bool = option(
        "switch", False, "A return path under the domain itself.", label="Return path of its own", records=True,
        named_by=("custom_subdomain",),
        help="Bounces come back to `{return_path_host}` instead of `{bounce_host}`, so that SPF passes for your "
        "domain. One more record.",
    )
    custom_subdomain: str = option(
        "label", "sl", "First label of the return path.", label="Subdomain for return path and tracked links",
        records=True, group="names", octeth="CustomSubdomain",
    )
    tracking: bool = option(
        "switch", False, "A tracking host under the domain itself.", label="Tracked links under your own name",
        records=True, named_by=("track_prefix", "custom_subdomain"), group="messages",
        help="At `{tracking_host}` instead of `{host}`. One more record.",
    )
    track_prefix: str = option(
        "label", "track", "Prefix of the tracking host.", label="Prefix of the host for tracked links", records=True,
        group="names", octeth="CustomTrackPrefix",
    )
    replies: bool = option(
        "switch", False, "Mail to the domain is forwarded; needs the MX record.", label="Reply forwarding",
        records=True,
        help="Mail for any address of the domain comes to `{mx_host}` and is forwarded to the mailbox below, "
        "unchanged. One more record, an MX that replaces the one you have: leave this off if the domain receives mail "
        "elsewhere.",
    )
    hosted: bool = option(
        "switch", False, "Records are published once as CNAMEs into the relay's own zone; keys are then rotated there.",
        label="Publish CNAMEs once", needs="hosted_zone",
        help="Each record becomes a CNAME to a name in `{hosted_zone}`, which holds the value. Two names for DKIM "
        "keys are published from the start, and new keys alternate between them: keys can change without you touching "
        "DNS. Records already published stay valid. SPF stays a TXT record, because there can be no CNAME at the "
        "domain itself.",
    )
    report_to: str = option(
        "choice", "forward_to", "Where bounce reports go.", label="Bounce reports go to", group="reports",
        choices={
            "forward_to": "the mailbox below, otherwise postmaster at the domain",
            "mail_from": "the envelope sender of the message",
        },
    )
    forward_to: str = option(
        "mailbox", "", "The mailbox for replies and bounce reports; used once the code sent to it has been entered.",
        label="Mailbox for replies and bounce reports",
    )
    link_tracking: bool = option(
        "switch", False, "Links in HTML go through the relay; clicks become events.", label="Count clicks",
        group="messages", octeth="LinkTracking",
        help="Links in HTML go through the relay, which redirects readers at once. Signed and encrypted mail is left "
        "unchanged.",
    )
    open_tracking: bool = option(
        "switch", False, "HTML gets an invisible image; opens become events.", label="Count opens", group="messages",
        octeth="OpenTracking",
        help="HTML gets a one-pixel image. A hint, not proof: some mail programs never load images, others always "
        "do. Inform your readers where the law requires it.",
    )
    unsubscribe_link: bool = option(
        "switch", False, "Bulk mail gets a line with a link to unsubscribe.", label="Unsubscribe link",
        group="messages", octeth="UnsubscribeLink",
        help="Bulk mail ends with an unsubscribe line, in addition to the button that mail programs show.",
    )
    default_sender: bool = option(
        "switch", False, "Messages without a From are sent from this domain.", label="Default sender",
        help="Messages that a program sends without a From are sent from this domain; of your domains, only one is "
        "the default.",
    )

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> Options:
        """The options of a row; what an older or newer program wrote besides is left alone."""
        if not stored:
            return _NOTHING_CHOSEN
        if list(stored) == _NAMES:  # as this program wrote it: quickest in order
            return cls(*stored.values())
        return cls(**{name: stored[name] for name in _NAMES if name in stored})

    def stored(self) -> dict[str, Any]:
        """As a row keeps them, and as programs are shown them, by name."""
        return {name: getattr(self, name) for name in _NAMES}

    @property
    def tracking_label(self) -> str:
        """The tracking host's own label, whether it is switched on or not."""
        return f"{self.track_prefix}-{self.custom_subdomain}"

    def return_path_host(self, name: str) -> str:
        """The return path's own host under the domain `name`, whether it is switched on or not."""
        return f"{self.custom_subdomain}.{name}"

    def tracking_host(self, name: str) -> str:
        """The tracking host under the domain `name`, whether it is switched on or not."""
        return f"{self.tracking_label}.{name}"

    @property
    def rewrites(self) -> bool:
        """Whether anything is put into the domain's messages."""
        return self.link_tracking or self.open_tracking or self.unsubscribe_link

    @property
    def asks_for(self) -> dict[str, tuple[str, ...]]:
        """The options that ask for a record, each with what names it."""
        return {
            o.name: tuple(getattr(self, name) for name in o.named_by)
            for o in _ASKING if getattr(self, o.name)
        }


@dataclass(frozen=True, slots=True)
class Notes:
    """What is kept about a domain and is nobody's to choose; times in Unix seconds, 0 for never.

    approved: the operator's word. pending_since: since when records are waited for. failed_at: when a look last counted
    as failed. lost_at: when the domain stopped being verified. regenerated: whether other records were asked for since
    the last look. awaits: the options whose feature waits for its record. missing: the names of the records that keep a
    pending domain from being verified, as far as a look has shown.
    forward_wanted: a mailbox that has not confirmed yet. forward_failing: since when the one in use takes nothing, 0
    while it does; forward_says: its last answer; forward_told: when the owner last had a letter about it.
    former_subdomain: that of the return path which serves until the one at `custom_subdomain` is seen ("": that one
    serves itself). stems: the two between which the keys of a hosted domain take turns. chosen: the options about hosts
    that the owner has named, whatever their values. left: the hosts no longer in use that mail under way still bears,
    each as "purpose label until".
    """

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
    def read(cls, stored: Mapping[str, Any] | None, options: Mapping[str, Any] | None = None) -> Notes:
        """The notes of a row; `options` is the column of the options.

        Before schema 0018 notes stood among the options. Where some do, a process of the former version has written the
        row last, or nobody since the upgrade: what it says counts, what it leaves empty stays as it was noted.
        """
        if options and not _NOTED.isdisjoint(options):
            former = {name: options[name] for name in _NOTED & options.keys() if options[name]}
            stored = {**(stored or {}), **former}
        if not stored:
            return _NOTHING_NOTED
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items() if name in _NOTED
        }
        return cls(**known)

    @classmethod
    def of(cls, row: HasNotes) -> Notes:
        """The notes of a row."""
        return cls.read(row.notes, row.options)

    def stored(self) -> dict[str, Any]:
        """As a row keeps them: what says nothing is left out."""
        kept = ((name, getattr(self, name)) for name in _NOTE_NAMES)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept if value}


class HasNotes(Protocol):
    """A row of `domains`, as far as these two columns go."""

    @property
    def options(self) -> Mapping[str, Any] | None:
        """The options as they are kept."""
        ...

    @property
    def notes(self) -> Mapping[str, Any] | None:
        """The notes as they are kept."""
        ...


def columns(options: Options, notes: Notes) -> dict[str, Any]:
    """Both columns of a row. They are written together, for notes that still stand among the options would count."""
    return {"options": options.stored(), "notes": notes.stored()}


OPTIONS: Mapping[str, Option] = {
    f.name: Option(name=f.name, **f.metadata) for f in dataclasses.fields(Options)
}
"""Every option by its name."""
_NAMES = list(OPTIONS)
_ASKING = [o for o in OPTIONS.values() if o.records and o.kind == "switch"]
_NOTE_NAMES = [f.name for f in dataclasses.fields(Notes)]
_NOTED = frozenset(_NOTE_NAMES)
_NOTHING_CHOSEN, _NOTHING_NOTED = Options(), Notes()


def change(options: Options, changes: Mapping[str, Any]) -> Options:
    """`options` with `changes` (by name) applied. Raises BadOption."""
    for name in changes:
        if name not in OPTIONS:
            raise BadOption(name, "There is no such option.")
    checked: dict[str, Any] = {name: OPTIONS[name].check(value) for name, value in changes.items()}
    return dataclasses.replace(options, **checked)


def document(options: Iterable[Option] = OPTIONS.values()) -> str:
    """docs/domain-options.md."""
    lines = [
        "# A domain's options",
        "",
        "Generated from `relay/base/domain_options.py`. Each can be read and set in the API (`GET`, `POST` and `PATCH` "
        "under `/v1/domains`), on the domain's page, and with `posthouse domain set DOMAIN NAME=VALUE`.",
        "",
        "| option | API | values | default | records follow | what it does |",
        "|---|---|---|---|---|---|",
    ]
    for o in options:
        values = o.values.replace("|", ", ")
        default = f"`{o.show(o.default)}`" if o.default != "" else "none"
        says = o.says + "".join(f" `{word}`: {means}." for word, means in o.choices.items())
        lines.append(
            f"| `{o.name}` | `{o.alias}` | {values} | {default} | {'yes' if o.records else 'no'} | {says} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
