from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client

from core.admission.rate_limits import LocalRateLimiter, RateLimitResult, TooManyRequests
from core.storage import redis


@pytest.mark.django_db
@pytest.mark.commits
def test_rate_limit_admits_the_burst_and_no_more_in_parallel(api, settings):
    settings.RATE_LIMIT = 20
    redis.client().flushdb()

    def request_status(_):
        try:
            return api.get("auth/me").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(request_status, range(40)))

    assert 20 <= statuses.count(200) <= 22  # one more for each 3 s that this took
    assert set(statuses) == {200, 429}


@pytest.mark.django_db
def test_rate_limit_answers_429_as_a_problem_with_retry_after(api, settings):
    settings.RATE_LIMIT = 1
    admitted = api.get("config")

    refused = api.get("config")

    assert (admitted["RateLimit-Limit"], admitted["RateLimit-Remaining"]) == ("1", "0")
    assert (refused.status_code, refused["Content-Type"], refused.json()["code"]) == (
        429,
        "application/problem+json",
        "too_many_requests",
    )
    assert 55 <= int(refused["Retry-After"]) <= 60


@pytest.mark.django_db
def test_rate_limit_counts_users_separately_and_anonymous_clients_by_network(api, other, settings):
    settings.RATE_LIMIT = 2
    assert [api.get("config").status_code for _ in range(3)] == [200, 200, 429]

    assert other.get("config").status_code == 200
    anonymous = Client(REMOTE_ADDR="198.51.100.7")
    assert [anonymous.get("/api/v1/config").status_code for _ in range(3)] == [200, 200, 429]
    assert Client(REMOTE_ADDR="198.51.100.8").get("/api/v1/config").status_code == 200


@pytest.mark.django_db
def test_rate_limit_ignores_forged_forwarding_headers(settings):
    settings.RATE_LIMIT = 3
    anonymous = Client(REMOTE_ADDR="198.51.100.9")

    statuses = [
        anonymous.get("/api/v1/config", headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code
        for n in range(6)
    ]

    assert statuses == [200, 200, 200, 429, 429, 429]


@pytest.mark.django_db
def test_rate_limit_counts_requests_with_bad_credentials_by_network(settings):
    settings.RATE_LIMIT = 2
    anonymous = Client(REMOTE_ADDR="198.51.100.10")

    statuses = [
        anonymous.get("/api/v1/config", headers={"Authorization": "Bearer x"}).status_code for _ in range(4)
    ]

    assert statuses == [401, 401, 429, 429]


def test_local_rate_limiter_has_the_same_limit_and_drops_the_least_recently_used_key():
    limiter = LocalRateLimiter(size=2)

    allowed = [limiter.take("a", interval=1.0, burst=3, now=100.0).allowed for _ in range(4)]
    later = limiter.take("a", interval=1.0, burst=3, now=101.0)
    for key in ("b", "c"):
        limiter.take(key, interval=1.0, burst=3, now=101.0)

    assert (allowed, later.allowed, later.remaining) == ([True, True, True, False], True, 0)
    assert limiter.take("a", interval=1.0, burst=3, now=101.0).remaining == 2


def test_local_rate_limiter_admits_the_burst_and_then_one_request_an_interval():
    limiter = LocalRateLimiter()

    allowed = [
        limiter.take("a", interval=1.0, burst=1, now=now).allowed for now in (10.0, 10.5, 11.0, 11.0, 12.0)
    ]

    assert allowed == [True, False, True, False, True]


@pytest.mark.parametrize(("wait_seconds", "retry_after"), [(0.0, "1"), (0.2, "1"), (1.2, "2"), (60.0, "60")])
def test_too_many_requests_rounds_retry_after_up(wait_seconds, retry_after):
    headers = TooManyRequests(RateLimitResult(False, 0, wait_seconds, 60)).headers

    assert (headers["Retry-After"], headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == (
        retry_after,
        "60",
        "0",
    )
