"""A cookie for what a browser asks by itself: images, videos and event streams cannot say the token in a header.

It lets its bearer read, and nothing else; it is of the token, and ends with it. No script can read it, and no page of
another site can have it sent.
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie

from fastapi import APIRouter, Request, Response

from wan22.server.state import App

COOKIE = "wan22_read"

router = APIRouter(prefix="/v1", tags=["server"])


def reading(token: str) -> str:
    """The value that may read where `token` is the server's."""
    return hmac.digest(token.encode(), b"wan22: may read", "sha256").hex()


def may_read(cookies: list[str], token: str) -> bool:
    """Whether the Cookie headers of a request hold the value for `token`."""
    right, found = reading(token), False
    for said in cookies:
        try:
            cookie = SimpleCookie(said).get(COOKIE)
        except CookieError:
            continue
        found = found or (cookie is not None and hmac.compare_digest(cookie.value.encode(), right.encode()))
    return found


@router.post("/session", status_code=204, summary="Let a browser read")
def begin_session(request: Request, response: Response, app: App) -> None:
    """Set a cookie with which GET needs no token, for images, videos and event streams of a page of this server."""
    if app.settings.token is not None:
        response.set_cookie(
            COOKIE, reading(app.settings.token), path="/v1", httponly=True, samesite="strict",
            secure=request.headers.get("origin", "").startswith("https:"),
        )  # fmt: skip
