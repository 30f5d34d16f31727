"""The address of a client behind trusted proxies, and the network that it belongs to."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """As `peer_of` says."""
    return client_address_of_environ(request.META)


def client_address_of_environ(environ: Mapping[str, Any]) -> str:
    """The client's address: the right-most hop of X-Forwarded-For that no proxy of ours wrote, else the
    peer's.

    With TRUSTED_PROXY_COUNT 0 the header is ignored. Never raises: what is not an address becomes the peer's.
    """
    peer = str(environ.get("REMOTE_ADDR", ""))
    trusted: int = settings.TRUSTED_PROXY_COUNT
    if not trusted:
        return peer
    hops = [hop.strip() for hop in str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",") if hop.strip()]
    candidate = hops[-trusted] if len(hops) >= trusted else peer
    try:
        return str(ipaddress.ip_address(candidate))
    except ValueError:
        return peer


def client_network(address: str) -> str:
    """What is limited together: an IPv4 address, or the /64 of an IPv6 one (a subscriber has at least that)."""
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
    """What is written down of an address: IPv4 /24, IPv6 /48; empty when it is none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))
