"""Recorder of the errors of pages: a script that the server under test adds to each page.

WebKit's driver reports no console messages, and neither does it run a script before those of the page.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH = "/error-recorder.js"
# JavaScript expression of the list of errors of this tab and origin.
RECORDED_ERRORS = 'JSON.parse(sessionStorage.getItem("recorded-errors") ?? "[]")'
_SCRIPT = f"""
const record = (kind, text) => sessionStorage.setItem("recorded-errors", JSON.stringify(
  [...{RECORDED_ERRORS}, `${{kind}}: ${{text}} (${{location.href}})`]));
addEventListener("error", ({{ message, target }}) =>
  record("error", message ?? target.src ?? target.href), true);
addEventListener("unhandledrejection", ({{ reason }}) => record("rejection", reason));
addEventListener("securitypolicyviolation", ({{ violatedDirective, blockedURI }}) =>
  record("policy", `${{violatedDirective}} ${{blockedURI}}`));
const {{ error }} = console;
console.error = (...messages) => {{
  record("console", messages.join(" "));
  error.apply(console, messages);
}};
"""


class _RecordedPages:
    """WSGI application that serves the recorder, and the pages of another one with it."""

    def __init__(self, serve: "WSGIApplication") -> None:
        self._serve = serve

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.path == _PATH:
            return Response(_SCRIPT, mimetype="text/javascript")(environ, start_response)
        if request.headers.get("Sec-Fetch-Dest", "document") != "document":
            return self._serve(environ, start_response)
        # Neither compressed nor unchanged: the page has to be a text.
        for name in ("HTTP_ACCEPT_ENCODING", "HTTP_IF_NONE_MATCH"):
            environ.pop(name, None)
        page = Response.from_app(self._serve, environ)
        if page.mimetype == "text/html":
            html = page.get_data(as_text=True)
            page.set_data(html.replace("<head>", f'<head><script src="{_PATH}"></script>', 1))
        return page(environ, start_response)


def record_errors(app: Flask) -> None:
    """Have an application serve the recorder and load it first in every page."""
    app.wsgi_app = _RecordedPages(app.wsgi_app)  # type: ignore[method-assign]
