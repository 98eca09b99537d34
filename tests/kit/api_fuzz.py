"""Requests made from a served OpenAPI document, right ones and wrong ones, and every answer held against it.

    env = await furnished(whole)                   # a member with something of everything
    report = await asyncio.to_thread(fuzz, document, whole.url, env, examples=5)
    assert report.faults == {}

A fault is a 5xx (but a 502 that is told of), an answer that its document doesn't tell of (status, type, headers,
shape), one that a key without the scope got, or a good one to a request that the document rules out. What was right
is counted, so that a run that was refused everywhere doesn't look good.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.kit.whole import Whole

PASSWORD = "correct horse battery"
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, negative_data_rejection,
]  # fmt: skip
_SCOPES = ("send", "read", "manage")
# What ends the sign-in that asks, and what takes things away, comes last.
_LATE = (
    "POST /v1/keys/{id}/regenerate",
    "PUT /v1/password",
    "DELETE /v1/sessions/others", "DELETE /v1/sessions/current", "DELETE /v1/sessions/{id}",
)  # fmt: skip


# Its documented answer to what is denied is a 500.
_DENIES_BY_500 = "GET /api/v1/inbound-relay-domain-check"
_GATEWAY = "POST /api/v1/emailgateway"
_LETTER = {"from": "a@example.test", "to": "b@sink.test", "subject": "Hello", "text": "Hello."}
RIGHT: dict[str, dict[str, Any]] = {
    "POST /sender-emails/v1/sender-emails": {"senderEmail": {"emailAddress": "a@example.test"}},
    "POST /sender-emails/v1/sender-emails/get-or-create": {"emailAddress": "b@example.test"},
    "POST /email-marketing/v1/sender-details/actual-from-address": {"fromAddress": "a@example.test"},
    "PATCH /email-marketing/v1/sender-details": {"senderDetails": {"fromName": "A", "fromEmail": "a@example.test"}},
    "POST /email-transmissions/v1/email-transmissions/send": {
        "emailTransmission": {
            "type": "TRANSACTIONAL", "toRecipients": [{"emailAddress": "b@sink.test"}], "emailSubject": "Hello",
            "emailHtmlContent": "<p>Hello.</p>", "senderEmailAddress": "a@example.test",
        },
    },
    "POST /enroll": {"handle": "carol", "email": "carol@mail.test", "password": PASSWORD},
    "POST /v1/send": _LETTER, "POST /v1/preflight": _LETTER, "POST /v1/send/batch": {"messages": [_LETTER, {}]},
    "POST /v1/domains": {"name": "d0.test"}, "PATCH /v1/domains/{id}": {"openTracking": False},
    "POST /v1/domains/{id}/test": {"to": "you@sink.test"},
    "PUT /member/forward-to": {"domain": "example.test", "forward_to": "alice@mail.test"},
    "POST /v1/suppressions": {"address": "ben@sink.test"},
    "POST /v1/suppressions/batch": {"suppressions": [{"address": "ben@sink.test"}, {"address": "?"}]},
    "POST /v1/webhooks": {"url": "https://example.org/other"}, "POST /v1/webhooks/{id}/replay": {"event": 1},
    "POST /v1/keys": {"description": "another"}, "PUT /v1/did": {"did": None},
    "POST /v1/sessions": {"handle": "alice", "password": PASSWORD},
    "PUT /v1/password": {"old": PASSWORD, "new": f"{PASSWORD} staple"},
}  # fmt: skip


@dataclass
class Env:
    """Who asks, by a name for it: the Bearer token and the scopes, None where scopes don't matter. What there is,
    by the beginning of the path; and bodies and queries that are right, by operation."""

    who: dict[str, tuple[str | None, frozenset[str] | None]]
    known: dict[str, list[str]]
    bodies: dict[str, dict[str, Any]]
    queries: dict[str, dict[str, Any]]


@dataclass
class Report:
    """What a run found: faults by what was asked, with an example each; how often each status came, by operation."""

    faults: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def requests(self) -> int:
        return sum(sum(c.values()) for c in self.statuses.values())

    @property
    def reached(self) -> set[str]:
        """The operations that answered 2xx at least once."""
        return {label for label, counted in self.statuses.items() if any(s < 300 for s in counted)}


def patient() -> dict[str, dict[str, Any]]:
    """Settings for `make_config`: nobody is told to wait, anybody may enroll, and tests don't wait for delivery."""
    # Octeth's clients read errors with status 200: what was refused is known by its status here.
    return {
        "http": {"requests_a_minute": 10**6}, "enrollment": {"login_failures": 10**6, "signup": "open"},
        "submission": {"auth_failures_an_address": 10**6, "auth_failures_a_key": 10**6},
        "octeth": {"requests": 10**6, "tests": 10**6, "emails": 10**6, "test_seconds": 0.05, "error_status": "http"},
    }


async def furnished(place: Whole) -> Env:
    """A member with domains, a message, a webhook, a suppression, a sign-in, and keys of every scope."""
    env, services = place.env, place.env.services
    member = await services.accounts.create("alice", "alice@mail.test", PASSWORD, by_operator=True)

    async def key(*scopes: str, **more: Any) -> tuple[str, int]:
        text, made = await services.credentials.issue(member.id, scopes=list(scopes), **more)
        return text, made.id

    # Small numbers are drawn often: those of keys that nobody here asks with.
    spare = [(await key("read"))[1] for _ in range(9)]
    everything, _ = await key(*_SCOPES)
    at: Any = type("At", (), {"id": member.id})()
    verified = await env.verified(at, "example.test")
    pending = await env.domains.enroll(member.id, "other.test", {})
    who: dict[str, tuple[str | None, frozenset[str] | None]] = {"all": (everything, frozenset(_SCOPES))}
    for scope in _SCOPES:
        who[scope] = ((await key(scope))[0], frozenset([scope]))
    who["one domain"] = ((await key(*_SCOPES, domains=["example.test"]))[0], frozenset(_SCOPES))
    of_relay, _ = await services.credentials.issue((await services.accounts.system_member()).id, scopes=["read"])
    who["operator"] = of_relay, frozenset(["read"])
    token, _ = await services.sessions.open(member.id, "127.0.0.1", "fuzz")
    who |= {"sign-in": (token, None), "nobody": (None, frozenset()), "wrong key": ("ph_wrong", frozenset())}
    sent = await env.domains.send_test(member.id, verified.id, "you@sink.test", None)
    _, hook = await services.webhooks.add(member.id, "https://example.org/hook", types=[], description="")
    await env.world.directory.refresh()
    return Env(who, {
        "/v1/domains/{id}": ["example.test", str(verified.id), pending.uuid],
        "/v1/messages/{id}": [sent.queue_id, str(sent.recipients[0][1])],
        "/v1/webhooks/{id}": [hook.id], "/v1/keys/{id}": [str(n) for n in spare],
        "/v1/suppressions/{address}": ["ben@sink.test"], "/m/{handle}": ["alice"],
    }, RIGHT | _octeth_bodies(everything, verified.id),
        _octeth_queries(everything, verified.id, pending.id))  # fmt: skip


def _octeth_bodies(key: str, domain: int) -> dict[str, dict[str, Any]]:
    named, one = {"APIKey": key}, {"APIKey": key, "DomainID": domain}
    return {
        "POST /api/v1/user.senderdomain": named | {"SenderDomain": "d1.test"},
        "PATCH /api/v1/user.senderdomain": one | {"OpenTracking": True},
        "POST /api/v1/user.senderdomain.verify": named | {"verifyall": True},
        "POST /api/v1/user.senderdomain.sendtest": one | {"To": "you@sink.test"},
        "POST /api/v1/email": {
            "Subject": "Hello", "ContentType": "plain", "PlainContent": "Hello.", "From": {"email": "a@example.test"},
            "To": [{"email": "b@sink.test"}],
        },
        "POST /api/v1/suppression.check": named | {"EmailAddressesBulk": "ben@sink.test"},
        "POST /api/v1/suppression.import": named | {"EmailAddressesBulk": "cleo@sink.test"},
        "POST /api/v1/suppression.delete": named | {"EmailAddress": "cleo@sink.test"},
        "POST /api/v1/user.login": {"Username": "alice", "Password": PASSWORD},
        "POST /api.php": one | {"Command": "user.senderdomain.get", "days": 7},
        f"{_GATEWAY}.adddomain": named | {"DomainName": "d2.test"}, f"{_GATEWAY}.getdomains": named,
        f"{_GATEWAY}.updatedomain": one | {"OpenTracking": True},
        f"{_GATEWAY}.addapi": one | {"Description": "d"}, f"{_GATEWAY}.replaceapi": one | {"Description": "d"},
        f"{_GATEWAY}.getevents": named | {"StartFrom": 0, "RetrieveCount": 5}, f"{_GATEWAY}.exportevents": named,
        **{f"{_GATEWAY}.{name}": one for name in (
            "getdomain", "verifydomain", "deletedomain", "cleardomainqueue", "getapis", "addsmtp", "getsmtps",
        )},
    }


def _octeth_queries(key: str, domain: int, other: int) -> dict[str, dict[str, Any]]:
    one = {"APIKey": key, "DomainID": domain}
    return {
        "GET /api/v1/user.senderdomains": {"APIKey": key},
        "GET /api/v1/user.senderdomain": one | {"days": 7},
        "GET /api/v1/user.senderdomain.dns": one, "GET /api/v1/user.senderdomain.dnshost": one,
        "DELETE /api/v1/user.senderdomain": one | {"DomainID": other},
        _DENIES_BY_500: {"domain": "localhost"},
        "GET /api/v1/suppression.browse": {"APIKey": key}, "GET /api/v1/suppression.stats": {"APIKey": key},
        "GET /api.php": one | {"Command": "user.senderdomain.dns"},
    }


def fuzz(
    document: Mapping[str, Any], url: str, env: Env, *, examples: int, others: int = 1, number: int | None = 1,
    wrong: bool = True,
) -> Report:
    """Ask every operation `examples` times with everything allowed (key and sign-in) and `others` times as each
    other caller (0: once as each scope's key, and as one of the rest in turn); as many wrong ones more, if `wrong`.
    The same `number` makes the same requests."""
    load_all_checks()
    schemathesis.openapi.media_type("message/rfc822", _letters())
    schemathesis.openapi.media_type("text/csv", st.binary(max_size=200))
    schema = schemathesis.openapi.from_dict(_readable(document))
    report = Report()
    operations = sorted((found.ok() for found in schema.get_all_operations()), key=_order)
    rest = [who for who in env.who if who not in (*_SCOPES, "all")]
    with requests.Session() as session:
        for at, operation in enumerate(operations):
            main = ["all", "sign-in"] if "session" in str(operation.definition.raw["security"]) else ["all"]
            each = [*env.who] * others if others else [*_SCOPES, rest[at % len(rest)]]
            turns = main * examples + each
            _ask(operation, GenerationMode.POSITIVE, turns, env, url, session, report, number)
            if wrong:
                _ask(operation, GenerationMode.NEGATIVE, main * examples, env, url, session, report, number)
    return report


def _order(operation: Any) -> tuple[int, bool, bool]:
    """What changes or removes things comes after what needs them."""
    late = _LATE.index(operation.label) + 1 if operation.label in _LATE else 0
    removes = operation.method.upper() == "DELETE" or operation.label.endswith((".deletedomain", ".replaceapi"))
    return late, removes, operation.method.upper() == "PATCH"


def _readable(part: Any) -> Any:
    """The document with tuples said in the old way: schemathesis 4.32 turns `prefixItems` into what its own
    validator can't read. That each place has its type isn't checked then."""
    if isinstance(part, list):
        return [_readable(p) for p in part]
    if not isinstance(part, Mapping):
        return part
    found = {name: _readable(value) for name, value in part.items()}
    if isinstance(places := found.pop("prefixItems", None), list):
        found["items"] = {"anyOf": places}
    return found


def _letters() -> st.SearchStrategy[bytes]:
    """Bytes of any kind, and now and then a message."""
    letter = b"From: a@example.test\r\nTo: b@sink.test\r\nSubject: %s\r\n\r\n%s\r\n"
    return st.binary(max_size=200) | st.tuples(st.binary(max_size=20), st.binary(max_size=50)).map(
        lambda words: letter % words
    )


def _ask(
    operation: Any, mode: GenerationMode, turns: list[str], env: Env, url: str, session: requests.Session,
    report: Report, number: int | None,
) -> None:
    known = next((v for k, v in env.known.items() if operation.path.startswith(k)), [])
    cases, left = operation.as_strategy(mode), iter(itertools.cycle(turns))
    needed = {s for way in operation.definition.raw["security"] for name in way.values() for s in name}

    def ask(data: st.DataObject) -> None:
        who = next(left)
        token, scopes = env.who[who]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        case = data.draw(cases)
        there = ""
        if known and (there := data.draw(st.sampled_from([""] * len(known) + known))):
            case.path_parameters[next(iter(case.path_parameters))] = there
        if mode is GenerationMode.POSITIVE:
            if right := env.bodies.get(operation.label):
                how = data.draw(st.sampled_from(["drawn", "right", "both"]))
                if who != "all":
                    right = {name: value for name, value in right.items() if name != "APIKey"}
                case.body = {"drawn": case.body, "right": right, "both": case.body | right}[how]
            if (right := env.queries.get(operation.label)) and data.draw(st.booleans()) and who == "all":
                case.query = {**case.query, **right}
        # A line over 8190 octets isn't read as HTTP at all, whoever would have answered.
        assume(sum(len(quote(str(value))) for value in (case.query or {}).values()) < 6000)
        # Signing in gives a cookie, which would make everybody somebody from then on.
        session.cookies.clear()
        response = case.call(base_url=url, session=session, headers=headers)
        report.statuses[operation.label][response.status_code] += 1
        try:
            shown = str(response.status_code) == "502" and "502" in operation.definition.raw["responses"]
            shown |= operation.label == _DENIES_BY_500 and response.text == "{}"
            # With a path that is right after all, nothing may be wrong any more.
            checks = [c for c in CHECKS if not (shown and c is CHECKS[0]) and not (there and c is CHECKS[-1])]
            case.validate_response(response, checks=checks)
            if scopes is not None and needed and not needed & scopes:
                assert response.status_code >= 400, f"{who} may not do this"
        except (AssertionError, BaseExceptionGroup) as e:
            said = "; ".join(str(one) for one in getattr(e, "exceptions", [e]))
            report.faults.setdefault(f"{operation.label} as {who}: {response.status_code}", said[:2000])

    run = given(st.data())(ask)
    run = settings(
        max_examples=len(turns), deadline=None, database=None, derandomize=number is not None and number == 1,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )(run)
    if number is not None and number != 1:
        run = seed(number)(run)
    try:
        run()
    except (Unsatisfiable, schemathesis.errors.SchemathesisError) as e:
        # Nothing can be wrong about an operation that takes nothing.
        if mode is not GenerationMode.NEGATIVE:
            raise AssertionError(operation.label) from e
