"""The phrases with which mail systems say why: a table, and one way to look a text up in it.

Promises: time linear in the text; plain substring search, no backtracking. Addresses and host names are taken out
first, so that a host called spamfilter or a mailbox called quota decides nothing. Leaves the numbers to its package.

How a phrase is written: lower case, `.,:;()<>[]"!?#|/=-_` as blanks, a blank at its ends where a word must end there;
`…` is a gap of at most 60 characters; `~` before a phrase means the text as it came, names of hosts included.
"""

from __future__ import annotations

import re

_GAP = 60
_TRIES = 4
_BLANKED = ",:;()<>[]{}\"!?#|/\\=-_*\t\r\n\u00a0\u3000。、"
_BLANKS = str.maketrans(dict.fromkeys(_BLANKED, " ") | {"\u2019": "'", "`": "'"})
_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,10}")

# class, phrases; in this order, the first class with a phrase in the text is what it says. What blames the sending
# host stands first, so that no address is given up for a listing of ours; what is loose ("weak:") stands last.
_TABLE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("greylisted", ("greylist", "first time…try", "graylist", "grey list", "gray list", "postgrey")),
    ("too_large", ("message size exceeds", "message…too large", "message…too big", "mail…too large for")),
    ("rate", ("too many connections", "too many concurrent", "rate limit", "ratelimit", "throttl")),
    ("reputation", (
        " rbl ", " rbls ", "dnsbl", "blocklist", "block list", "blacklist", "black list", "denylist", "deny list",
        "blocked using", "~spamhaus", "~spamcop", "~barracudacentral", "~sorbs", "~senderbase", "~senderscore",
        "~uceprotect", "~abuseat", "~mailspike", "~talosintelligence", "~[ts0", "~[tss0", " tss0", "~(s3140)",
        "~(s3150)", " ip …reputation", " ip …blocked", " ip …listed", " ip …banned", " ip …not allowed",
        " ip …refused", " ip …rejected", " ip …denied", "blocked… ip ", "banned… ip ", "listed… ip ", "rejected… ip ",
        "refused… ip ", "poor reputation", "low reputation", "bad reputation", "reputation of", "sender reputation",
        "reverse dns", " rdns ", " ptr ", "reverse hostname", "reverse lookup", "reverse name", "client host…blocked",
        "client host…rejected", "client host…denied", "cannot find your", "can't find your hostname",
        "cannot resolve your", "unable to resolve your", "messages from…temporarily deferred",
        "messages from…weren't sent", "messages from…were not sent", "dynamic ip", "dynamic address",
        "dynamically assigned", "dial up", "dialup", "residential", "banned sending ip", "sending ip",
        "your mail server…blocked", "your mail server…rejected", "your mail server…listed", "your server…listed",
        "your server…blocked", "your host…listed", "your host…blocked", "invalid helo", "bad helo", "helo…rejected",
        "ehlo…rejected", "your network", "connection…refused…due to abuse",
    )),
    # The mailbox holds too many messages: not the same as too many coming from us.
    ("mailbox_full", (
        "mailbox full", "mailbox is full", "mailbox was full", "mailbox overfull", "mail box full",
        "mail box is full", "full mailbox", "over quota", "overquota", "over the quota", "over…mail quota",
        "over…disk quota", "above…quota", "over…storage", "out of storage", "insufficient disk",
        "insufficient storage", "not enough storage", "not enough space", "storage space", "storage limit",
        "storage quota", "storage allocation", "storage is full", "mailbox size", "mailbox limit", "mailbox exceed",
        "mailbox…exceed", "messages in…mailbox", "disk quota", "disk full", "inbox is full", "inbox full",
        "account is full", "account full", "box is full", "box full", "folder is full", "dropbox full",
        "maildir…full", "maildir over", "exceeded…space", "no space left", "too much mail data",
        "too much mail stored", "exceeded…mailbox", "exceed…allotted", "exceeded…disk", "boîte…pleine",
        "boite…pleine", "postfach…voll", "postfach…überfüllt", "speicherplatz", "buzón…lleno", "cuota",
        "casella…piena", "caixa…cheia", "boîte aux lettres…satur", "ящик…переполнен", "ящик…заполнен",
        "skrzynka…pełna", "skrzynka…przepełniona", "メールボックス…容量", "容量を超え", "容量が", "邮箱…已满",
        "信箱…已满", "邮箱空间", "postvak…vol ", "brevlåda…full", "quota violation", "mailquota",
        "mailfolder is full", "mail folder…full",
    )),
    ("rate", (
        "too many messages", "too many emails", "too many mails", "too many recipients", "too many errors",
        "too many sessions", "too many invalid", "too many unknown", "too many unauth", "sending rate", "mail rate",
        "at a rate", "unusual rate", "exceeded…rate", "rate…exceeded", "exceeded…connection", "connection limit",
        "concurrency limit", "sending limit", "hourly limit", "daily limit", "per hour", "too fast", "too frequently",
        "too much mail", "slow down", "high volume", "message limit", "too many smtp", "receiving mail too quickly",
    )),
    ("mailbox_full", ("quota exceed", "exceed…quota", "quota is exceed", "quota was exceed")),
    ("authentication", (
        " dmarc", " spf ", " dkim", "sender policy framework", "unauthenticated mail", "unauthenticated email",
        "unauthenticated e mail", "unauthenticated sender", "unauthenticated message", "sender id ",
        "not authorized to send from", "not authorized to send on behalf", "not permitted to send from",
        "email authentication", "authentication checks", "authentication information", "domainkeys",
    )),
    ("sender", (
        "sender address", "sender rejected", "sender denied", "sender refused", "sender blocked", "sender verify",
        "sender verification", "sender domain", "sender not found", "sender unknown", "sender failed",
        "sender callout", "bad sender", "invalid sender", "unknown sender", "unverified sender", "blocked sender",
        "forged sender", "spoof", "domain of sender", "sender's domain", "return path", "reverse path",
        "envelope sender", "null sender", "empty sender", "sender…does not exist", "your domain…not exist",
        "your address…blocked", "from address…blocked", "sender…blocked", "sender is not allowed", "sender verif",
    )),
    ("loop", (
        "mail loop", "mailer loop", "message loop", "too many hops", "hop count", "maximum hop", "hops exceeded",
        "loops back", "routing loop", "forwarding loop", "forwards loop", "loop detected", "mail is looping",
        "too many received", "mail loops", "looping", "too many forward",
    )),
    ("domain_unknown", (
        "host not found", "host unknown", "host name not found", "hostname not found", "domain not found",
        "domain unknown", "domain is unknown", "domain name not found", "domain name unknown",
        "domain name is unknown", "unknown host", "unknown domain", "unknown mail domain",
        "unknown destination domain", "no such host", "no such domain", "no such system", "nonexistent domain",
        "non existent domain", "non existent host", "nxdomain", "domain…does not exist", "domain…doesn't exist",
        "domain…doesn t exist", "domain…not exist", "domain…couldn't be found", "domain…could not be found",
        "domain…can't be found", "host…does not exist", "host…doesn't exist", "unrouteable mail domain",
        "unrouteable domain", "unroutable domain", "unroutable mail domain", "couldn't find any host",
        "could not find any host", "bad destination system", "bad destination host", "null mx",
        "does not receive mail", "doesn't receive mail", "not accept any mail", "domain…not configured to receive",
        "name or service not known", "invalid domain", "illegal domain", "illegal host", "illegal system",
        "domain is invalid", "does not accept mail", "does not accept email", "doesn't accept mail",
        "doesn't accept email", "no mail exchanger", "no mx or a ", "no a or mx", "no valid mx", "mx…non existent",
        "domain does not have", "domain has no", "no dns entry", "domain…nicht gefunden", "domain…existiert nicht",
        "dominio…no existe", "domaine…inexistant", "domaine…introuvable", "ドメイン…見つかりません",
        "ホスト…見つかりません", "name service error…not found", "dns…non existent", "domain…expired",
        "host or domain name not found",
    )),
    ("mailbox_unknown", (
        "user unknown", "unknown user", "users unknown", "unknown users", "userunknown", "recipient unknown",
        "unknown recipient", "unknown mailbox", "mailbox unknown", "unknown address", "address unknown",
        "unknown local", "unknown alias", "unknown or illegal alias", "unknown account", "account unknown",
        "unknown addressee", "addressee unknown", "unknown person", "unknown email", "unknown e mail", "unknown name",
        "unknown to…address", "user is unknown", "recipient is unknown", "mailbox is unknown", "user not known",
        "not known here", "not known at", "no such user", "no such recipient", "no such mailbox", "no such address",
        "no such account", "no such person", "no such alias", "no such local", "no such name", "no such email",
        "no such customer", "no such virtual", "no mailbox here", "no mailbox by", "no mailbox found", "no mail box",
        "no user here", "no account by", "no account here", "no account exists", "no recipient by",
        "no local mailbox", "no one by that name", "nobody by that name", "there is no user", "there is no mailbox",
        "there is no one", "no matching recipient", "no user with", "no valid mailbox", "user not found",
        "users not found", "mailbox not found", "mailbox cannot be found", "mailbox could not be found",
        "recipient not found", "recipients not found", "address not found", "account not found",
        "addressee not found", "user could not be found", "user cannot be found", "address couldn't be found",
        "address could not be found", "address cannot be found", "user * not found", "recipient * not found",
        "mailbox * not found", "address * not found", "alias not found", "email address…not found",
        "couldn't be found or is invalid", "wasn't found at", "was not found at", "user doesn't exist",
        "user does not exist", "user…does not exist", "user…doesn't exist", "user…not exist",
        "account…does not exist", "account…doesn't exist", "account…not exist", "mailbox…does not exist",
        "mailbox…doesn't exist", "mailbox…not exist", "recipient…does not exist", "recipient…doesn't exist",
        "recipient…not exist", "address…does not exist", "address…doesn't exist", "address…not exist",
        "addressee…not exist", "inbox…does not exist", "alias…does not exist", "name…does not exist",
        "* does not exist", "* doesn't exist", "does not exist here", "doesn't exist here", "does not exist on this",
        "no longer exist", "no longer in use", "no longer valid", "no longer has", "this user doesn't have",
        "this user does not have", "doesn't have a…account", "doesn't have an…account", "does not have a…account",
        "does not have an…account", "doesn't have…mailbox", "does not have a mailbox", "not a valid user",
        "not a valid mailbox", "not a valid recipient", "not a valid address", "not a valid email",
        "not a known user", "not a user", "not valid user", "isn't a valid", "not valid recipient",
        "not our customer", "not a local", "not a registered", "invalid recipient", "user…not recogni",
        "recipient…not recogni", "address…not recogni", "mailbox…not recogni", "user…is not known",
        "recipient…is not known", "mailbox…is not known", "account…deleted", "mailbox…deleted", "user…deleted",
        "destinataire…introuvable", "adresse…introuvable", "user…bestaat niet", "adres…bestaat niet",
        "invalid mailbox", "invalid user", "invalid address", "invalid account", "invalid addressee", "invalid local",
        "invalid alias", "invalid email", "invalid e mail", "illegal user", "illegal alias", "illegal recipient",
        "address is invalid", "address invalid", "mailbox invalid", "mailbox is invalid", "user invalid",
        "user is invalid", "recipient invalid", "nonexistent user", "non existent user", "nonexistent recipient",
        "nonexistent mailbox", "nonexistent account", "nonexistent address", "non existent recipient",
        "non existent mailbox", "non existent account", "non existent address", "non existing", "nonexisting",
        "unrouteable address", "unroutable address", "bad destination mailbox", "bad mailbox", "bad address",
        "bad recipient", "bad user", "wrong recipient", "wrong address", "wrong user", "wrong mailbox",
        "incorrect address", "incorrect recipient", "undeliverable address", "recipient address rejected user",
        "recipient address rejected unknown", "recipient address rejected undeliverable", "not listed in…name",
        "not listed in…address", "not listed in…domino", "not listed in…directory", "not found in…name",
        "not found in…directory", "not found in…address", "not found on…server", "not unique in",
        "not in…address book", "~recipnotfound", "~recipientnotfound", "~notfoundbyrecip", "~dd this user",
        "no local user", "not local user", "user not local", "recipient not local", "not a mailbox",
        "mailbox removed", "deleted mailbox", "user has left", "no longer work", "no longer employ",
        "has left the company", "left the organi", "invalid final delivery", "can't find user", "cannot find user",
        "can't find recipient", "could not find a user", "could not find user", "addressed to unknown", "no inbox",
        "user undefined", "unknown destination address", "is not listed", "not our user", "not handled here",
        "nothing here by that name", "no such id", "userid not found", "unknown virtual", "user not exist",
        "users not exist", "invalid recipients", "there's no such", "nobody here", "not a valid id",
        "unable to find user", "unable to find recipient", "no such domain user", "isn't a user",
        "is no longer a customer", "mailbox cannot be located", "unknown subscriber", "not a subscriber",
        "subscriber unknown", "invalid mobile", "unknown mobile", "unknown or invalid", "chkuser",
        "mail receiving disabled…no such", "non è valid", "utente sconosciuto", "utente…non esiste",
        "casella inesistente", "indirizzo…inesistente", "usuario desconocido", "usuario…no existe",
        "dirección…no existe", "buzón…no existe", "cuenta…no existe", "no se encontró", "no se ha encontrado",
        "utilisateur inconnu", "destinataire inconnu", "adresse inconnue", "adresse…n'existe pas", "inconnu à cette",
        "boîte…n'existe pas", "utilisateur…n'existe", "empfänger unbekannt", "unbekannter empfänger",
        "benutzer unbekannt", "unbekannter benutzer", "empfänger…nicht gefunden", "adresse…nicht gefunden",
        "adresse…existiert nicht", "postfach existiert nicht", "postfach…existiert nicht",
        "empfänger…existiert nicht", "konnte nicht gefunden", "usuário desconhecido", "usuário…não existe",
        "endereço…não existe", "não foi encontrado", "gebruiker onbekend", "onbekende gebruiker",
        "adres…niet gevonden", "nieznany użytkownik", "nie istnieje", "пользователь…не найден", "ящик…не существует",
        "адрес…не существует", "адресат…не существует", "неизвестный получатель", "ユーザー…見つかりません",
        "見つかりませんでした", "存在しません", "存在しない", "宛先不明", "あて先不明", "该用户不存在", "用户不存在",
        "地址不存在", "账号不存在", "邮箱不存在", "帐号不存在", "收件人…不存在", "使用者不存在",
        "benutzer…existiert nicht",
    )),
    ("content", (
        " spam", "antispam", "virus", "malware", "phish", "unsolicited", "bulk mail", "bulk email", "message content",
        "content rejected", "content filter", "content is", "content…not accept", "content…prohibited",
        "attachment…not allowed", "attachment…blocked", "attachment…type", "attachment…prohibited", "attachments…not",
        "banned content", "banned file", "blocked content", "suspicious", "infected", "trojan", "junk mail",
        "junk email", "message filter", "blocked by…filter", "rejected by…filter", "file type", "dangerous",
        "offensive", "inappropriate", "undesirable", "~surbl", "~uribl", "looks like", "bayes", "~_uribl", "worm",
        "malicious", "objectionable", "prohibited attachment", "header…rejected", "malformed",
    )),
    ("too_large", (
        "message size", "message too large", "message too big", "message too long", "message is too",
        "message file too", "message length", "size limit", "size exceed", "exceeds…size", "exceeded…size",
        "maximum size", "maximum message", "too large", "too big", "larger than", "exceeds the maximum", "~sizelimit",
        "zu groß", "demasiado grande", "trop volumineux", "サイズ…超",
    )),
    ("mailbox_disabled", (
        "account…disabled", "account…inactive", "account…suspended", "account…deactivated", "account…locked",
        "account…expired", "account…closed", "account…terminated", "account…discontinued", "account…cancelled",
        "account…canceled", "account…not active", "account…blocked", "account…on hold", "account…not available",
        "account…temporarily limited", "account…unavailable", "mailbox…disabled", "mailbox…inactive",
        "mailbox…suspended", "mailbox…deactivated", "mailbox…locked", "mailbox…expired", "mailbox…closed",
        "mailbox…not active", "mailbox…frozen", "mailbox…restricted", "account…limited", "mailbox…not enabled",
        "account…not enabled", "mailbox…blocked", "mailbox…unavailable or access denied", "user…disabled",
        "user…inactive", "user…suspended", "user…deactivated", "user…locked", "user…expired", "user…not active",
        "user…blocked", "user…inactivated", "recipient…disabled", "recipient…inactive", "recipient…suspended",
        "recipient…deactivated", "recipient…expired", "recipient…not active", "address…inactive", "address…disabled",
        "address…suspended", "address…deactivated", "address…expired", "address no longer accepts",
        "disabled account", "disabled user", "disabled mailbox", "disabled recipient", "inactive account",
        "inactive user", "inactive mailbox", "inactive recipient", "suspended account", "suspended user",
        "expired account", "is inactive", "not accepting mail", "not accepting email", "not accepting messages",
        "not accepting any", "no longer accept", "no longer active", "no longer available", "delivery disabled",
        "compte…désactivé", "konto…gesperrt", "konto…deaktiviert", "postfach…gesperrt", "ящик…заблокирован",
        "ящик…отключен", "cuenta…desactivada", "邮箱…冻结", "user…over its", "has been disabled",
        "has been suspended", "mailbox is currently", "out of service",
    )),
    ("moved", (
        "has moved", "user moved", "forwarding address", "new address", "address has changed", "address changed",
        "recipient…moved", "mailbox…moved",
    )),
    ("policy", (
        "relay access denied", "relaying denied", "relay denied", "relaying not", "relay not", "relaying prohibited",
        "unable to relay", "cannot relay", "not permitted to relay", "not allowed to relay", "we do not relay",
        "don't relay", "not relay", "no relay", "relaying is", "restricted", "not authorized", "not authorised",
        "authentication required", "smtp authentication", "must authenticate", "authenticate first", "access denied",
        "policy", "permission", "not permitted", "administratively", "administrative prohibition", "prohibited",
        "~notauthorized", "only accept", "members only", "not a member", "not subscribed", "blocked by",
        "rejected by", "not allowed", "security", "forbidden", "refused by", "unauthorized", "transport rules",
        "delivery not authorized",
    )),
    # Loose words: true of an address unless a status says that a rule spoke.
    ("weak:mailbox_unknown", (
        "recipient address rejected", "recipient rejected", "address rejected", "mailbox unavailable",
        "mailbox is unavailable", "user unavailable", "recipient not ok", "recipient not here", "mailbox…not found",
        "user…not found", "recipient…not found", "address…not found", "user…unknown", "recipient…unknown",
        "mailbox…unknown", "address…unknown", "recipient…invalid", "user…invalid", "address…invalid",
        "mailbox…invalid", "not deliverable", "undeliverable as addressed", "rcpt…failed", "no valid recipient",
        "recipient cannot be verified", "can't verify recipient", "cannot verify recipient",
        "unable to verify recipient", "couldn't be verified", "unrecognised or name", "unrecognized or name",
        "recipient name…not recogni", "verify the address", "not exist", "no account",
    )),
    ("policy", ("message rejected", "message refused", "rejected", "blocked", " rule ", " rules ")),
    ("expired", (
        "timed out", "time out", "timeout", "retry time", "could not be delivered for", "message expired",
        "queue too long", "too long in", "time expired", "has been in the queue", "been queued",
        "not delivered within", "days…deleted from queue", "maximum retr", "retries exceeded", "retry limit",
        "~queue.expired", "expiration", "retry count", "could not be delivered…days", "could not be delivered…hours",
        "unable to deliver…days", "has expired", "was not delivered…days", "zeitüberschreitung",
        "fristüberschreitung",
    )),
    ("routing", (
        "no route", "connection refused", "connection lost", "lost connection", "connection reset",
        "connection dropped", "connection failed", "connection closed", "connection was", "unreachable",
        "cannot connect", "could not connect", "couldn't connect", "unable to connect", "failed to connect",
        "can't connect", "able to establish", "not respond", "no answer", "host down", "host is down", "server down",
        "network error", "lookup failure", "lookup failed", "could not be resolved", "unable to route", "dns failure",
        "dns lookup", "dns error", "dns query", "couldn't be contacted", "could not be contacted",
        "unable to contact", "could not reach", "broken pipe", "try again later…host",
    )),
    ("tls", ("starttls", " tls ", "certificate", " ssl ")),
    ("mailbox_full", (" quota ", " quota", "exceed…limit")),
    ("system", (
        "local configuration error", "configuration error", "internal error", "internal server", "system error",
        "i o error", "temporary failure", "temporary error", "service unavailable", "service not available",
        "out of memory", "system resources", "insufficient system", "server error", "can't open", "cannot open",
        "unable to open", "unable to write", "write error", "database", "cannot update", "deferred",
        "try again later", "not accepting", "system config", "command died", "mailer error", "exit status",
        "exited with", "child status", "bad status", "command failed", "can't create", "operating system error",
        "unavailable",
    )),
    ("protocol", (
        "syntax error", "bad sequence", "command not", "unrecognized command", "unknown command", "smtputf8",
        "8bitmime", "protocol error", "parameters not", "not implemented", "line too long", "unsupported",
    )),
)  # fmt: skip


def _compiled() -> tuple[tuple[str, bool, str, tuple[str, ...]], ...]:
    rows = []
    for class_, phrases in _TABLE:
        for phrase in phrases:
            first, *others = phrase.removeprefix("~").split("…")
            rows.append((class_, phrase.startswith("~"), first, tuple(others)))
    return tuple(rows)


_ROWS = _compiled()


def said(text: str, *, weak: bool = True) -> str:
    """The class whose phrase stands in `text`, or "". With `weak` False, loose phrases are passed over."""
    raw = text.lower()
    plain = _plain(raw)
    for class_, as_it_came, first, others in _ROWS:
        where = raw if as_it_came else plain
        at = where.find(first)
        if at < 0 or (others and not _follows(where, at, first, others)):
            continue
        if not class_.startswith("weak:"):
            return class_
        if weak:
            return class_[5:]
    return ""


def _follows(text: str, at: int, first: str, others: tuple[str, ...]) -> bool:
    """Whether `others` stand behind `first`, each within a gap of the one before; a few places are tried."""
    for _ in range(_TRIES):
        end = at + len(first)
        for other in others:
            found = text.find(other, end, end + _GAP + len(other))
            if found < 0:
                break
            end = found + len(other)
        else:
            return True
        at = text.find(first, at + 1)
        if at < 0:
            return False
    return False


def _plain(text: str) -> str:
    """Words between single blanks, with blanks at both ends; `*` for an address, nothing for the name of a host."""
    words = []
    for word in text.split():
        if "@" in word:
            words.append("<")  # made a blank and then a star below
        elif "." in word and "://" not in word:
            words.append(_HOST.sub(_named, word[:200]) if len(word) > 3 else word)
        elif "://" not in word:
            words.append(word)
    kept = ["*" if w == "<" else w.translate(_BLANKS).replace(".", " ") for w in words]
    return f" {' '.join(' '.join(kept).split())} "


def _named(found: re.Match[str]) -> str:
    # `end.Begin`, two sentences without a blank, keeps its words; `mx.far.example` and `5.1.1` go.
    pieces = found[0].split(".")
    return " ".join(pieces) if len(pieces) == 2 and min(map(len, pieces)) > 3 else " "
