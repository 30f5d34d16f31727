"""The sign-in provider of the tests: started once, told what to say, and a browser that goes there and comes
back.
"""

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
from tests.oidc_issuer import CLIENT, SECRET
from tests.stack import ROOT, eventually


@dataclass
class MockIssuer:
    port: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def say(self, **facts: Any) -> None:
        """What it says from now on; see `tests.oidc_issuer`."""
        httpx.post(f"{self.url}/control", json=facts).raise_for_status()

    def seen(self) -> Any:
        """The last authorization request."""
        return httpx.get(f"{self.url}/seen").json()

    def keys(self) -> Any:
        """The keys that it publishes."""
        return httpx.get(f"{self.url}/jwks").json()

    @staticmethod
    def visit(authorization_url: str) -> dict[str, str]:
        """Go there as a browser does; what it puts into the address to come back to."""
        answer = httpx.get(authorization_url)
        assert answer.status_code == 302, answer.text
        return {
            name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()
        }

    def provider(self, **facts: Any) -> Provider:
        known = {"issuer": self.url, "client_id": CLIENT, "client_secret": SecretStr(SECRET), "label": "Mock"}
        return Provider(**{**known, **facts})


@pytest.fixture(scope="session")
def _issuer_process() -> Iterator[MockIssuer]:
    found = MockIssuer(embedded_servers.free_port())
    process = subprocess.Popen([sys.executable, "-m", "tests.oidc_issuer", str(found.port)], cwd=ROOT)
    eventually(lambda: not port_is_free("127.0.0.1", found.port), seconds=30)
    yield found
    process.terminate()
    process.wait(10)


@pytest.fixture
def issuer(_issuer_process: MockIssuer, settings: Any) -> MockIssuer:
    """A provider called `mock` that tells the truth, and of which this process knows nothing yet."""
    _issuer_process.say()
    oidc._issuers.clear()
    settings.OIDC_PROVIDERS = {"mock": _issuer_process.provider()}
    return _issuer_process
