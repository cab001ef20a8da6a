"""A cookie for what a browser asks by itself: images, videos and event streams cannot say the token in a header.

It lets its bearer read, for 12 hours, and nothing else; it is of the token, and ends with it. Its name is of the token
too: browsers keep one cookie of a name for all ports of a machine, and two servers must not take it from one another.
No script can read it, and no page of another site can have it sent.
"""

from __future__ import annotations

import hmac
import time
from http.cookies import CookieError, SimpleCookie

from fastapi import APIRouter, Request, Response

from wan22.server.state import App

SECONDS = 12 * 3600

router = APIRouter(prefix="/v1", tags=["server"])


def cookie_name(token: str) -> str:
    """What the cookie of the server with this token is called."""
    return f"wan22_read_{_digest(token, 'name')[:12]}"


def reading(token: str, until: int) -> str:
    """The value that may read where `token` is the server's, until that time in seconds since 1970."""
    return f"{until}.{_digest(token, f'may read until {until}')}"


def may_read(cookies: list[str], token: str, now: float) -> bool:
    """Whether the Cookie headers of a request hold a value for `token` that has not ended `now`."""
    name, found = cookie_name(token), False
    for said in cookies:
        try:
            cookie = SimpleCookie(said).get(name)
        except CookieError:
            continue
        value = "" if cookie is None else cookie.value
        until = value.partition(".")[0]
        if until.isascii() and until.isdigit() and len(until) <= _DIGITS and now < int(until):
            found = found or hmac.compare_digest(value.encode(), reading(token, int(until)).encode())
    return found


_DIGITS = 15  # of a time


def _digest(token: str, what: str) -> str:
    return hmac.digest(token.encode(), f"wan22: {what}".encode(), "sha256").hex()


@router.post("/session", status_code=204, summary="Let a browser read")
def begin_session(request: Request, response: Response, app: App) -> None:
    """Set a cookie with which GET needs no token for 12 hours, for images, videos and event streams of a page of this
    server.
    """
    token = app.settings.token
    if token is not None:
        response.set_cookie(
            cookie_name(token), reading(token, int(time.time()) + SECONDS), max_age=SECONDS, path="/v1", httponly=True,
            samesite="strict", secure=request.headers.get("origin", "").startswith("https:"),
        )  # fmt: skip
