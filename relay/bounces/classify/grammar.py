"""What a sentence says where no phrase is known: a thing, and what is said of it, in one clause.

The world's hosts word the same few reasons in ever new ways: "cannot locate user", "account is switched off". A
clause that holds a word for a mailbox and words for not being there speaks of an unknown mailbox; and so for the
other reasons. The last resort: asked when no phrase of the tables stands in the text. In other languages than English
it knows one reason, that there is no such mailbox.

Promises: linear in the text. A clause that speaks of the sender, of a host, to "you" or of what may be never gives up
an address.
"""

from __future__ import annotations

import re

from relay.bounces.classify.doubts import IS_FORBIDDEN, IS_GONE, IS_OFF

_CLAUSES = re.compile(r"[.;,!?](?=\s|$)|\s-+\s|:\s|\s[45]\d\d(?=[\s-])")
_WORDS = re.compile(r"[a-z]+(?:'t)?")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_MAILBOX = _set(
    "user users mailbox mailboxes address recipient recipients account addressee person subscriber customer alias "
    "inbox"
)
_NOT = _set("not no never nobody none cannot unable without")
_THERE = _set(
    "match matches matched "
    "found find exist exists existing known know locate located valid registered recognized recognised listed work "
    "works created resolve identified defined provisioned assigned hosted local present served"
)
_GONE = _set("unknown invalid nonexistent deleted removed gone")
_OTHERS = _set(
    "sender senders from your you ip host hosts server servers domain helo ehlo dns connection client network "
    "authenticated authentication authorized allowed permitted relay message messages password "
    "if whether check please may might"
)
_STORE = _MAILBOX | _set("storage store folder disk device space box")
_FULL = _set("full overfull exceeds exceeded overflow overflowing overdrawn")
_ROOM = _set("space room capacity")
_OFF = _set("off disabled suspended closed dormant terminated frozen locked inactive deactivated parked retired")
_BIG = _set("bigger larger oversized oversize size mb kb")
_MAIL = _set("message mail email attachment attachments")
_REACH = _set("reach reached contact contacted connect answer answered respond responded")
_JUNK = _set("advertisement advertising classified scanner scan filtered filter link links url urls")
_BROKEN = _set("internal software crashed malfunction overloaded spool")
_TRIED = _set("tried attempted")
_LONG = _set("days hours")
_MORE = _set("will be more again next further")
# Words for a mailbox or its owner as they begin, without accents.
_NAMES = re.compile(
    r"\b(?:benutzer|nutzer|empfanger|empfaenger|postfach|mailbox|konto|account|adress|teilnehmer|destinat|utilisateur|"
    r"usager|abonne|compte|boite|usuari|utente|utilizador|cuenta|conta\b|casella|buzon|caixa|indirizzo|direccion|"
    r"endereco|gebruiker|ontvanger|postvak|postbus|adres|uzytkownik|odbiorc|skrzynk|anvandar|mottagar|mottaker|modtager|"
    r"bruger|bruker|brevlad|postkass|kayttaja|vastaanottaja|postilaatikko|osoite|uzivatel|prijemc|schrank|ucet|kullanici|"
    r"alici|hesap|felhasznalo|cimzett|postafiok|fiok|utilizator|korisnik|primatel|sanduc|pengguna|penerima|alamat|akun|"
    r"пользовател|получател|адрес|ящик|аккаунт|учетн|користувач|одержувач|отримувач|скриньк|χρ[ηή]στη|παραλ[ηή]πτη|"
    r"λογαριασμ|γραμματοκ|người dùng|người nhận|hộp thư|địa chỉ|tài khoản)|ユーザ|受信者|メールボックス|宛先|"
    r"アドレス|アカウント|用户|用戶|使用者|收件人|邮箱|郵箱|帐号|账号|帳號|地址|"
    r"사용자|수신자|받는 ?사람|메일함|사서함|계정|주소|المستخدم|المستلم|الحساب"
)
# Of whom else a clause may speak.
_ELSE = re.compile(
    r"absender|expedi|remitente|mittente|remetente|afzender|nadawc|avsandar|afsender|avsender|lahetta|odesilatel|"
    r"gonderen|gonderici|felado|posiljatel|pengirim|отправ|відправ|αποστολ|差出人|送信|発信|发件|發件|寄件|发送|보낸|보내|발신|"
    r"người gửi|المرسل|doma|domin|domei|domen|домен|ドメイン|域名|網域|도메인|"
    r"serv|сервер|サーバ|服务器|伺服|서버|\bip\b|host|"
    r"хост|ホスト|主机|호스트|client|error|erreur|fehler|fout|ошибк|エラー|错误|오류|\bdns\b|\bmx\b"
)


def said(text: str) -> str:
    """The class that a clause of `text` (lower case, without accents) speaks of, or ""."""
    clauses = _CLAUSES.split(text)
    for clause in clauses:
        words = set(_WORDS.findall(clause))
        found = _class(words)
        if found:
            return found
    return "mailbox_unknown" if any(map(_nobody, clauses)) else ""


def _nobody(clause: str) -> bool:
    """Whether a clause says, in whatever language, that there is no such mailbox, and nothing besides."""
    if _NAMES.search(clause) is None or IS_GONE.search(clause) is None:
        return False
    if not _OTHERS.isdisjoint(_WORDS.findall(clause)):
        return False
    return not any(other.search(clause) for other in (_ELSE, IS_FORBIDDEN, IS_OFF))


def _class(words: set[str]) -> str:
    negated = bool(words & _NOT) or any(word.endswith("n't") for word in words)
    if words & _STORE and (words & _FULL or (negated and words & _ROOM) or ("over" in words and "size" in words)):
        return "mailbox_full"
    if words & _MAILBOX and not words & _OTHERS:
        if words & _GONE or (negated and words & _THERE):
            return "mailbox_unknown"
        if words & _OFF:
            return "mailbox_disabled"
    if words & _TRIED and words & _LONG and not words & _MORE:
        return "expired"
    if words & _MAIL and words & _BIG:
        return "too_large"
    if negated and words & _REACH:
        return "routing"
    if words & _JUNK:
        return "content"
    return "system" if words & _BROKEN else ""
