"""Where a request comes from: the connection's own address, or what proxies say that are trusted.

`X-Forwarded-For` grows from left to right; only what a trusted proxy has appended is believed, so the client
is the last address in it that is not a trusted proxy's.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from flask import Request

_UNKNOWN = "unknown"
# Who has an IPv6 address has at least as many as this leaves open.
_OF_ONE_CLIENT = 64

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """The client's address, an IPv6 one as its network; one word for all that can't be told."""
    address = _address(request.remote_addr or "")
    forwarded = ",".join(request.headers.getlist("X-Forwarded-For")).split(",")
    while address is not None and _is_trusted(address, trusted) and forwarded:
        told = forwarded.pop().strip()
        if not told:
            break
        address = _address(told)
    return _counted(address)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _counted(address: Address | None) -> str:
    if address is None:
        return _UNKNOWN
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), _OF_ONE_CLIENT), strict=False))
    return str(address)
