"""Headers of every answer to a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.datastructures import MutableHeaders

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers then send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
"""What the browser may do with a page: run nothing but our own files, and ask nobody else."""


def mark(headers: MutableHeaders, path: str, cookie: str) -> None:
    """Give an answer what every one of a site has.

    Parameters
    ----------
    headers
        Of the answer, changed in place.
    path
        That was asked for.
    cookie
        For a browser that has none yet; empty: it has one. It comes with a page only.
    """
    for name, value in HEADERS.items():
        headers[name] = value
    if not path.startswith("/static/"):
        # Patients' results stay in no cache, neither of a browser nor of a proxy.
        headers["Cache-Control"] = "no-store"
    page = headers.get("content-type", "").startswith("text/html")
    if page and cookie and "set-cookie" not in headers:
        headers.append("Set-Cookie", cookie)
