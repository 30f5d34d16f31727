"""Starts nginx and Caddy with the configurations of `deploy/` on loopback ports, and connects to them."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from config.embedded_servers import free_port
from tests.smtp_fixtures import write_certificate
from tests.stack import ROOT, wait_until

LOGIN_HEADER = (
    b"POST /api/v1/auth/login HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: 100\r\n"
)


@dataclass
class Proxy:
    """A running proxy. `folder` has its certificate and everything that it logs."""

    name: str
    folder: Path
    https_port: int
    http_port: int

    def client(self, source: str = "127.0.0.1") -> httpx.Client:
        """An HTTP client that connects from the address `source`."""
        transport = httpx.HTTPTransport(verify=self.tls_context(), local_address=source)
        return httpx.Client(base_url=f"https://localhost:{self.https_port}", transport=transport, timeout=20)

    def connect(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """Open one connection from the address `source`."""
        connection = socket.create_connection(("127.0.0.1", self.https_port), 10, (source, 0))
        return self.tls_context().wrap_socket(connection, server_hostname="localhost")

    def tls_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "certificate.pem"))

    def logged_text(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.log"))


def require_program(name: str) -> str:
    """Return the path of a proxy, or skip the test with the reason."""
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed: apt-get install caddy nginx-light")
    return program


@contextmanager
def start_proxy(name: str, folder: Path, upstream: str) -> Iterator[Proxy]:
    """Run the proxy `name` (`nginx` or `caddy`) in front of `upstream` while the block runs."""
    program = require_program(name)
    write_certificate(folder)
    proxy = Proxy(name, folder, free_port(), free_port())
    values = {
        "APP_HOST": "localhost",
        "SITES_DOMAIN": "localhost",
        "UPSTREAM": upstream,
        "CERTIFICATE": str(folder / "certificate.pem"),
        "CERTIFICATE_KEY": str(folder / "key.pem"),
    }
    prepare = {"nginx": prepare_nginx, "caddy": prepare_caddy}[name]
    arguments, environ = prepare(program, proxy, values)
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen([program, *arguments], env=environ, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or accepts_connections(proxy.https_port), seconds=10)
        assert process.poll() is None, proxy.logged_text()
        yield proxy
    finally:
        process.terminate()
        process.wait(10)


def prepare_nginx(program: str, proxy: Proxy, values: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Write the configuration, and return the arguments and the environment of nginx."""
    text = (ROOT / "deploy/nginx/getyousite.conf").read_text()
    text = re.sub(r"\$\{([A-Z_]+)\}", lambda match: values[match[1]], text)
    text = re.sub(r"(?m)^ *listen \[::\].*\n", "", text)
    text = text.replace("listen 443", f"listen 127.0.0.1:{proxy.https_port}")
    text = text.replace("listen 80", f"listen 127.0.0.1:{proxy.http_port}")
    (proxy.folder / "getyousite.conf").write_text(text.replace("/var/log/nginx", str(proxy.folder)))
    temporary_folders = "".join(
        f"    {module}_temp_path {proxy.folder}/{module};\n"
        for module in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (proxy.folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {proxy.folder}/pid;\n"
        f"error_log {proxy.folder}/main-error.log;\nevents {{ worker_connections 1024; }}\n"
        f"http {{\n{temporary_folders}    access_log off;\n    include {proxy.folder}/getyousite.conf;\n}}\n"
    )
    return ["-e", "stderr", "-p", str(proxy.folder), "-c", str(proxy.folder / "nginx.conf")], dict(os.environ)


def prepare_caddy(program: str, proxy: Proxy, values: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the environment of Caddy."""
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    major, minor, patch = map(int, re.findall(r"\d+", version)[:3])
    environ = {
        **os.environ,
        **values,
        "HTTP_PORT": str(proxy.http_port),
        "HTTPS_PORT": str(proxy.https_port),
        "CADDY_ADMIN": "off",
        "XDG_CONFIG_HOME": str(proxy.folder),
        "XDG_DATA_HOME": str(proxy.folder),
    }
    if (major, minor, patch) < (2, 6, 3):
        environ["BUFFERING"] = "buffer_requests"
    return ["run", "--adapter", "caddyfile", "--config", str(ROOT / "deploy/caddy/Caddyfile")], environ


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def slow_bodies(connections: list[socket.socket], *extra_headers: bytes) -> Iterator[None]:
    """Send a login whose body has one byte a second over each connection while the block runs."""
    stopped = threading.Event()

    def send_slowly() -> None:
        while not stopped.wait(1):
            for connection in connections:
                try:
                    connection.sendall(b"x")
                except OSError:
                    continue  # the server has closed it

    with ExitStack() as resources:
        for connection in connections:
            resources.enter_context(connection)
            connection.sendall(LOGIN_HEADER + b"".join(extra_headers) + b"\r\n{")
        sender = threading.Thread(target=send_slowly)
        sender.start()
        try:
            yield
        finally:
            stopped.set()
            sender.join()
