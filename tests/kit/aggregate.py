"""Aggregate reports as large receivers write them: their forms, made-up figures."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from email.message import EmailMessage

DAY = 86_400


def row(ip: str = "192.0.2.25", n: int = 1, *, dkim: str = "pass", spf: str = "pass", then: str = "none",
        domain: str = "example.test") -> str:
    """One record of the older form, with what each receiver puts around it."""
    return (
        f"<record><row><source_ip>{ip}</source_ip><count>{n}</count><policy_evaluated>"
        f"<disposition>{then}</disposition><dkim>{dkim}</dkim><spf>{spf}</spf>"
        "<reason><type>forwarded</type><comment>a &amp; b</comment></reason></policy_evaluated></row>"
        f"<identifiers><envelope_to>far.test</envelope_to><header_from>{domain}</header_from></identifiers>"
        f"<auth_results><dkim><domain>{domain}</domain><selector>ph1r</selector><result>{dkim}</result></dkim>"
        f"<spf><domain>bounce.{domain}</domain><result>{spf}</result></spf></auth_results></record>"
    )


def xml(
    shape: str = "google", *rows: str, domain: str = "example.test", at: float, id: str = "1", head: str = "",
) -> bytes:
    """A report of one day that begins `at`, in the form of `shape`."""
    opening = {
        "google": '<?xml version="1.0" encoding="UTF-8" ?>\n<feedback>\n  ',
        "microsoft": '<?xml version="1.0"?><feedback xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><version>1.0</version>',
        "yahoo": '<?xml version="1.0"?>\n<feedback>',
        "fastmail": '<?xml version="1.0" encoding="UTF-8"?>\n<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">'
        "<version>1.0</version>",
        "mail.ru": '<?xml version="1.0" encoding="windows-1251"?><feedback><version>0.1</version>',
        "prefixed": '<f:feedback xmlns:f="urn:ietf:params:xml:ns:dmarc-2.0">',
    }[shape]
    inner = (
        f"<report_metadata><org_name>{shape} Inc.</org_name><email>noreply@{shape}.test</email>"
        f"<report_id>{id}</report_id><date_range><begin>{int(at)}</begin><end>{int(at) + DAY - 1}</end></date_range>"
        f"</report_metadata><policy_published><domain>{domain}</domain><adkim>r</adkim><aspf>r</aspf><p>none</p>"
        f"<sp>none</sp><pct>100</pct><np>none</np></policy_published>{''.join(rows or (row(),))}"
    )
    if shape == "prefixed":
        inner = inner.replace("</", "\0").replace("<", "<f:").replace("\0", "</f:")
    closing = "</f:feedback>" if shape == "prefixed" else "</feedback>"
    text = head + opening + inner + closing
    return text.encode("cp1251" if shape == "mail.ru" else "utf-8")


def tls(*, domain: str = "example.test", at: str = "2030-01-01T00:00:00Z", to: str = "2030-01-01T23:59:59Z",
        id: str = "t1") -> bytes:
    """A TLS report (RFC 8460 §4.4)."""
    return json.dumps({
        "organization-name": "Google Inc.", "date-range": {"start-datetime": at, "end-datetime": to},
        "contact-info": "smtp-tls-reporting@google.test", "report-id": id,
        "policies": [{
            "policy": {
                "policy-type": "sts", "policy-string": ["version: STSv1", "mode: testing"], "policy-domain": domain,
                "mx-host": ["mx.example.test"],
            },
            "summary": {"total-successful-session-count": 40, "total-failure-session-count": 5},
            "failure-details": [{
                "result-type": "certificate-expired", "sending-mta-ip": "192.0.2.7",
                "receiving-mx-hostname": "MX.example.test", "receiving-ip": "192.0.2.8", "failed-session-count": 3,
            }],
        }],
    }).encode()


def zipped(octets: bytes, name: str = "far.test!example.test!1!2.xml") -> bytes:
    """As Google packs it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, octets)
    return out.getvalue()


def mail(octets: bytes, to: str, *, kind: str = "application/gzip", sender: str = "noreply@far.test") -> bytes:
    """The mail around it."""
    made = EmailMessage()
    made["From"], made["To"] = sender, to
    made["Subject"] = "Report domain: example.test Submitter: far.test Report-ID: 1"
    made.set_content("This is an aggregate report.")
    main, _, sub = kind.partition("/")
    made.add_attachment(octets, maintype=main, subtype=sub, filename="report")
    return made.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def bomb(size: int) -> bytes:
    """A gzip file of so many blanks."""
    return gzip.compress(b" " * size)


__all__ = ["bomb", "mail", "row", "tls", "xml", "zipped"]
