"""Words beside which no address is given up, whatever else is said: the fault may be somebody else's, or pass.

Three kinds, each in the languages that mail systems write. A choice of two ("the group does not exist or you may not
write to it") leaves open which it is. What the recipient chose (settings, filters, contacts) is said of the sender.
What is not for good ("in five minutes", "could not be asked") says nothing that lasts. All are looked for in a text as
`words.normal` makes it: lower case, letters without accents, single blanks.

Promises: pure, linear in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

_GONE = (
    r"(?:not exist|n't exist|no longer exist|not found|unknown|no such|existiert nicht|nicht existiert|"
    r"nicht gefunden|unbekannt|"
    r"gibt es nicht|n'existe|introuvable|inconnu|inexistant|no existe|inexistente|no se encontr|desconocid|non esiste|"
    r"sconosciut|non trovat|nao existe|desconhecid|nao encontrad|nao foi encontrad|bestaat niet|onbekend|niet gevonden|"
    r"niet bestaa|nie istnieje|nie istniec|nieznan|finns inte|inte finn|okand|finnes ikke|ikke finnes|findes ikke|"
    r"ikke find|"
    r"eksisterer ikke|ukendt|ukjent|ei ole olemassa|neexist|nenalezen|bulunam|mevcut degil|nem letez|nu exista|"
    r"ne postoji|"
    r"ei loydy|ismeretlen|necunoscut|nepoznat|nie ma |không tồn tại|αγνωστ|άγνωστ|не знайд|невідом|無此|无此|"
    r"ユーザーはいません|ユーザはいません|おりません|사용자가 없|사용자 없|수신자가 없|계정이 없|주소가 없|"
    r"(?:address|name|group|list) (?:is |may be |might be )?(?:wrong|incorrect|misspel\w+|mistyped)|"
    r"khong ton tai|tidak ada|tidak ditemukan|не существ|не найден|нет так|неизвест|не існу|δεν υπαρχ|δεν υπάρχ|"
    r"не съществ|לא קיי|לא נמצא|לא ידוע|ไม่พบ|ไม่มี|"
    r"存在しな|存在しま|見つから|不明|不存在|找不到|查无|查無|존재하지|찾을 수 없|없는|لا يوجد|غير موجود)"
)
_OR = (
    r"(?: (?:or|oder|ou|o|oppure|of|lub|albo|bądź|badz|или|либо|або|чи|eller|tai|nebo|anebo|"
    r"alebo|ali|arba|voi|vai|veya|ya da|vagy|sau|ili|"
    r"atau|"
    r"hoac|ή|أو|או) |หรือ|または|又は|もしくは|あるいは|それとも|或者|或是|或|か |또는|거나|혹은|아니면)"
)
_MAY_NOT = (
    r"(?:permi[st]|permess|autori[sz]|authori[sz]|allow| rights?\b|access|restrict|berechtig|erlaub|darf|durfen|"
    r"zugriff|"
    r"rechte|droit|derecho|diritt|direito|acceso|accesso|acesso|toestemming|bevoegd|toegang|rechten|uprawn|zezwol|"
    r"dostep|"
    r"pozwol|behorig|tillat|tilladel|adgang|tilgang|oikeu|lupa|opravn|povol|pristup|izin|yetki|jogosult|engedel|dozvol|"
    r"quyen|прав|разреш|доступ|дозв|δικαι|αδεια|άδεια|権限|許可|拒否|制限|权限|權限|许可|允许|允許|拒绝|拒絕|限制|권한|허용|허가|거부|"
    r"صلاحي|إذن|הרשא|רשאי|สิทธิ|อนุญาต|relay|"
    # The other half may be that this sender is not wanted.
    r"from your? |von ihnen|von dir |de usted|de ti | suas? |de voce| da te | da lei |de vous|de votre part|van u |"
    r"van jou |od ciebie|от вас|від вас|fran dig|fra dig|fra deg|sinulta|あなたから|来自您|來自您|您的(?:邮件|郵件)|"
    r"private|moderat|only members| closed |temporar| full\b|quota| voll\b| pleine?\b| llen[oa]| pien[oa]|"
    r" chei[oa]| vol\b|"
    r"pelna|переполн|一杯|已满|已滿|가득|another reason|other reason|accept mail from you|receive mail from you)"
)
# Of these, each is a fault of the address, but not each is for good; a plain status says which.
_OFF = (
    r"(?:disabled|inactive|deactivated|suspended|blocked|unavailable|locked|deaktiviert|gesperrt|inaktiv|desactiv|"
    r"bloque|"
    r"suspendu|suspendid|bloquead|desativad|sospes|disabilitat|disattivat|bloccat|geblokkeerd|uitgeschakeld|zablokowan|"
    r"заблок|отключ|неактив|停止|無効|停用|禁用|冻结|비활성|정지)"
)
IS_GONE, _IS_OR, IS_FORBIDDEN, IS_OFF = map(re.compile, (_GONE, _OR, _MAY_NOT, _OFF))
_ORS_MAX, _BEFORE, _BEHIND = 20, 90, 110

_WHO = r"(?:recipient|user|addressee|mailbox|owner|customer|account|subscriber|member|person|employee|receiver)"
_WHAT = (
    r"(?:settings?|preferences?|filters?|filtering|rules?|policy|policies|configuration|choices?|wish(?:es)?|request|"
    r"instructions?|options|restrictions?|criteria|controls?|modes?|profile|block ?list|"
    r"black ?list|deny ?list|allow ?list|white ?list|safe ?list|contacts?|block|blocking)"
)
_CHOSE = re.compile("|".join((
    rf" {_WHO}(?:'s|s'|s)? (?:(?:own|personal|mail|email|e mail|spam|privacy|delivery|security|custom|vacation|holiday|"
    rf"safe|safe sender|safe senders|mailbox|inbox) )?{_WHAT}\b",
    r" list of (?:allowed|approved|known|accepted|permitted|trusted|safe) (?:senders?|addresses)\b",
    r" (?:allowed|approved|permitted|trusted) senders? list ",
    r" \* (?:no longer |does not |doesn't )?(?:wish|want|prefer)(?:e?s)? (?:to|no|any|your|mail|email)\b",
    rf" {_WHAT} (?:of|by|from|set by|made by|chosen by|for) (?:(?:the|this|that|your|its|intended) ){{0,2}}{_WHO}\b",
    rf" {_WHO}(?: \*)?(?: \S{{1,12}}){{0,2}}? (?:unsubscribed|chose|chosen|opted|asked|decided|declined|"
    rf"declines|rejects|refuses|"
    rf"refused|"
    rf"blocked|"
    r"blocks|blocking|prefers?|wants?|wishes|requested|restricts?|restricted|screens?) ",
    rf" {_WHO}(?: \*)? (?:does not|doesn't|do not|don't|will not|won't|is not|isn't|only|is only|cannot|can't|can only|"
    r"may not|may only) (?:be )?(?:accept|accepts|accepting|want|wish|receive|receives|take|takes|allow|allows|allowed|"
    r"permit|permitted|authorized|authorised|enabled|configured)\b",
    r" not (?:\S{1,12} )?(?:allowed|permitted|authori[sz]ed|enabled|entitled|able|configured|cleared|licensed) (?:to|"
    r"for) "
    r"(?:receiv|get|accept|external|internet|outside|inbound|incoming|mail from|email from)",
    r" (?:rejected|refused|blocked|declined|denied|returned|bounced|filtered) (?:by|due to|because of|per) "
    rf"(?:(?:the|a|an|this|its|their|personal|request of|behalf of) ){{0,3}}{_WHO}\b(?! (?:unknown|not|does))",
    r" (?:accepts?|receives?|takes?) (?:\S{1,12} )?(?:mail |email |e mail |messages )?(?:only |solely )?(?:from|"
    r"within) "
    r"(?:\S{1,12} ){0,3}(?:contacts|senders|internal|inside|known|approved|members|list|colleagues|staff|domain)",
    r" (?:external|outside|internet|foreign|unapproved) (?:mail|emails?|e mail|senders?|messages|sources|domains|"
    r"addresses)\b",
    r" not (?:in|on|among) (?:\S{1,12} ){0,3}(?:contacts|address ?book|safe ?list|white ?list|allow ?list) ",
    r" (?:your|his|her|their|the|my|its) contacts ",
    r" not (?:a )?(?:member|subscriber|subscribed) (?:of|to|on) (?:\S{1,15} ){0,2}(?:list|group)\b",
    r" for (?:outgoing|outbound) (?:mail|email|messages|use)\b| (?:outgoing|outbound|send|sending) only ",
    r" not (?:\S{1,12} )?(?:allowed|permitted|authori[sz]ed|entitled) to (?:send|post|write|mail|email)\b",
    r" non ?members? | (?:members|subscribers) only | only (?:members|subscribers) ",
    r" internal (?:mail|emails?|use|senders?|recipients?|address|mailbox) ?(?:only)?\b",
    # Others say it in their own words.
    r"einstellung\w* (?:des|der|vom) (?:empfanger|benutzer|nutzer|postfach)",
    r"(?:empfanger|benutzer|nutzer|inhaber)\w* (?:hat|mochte|wunscht|akzeptiert|nimmt|lehnt|blockiert|erlaubt|"
    r"verweigert)",
    r"empfangereinstellung|benutzereinstellung|filterregel",
    r"(?:vom|durch den) (?:empfanger|benutzer|nutzer)\w* (?:abgelehnt|blockiert|verweigert|gesperrt)",
    r"(?:parametres|preferences|reglages|filtres?|regles?|choix|souhait|demande) (?:du|de l'|de la|de son|des) ?"
    r"(?:destinataire|utilisateur|titulaire)",
    r"(?:destinataire|utilisateur) (?:(?:a|ne|n'a) ){0,2}(?:souhaite|choisi|refuse|bloque|accepte|veut|desire)",
    r"par (?:le |la volonte du )(?:destinataire|utilisateur)",
    r"(?:configuracion|preferencias|ajustes|filtros?|reglas?|configuracoes|definicoes|regras|impostazioni|preferenze|"
    r"regole|"
    r"filtri|scelta) (?:del|de la|de|do|da|dell'|degli) ?(?:destinatario|usuario|utente|titular)",
    r"(?:destinatario|usuario|utente) (?:(?:ha|no|non|nao|solo|so) ){0,2}(?:desea|quiere|acepta|bloque|rechaz|"
    r"elegido|escolh|"
    r"deseja|quer|aceita|recus|desidera|vuole|accetta|rifiut|blocca|scelto|recibe|recebe|riceve)",
    r"(?:por (?:el|o)|pelo|dal) (?:destinatario|usuario)|dall'utente",
    r"(?:instellingen|voorkeuren|filters?|regels) van (?:de|het) (?:ontvanger|gebruiker)|door de (?:ontvanger|"
    r"gebruiker)",
    r"ontvanger (?:heeft|wil|accepteert|weigert|blokkeert)",
    r"(?:ustawie\w*|preferencj\w*|filtr\w*|regul\w*) (?:odbiorcy|uzytkownika|adresata)",
    r"(?:odbiorca|uzytkownik|adresat) (?:nie (?:chce|zyczy|przyjm|akcept)|zablok|odrzuc|odmow)|przez (?:odbiorce|"
    r"adresata)",
    r"(?:настройк\w*|предпочтени\w*|фильтр\w*|правил\w*|желани\w*) (?:получател|пользовател|адресат|владельц)",
    r"(?:получател\w*|пользовател\w*|адресат\w*) (?:не жела|отказ|заблокировал|запрет|принимает только|не принимает|"
    r"огранич)",
    r"(?:mottagarens?|modtagerens?|mottakerens?|vastaanottajan|prijemce|alicinin|cimzett) (?:installning|indstilling|"
    r"innstilling|asetu|nastaven|ayar|beallit|filter|regl|blocker|blokker|estanyt|accept)",
    r"(?:mottagaren|modtageren|mottakeren) (?:har )?(?:avvis|nekat|nekar|vagra|blocker|blokker|afvis|afslaet|nekt)",
    r"vastaanottaja (?:on )?(?:estanyt|hylannyt|torjunut|hylkasi|torjui)",
    r"(?:prijemce|uzivatel) (?:si )?(?:odmit|zablok|nepreje|neprij)|alici (?:\S{1,15} ){0,2}(?:reddet|engelle)",
    r"cimzett (?:\S{1,15} ){0,2}(?:elutasit|letilt|visszautasit)|destinatarul (?:a )?(?:refuz|respins|bloc)",
    r"primatelj (?:je )?(?:odbi|blokir)|penerima (?:telah )?(?:menolak|memblokir)",
    r"(?:получатель|пользователь|адресат|одержувач|отримувач) (?:\S{1,15} )?(?:отклонил|отверг|відхилив|заблокував|"
    r"відмов)",
    r"παραλ[ηή]πτης (?:\S{1,15} )?(?:απ[εέ]ρριψε|αρν|μπλοκ)|người nhận (?:đ\S{1,3} |d\S{1,3} )?(?:từ chối|chặn)",
    r"(?:رفض|حظر) المستلم|المستلم (?:رفض|حظر)|受信者[がは].{0,12}拒否し|수신자[가는](?: \S{1,12}){0,2} ?(?:거부|차단)",
    r"收件人(?: ?已)? ?(?:拒|屏蔽|封锁|封鎖)|받는 ?사람[이은](?: \S{1,12}){0,2} ?(?:거부|차단)",
    r"受信拒否|受信設定|受信者の設定|受信者が拒否|受信者により|迷惑メール設定|指定受信|ドメイン指定",
    r"收件人设置|收件人設定|收件人拒|收件人的设置|收件人的設定|收件人已拒|收件人已将|用户设置|对方拒|對方拒|拒收",
    r"수신 ?거부|수신자(?:의|가) ?(?:설정|거부|차단)|받는 ?사람(?:의|이) ?(?:설정|거부|차단)",
)))  # fmt: skip

_PASSES = re.compile(
    r" tempor|again later| try later| later again| come back| will (?:be )?(?:re)?tr(?:y|ied)|"
    r"(?<! and)(?<! then)(?<! to) try again|"
    r" retry (?:in|later|after)| please retry | being (?:moved|migrated|restored|upgraded) |"
    r" in (?:a few|some|\d{1,4}) (?:sec|min|hour|moment)| at this time | at the moment |"
    r" for the moment |(?: is|user|box) busy |"
    r" right now | for now | please wait | servfail| time ?out| timed out| (?:could not|cannot|can't|couldn't|"
    r"unable to) be asked|"
    r" not responding| overload| too busy | maintenance | spater | vorubergehend|zeitweilig| plus tard| ulterieurement|"
    r"temporaire| mas tarde| mas adelante| mais tarde| piu tardi| momentane| tijdelijk| pozniej| chwilow| tymczasow|"
    r"позже|позднее|"
    r"временн|тимчасов|しばらく|後ほど|後で|一時的|稍后|稍後|暂时|暫時|临时|臨時|나중에|잠시|일시적"
)  # fmt: skip
# Of the sending host, or of what stood in MAIL. In the envelope that many reports print, "Mail From: <…>" says nothing.
_OF_THE_SENDER = re.compile(
    r" client (?:host|ip|name) | (?:helo|ehlo) | your (?:ip|host|server|domain) "
    r"| for sender | mail from (?!\*)| blocked your | from address | you sent from | valid sender | sender domain|"
    r" sender's | sender (?:\S{1,60} ){0,3}(?:unknown|not found|not known|does not exist|doesn't exist) |"
    r" return (?:address|path) | envelope (?:from|sender) | from domain | reverse path |"
    r" you (?:wrote|write|send|are sending|mailed) from | verify your | tls (?:is )?required | require[sd]? tls "
)
# DNS that could not be asked: nothing is known of the domain.
_UNASKED = re.compile(
    r"(?:host|domain|name|dns|mx|lookup|resol|nameserver|name server|query|zone).{0,80}(?: try again| servfail|"
    r" timed? ?out| temporar|"
    r" will (?:re)?try| again later| not respon| no respon| refused | lame| unreachable| 2\(| server fail|"
    r" serverfail| unavailable| soft error| not complete| not answer| no answer)|"
    r" lookup fail(?!.{0,60}(?:exist|nxdomain|no such|not found|unknown))|"
    r"(?:servfail|server failure|time ?out|timed out|temporar\w*|no answer|unable to reach|could not reach).{0,60}"
    r"(?: dns| lookup| resol| nameserver| name server| mx )|"
    r" (?:mx|exchanger|mail server|mail host|smtp server)s?\b.{0,40} (?:reach|respon|answer|contact|connect|unreach|"
    r"accept(?:ing)? conn)"
)  # fmt: skip


_HEADS = 4


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# How words begin beside which the patterns above can't but fail: most texts hold none of them.
_CHOICES = _set(
    "by due beca per mode non nonm only reje "
    "sett pref filt rule poli conf choi wish requ inst opti rest crit cont prof blac deny allo "
    "whit safe bloc chos opte aske deci decl refu want scre acce rece take perm auth enab enti able clea lice "
    "exte outs inte fore unap eins empf benu nutz vom durc para regl souh dest util par ajus defi impo rego scel "
    "usua uten por pelo dal dall voor onga ontv door usta regu odbi uzyt adre prze mott modt vast prij alic cimz "
    "book memb subs outg outb send list * vaca holi safe prim pene unsu"
)
_CHOICES_OR = _set(
    "or oder ou o oppu of lub albo badz elle tai nebo aneb aleb ali arba voi vai "
    "veya ya vagy sau ili atau hoac или либо або чи ή أو"
)
_PASSING = _set(
    "bein busy "
    "temp agai try trie retr late come few some sec seco min minu hour mome time resp now wait serv over busy "
    "main aske spat voru zeit plus ulte mas mais piu tijd pozn chwi tymc"
)
_SENDING = _set("clie helo ehlo your for mail bloc from you vali send retu enve reve veri tls requ")


@dataclass(frozen=True, slots=True)
class Plain:
    """A text as `words.normal` makes it, and how its words begin."""

    text: str
    heads: frozenset[str]
    ascii: bool


def plain(text: str) -> Plain:
    """`text` made ready to be asked about."""
    return Plain(text, frozenset(word[:_HEADS] for word in text.split()), text.isascii())


def either(said: Plain) -> bool:
    """Whether it is left open if there is no such address, or if this sender may not write to it."""
    return _riddle(said, IS_FORBIDDEN)


def either_off(said: Plain) -> bool:
    """Whether it is left open if there is no such address, or if it takes no mail at present."""
    return _riddle(said, IS_OFF)


def _riddle(said: Plain, other: re.Pattern[str]) -> bool:
    """Whether an "or" stands between there being no such address and something else."""
    if said.ascii and said.heads.isdisjoint(_CHOICES_OR):
        return False
    for found in islice(_IS_OR.finditer(said.text), _ORS_MAX):
        # The blank behind the word begins the next one.
        before = said.text[max(0, found.start() - _BEFORE) : found.start() + 1]
        behind = said.text[found.end() - 1 : found.end() + _BEHIND]
        if IS_GONE.search(before):
            if other.search(behind):
                return True
        elif other.search(before) and IS_GONE.search(behind):
            return True
    return False


def chosen(said: Plain) -> bool:
    """Whether the recipient wants no such mail, or none from this sender."""
    return not (said.ascii and said.heads.isdisjoint(_CHOICES)) and _CHOSE.search(said.text) is not None


def passes(said: Plain) -> bool:
    """Whether it is said not to be for good."""
    return not (said.ascii and said.heads.isdisjoint(_PASSING)) and _PASSES.search(said.text) is not None


def of_the_sender(said: Plain) -> bool:
    """Whether the sending host or the sender is spoken of."""
    return not said.heads.isdisjoint(_SENDING) and _OF_THE_SENDER.search(said.text) is not None


def unasked(said: Plain) -> bool:
    """Whether the DNS could not be asked about the domain."""
    return _UNASKED.search(said.text) is not None
