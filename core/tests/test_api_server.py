"""ApiServer: what it answers is what Django would answer; the rest goes to Django with its admission."""

from unittest.mock import Mock
from urllib.parse import unquote_to_bytes

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.db import transaction
from django.test import RequestFactory
from prometheus_client import REGISTRY

from core.admission import cached_responses
from core.admission.admission import ADMISSION
from core.admission.api_server import ApiServer
from core.admission.principals import Principal
from core.ids import uuid7
from core.storage import redis
from sites.tests.factories import SiteFactory
from tests.stack import wait_until

pytestmark = pytest.mark.django_db
ORIGIN = "https://front.example"
VARYING = {"X-Request-ID", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After"}


def ask(application, method, path, **headers):
    """Return status, headers and body that a WSGI application answers with."""
    environ = RequestFactory().generic(method, path, headers=headers).environ
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")  # as a server passes it
    answers = []
    body = b"".join(application(environ, lambda status, headers: answers.append((status, dict(headers)))))
    ((status, answer_headers),) = answers
    return status, answer_headers, body


def refuse_everything(environ, start_response):
    raise AssertionError(f"Django was asked for {environ['PATH_INFO']}")


@pytest.fixture
def api_server():
    return ApiServer(refuse_everything)


@pytest.fixture
def cached_site(api, settings):
    """The path of a site whose answer is in the cache."""
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    path = f"/api/v1/sites/{SiteFactory(owner=api.user).pk}"
    api.get("config")  # the first request writes the tombstones
    api.get(path)
    return path


def requests_of(api, path):
    """The method, path and headers of each kind of request that the API server answers."""
    signed_in = {"Authorization": f"Bearer {api.access}"}
    return {
        "cached": ("GET", path, signed_in),
        "cached, with a final slash": ("GET", f"{path}/", signed_in),
        "cached, for a front end": ("GET", path, {**signed_in, "Origin": ORIGIN}),
        "cached, for another origin": ("GET", path, {**signed_in, "Origin": "https://evil.example"}),
        "not modified": ("GET", path, {**signed_in, "If-None-Match": '"1"'}),
        "bad token": ("GET", path, {"Authorization": "Bearer x"}),
        "bad token of a front end": ("POST", "/api/v1/sites", {"Authorization": "x", "Origin": ORIGIN}),
        "bad token, public": ("GET", "/api/v1/public/sites/x", {"Authorization": "x", "Origin": ORIGIN}),
        "not ASCII": ("GET", "/api/v1/%E6%97%A5", {"Authorization": "x", "Origin": "https://" + "x" * 400}),
        "health": ("GET", "/health", {}),
        "health, for a front end": ("GET", "/health", {"Origin": ORIGIN}),
    }


@pytest.mark.parametrize("kind", requests_of(type("Api", (), {"access": ""}), ""))
def test_api_server_answers_as_django_does(kind, api, cached_site, api_server, log_lines):
    django = WSGIHandler()
    method, path, headers = requests_of(api, cached_site)[kind]

    status, answer_headers, body = ask(api_server, method, path, **headers)
    django_status, django_headers, django_body = ask(django, method, path, **headers)

    assert status == django_status
    assert answer_headers.keys() - {"Content-Length"} == django_headers.keys() - {"Content-Length"}
    differences = {name for name in django_headers if answer_headers.get(name) != django_headers[name]}
    assert differences <= VARYING | {"Content-Length"}
    if not path.startswith("/health"):
        assert body == django_body
        first, second = [line for line in log_lines() if line["event"] == "request_finished"]
        varying = {"request_id", "milliseconds", "timestamp"}
        assert {key: value for key, value in first.items() if key not in varying} == {
            key: value for key, value in second.items() if key not in varying
        }
        assert first.keys() == second.keys()


def test_api_server_answers_429_and_counts_the_refusal(settings, api, api_server):
    settings.RATE_LIMIT = 1
    headers = {"Authorization": f"Bearer {api.access}"}
    api.get("config")

    status, answer_headers, body = ask(api_server, "GET", "/api/v1/auth/me", **headers)

    assert status == "429 Too Many Requests"
    assert b'"too_many_requests"' in body
    assert answer_headers["RateLimit-Limit"] == "1"
    ((field, count),) = redis.client().hgetall(redis.client().keys("refusals:*")[0]).items()
    assert (str(api.user.pk).encode() in field, b"too_many_requests" in field, count) == (True, True, b"1")


def test_api_server_answers_with_one_redis_call_and_no_query(
    api, cached_site, api_server, redis_round_trips, django_assert_num_queries
):
    redis_round_trips.clear()
    with django_assert_num_queries(0):
        ask(api_server, "GET", cached_site, Authorization=f"Bearer {api.access}")
        assert len(redis_round_trips) == 1
        ask(api_server, "GET", "/health")
        assert len(redis_round_trips) == 1


def test_cache_keys_are_empty_for_api_keys_impersonations_and_writes():
    def keys(method="GET", path="/api/v1/auth/me", **fields):
        principal = Principal(uuid7(), uuid7(), 0, frozenset(), **fields)
        return cached_responses.cache_keys({"REQUEST_METHOD": method}, path, principal)

    assert all(keys())
    assert keys(scopes=frozenset()) == keys(impersonator=uuid7()) == keys(method="POST") == ("", "")
    assert keys(path="/api/v1/auth/me/usage") == keys(path="/api/v1/auth/me\n") == ("", "")


def test_api_server_counts_its_answers(api, cached_site, api_server):
    def count():
        labels = {"method": "GET", "route": "kept", "status": "200"}
        return REGISTRY.get_sample_value("getyousite_requests_total", labels) or 0

    before = count()
    ask(api_server, "GET", cached_site, Authorization=f"Bearer {api.access}")

    assert count() == before + 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/health/live"),
        ("HEAD", "/health"),
        ("OPTIONS", "/api/v1/sites"),
        ("GET", "/admin/"),
    ],
)
def test_api_server_passes_on_what_it_does_not_know(method, path):
    passed = []
    server = ApiServer(lambda environ, start_response: passed.append(ADMISSION in environ) or [])

    server(RequestFactory().generic(method, path).environ, None)

    assert passed == [False]


def test_api_server_passes_a_request_on_with_its_admission(api, settings):
    """The request is counted once: Django does not admit it again."""
    settings.RATE_LIMIT = 6
    server = ApiServer(WSGIHandler())
    headers = {"Authorization": f"Bearer {api.access}"}

    answers = [ask(server, "GET", "/api/v1/auth/me", **headers) for _ in range(3)]

    assert [answer_headers["RateLimit-Remaining"] for _, answer_headers, _ in answers] == ["5", "4", "3"]


def test_api_server_leaves_a_path_that_is_not_ascii_to_django(api):
    headers = {"Authorization": f"Bearer {api.access}", "Origin": "https://" + "x" * 400}

    status, _, body = ask(ApiServer(WSGIHandler()), "GET", "/api/v1/%E6%97%A5", **headers)

    assert (status, b'"not_found"' in body) == ("404 Not Found", True)


def test_api_server_lets_django_handle_what_it_did_not_expect(api, monkeypatch):
    passed = []
    monkeypatch.setattr("core.admission.api_server.admit", Mock(side_effect=ZeroDivisionError))
    server = ApiServer(lambda environ, start_response: passed.append(ADMISSION in environ) or [])

    server(RequestFactory().get("/api/v1/auth/me").environ, None)

    assert passed == [False]


def test_request_id_of_the_client_is_replaced_when_it_looks_like_a_credential(api_server):
    secret = "gys_live_" + "a" * 40

    _, headers, _ = ask(api_server, "GET", "/health", **{"X-Request-ID": secret})

    assert secret not in headers["X-Request-ID"]


def test_invalidations_of_a_transaction_take_one_round_trip(redis_round_trips):
    redis.client().ping()
    redis_round_trips.clear()
    with transaction.atomic():
        for number in range(20):
            cached_responses.invalidate_after_commit(cached_responses.site_tag(str(number % 5)))

    assert len(redis_round_trips) == 1
    assert redis_round_trips[0].count(b"stamp:site:") == 5


def test_invalidations_wait_until_redis_answers_again(own_redis, restart_redis):
    own_redis.stop()
    cached_responses.invalidate("site:1", "site:2")
    cached_responses.invalidate("site:2", "user:3")
    assert cached_responses._stale_tags == {"site:1", "site:2", "user:3"}

    restart_redis()

    wait_until(lambda: not cached_responses._stale_tags, seconds=10)


def test_api_server_lets_django_redirect_to_https(settings, api, cached_site):
    settings.SECURE_SSL_REDIRECT = True
    passed = []
    server = ApiServer(lambda environ, start_response: passed.append(environ["PATH_INFO"]) or [])
    environ = RequestFactory().get(cached_site, headers={"Authorization": f"Bearer {api.access}"}).environ

    server(environ, None)

    assert passed == [cached_site]
    assert server.answer({**environ, "wsgi.url_scheme": "https", "PATH_INFO": "/health"}) is not None


def test_api_server_remembers_no_headers_of_a_long_origin(cached_site, api_server):
    for length in (10, 1000):
        ask(api_server, "GET", "/health", Origin="https://" + "x" * length)

    assert len(api_server._outer_headers) == 1
