"""The address of a client behind trusted proxies, and the network that it belongs to."""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """Return the IP address of the client of a request, see `client_address_of_environ`."""
    return client_address_of_environ(request.META)


def client_address_of_environ(environ: Mapping[str, Any]) -> str:
    """Return the IP address of the client from a WSGI environ.

    Each of our TRUSTED_PROXY_COUNT proxies appends the address of its peer to X-Forwarded-For, so the client
    is that many entries from the right. With 0 the header is ignored. When the header is shorter, or the
    entry is not an IP address, this is the address of the peer.
    """
    peer = str(environ.get("REMOTE_ADDR", ""))
    proxy_count: int = settings.TRUSTED_PROXY_COUNT
    if not proxy_count:
        return peer
    hops = [hop.strip() for hop in str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",") if hop.strip()]
    candidate = hops[-proxy_count] if len(hops) >= proxy_count else peer
    try:
        return str(ipaddress.ip_address(candidate))
    except ValueError:
        return peer


@lru_cache(maxsize=4096)
def client_network(address: str) -> str:
    """Return the network that shares one rate limit: an IPv4 address, or the /64 of an IPv6 address.

    An internet subscriber gets at least a /64 (RFC 6177). Returns "unknown" for what is not an IP address.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address) + "/64"
    return str(parsed)


def network_prefix(address: str) -> str:
    """Return the part of an address that may be stored: IPv4 /24 or IPv6 /48.

    Empty for what is not an IP address.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))
