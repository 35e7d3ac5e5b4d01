"""Answers that are worth it go out compressed, to those who accept it."""

import gzip

from flask import Flask, Response, request

_TYPES = ("text/", "application/json")
_WORTH_IT_BYTES = 1000
# The quick end of where gzip gains: a live page of 60 kB takes a millisecond.
_LEVEL = 5


def init_app(app: Flask) -> None:
    """Compresses the application's answers."""
    app.after_request(_compress)


def _compress(response: Response) -> Response:
    if not _may_be_compressed(response):
        return response
    response.vary.add("Accept-Encoding")
    if not request.accept_encodings["gzip"] or (response.content_length or 0) < _WORTH_IT_BYTES:
        return response
    response.set_data(gzip.compress(response.get_data(), _LEVEL, mtime=0))
    response.content_encoding = "gzip"
    tag, _is_weak = response.get_etag()
    if tag is not None:
        # The same content, but no longer the same bytes as for those who take it as it is.
        response.set_etag(tag, weak=True)
    return response


def _may_be_compressed(response: Response) -> bool:
    # What may not be stored holds secrets; compressed beside a visitor's words their length would tell them.
    if response.is_streamed or response.content_encoding or response.cache_control.no_store:
        return False
    return (response.mimetype or "").startswith(_TYPES)
