"""What mail systems say in other languages than English: classes and phrases, written as in `phrases`.

They join the first row of their class there. Letters with accents may be written either way; both are found, for
many systems write none. Words that may be said of a server or an error as well ("unknown", "not found") stand only
together with a word for a mailbox or its owner: nobody's address is given up for a riddle.
"""

from __future__ import annotations

TABLE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mailbox_full", (
        "boîte…pleine", "boite…pleine", "postfach…voll", "postfach…überfüllt", "speicherplatz", "buzón…lleno",
        "cuota", "casella…piena", "caixa…cheia", "boîte aux lettres…satur", "ящик…заполнен", "skrzynka…pełna",
        "メールボックス…容量", "容量を超え", "容量が", "邮箱空间", "postvak…vol ", "brevlåda…full", "buzón lleno",
        "caixa cheia", "boite pleine", "cette boite est pleine", "postfach voll", "przepełnion", "переполнен",
        "квот", "いっぱい", "一杯", "満杯", "容量オーバー", "容量超", "已满", "已滿", "空间不足", "容量不足",
        "용량 초과", "용량이 초과", "가득", "schránka…plná", "postilaatikko…täynnä", "kutusu…dolu",
    )),
    ("domain_unknown", (
        "domain…nicht gefunden", "domain…existiert nicht", "dominio…no existe", "domaine…inexistant",
        "domaine…introuvable", "keinen mx", "kein mx", "keine mx", "aucun mx", "aucun enregistrement mx", "pas de mx",
        "sin mx", "ningun mx", "ningun registro mx", "no tiene mx", "no tiene registro mx", "nessun mx",
        "nessun record mx",
        "senza mx", "nenhum mx", "nenhum registro mx", "sem mx", "geen mx", "brak mx", "brak rekordu mx", "нет mx",
        "mx запис…нет",
        "mx…не найден", "mxレコードが", "mx レコードが", "mxがあり", "mx があり", "没有mx", "无mx", "mx记录不存在",
        "mx 레코드…없", "domain…nimmt keine",
        "domaine…n'accepte pas",
        "dominio…no acepta", "dominio…non accetta", "domínio…não aceita", "домен…не принимает", "домен…не существует",
        "domain…unbekannt", "domaine…inconnu", "dominio…desconocido", "dominio…sconosciuto", "domínio…desconhecido",
        "domein…onbekend", "domein…bestaat niet", "domena…nie istnieje", "域名不存在", "域名…不存在", "域名…没有",
        "domínio…não existe",
        "dominio…non esiste", "dominio…inexistente", "도메인…존재하지", "도메인…찾을 수 없", "ドメイン…存在し",
        "ドメイン…見つかりません",
        "ホスト…見つかりません",
    )),
    ("mailbox_unknown", (
        "destinataire…introuvable", "adresse…introuvable", "non è valid", "utente sconosciuto",
        "usuario desconocido", "no se encontró", "utilisateur inconnu", "destinataire inconnu", "adresse inconnue",
        "inconnu à cette", "utilisateur…n'existe", "empfänger unbekannt", "unbekannter empfänger",
        "benutzer unbekannt", "unbekannter benutzer", "empfänger…nicht gefunden", "konnte nicht gefunden",
        "usuário desconhecido", "não foi encontrado", "gebruiker onbekend", "onbekende gebruiker",
        "adres…niet gevonden", "nieznany użytkownik", "nie istnieje", "пользователь…не найден",
        "неизвестный получатель", "ユーザー…見つかりません", "見つかりませんでした", "存在しない", "宛先不明",
        "あて先不明", "nicht im…verzeichnis", "empfaenger unbekannt", "adresse unbekannt", "unbekannte adresse",
        "existiert nicht", "existiert hier nicht", "existiert leider nicht", "kein solcher", "kein benutzer",
        "adresse…nicht bekannt", "empfänger…nicht bekannt", "benutzer…nicht bekannt", "bei uns nicht bekannt",
        "nicht existiert", "inexistant", "n'existe p", "destinataire…invalide", "utilisateur…inconnu",
        "destinataire…inconnu", "usager inconnu", "no existe", "inexistente", "destinatario…desconocido",
        "usuario no encontrado", "destinatario no encontrado", "buzón no encontrado", "dirección no encontrada",
        "cuenta no encontrada", "não existe", "usuário não encontrado", "destinatário não encontrado",
        "destinatário…desconhecido", "non esiste", "inesistente", "destinatario sconosciuto",
        "indirizzo sconosciuto", "utente non trovato", "bestaat niet", "onbekende ontvanger", "ontvanger onbekend",
        "okänd mottagare", "okänd användare", "finns inte", "ukjent mottaker", "ukjent bruker", "finnes ikke",
        "ukendt modtager", "ukendt bruger", "findes ikke", "tuntematon vastaanottaja", "tuntematon käyttäjä",
        "nieznany odbiorca", "nie znaleziono odbiorcy", "nie znaleziono użytkownika", "nie ma takiego",
        "neexistuje", "neznámý příjemce", "kullanıcı bulunamadı", "alıcı bulunamadı", "адрес…не найден",
        "ящик…не найден", "получатель…не найден", "адресат…не найден", "не существует", "нет такого польз",
        "нет такого адр", "нет такого ящ", "неизвестный пользователь", "存在しま", "アドレス…見つかりま",
        "ユーザ…見つかりま", "受信者…見つかりま", "宛先が不明", "ユーザ不明", "不存在", "查无", "查無", "无此用户",
        "无此邮箱", "無此使用者", "無此用戶", "没有该用户", "没有此用户", "沒有此", "找不到…用户", "找不到…收件",
        "존재하지", "사용자…찾을 수 없", "수신자…찾을 수 없", "주소…찾을 수 없", "받는 사람…찾을 수 없",
        "kein postfach", "kullanıcı yok", "alıcı yok", "宛先が見つかり", "người dùng không tồn tại",
        "알 수 없는 사용자", "boîte…inconnu", "пользователя нет", "пользователь не зарегистр", "被注销", "已注销",
        "не съществува", "непознат получател", "непознат потребител", "המשתמש לא קיים", "הנמען לא קיים",
        "לא קיים משתמש", "משתמש לא ידוע", "נמען לא ידוע", "הכתובת לא קיימת", "ไม่พบผู้ใช้", "ไม่มีผู้ใช้",
        "ไม่พบผู้รับ", "ไม่มีผู้รับ", "ไม่รู้จักผู้รับ",
    )),
    ("too_large", (
        "zu groß", "demasiado grande", "trop volumineux", "サイズ…超", "zu gross", "muito grande", "troppo grande",
        "слишком больш", "大小超",
    )),
    ("mailbox_disabled", (
        "compte…désactivé", "konto…gesperrt", "konto…deaktiviert", "postfach…gesperrt", "ящик…заблокирован",
        "ящик…отключен", "cuenta…desactivada", "邮箱…冻结", "аккаунт…заблокирован", "пользователь…заблокирован",
        "cuenta…suspendida", "buzón…desactivado", "boîte…suspendue", "boite…archivée", "boîte…désactivée",
        "casella…disabilitata", "utente…disabilitato", "konto…zablokowane", "邮箱…停用", "账号…停用", "用户…停用",
        "用户…冻结", "账号…冻结",
    )),
    ("expired", (
        "zeitüberschreitung", "fristüberschreitung",
    )),
    ("sender", (
        "absender…existiert", "absender…abgelehnt", "absender…ungültig", "remitente…no ", "expéditeur…n'existe",
        "expéditeur…refus", "mittente…non esiste", "remetente…não existe", "отправител…не ", "发件人…不存在",
        "发件人…拒",
    )),
)  # fmt: skip
