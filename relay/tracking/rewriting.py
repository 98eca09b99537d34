"""What a domain's switches put into its messages: the addresses in the holes of a template.

Promises that a domain without switches costs one look at its options; that the same recipient's copy is always the
same; and that no address of ours leads anywhere but where a token made here says.
"""

from __future__ import annotations

from relay import suppression
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.directory import DomainEntry
from relay.message import Field, Parsed, Prepared
from relay.tracking import tokens
from relay.tracking.links import host_of
from relay.tracking.template import Hole, Template, Wanted, template
from relay.tracking.tokens import Mark
from relay.unsubscribe import Unsubscribe

_HEADER = "x-posthouse-tracking"
_OWN_PATHS = ("/c/", "/o/", "/u/")


class Rewriter:
    """Rewrites copies of messages, one for each recipient."""

    def __init__(self, vault: Vault, config: Config, unsubscribe: Unsubscribe) -> None:
        self._vault, self._config, self._unsubscribe = vault, config, unsubscribe
        self._public = config.server.public_url
        self._public_host = host_of(self._public)

    def wanted(self, domain: DomainEntry | None) -> bool:
        """Whether anything may be put into this domain's messages."""
        return domain is not None and domain.options.rewrites

    def template(
        self, domain: DomainEntry, parsed: Parsed, prepared: Prepared, category: str, copies: int
    ) -> Template | str:
        """The template of a message to `copies` recipients, or why it goes out as it is: `off` (the client said so),
        `large`, or one of `template.UNTOUCHED`. The unsubscribe line is for mail that can be unsubscribed from."""
        t, options = self._config.tracking, domain.options
        # What the client says for one message stays with us: fields of this name don't leave.
        if any(f.value.strip().lower() == b"off" for f in parsed.all(_HEADER)):
            return "off"
        if copies > 1 and copies * len(prepared.body) > t.max_copies_bytes:
            return "large"
        hosts = {self._public_host, domain.tracking_host}

        def own(url: str) -> bool:
            return host_of(url) in hosts and any(path in url for path in _OWN_PATHS)

        bulk = category in suppression.BULK
        return template(prepared.fields, prepared.body, Wanted(
            links=options.link_tracking, opens=options.open_tracking,
            unsubscribe=t.unsubscribe_text if bulk and options.unsubscribe_link else "",
            max_links=t.max_links, max_url_bytes=t.max_url_bytes, max_part_bytes=t.max_part_bytes, own=own,
        ))

    def copy(
        self, made: Template, domain: DomainEntry, *, queue_id: str, address: str, canonical: str, category: str,
        now: float,
    ) -> tuple[list[Field], bytes]:
        """Fields and body of one recipient's copy. `now` in Unix seconds: the day from which its links count."""
        base = f"https://{domain.tracking_host}" if domain.tracking_host else self._public
        who, day = tokens.who(address), tokens.day_of(now)

        def fill(hole: Hole) -> str:
            if hole.kind == "unsubscribe":
                return self._unsubscribe.url(domain.member_id, domain.id, canonical, category, queue_id=queue_id)
            mark = Mark(queue_id, who, domain.member_id, domain.id, day, hole.n, hole.url)
            return f"{base}/{hole.kind[0]}/{tokens.write(self._vault, hole.kind, mark)}"

        return made.fill(fill)
