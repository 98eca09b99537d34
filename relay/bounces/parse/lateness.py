"""Whether a text for people says that a message is only late, or that it was given up.

Both speak of the same things: a delay foretells its end ("before giving up", "then it is returned"). So the end counts
only where it has come, told in the past. A text that names an error of class 5 is no delay, whatever else it says;
one that names nothing but class 4 is one, unless it says that the end has come.
"""

from __future__ import annotations

import re

_I = re.IGNORECASE | re.MULTILINE
_LATE = re.compile(
    r"(?:this is a warning message only|you do not need to resend|message (?:is )?still undelivered|"
    r"(?:not|n't) (?:been |be )?(?:successfully )?(?:delivered|sent|transmitted) yet\b|has not been delivered to one\b|"
    r"(?:not|n't) yet (?:been )?(?:delivered|sent|transmitted)|this is not a (?:failure|bounce)|"
    r"(?:will|'ll) (?:be |keep )?(?:re)?tr(?:ied|ying)|(?:will|'ll) (?:automatically )?retry|"
    r"delivery (?:has been |is |was )?(?:still )?(?:delayed|pending|temporarily)|"
    r"warning: could not send|(?:temporarily|will be|been) deferred|(?:will|to) continue to (?:try|retry|attempt)|"
    r"no action is required on your part|(?:delivery )?attempts? (?:will|to) (?:continue|be (?:made|continued)|go on)|"
    r"continue to be attempted|(?<!no )(?<!any )(?:further|more|additional|new) "
    r"(?:delivery )?(?:attempts|tries|retries)|"
    r"retr(?:y|ies) (?:continue|are scheduled|is scheduled|will|every)|"
    r"next (?:delivery )?(?:attempt|try|retry) (?:in|at|will|is|after|on|:)|"
    r"(?:will|'ll) (?:make|try) .{0,30}(?:attempt|deliver)|transient (?:non-fatal|delivery|error|failure)|"
    r"(?:is|was|been) (?:delayed|queued)\b.{0,60}(?:retr|attempt|try)|been delayed|"
    r"still trying|(?:is|are) (?:still )?(?:waiting|sitting|held|on hold)\b|(?:placed|put|is) on hold|"
    r"still (?:in|on) (?:the|our|its) (?:.{0,20} )?queue|waiting in (?:the|our) |(?:status|state): (?:queued|delayed)|"
    r"is delayed for|temporary failure|(?:keep|continue|is|are) (?:re)?trying|not been delivered yet|"
    r"(?:will|'ll) try again|being (?:retried|attempted)|"
    r"(?:server|system|we) .{0,20}trying again|try again for|awaiting (?:review|delivery)|"
    r"for \d{1,3} hours?, (?:retr|and )|after \d{1,3} hours? (?:on|in) the queue|"
    r"wird weiter(?:hin)? versucht|(?:bisher|bislang) (?:noch )?nicht (?:zu|aus)|"
    r"noch nicht .{0,60}(?:zugestellt|ausgeliefert|übermittelt|gesendet)|verz(?:ö|oe)gert|"
    r"(?:weitere|erneute|nächste) (?:zustell)?versuch|versucht es .{0,60}(?:erneut|weiter)|"
    r"sera réessay|(?<!aucune )nouvelles? tentatives?|pas encore (?:pu |été )|continuera|retard(?:é|ée)\b|"
    r"se seguirá intentando|(?:aún|todavía) no (?:se )?(?:ha|pudo|fue)|lo (?:volverá a intentar|intentará)|"
    r"seguirá intentando|nuevos intentos|retrasad|ainda não (?:foi|pôde|pode)|novas? tentativas?|"
    r"non (?:è|e'?) (?:stato )?ancora|non (?:ha|è) ancora|non ancora (?:stato )?consegn|riprover|ulteriori tentativi|"
    r"nog niet (?:worden |kunnen )?(?:afgelever|bezorg|be(?:steld|zorgd))|opnieuw geprobeerd|vertraagd|"
    r"(?:har|kunde) ännu inte|försöker igen|fördröj|(?:er|er blevet) forsink|ennå ikke|endnu ikke|prøver igen|"
    r"ei ole vielä|yritetään uudelleen|nie (?:została|zostało|został) jeszcze|ponowi|kolejn\w{0,3} prób|"
    r"zatím nebyl|zkusí znovu|henüz (?:teslim|iletil)|yeniden denen|"
    r"пока (?:что )?не .{0,20}(?:достав|удал|отправ)|ещ[её] не (?:был|доставл|удал)|"
    r"продолжит|повторн\w{0,3} попыт|новая попытка|ще не доставл|"
    r"まだ.{0,30}(?:配信|届|送信)|引き続き|再送(?:します|を試み|を続け|中)|再試行(?:し?ます|中)|"
    r"(?:尚未|还没有|還沒有|暂未).{0,12}(?:投递|送达|发送|传递|投遞|送達|寄送|傳送)|继续尝试|繼續嘗試|[将將会會].{0,10}重[试試]|"
    r"아직|(?:다시 |재)시도(?:합니다|됩니다|할 것|될 것))",
    _I,
)
# Of a subject: what it says itself, not the one it quotes behind "Undeliverable:".
_LATE_SUBJECT = re.compile(
    r"(?!.{0,40}(?:undeliver|return|fail|unknown|no such|invalid|not (?:exist|found|known)|reject|unzustellbar|"
    r"non remis))"
    r"[\s*\[({]{0,4}(?:e?-?mail |message |delivery |\S{1,60} ){0,4}"
    r"(?:delay(?:ed)?\b|warning\b|warnung|verz(?:ö|oe)ger|noch nicht|retard|retras|ritard|atrasad|"
    r"vertraag|vertraging|fördröj|forsink|viivä|opóźni|zpožd|gecik|отлож|задерж|затрим|延迟|延遲|遅延|지연)",
    re.IGNORECASE,
)
_OVER = re.compile(
    r"(?:\b(?:has|have|i've|we've|was|been) given up\b|\bgiven up (?:after|on)\b|\babandoned\b|(?:stopped|ceased|"
    r"quit) trying|"
    r"\bno longer (?:be(?:ing)? )?(?:tr(?:y|ied|ying)|retr|attempt)|(?:delivery|message|attempts|it) (?:was|were|"
    r"has been|have been) "
    r"(?:stopped|dropped|cancell?ed|discarded)|"
    r"\b(?:i|we|server|system|software) gave up|"
    r"\bgiving up (?:on|after)|\bi'm giving up|"
    r"\b(?:message|mail|e-?mail|it|letter|which) (?:has been|was|is being|is (?:hereby|therefore|now)) returned|"
    r"\bfile had the following undeliverable|\bhas been returned|failed permanently|has permanently failed|"
    r"permanent (?:fatal )?(?:delivery )?errors?\b|(?:this is|due to) a permanent failure|unrecoverable|"
    r"not going to try again|(?:will not|won't) (?:be )?(?:re)?tr(?:y|ied)|"
    r"no (?:further |more |new )?(?:delivery )?(?:attempts|retries)|"
    r"keine weiteren (?:zustell)?versuch|nicht (?:weiter|erneut) versucht|"
    r"retry time ?(?:out)? (?:has been )?(?:exceeded|not reached for any host)|too long in (?:the|our) queue|"
    r"in (?:the|our) queue (?:for )?too long|too old\b|(?:delivery|message|envelope|retry|queue|time) .{0,20}\bexpired|"
    r"(?:time|number|retries|attempts?|retry|queue)\b.{0,30} (?:has been|was|were|have been) (?:reached|exceeded)|"
    r"maximum .{0,30}exceeded|deleted from (?:the )?queue|gave up after|"
    r"(?:wurde|ist|wird hiermit|wurden) .{0,40}(?:aufgegeben|zurückge)|a été (?:abandonn|retourné|renvoyé)|"
    r"aucune (?:autre |nouvelle )?tentative|no se .{0,20}(?:más|nuevos) intentos|não .{0,20}(?:mais|novas) tentativas|"
    r"non .{0,20}ulteriori tentativi|попыт\w{0,4} .{0,20}не буд|ha sido devuelto|se ha devuelto|foi devolvid|"
    r"è stato (?:restituito|rispedito)|возвращен[оаы]?\b|退回|"
    r"nach \d{1,4} (?:stunden|tagen) (?:aufgegeben|abgebrochen)|abandonn(?:é|ée|és) (?:après|au bout)|"
    r"abandonad[oa] (?:después|após|tras)|"
    r"abbandonat[oa] dopo|rinunciato dopo|desisti\w{1,3} (?:após|depois)|desistió|opgegeven na|zrezygnowano po|"
    r"zaniechano|"
    r"попытки прекращены|прекращены попытки|"
    r"(?:已|最终)放弃|已放棄|断念|諦めました|あきらめました|중단되었|포기했|포기하였|"
    r"返送しました)",
    _I,
)
# Before such words: they tell what is to come.
_TO_COME = re.compile(
    r"\b(?:before|until|till|unless|if|when|whenever|once|eventually|after that|otherwise|bevor|wenn|falls|bis|"
    r"avant|jusqu|si|quand|antes|hasta|cuando|quando|prima|voordat|innan|если|когда)\b",
    re.IGNORECASE,
)
_BEFORE_MAX = 120
_RETURNED_SUBJECT = re.compile(
    r"\s*(?:returned (?:e?-?mail|message|to)|.{0,60}returning message|undelivered mail returned)", re.IGNORECASE
)
# An error of class 5, and no measure of time or size.
_FATAL = re.compile(
    r"(?:^|[\s:;<>(\[#'\"])(?:5[0-7]\d(?=[\s\-:;,)\]'\"#]|$)(?!\s?(?:[kmg]?i?b\b|[kmg]?bytes|min|hour|sec|day|stunden|"
    r"tage|heures|jours|horas|dias))|5\.\d{1,3}\.\d{1,3}(?![\d.]))",
    _I,
)


def is_late(subject: str, text: str) -> bool:
    """True when the message is on its way still: the text says so, and neither an end nor an error of class 5."""
    if _LATE.search(text) is None and _LATE_SUBJECT.match(subject) is None:
        return False
    return _FATAL.search(text) is None and not gave_up(subject, text)


def speaks_of_delay(text: str) -> bool:
    """True when the text has words for a delay."""
    return _LATE.search(text) is not None


def gave_up(subject: str, text: str) -> bool:
    """True when nobody will try again: it was given up, returned, or is too old."""
    if _RETURNED_SUBJECT.match(subject):
        return True
    for found in _OVER.finditer(text):
        # Of the same sentence; a line break ends none.
        before = re.split(r"[.;!?。]\s|\n\s*\n", text[max(0, found.start() - _BEFORE_MAX) : found.start()])[-1]
        if not _TO_COME.search(before):
            return True
    return False
