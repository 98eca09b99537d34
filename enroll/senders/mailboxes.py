"""Public mailbox providers: domains at which everybody may have an address, so that nobody there can prove them.

An address at one may be a sender's; the domain never becomes a sending domain. The operator may name further ones.
"""

from __future__ import annotations

from relay.base import names
from relay.base.config import Config

PROVIDERS = frozenset({
    "126.com", "139.com", "163.com", "abv.bg", "alice.it", "aol.com", "arcor.de", "att.net", "bell.net",
    "bellsouth.net", "bigpond.com", "bluewin.ch", "bol.com.br", "btinternet.com", "centrum.cz", "charter.net",
    "comcast.net", "cox.net", "daum.net", "duck.com", "earthlink.net", "email.com", "fastmail.com", "fastmail.fm",
    "foxmail.com", "free.fr", "freenet.de", "gmail.com", "gmx.at", "gmx.ch", "gmx.com", "gmx.de", "gmx.net",
    "googlemail.com", "hanmail.net", "hey.com", "home.nl", "hotmail.co.uk", "hotmail.com", "hotmail.de", "hotmail.es",
    "hotmail.fr", "hotmail.it", "hushmail.com", "icloud.com", "inbox.lv", "inbox.ru", "interia.pl", "juno.com",
    "kpnmail.nl", "laposte.net", "libero.it", "list.ru", "live.co.uk", "live.com", "live.de", "live.fr", "live.nl",
    "mac.com", "mail.com", "mail.de", "mail.ru", "mailbox.org", "me.com", "msn.com", "naver.com", "o2.pl", "online.de",
    "onet.pl", "op.pl", "optonline.net", "orange.fr", "outlook.com", "outlook.de", "outlook.es", "outlook.fr", "pm.me",
    "poczta.onet.pl", "posteo.de", "proton.me", "protonmail.ch", "protonmail.com", "qq.com", "rambler.ru",
    "rediffmail.com", "rocketmail.com", "rogers.com", "sapo.pt", "sbcglobal.net", "seznam.cz", "sfr.fr", "shaw.ca",
    "sina.com", "sohu.com", "sympatico.ca", "t-online.de", "telenet.be", "tiscali.it", "tuta.com", "tuta.io",
    "tutanota.com", "ukr.net", "uol.com.br", "verizon.net", "virgilio.it", "virginmedia.com", "wanadoo.fr", "web.de",
    "windowslive.com", "wp.pl", "ya.ru", "yahoo.ca", "yahoo.co.in", "yahoo.co.jp", "yahoo.co.uk", "yahoo.com",
    "yahoo.com.au", "yahoo.com.br", "yahoo.de", "yahoo.es", "yahoo.fr", "yahoo.it", "yandex.com", "yandex.ru",
    "yeah.net", "ymail.com", "zoho.com", "zohomail.com",
})  # fmt: skip


class Mailboxes:
    """Knows which domains are public mailbox providers'."""

    def __init__(self, config: Config) -> None:
        self._known = PROVIDERS | {name.strip().lower().rstrip(".") for name in config.senders.public_mailboxes}

    def public(self, domain: str) -> bool:
        """True for a provider's domain (A-labels), and for names below it."""
        return domain in self._known or any(parent in self._known for parent in names.parents(domain))
