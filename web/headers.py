"""Headers that every answer carries: what a browser may do with it, and who may frame it."""

from flask import Flask, Response, request

# Nothing inline, nothing from another host. Bootstrap's style sheet has images in it as data: addresses.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def init_app(app: Flask) -> None:
    """Adds the headers to every answer of the application."""
    app.after_request(_add)
    app.after_request(_redirect_within)


def _add(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _redirect_within(response: Response) -> Response:
    """Redirects within this server without naming it: the Host header is the visitor's own word."""
    if response.location is not None and response.location.startswith(request.host_url):
        # One slash: two would begin another host's name.
        response.location = "/" + response.location.removeprefix(request.host_url).lstrip("/")
        # It has the same address once more, for browsers that follow no redirect.
        response.set_data(b"")
    return response
