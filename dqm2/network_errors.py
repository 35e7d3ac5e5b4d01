"""Causes of network errors in words."""

import http.client
import ssl
from collections.abc import Mapping

import urllib3

_CLOSED = "the connection was closed"
# The first that fits counts. Messages of these errors are for programmers, and may quote what was received.
_IN_WORDS: Mapping[type[BaseException], str] = {
    TimeoutError: "timed out",
    http.client.RemoteDisconnected: _CLOSED,
    http.client.IncompleteRead: "incomplete",
    http.client.LineTooLong: "a line is too long",
    http.client.HTTPException: "not valid HTTP",
    # Such as for a length or a status that is not a number.
    ValueError: "not valid HTTP",
    urllib3.exceptions.HTTPError: "not valid HTTP",
}

# TLS alerts that reject a client certificate, in OpenSSL's words.
_CERTIFICATE_ALERTS = (
    "alert certificate",
    "alert bad certificate",
    "alert unsupported certificate",
    "alert unknown ca",
    "alert access denied",
)


def rejects_certificate(reason: str) -> bool:
    """Whether the cause of a TLS error, in words, is that the front end rejects the client certificate."""
    return any(alert in reason for alert in _CERTIFICATE_ALERTS)


def cause(error: BaseException) -> str:
    """Innermost cause of a network error, in few words and without the URL."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in error.args if isinstance(part, BaseException)), None)
        if inner is None or inner is error:
            break
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _CLOSED
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = (words for kind, words in _IN_WORDS.items() if isinstance(error, kind))
    return next(words, type(error).__name__)
