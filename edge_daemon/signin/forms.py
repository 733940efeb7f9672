"""Forms that change something: each was made by this site, for this browser."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

if TYPE_CHECKING:
    from starlette.requests import Request

TOKEN_FIELD: Final = "token"  # noqa: S105 - the name of a form field
LARGEST_FORM: Final = 64 * 1024
SAFE: Final = frozenset({"GET", "HEAD"})


def form_token(secret: str, browser: str) -> str:
    """Make the token of one form; another each time, so that compression cannot betray it.

    Parameters
    ----------
    secret
        Of this site.
    browser
        What tells this browser from others: its cookie.
    """
    salt = secrets.token_urlsafe(12)
    return f"{salt}.{_signed(secret, browser, salt)}"


def _signed(secret: str, browser: str, salt: str) -> str:
    text = f"{salt} {browser}".encode("utf-8", "replace")
    return hmac.digest(secret.encode(), text, "sha256").hex()


async def posted(request: Request, secret: str, browser: str) -> dict[str, str]:
    """Read a form that this site made for this browser; of fields of one name the last counts.

    Raises
    ------
    HTTPException
        413: too large; 400: not a form; 403: its token is missing, old or of another browser.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise HTTPException(413, "This form is too large.")
    try:
        fields = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=200))
    except ValueError as error:
        raise HTTPException(400, "This is not a form.") from error
    salt, _, signature = fields.pop(TOKEN_FIELD, "").partition(".")
    expected = _signed(secret, browser, salt)
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise HTTPException(
            403, "This form is out of date. Go back, reload the page and send it again."
        )
    return fields


def cookie(name: str, token: str, *, secure: bool) -> str:
    """Write a cookie that only this site gets, and no script reads."""
    return f"{name}={token}; Path=/; HttpOnly; SameSite=Strict" + "; Secure" * secure


def local_path(text: str) -> str:
    """Return a path of this site to go to next; anything else becomes its first page."""
    parts = urlsplit(text)
    ours = text.startswith("/") and not parts.scheme and not parts.netloc and "\\" not in text
    return text if ours and text.isprintable() else "/"


def from_here(request: Request) -> bool:
    """Tell whether a request that changes something was made by a page of this site."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def to_sign_in(request: Request) -> RedirectResponse | None:
    """Lead a browser that wants a page to the sign-in and back here; None for anything else."""
    if request.method not in SAFE or "text/html" not in request.headers.get("accept", ""):
        return None
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/sign-in?next={quote(target, safe='')}", status_code=303)
