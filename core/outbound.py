"""The client for requests to other servers, such as sign-in providers.

Addresses of such servers come from settings and from documents of those servers, so that a request could be
led into the private network (OWASP: Server-Side Request Forgery). A name is therefore resolved once,
addresses that are not public are refused, and the connection goes to the address that was checked, with the
name in Host and SNI. Redirects are refused, a request ends after TOTAL_SECONDS whatever the server does, and
a body has at most MAX_RESPONSE_BYTES. Proxies of the environment are not used: they would resolve the name.

OUTBOUND_ALLOWED_NETWORKS lists networks that are allowed although they are not public.
"""

import ipaddress
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
import urllib3
from django.conf import settings
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
SessionT = TypeVar("SessionT", bound=requests.Session)

TOTAL_SECONDS = 5.0  # for resolving, connecting, TLS and the complete response
MAX_RESPONSE_BYTES = 1024 * 1024  # of the body after decompression
CHUNK_BYTES = 64 * 1024
# IPv6 networks whose addresses contain an IPv4 address, to which a gateway may translate them, and site-local
# addresses. The standard library counts some of them as public.
REFUSED_NETWORKS = [
    ipaddress.ip_network(network)
    for network in (
        "::/96",  # IPv4-compatible (RFC 4291 section 2.5.5.1)
        "::ffff:0:0/96",  # IPv4-mapped (RFC 4291 section 2.5.5.2)
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # NAT64 for local use (RFC 8215)
        "2001::/32",  # Teredo (RFC 4380)
        "2002::/16",  # 6to4 (RFC 3056)
        "fec0::/10",  # site-local (RFC 3879)
    )
]


def new_session() -> requests.Session:
    """Return a session that sends requests as this module describes."""
    return restrict_session(requests.Session(), AddressRules.from_settings())


def restrict_session(
    session: SessionT, rules: "AddressRules", *, total_seconds: float | None = None
) -> SessionT:
    """Make a session send requests as this module describes, and return it."""
    session.trust_env = False
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True  # as requests does with trust_env
    for scheme in ("https://", "http://"):
        session.mount(scheme, OutboundAdapter(rules, total_seconds=total_seconds or TOTAL_SECONDS))
    return session


def is_public_address(address: IPAddress) -> bool:
    """Return whether an address is on the public internet and contains no other address.

    Not public are, among others, private, loopback, link-local, CGNAT (RFC 6598) and multicast addresses.
    """
    is_translated = any(address in network for network in REFUSED_NETWORKS)
    return address.is_global and not address.is_multicast and not is_translated


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which addresses a name may resolve to. `resolve` has the signature of `socket.getaddrinfo`."""

    allowed_networks: Sequence[IPNetwork] = ()
    resolve: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo

    @classmethod
    def from_settings(cls) -> "AddressRules":
        return cls(settings.OUTBOUND_ALLOWED_NETWORKS)

    def is_allowed(self, address: IPAddress) -> bool:
        return is_public_address(address) or any(address in network for network in self.allowed_networks)

    def connect(self, host: str, port: int, *, deadline: float) -> socket.socket:
        """Resolve a name once and connect to the first address that is allowed and answers.

        `deadline` is in monotonic seconds. Raises OSError.
        """
        error = OSError(f"the addresses of {host} are not allowed")
        for family, kind, protocol, _, address in self._resolve(host, port, deadline=deadline):
            if not self.is_allowed(ipaddress.ip_address(address[0])):
                continue
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                connection.connect(address)
            except OSError as refusal:
                connection.close()
                error = refusal
            else:
                return connection
        raise error

    def _resolve(self, host: str, port: int, *, deadline: float) -> Sequence[tuple[Any, ...]]:
        """Call `resolve` in a thread, because it has no timeout. Raises OSError."""
        results: queue.SimpleQueue[Sequence[tuple[Any, ...]] | None] = queue.SimpleQueue()

        def resolve() -> None:
            try:
                results.put(self.resolve(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError):
                results.put(None)

        threading.Thread(target=resolve, daemon=True).start()
        try:
            result = results.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            result = None
        if result is None:
            raise OSError(f"{host} could not be resolved")
        return result


class OutboundAdapter(HTTPAdapter):
    """Sends the requests of a session, one at a time. What it refuses is a `requests.ConnectionError`."""

    def __init__(self, rules: AddressRules, *, total_seconds: float) -> None:
        self.rules = rules
        self.total_seconds = total_seconds
        self._deadline = 0.0
        self._watchdog: _Watchdog | None = None
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pool_classes(self._open_connection)

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """Send one request over a new connection and read the complete response."""
        self._deadline = time.monotonic() + self.total_seconds
        options |= {"stream": True, "timeout": self.total_seconds, "proxies": {}}
        try:
            response = super().send(request, **options)
            try:
                if response.is_redirect:
                    raise requests.ConnectionError("redirects are not followed")
                response._content = _read_body(response.raw, deadline=self._deadline)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise requests.ConnectionError(str(error)) from None
            finally:
                response.close()
        finally:
            self.poolmanager.clear()
            if self._watchdog:
                self._watchdog.stop()
                self._watchdog = None
        return response

    def _open_connection(self, host: str, port: int) -> socket.socket:
        """Raises OSError."""
        connection = self.rules.connect(host, port, deadline=self._deadline)
        self._watchdog = _Watchdog(connection, seconds=max(self._deadline - time.monotonic(), 0))
        return connection


def _read_body(raw: urllib3.BaseHTTPResponse, *, deadline: float) -> bytes:
    """Return the decompressed body. Raises requests.ConnectionError, HTTPError, OSError."""
    body = b""
    while chunk := raw.read1(CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise requests.ConnectionError("the response is too large")
    # A connection that the watchdog has ended looks like the end of a body without a length.
    if time.monotonic() > deadline:
        raise requests.ConnectionError("the response took too long")
    return body


class _Watchdog:
    """Ends a connection at a deadline.

    A socket's timeout is for each read, so a server that sends one byte at a time would never exceed it.
    """

    def __init__(self, connection: socket.socket, *, seconds: float) -> None:
        self._duplicate = connection.dup()  # TLS detaches the socket object
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        try:
            self._duplicate.shutdown(socket.SHUT_RDWR)
        except OSError:  # closed by the server already
            return

    def stop(self) -> None:
        self._timer.cancel()
        self._timer.join()
        self._duplicate.close()


def _pool_classes(
    open_connection: Callable[[str, int], socket.socket],
) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return the classes of a pool manager by scheme. Their connections are opened by `open_connection`."""

    class CheckedConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            try:
                return open_connection(self._dns_host, self.port)
            except OSError as error:
                raise NewConnectionError(self, str(error)) from None

    class CheckedTlsConnection(CheckedConnection, HTTPSConnection):
        pass

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = CheckedConnection

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = CheckedTlsConnection

    return {"http": Pool, "https": TlsPool}
