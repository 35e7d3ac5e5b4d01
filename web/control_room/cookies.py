"""Cookies of the Control Room: for its own pages' requests alone, over TLS, and out of any script's reach."""

from datetime import timedelta

from flask import Request
from werkzeug.wrappers import Response

from dqmsquare_cfg import Settings


class Cookie:
    """A cookie by its name; `lasts` is how long a browser keeps it."""

    def __init__(self, settings: Settings, name: str, lasts: timedelta) -> None:
        self._name = name
        self._lasts = lasts
        self._path = settings.server_url_prefix or "/"
        self._is_secure = not settings.is_development

    def give(self, response: Response, text: str) -> None:
        """Has the browser that gets a response keep a text."""
        self._set(response, text, self._lasts)

    def take_back(self, response: Response) -> None:
        """Has the browser that gets a response forget it."""
        self._set(response, "", timedelta(0))

    def text(self, request: Request) -> str:
        """What a request brings along; empty without the cookie."""
        return request.cookies.get(self._name, "")

    def _set(self, response: Response, text: str, lasts: timedelta) -> None:
        response.set_cookie(
            self._name,
            text,
            max_age=lasts,
            path=self._path,
            secure=self._is_secure,
            httponly=True,
            samesite="Strict",
        )
