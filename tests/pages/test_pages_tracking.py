"""Tracked mail in a real browser: it looks as it did; its figures and switches on the pages."""

from __future__ import annotations

import random
from email import message_from_bytes
from typing import Any

from relay.base.clock import DAY, utc_day
from relay.base.storage import mail, stats
from relay.tracking import tokens
from relay.tracking.html import read, references
from relay.tracking.parts import encode
from tests.pages.conftest import IN_BROWSER, shown
from tests.pages.site import Site
from tests.pages.test_pages_browser import OVERFLOW, tab
from tests.pages.test_pages_mail import ready

pytestmark = IN_BROWSER
place = shown

READER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
DOT = "R0lGODlhAQABAIAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="
PAGE = """<!DOCTYPE html><HTML><head><style>a {{ color: #900 }} .b > a {{ font-size: 2em }}</style></head>
<body bgcolor=#eeffee><table width=100%><tr><td class="b">{}<a href='https://shop.test/?a=1&amp;b=2'>Angebot &raquo;</a>
<td><a HREF=https://x.test/plain target=_blank>unquoted</a><!-- <a href="https://no.test">no</a> -->
<tr><td colspan=2><a href="mailto:a@b.test">write</a> <img src="cid:dot@1" width=40 height=40 alt="red">
<a href="https://last.test/" title="a > b">last<br>line</a></table><p>Ende</p></BODY></HTML>
"""
CASES = [
    ("utf-8", "8bit", "Grüße, 日本 €"), ("iso-8859-1", "quoted-printable", "Grüße"), ("utf-8", "base64", "Ελλάδα"),
    ("iso-2022-jp", "7bit", "日本語のメール"), ("gb18030", "8bit", "中文邮件"), ("windows-1251", "base64", "Привет"),
    ("us-ascii", "7bit", "plain"),
]
NORMAL = """() => { for (const a of document.querySelectorAll('a[href^="http"]')) a.setAttribute('href', 'x');
    document.querySelectorAll('img[src*="/o/"]').forEach(i => i.remove());
    const text = document.documentElement.outerHTML.replace(/\\s+/g, ' ').replace(' </body>', '</body>');
    return text + document.compatMode + document.characterSet; }"""


def letter(charset: str, encoding: str, word: str) -> bytes:
    """Alternative, with related HTML and its picture."""
    html = PAGE.format(word).replace("\n", "\r\n").encode(charset)
    octets = html if encoding in ("7bit", "8bit") else encode(html, encoding)[0] + b"\r\n"
    return (
        b"From: news@example.test\r\nTo: bob@sink.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/alternative; boundary=alt\r\n\r\n--alt\r\n\r\nplain\r\n"
        b"--alt\r\nContent-Type: multipart/related; boundary=rel\r\n\r\n"
        b"--rel\r\nContent-Type: text/html; charset=" + charset.encode() + b"\r\nContent-Transfer-Encoding: "
        + encoding.encode() + b"\r\n\r\n" + octets + b"--rel\r\nContent-Type: image/gif\r\nContent-ID: <dot@1>\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + DOT.encode() + b"\r\n--rel--\r\n\r\n--alt--\r\n"
    )


def html_of(raw: bytes) -> tuple[bytes, str]:
    """The HTML's octets with its picture in it, and its charset."""
    page, picture = message_from_bytes(raw).get_payload()[1].get_payload()
    assert picture.get_payload().strip() == DOT
    octets = page.get_payload(decode=True).replace(b"cid:dot@1", b"data:image/gif;base64," + DOT.encode())
    return octets, page.get_content_charset()


async def test_a_tracked_letter_looks_as_it_did_and_its_reader_is_seen(place: Site, browser: Any) -> None:
    alice = await ready(place)
    world = place.env.world
    (domain,) = await place.env.domains.list(alice.id)
    await place.env.domains.update(alice.id, domain.id, {"link_tracking": True, "open_tracking": True})
    await world.change("domains", domain.id, tier="unlimited")
    await world.directory.refresh()
    context = await browser.new_context(viewport={"width": 600, "height": 400})
    page = await context.new_page()
    served: dict[str, tuple[bytes, str]] = {}
    seen: list[str] = []

    async def serve(route: Any) -> None:
        url = route.request.url
        if url not in served:
            seen.append(url)
            await route.fulfill(status=204)
            return
        octets, charset = served[url]
        await route.fulfill(body=octets, content_type=f"text/html; charset={charset}")

    await page.route("**/*", serve)
    for n, case in enumerate(CASES):
        raw = letter(*case)
        got = await world.submit(alice, "bob@sink.test", raw=raw)
        async with world.storage.read() as tx:
            found = await mail.bytes_of(tx, [(i, got.message_id) for _, i in got.recipients])
        sent = b"".join(next(iter(found.values())))
        looks = []
        for name, message in (("before", raw), ("after", sent)):
            url = f"http://mail.test/{n}/{name}"
            served[url] = html_of(message)
            await page.goto(url)
            text = await page.inner_text("body")
            links = await page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
            looks.append((await page.screenshot(), text, await page.evaluate(NORMAL)))
        assert looks[0] == looks[1], case
        assert case[2] in looks[0][1]
        assert [("/c/" in link, link.startswith("mailto:")) for link in links] == [
            (True, False), (True, False), (False, True), (True, False)
        ]
    assert len([url for url in seen if "/o/" in url]) == len(CASES)  # each opening was asked for
    await context.close()


PIECES = [
    "<a href=", "'", '"', ">", "<", "<!--", "-->", "--!>", "<script>", "</script>", " ", "=", "/", "x", "</body>",
    "<area ", "href", " href=", "&amp;", "&copy=1", "&copy;", "&notit;", "&#x41;", "&lt", "\n", "<style>", "</style>",
    "<title>", "</title>", "<a ", "<!", "<?", "</", "<b ", "<i>", "</a>", "<textarea>", "</textarea>", "<p title='>'>",
    '<td class="a>b">', "<noscript>", "<!-->", "<!--->", "</ x>", "<A HREF=", "<a\thref =", "<xmp>", "</xmp >",
]
FOUND = """texts => texts.map(text => [...new DOMParser().parseFromString(text, 'text/html')
    .querySelectorAll('a[href], area[href]')].map(e => e.getAttribute('href')))"""


async def test_links_are_where_a_browser_sees_them_however_broken_the_html(browser: Any) -> None:
    rng = random.Random(5)
    texts = []
    for _ in range(3000):
        pieces = [rng.choice(PIECES) + (f"u{n}" if rng.random() < 0.3 else "") for n in range(rng.randint(1, 25))]
        texts.append("<body>" + "".join(pieces))
    page = await browser.new_page()
    seen = await page.evaluate(FOUND, texts)
    assert sum(map(len, seen)) > 500
    for text, links in zip(texts, seen, strict=True):
        ours = {references(link.raw) for link in read(text).links}
        assert ours <= set(links), text
        # Scripts that hold comments that hold scripts are left alone with all that follows.
        assert ours == set(links) or text.count("<script>") > 1, text


async def tracked_site(place: Site) -> tuple[int, str]:
    """A month of figures, and a message that was opened and followed: (domain id, queue id)."""
    alice = await ready(place)
    (domain,) = await place.env.domains.list(alice.id)
    await place.env.domains.update(alice.id, domain.id, {"link_tracking": True, "open_tracking": True})
    sent = await place.env.world.submit(alice, "bob@sink.test", raw=letter(*CASES[0]))
    await place.answered("2.0.0 ok", 250, stage="dot")
    await place.env.world.pass_time(60)
    now = place.env.clock.now()
    counted = {
        (domain.id, utc_day(now - n * DAY), alice.id): {
            "accepted": 40 + n * 7 % 23, "delivered": 36 + n * 5 % 20, "bounced": n % 4, "opens": 20 + n % 9,
            "clicks": 3 + n % 5,
        }
        for n in range(30) if n % 7 != 5
    }
    await place.env.storage.write(lambda tx: stats.count(tx, counted))
    async with place.env.storage.read() as tx:
        found = await mail.bytes_of(tx, [(i, sent.message_id) for _, i in sent.recipients])
    html, _ = html_of(b"".join(next(iter(found.values()))))
    recorder, endpoint = place.env.world.tracking._recorder, place.env.world.tracking._endpoint
    click = tokens.read(endpoint._vault, "click", html.partition(b"/c/")[2].partition(b"'")[0].decode())
    opened = tokens.read(endpoint._vault, "open", html.partition(b"/o/")[2].partition(b'"')[0].decode())
    assert click is not None
    assert opened is not None
    recorder.note("click", click, READER)
    recorder.note("open", opened, {"User-Agent": "Mozilla/5.0"})
    await recorder.close()
    return domain.id, sent.queue_id


async def test_charts_and_what_readers_did_are_shown_on_a_phone_too(place: Site, browser: Any) -> None:
    domain_id, queue_id = await tracked_site(place)
    async with tab(browser, place, viewport={"width": 360, "height": 800}) as page:
        for path in ("/account", f"/account/domains/{domain_id}", f"/account/messages/{queue_id}"):
            await page.goto(place.url + path)
            assert await page.evaluate(OVERFLOW) <= 0, path
        text = await page.inner_text("main")
        assert "Followed https://shop.test/?a=1&b=2" in text
        assert "Opened automatically: Apple's privacy protection" in text
        await page.goto(f"{place.url}/account/domains/{domain_id}")
        titles = await page.eval_on_selector_all("figure.chart figcaption b", "all => all.map(e => e.textContent)")
        assert titles == ["Volume", "Rates", "Opens and clicks"]
        label = await page.get_attribute("figure.chart svg", "aria-label")
        assert label.startswith("Volume: ")
        await page.click("figure.chart summary")
        assert await page.locator("figure.chart table tbody tr").first.is_visible()
        assert await page.evaluate(OVERFLOW) <= 0


async def test_the_switches_are_kept_and_the_tracking_host_is_asked_for(place: Site) -> None:
    alice = await ready(place)
    (domain,) = await place.env.domains.list(alice.id)
    visit = await place.signed_in()
    here = f"/account/domains/{domain.id}"
    await visit.send(here, f"{here}/options", {"link_tracking": "on", "unsubscribe_link": "on"})
    found = await place.env.domains.get(alice.id, domain.id)
    assert found.state == "verified"
    options = found.options
    assert (options.link_tracking, options.open_tracking, options.unsubscribe_link) == (True, False, True)
    await visit.send(here, f"{here}/options", {"link_tracking": "on", "tracking": "on", "track_prefix": "go"})
    found = await place.env.domains.get(alice.id, domain.id)
    assert (found.state, found.options.tracking, found.options.track_prefix) == ("verified", True, "go")
    _, text, _ = await visit.get(here)
    assert f"go-sl.{domain.name}" in text
