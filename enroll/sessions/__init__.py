"""Sign-ins that last: a token in a cookie (or a Bearer header), its row, and the checks against other sites.

`service` opens, finds and ends them; `browser` is the cookie and the proof that a request comes from our own pages;
`browser` also knows one again; `authenticator` finds who is asking, by sign-in or by API key, for every route of
enrollment. Passwords are `enroll.accounts`.
"""

from enroll.sessions.authenticator import Actor, Authenticator
from enroll.sessions.browser import (
    Devices,
    clear_cookie,
    cookie_name,
    cookie_token,
    cross_site,
    proven,
    set_cookie,
)
from enroll.sessions.service import PREFIX, Session, Sessions

__all__ = [
    "PREFIX",
    "Actor",
    "Authenticator",
    "Devices",
    "Session",
    "Sessions",
    "clear_cookie",
    "cookie_name",
    "cookie_token",
    "cross_site",
    "proven",
    "set_cookie",
]
