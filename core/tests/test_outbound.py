"""The client for requests to other servers, against real servers on loopback addresses.

127.0.0.2 stands for a public address: the rules of most tests allow it alone.
"""

import gzip
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core import outbound
from core.outbound import AddressRules, is_public_address, restrict_session

HOST = "issuer.example.com"
PUBLIC = "127.0.0.2"
ALLOWED = [ipaddress.ip_network(f"{PUBLIC}/32")]
REFUSED_ADDRESSES = {
    "loopback": "127.0.0.1",
    "loopback of IPv6": "::1",
    "unspecified": "0.0.0.0",
    "private": "10.1.2.3",
    "private of a home": "192.168.1.1",
    "unique local": "fd00::1",
    "link-local": "169.254.169.254",
    "link-local of IPv6": "fe80::1",
    "CGNAT": "100.64.0.1",
    "multicast": "224.0.0.251",
    "multicast of IPv6": "ff0e::1",
    "broadcast": "255.255.255.255",
    "documentation": "192.0.2.1",
    "IPv4-mapped": "::ffff:127.0.0.1",
    "IPv4-mapped of a public address": "::ffff:93.184.216.34",
    "IPv4-compatible": "::127.0.0.1",
    "NAT64": "64:ff9b::7f00:1",
    "NAT64 for local use": "64:ff9b:1::7f00:1",
    "6to4": "2002:7f00:1::1",
    "Teredo": "2001:0:7f00:1::1",
    "site-local": "fec0::1",
}


def answers(*addresses):
    """A resolver that returns one of these answers after the other, and counts its calls."""

    def resolve(host, port, type):  # noqa: A002 - as in `socket.getaddrinfo`
        text = addresses[min(resolve.calls, len(addresses) - 1)]
        resolve.calls += 1
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        return [(family, type, 0, "", (text, port))]

    resolve.calls = 0
    return resolve


def session(resolve, *, allowed_networks=ALLOWED, total_seconds=2.0):
    return restrict_session(
        requests.Session(), AddressRules(allowed_networks, resolve), total_seconds=total_seconds
    )


@contextmanager
def server(respond, *, address=PUBLIC, port=0, tls=None):
    """Run an HTTP server; yield its port and the list of (address, Host header) of its requests."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            received.append((self.server.server_address[0], self.headers["Host"]))
            respond(self)

        def log_message(self, *arguments):
            """Print nothing."""

    http_server = ThreadingHTTPServer((address, port), Handler)
    http_server.handle_error = lambda *arguments: None  # the client has ended the connection
    if tls:
        http_server.socket = tls.wrap_socket(http_server.socket, server_side=True)
    thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield http_server.server_address[1], received
    finally:
        http_server.shutdown()
        thread.join()
        http_server.server_close()


def send(handler, body=b"{}", status=200, **headers):
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def test_session_sends_a_request_to_the_name_and_reads_the_response():
    with server(send) as (port, received):
        response = session(answers(PUBLIC)).get(f"http://{HOST}:{port}/")

    assert (response.status_code, response.json(), received) == (200, {}, [(PUBLIC, f"{HOST}:{port}")])


@pytest.mark.parametrize("name", REFUSED_ADDRESSES)
def test_is_public_address_refuses(name):
    assert not is_public_address(ipaddress.ip_address(REFUSED_ADDRESSES[name]))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_is_public_address_accepts_public_addresses(address):
    assert is_public_address(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "100.64.0.1"])
def test_session_refuses_a_name_with_an_address_that_is_not_public(address):
    with (
        server(send, address="127.0.0.1") as (port, received),
        pytest.raises(requests.ConnectionError, match="not allowed"),
    ):
        session(answers(address), allowed_networks=[]).get(f"http://{HOST}:{port}/")

    assert received == []


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost"])
def test_session_refuses_spellings_of_loopback(host):
    with (
        server(send, address="127.0.0.1") as (port, received),
        pytest.raises(requests.ConnectionError, match="not allowed"),
    ):
        session(socket.getaddrinfo).get(f"http://{host}:{port}/")

    assert received == []


def test_session_connects_to_the_address_that_was_checked_when_the_name_changes():
    """DNS rebinding: the second answer would lead to another server on the same port."""
    resolve = answers(PUBLIC, "127.0.0.1")
    with server(send) as (port, received), server(send, address="127.0.0.1", port=port) as (_, rebound):
        response = session(resolve).get(f"http://{HOST}:{port}/")

    assert (response.status_code, len(received), rebound, resolve.calls) == (200, 1, [], 1)


def test_session_refuses_redirects():
    def redirect(handler):
        send(handler, status=302, Location=f"http://{PUBLIC}:{handler.server.server_address[1]}/other")

    with server(redirect) as (port, received), pytest.raises(requests.ConnectionError, match="redirect"):
        session(answers(PUBLIC)).get(f"http://{HOST}:{port}/")

    assert len(received) == 1


def drip_headers(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        handler.wfile.write(b"X: y\r\n")
        time.sleep(0.05)


def drip_body(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def drip_body_without_length(handler):
    handler.close_connection = True
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("drip", [drip_headers, drip_body, drip_body_without_length])
def test_session_ends_a_slow_response_after_its_total_time(drip):
    started_at = time.monotonic()
    with server(drip) as (port, _), pytest.raises(requests.ConnectionError):
        session(answers(PUBLIC), total_seconds=0.4).get(f"http://{HOST}:{port}/")

    assert 0.35 < time.monotonic() - started_at < 3


def test_session_ends_a_tls_handshake_without_an_answer():
    started_at = time.monotonic()
    with socket.create_server((PUBLIC, 0)) as silent, pytest.raises(requests.RequestException):
        session(answers(PUBLIC), total_seconds=0.4).get(f"https://{HOST}:{silent.getsockname()[1]}/")

    assert time.monotonic() - started_at < 3


def test_session_ends_a_name_that_does_not_resolve_in_time():
    released = threading.Event()

    def resolve(host, port, type):  # noqa: A002 - as in `socket.getaddrinfo`
        released.wait(10)
        return []

    started_at = time.monotonic()
    with pytest.raises(requests.ConnectionError, match="could not be resolved"):
        session(resolve, total_seconds=0.2).get(f"http://{HOST}/")
    released.set()

    assert time.monotonic() - started_at < 3


@pytest.mark.parametrize("compress", [False, True])
def test_session_refuses_a_body_above_one_mebibyte(compress):
    content = b" " * (outbound.MAX_RESPONSE_BYTES + 1)

    def respond(handler):
        if compress:
            send(handler, gzip.compress(content), Content_Encoding="gzip")
        else:
            send(handler, content)

    with server(respond) as (port, _), pytest.raises(requests.ConnectionError, match="too large"):
        session(answers(PUBLIC), total_seconds=10).get(f"http://{HOST}:{port}/")


def test_session_does_not_use_the_proxy_of_the_environment(monkeypatch):
    with server(send) as (port, received), server(send, address="127.0.0.1") as (proxy_port, proxied):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy_port}")
        session(answers(PUBLIC)).get(f"http://{HOST}:{port}/")

    assert (len(received), proxied) == (1, [])


def certificate(folder):
    """A certificate for HOST in a PEM file with its key, as a server and as its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    private_key = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private_key + signed.public_bytes(pem))
    return path


def test_session_verifies_the_certificate_of_the_name_at_the_checked_address(tmp_path, monkeypatch):
    path = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    server_names = []
    tls.sni_callback = lambda connection, name, context: server_names.append(name)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    resolve = answers(PUBLIC, "127.0.0.1")

    with server(send, tls=tls) as (port, received):
        response = session(resolve).get(f"https://{HOST}:{port}/")
        with pytest.raises(requests.exceptions.SSLError):
            session(answers(PUBLIC)).get(f"https://other.example.com:{port}/")

    assert (response.status_code, resolve.calls) == (200, 1)
    assert (server_names[0], received) == (HOST, [(PUBLIC, f"{HOST}:{port}")])
