"""Fixtures that the tests of every app use. They replace no part of the platform."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.test import Client
from django.test.client import ClientHandler
from django.utils import timezone
from redis.connection import AbstractConnection
from redis.exceptions import TimeoutError as RedisTimeout

from accounts.credentials.known_devices import Device
from accounts.credentials.tokens import make_access_token
from accounts.models import Session, User
from accounts.services.sessions import open_session
from accounts.tests.factories import UserFactory
from analytics.ingest import intake
from core.admission.api_server import ApiServer
from core.storage import redis, redis_scripts

pytest_plugins = [  # a module stands before those that import it, so that pytest can rewrite its assertions
    "tests.order",
    "tests.database",
    "tests.stack",
    "tests.browser",
    "tests.page_monitor",
    "tests.oidc_fixtures",
    "tests.smtp_fixtures",
    "tests.child_processes",
    "tests.s3",
    "tests.web_and_worker",
    "tests.admin_client",
    "tests.log_lines",
]


def pytest_configure(config: pytest.Config) -> None:
    """Set what holds for every test.

    WhiteNoise finds static files on request, because otherwise every `Client` would list all of them first.
    Hypothesis does not measure time, because a busy machine is not a wrong answer.
    """
    settings.WHITENOISE_AUTOREFRESH = True
    hypothesis.settings.register_profile(
        "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("tests")


@pytest.fixture(autouse=True)
def empty_redis() -> Iterator[None]:
    """Start each test with an empty Redis database and a closed circuit breaker."""
    redis.close_breaker()
    intake.unwritten_events.clear()
    for _ in range(20):  # the client of the platform gives up after 0.25 s, which a busy machine may take
        try:
            redis.client().flushdb()
            break
        except RedisTimeout:
            continue
    yield
    redis.close_breaker()


@pytest.fixture(scope="session")
def password_hash() -> str:
    """One real hash of `PASSWORD`, computed once, because hashing is the slow part of signing in."""
    return make_password(PASSWORD)


PASSWORD = "correct horse battery staple"


@dataclass
class ApiClient:
    """An API client with the session of `user`. Bodies are sent as JSON; calls return Django's response."""

    user: User
    session: Session
    access: str
    client: Client = field(default_factory=Client)

    def call(
        self, method: str, path: str, data: Any = None, *, if_match: int | str | None = None, **headers: str
    ) -> Any:
        """Send a request with the access token.

        `path` is below `/api/v1/`, an absolute path, or an address of the test server. An integer `if_match`
        becomes an ETag. In the names of `headers`, underscores stand for hyphens.
        """
        all_headers = {
            "Authorization": f"Bearer {self.access}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if if_match is not None:
            all_headers["If-Match"] = f'"{if_match}"' if isinstance(if_match, int) else if_match
        address = path.removeprefix("http://testserver") if "://" in path else urljoin("/api/v1/", path)
        body = encode_body(data)
        return self.client.generic(
            method, address, body, content_type="application/json", headers=all_headers
        )

    def get(self, path: str, *, if_match: int | str | None = None, **headers: str) -> HttpResponse:
        return self.call("GET", path, if_match=if_match, **headers)

    def post(
        self, path: str, data: Any = None, *, if_match: int | str | None = None, **headers: str
    ) -> HttpResponse:
        return self.call("POST", path, data, if_match=if_match, **headers)

    def put(self, path: str, data: Any, *, if_match: int | str | None = None, **headers: str) -> HttpResponse:
        return self.call("PUT", path, data, if_match=if_match, **headers)

    def patch(
        self, path: str, data: Any, *, if_match: int | str | None = None, **headers: str
    ) -> HttpResponse:
        return self.call("PATCH", path, data, if_match=if_match, **headers)

    def delete(
        self, path: str, data: Any = None, *, if_match: int | str | None = None, **headers: str
    ) -> HttpResponse:
        return self.call("DELETE", path, data, if_match=if_match, **headers)


def encode_body(data: Any) -> bytes:
    """JSON in UTF-8. Bytes are returned unchanged, and None becomes an empty body."""
    if isinstance(data, bytes):
        return data
    return b"" if data is None else json.dumps(data).encode()


def sign_in(user: User) -> ApiClient:
    """Open a session for `user` without a password, and so without the cost of a password hash."""
    session = open_session(user, device=Device(), now=timezone.now())
    return ApiClient(user, session, make_access_token(user, session)[0])


@pytest.fixture
def redis_round_trips(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What this process sends to Redis during the test: an item for each round trip."""
    sent: list[bytes] = []
    exchange = redis_scripts._Connection.exchange
    send = AbstractConnection.send_packed_command

    def count_exchange(connection: Any, packed: bytes, replies: int) -> list[Any]:
        sent.append(packed)
        return exchange(connection, packed, replies)

    def count_send(connection: Any, command: Any, **options: Any) -> None:
        sent.append(command if isinstance(command, bytes) else b"".join(command))
        send(connection, command, **options)

    monkeypatch.setattr(redis_scripts._Connection, "exchange", count_exchange)
    monkeypatch.setattr(AbstractConnection, "send_packed_command", count_send)
    return sent


@pytest.fixture(params=["api server", "django"])
def either_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: with the application in front of Django, as in production, and with Django alone."""
    if request.param == "django":
        return
    api_server = ApiServer(lambda environ, start_response: [])
    call_django = ClientHandler.__call__

    def call(handler: ClientHandler, environ: dict[str, Any]) -> HttpResponse:
        answer = api_server.answer(environ)
        if answer is None:
            return call_django(handler, environ)
        status, headers, body = answer
        response = HttpResponse(body, status=status, headers=headers)
        response.wsgi_request = WSGIRequest(environ)  # type: ignore[attr-defined]
        return response

    monkeypatch.setattr(ClientHandler, "__call__", call)


@pytest.fixture
def api(db: None) -> ApiClient:
    """A client signed in as a new user."""
    return sign_in(UserFactory())


@pytest.fixture
def other(db: None) -> ApiClient:
    """A client signed in as another new user."""
    return sign_in(UserFactory())
