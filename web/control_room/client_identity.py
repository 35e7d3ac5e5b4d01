"""Identity of a request's sender: the login that CMSWEB's front end vouches for, and the client's address.

CMSWEB has two front ends, in Go (auth-proxy-server with cmsauth) and in Perl (cmsauth.pm). Both sign their
`cms-authn-*` and `cms-authz-*` headers in `cms-authn-hmac`: HMAC-SHA1 over the lengths and texts of all of
them, keyed with the bytes of a file that they share with their back ends. The Go one also signs headers of
that kind that a client sent, so only what it always overwrites proves anything: the status and, for visitors
with a certificate, method and login. Roles may be the client's own and are never used.

`X-Forwarded-For` grows from left to right. Only what a trusted proxy appended is believed, so the client is
the last address that is not a trusted proxy's. The Go front end appends `ip:port, ip`.
"""

import hmac
import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from flask import Request
from werkzeug.exceptions import Forbidden

from dqmsquare_cfg import SettingsError

_SIGNED_PREFIXES = ("cms-authn", "cms-authz")
_SIGNATURE = "cms-authn-hmac"
_LOGIN = "cms-authn-login"
_METHOD = "cms-authn-method"
# By other methods a login is not proved: with a token that names none, the Go front end passes on and signs
# the client's own. Limited proxies are excluded, since every worker node of the grid has some.
_CERTIFICATE_METHODS = ("X509Cert", "X509Proxy")
_STATUS = "cms-auth-status"
# The Perl front end's status of unauthenticated visitors. Of others it is OK, or ok from the Go one.
_NOT_AUTHENTICATED = "NONE"
# CMSWEB's keys have 20 bytes.
_MIN_KEY_BYTES = 16
_ADDRESS_WITH_PORT = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<ipv4>[0-9.]+))(?::[0-9]{1,5})?")
_UNKNOWN_ADDRESS = "unknown"
# A client with an IPv6 address usually has a whole /64 of them.
_IPV6_CLIENT_PREFIX = 64

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def check_key(key_path: Path | None) -> None:
    """Raise SettingsError if the front end's key is readable and too short to prove anything."""
    try:
        size = None if key_path is None else key_path.stat().st_size
    except OSError:
        # It may be provided later, and is checked again whenever it is used.
        return
    if size is not None and size < _MIN_KEY_BYTES:
        raise SettingsError(
            [f"CMSWEB_HMAC_PATH names a key of {size} bytes; accepted: at least {_MIN_KEY_BYTES} bytes"]
        )


def cmsweb_login(request: Request, key_path: Path | None) -> str | None:
    """The login that the front end vouches for; `None` for a visitor without a verified certificate.

    Without a key, identity headers are ignored. Raises Forbidden for identity headers without a valid
    signature, and for any while the key is not usable.
    """
    if key_path is None:
        return None
    headers = {name.lower(): value for name, value in request.headers.items()}
    signed = {name: value for name, value in headers.items() if name.startswith(_SIGNED_PREFIXES)}
    if not signed:
        return None
    received = signed.pop(_SIGNATURE, "")
    expected = signature(signed.items(), _read_key(key_path))
    if not hmac.compare_digest(received.encode("latin-1"), expected.encode("latin-1")):
        raise Forbidden("The identity headers of this request are not signed by the front end.")
    is_authenticated = (headers.get(_STATUS) or _NOT_AUTHENTICATED) != _NOT_AUTHENTICATED
    if not is_authenticated or signed.get(_METHOD) not in _CERTIFICATE_METHODS:
        return None
    return signed.get(_LOGIN) or None


def signature(headers: Iterable[tuple[str, str]], key: bytes) -> str:
    """The front end's signature of headers: names in lower case, values as WSGI decodes them."""
    ordered = sorted(headers)
    lengths = "".join(f"h{len(name):x}v{len(value):x}" for name, value in ordered)
    texts = "".join(f"{name}{value}" for name, value in ordered)
    return hmac.digest(key, f"{lengths}#{texts}".encode("latin-1"), "sha1").hex()


def client_address(request: Request, trusted_proxies: Sequence[Network]) -> str:
    """The client's address, for IPv6 its /64 network; `unknown` if it can't be determined."""
    address = _parse_address(request.remote_addr or "")
    forwarded = ",".join(request.headers.getlist("X-Forwarded-For")).split(",")
    while address is not None and _is_trusted(address, trusted_proxies) and forwarded:
        previous = forwarded.pop().strip()
        if not previous:
            break
        address = _parse_address(previous)
    if address is None:
        return _UNKNOWN_ADDRESS
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), _IPV6_CLIENT_PREFIX), strict=False))
    return str(address)


def _read_key(path: Path) -> bytes:
    # Read for each request, because the key is renewed while the server runs.
    try:
        key = path.read_bytes()
    except OSError as error:
        raise Forbidden("The mirror can't read the key that verifies identity headers.") from error
    if len(key) < _MIN_KEY_BYTES:
        raise Forbidden("The key that verifies identity headers is too short.")
    return key


def _parse_address(text: str) -> Address | None:
    """Parse an address with or without a port: `192.0.2.1:4711`, `[2001:db8::1]:4711`, `2001:db8::1`."""
    if match := _ADDRESS_WITH_PORT.fullmatch(text):
        text = match["ipv6"] or match["ipv4"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_trusted(address: Address, trusted_proxies: Sequence[Network]) -> bool:
    return any(address in network for network in trusted_proxies)
