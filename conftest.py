"""Fixtures that every app's tests use. Nothing here replaces a part of the platform."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from accounts.credentials.known_devices import Device
from accounts.credentials.tokens import make_access_token
from accounts.models import Session, User
from accounts.services.sessions import open_session
from accounts.tests.factories import UserFactory
from core.storage import redis

pytest_plugins = [  # a module before those that import it
    "tests.order",
    "tests.database",
    "tests.stack",
    "tests.browser",
    "tests.issuer",
    "tests.mail",
    "tests.nursery",
    "tests.s3",
    "tests.office",
]


def pytest_configure(config: pytest.Config) -> None:
    """Let WhiteNoise look static files up when they are asked for: every `Client` would otherwise list all of
    them.
    """
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def empty_redis() -> Iterator[None]:
    """Each test starts with an empty Redis of its own, and with the breaker closed."""
    redis.close_breaker()
    redis.client().flushdb()
    yield
    redis.close_breaker()


@pytest.fixture(scope="session")
def password_hash() -> str:
    """One real hash of `PASSWORD`, made once: hashing is what makes sign-in slow."""
    return make_password(PASSWORD)


PASSWORD = "correct horse battery staple"


@dataclass
class Api:
    """A signed-in person at the API. Calls return Django's response; bodies are JSON."""

    user: User
    session: Session
    access: str
    client: Client = field(default_factory=Client)

    def call(
        self, method: str, path: str, data: Any = None, *, if_match: int | str | None = None, **headers: str
    ) -> Any:
        sent = {
            "Authorization": f"Bearer {self.access}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if if_match is not None:
            sent["If-Match"] = f'"{if_match}"' if isinstance(if_match, int) else if_match
        address = path.removeprefix("http://testserver") if "://" in path else urljoin("/api/v1/", path)
        return self.client.generic(method, address, dump(data), content_type="application/json", headers=sent)

    def get(self, path: str, **options: Any) -> HttpResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, data: Any = None, **options: Any) -> HttpResponse:
        return self.call("POST", path, data, **options)

    def put(self, path: str, data: Any, **options: Any) -> HttpResponse:
        return self.call("PUT", path, data, **options)

    def patch(self, path: str, data: Any, **options: Any) -> HttpResponse:
        return self.call("PATCH", path, data, **options)

    def delete(self, path: str, **options: Any) -> HttpResponse:
        return self.call("DELETE", path, **options)


def dump(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    return b"" if data is None else json.dumps(data).encode()


def sign_in(user: User) -> Api:
    """A session for `user` without the hash that signing in costs."""
    session = open_session(user, device=Device(), now=timezone.now())
    return Api(user, session, make_access_token(user, session)[0])


@pytest.fixture
def api(db: None) -> Api:
    return sign_in(UserFactory())


@pytest.fixture
def other(db: None) -> Api:
    """Somebody else."""
    return sign_in(UserFactory())
