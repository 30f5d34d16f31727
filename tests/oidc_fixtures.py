"""The OpenID Connect provider of the tests (`tests.oidc_server`): started once, configured by each test."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr

from accounts.credentials import oidc
from config import embedded_servers
from config.oidc_providers import Provider
from core.processes import port_is_free
from tests.oidc_server import CLIENT_ID, CLIENT_SECRET
from tests.stack import ROOT, wait_until


@dataclass
class OidcServer:
    """A running provider on loopback."""

    port: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def configure(self, **behaviour: Any) -> None:
        """Replace the behaviour of the provider. `OidcHandler` lists the fields; without any it is honest."""
        httpx.post(f"{self.url}/control", json=behaviour).raise_for_status()

    def last_authorization_request(self) -> Any:
        """The query parameters of the last authorization request."""
        return httpx.get(f"{self.url}/last-authorization-request").json()

    def published_keys(self) -> Any:
        """The JSON Web Key Set that it publishes."""
        return httpx.get(f"{self.url}/jwks").json()

    @staticmethod
    def authorize(authorization_url: str) -> dict[str, str]:
        """Open the authorization URL as a browser does; return the parameters of the redirect back."""
        response = httpx.get(authorization_url)
        assert response.status_code == 302, response.text
        parameters = parse_qs(urlsplit(response.headers["Location"]).query)
        return {name: values[0] for name, values in parameters.items()}

    def provider(self, **overrides: Any) -> Provider:
        """The setting that makes the platform trust this provider, with `overrides` of its fields."""
        fields = {
            "issuer": self.url,
            "client_id": CLIENT_ID,
            "client_secret": SecretStr(CLIENT_SECRET),
            "label": "Mock",
        }
        return Provider(**{**fields, **overrides})


@pytest.fixture(scope="session")
def oidc_process() -> Iterator[OidcServer]:
    """One provider process for each test worker. Tests use `issuer`, which also resets its behaviour."""
    server = OidcServer(embedded_servers.free_port())
    process = subprocess.Popen([sys.executable, "-m", "tests.oidc_server", str(server.port)], cwd=ROOT)
    wait_until(lambda: not port_is_free("127.0.0.1", server.port), seconds=30)
    yield server
    process.terminate()
    process.wait(10)


@pytest.fixture
def issuer(oidc_process: OidcServer, settings: Any) -> OidcServer:
    """An honest provider named `mock`. This process has nothing about it in its caches."""
    oidc_process.configure()
    oidc._issuers.clear()
    settings.OIDC_PROVIDERS = {"mock": oidc_process.provider()}
    return oidc_process
