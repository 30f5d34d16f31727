"""The gate: limits, revocation, and what happens when Redis cannot say."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.db import connections
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.credentials import revocation
from accounts.models import Session, User
from accounts.services import roles, sessions, users
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from config import embedded_servers
from config.testing import VAR
from conftest import sign_in
from core import tenancy
from core.admission.rate_limits import LocalRateLimiter, RateLimitResult, TooManyRequests
from core.http.client_address import client_address, client_network
from core.http.preconditions import ANY_VERSION
from core.storage import redis
from sites.models import Announcement
from sites.services.publishing import publish_site
from sites.serving import change_stream
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def own_redis(settings):
    """A Redis that this test may stop, in place of the shared one."""
    home = embedded_servers._home(VAR / "gate")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    server = embedded_servers.RedisServer(home)
    settings.REDIS_URL = server.start(print)
    redis.client.cache_clear()
    yield server
    server.stop()
    redis.client.cache_clear()
    redis.close_breaker()


@pytest.mark.commits
def test_exactly_the_limit_passes_however_parallel(api, settings):
    settings.RATE_LIMIT = 20
    client = redis.client()
    client.flushdb()

    def ask(_):
        try:
            return api.get("auth/me").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(ask, range(40)))

    assert 20 <= statuses.count(200) <= 22  # one more for each 3 s that this took
    assert set(statuses) == {200, 429}


def test_a_refusal_says_when_to_come_back_and_is_a_problem(api, settings):
    settings.RATE_LIMIT = 1
    first = api.get("config")

    refused = api.get("config")

    assert (first["RateLimit-Limit"], first["RateLimit-Remaining"]) == ("1", "0")
    assert (refused.status_code, refused["Content-Type"], refused.json()["code"]) == (
        429,
        "application/problem+json",
        "too_many_requests",
    )
    assert 55 <= int(refused["Retry-After"]) <= 60


def test_people_are_counted_apart_and_strangers_by_network(api, other, settings):
    settings.RATE_LIMIT = 2
    assert [api.get("config").status_code for _ in range(3)] == [200, 200, 429]

    assert other.get("config").status_code == 200
    stranger = Client(REMOTE_ADDR="198.51.100.7")
    assert [stranger.get("/api/v1/config").status_code for _ in range(3)] == [200, 200, 429]
    assert Client(REMOTE_ADDR="198.51.100.8").get("/api/v1/config").status_code == 200


def test_forged_forwarding_headers_change_nothing(settings):
    settings.RATE_LIMIT = 3
    stranger = Client(REMOTE_ADDR="198.51.100.9")

    statuses = [
        stranger.get("/api/v1/config", headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code
        for n in range(6)
    ]

    assert statuses == [200, 200, 200, 429, 429, 429]


@pytest.mark.parametrize(
    ("count", "header", "address"),
    [
        (0, "203.0.113.1", "198.51.100.1"),
        (1, "203.0.113.1", "203.0.113.1"),
        (1, "6.6.6.6, 203.0.113.1", "203.0.113.1"),
        (2, "6.6.6.6, 203.0.113.1, 10.0.0.1", "203.0.113.1"),
        (2, "203.0.113.1", "198.51.100.1"),
        (1, "nonsense", "198.51.100.1"),
        (1, "", "198.51.100.1"),
        (1, "::ffff:203.0.113.1", "::ffff:cb00:7101"),
    ],
)
def test_client_address_is_the_hop_that_our_proxies_saw(settings, count, header, address):
    settings.TRUSTED_PROXY_COUNT = count
    request = RequestFactory().get("/", headers={"X-Forwarded-For": header}, REMOTE_ADDR="198.51.100.1")

    assert client_address(request) == address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("x", "unknown"),
    ],
)
def test_client_network(address, network):
    assert client_network(address) == network


def test_local_buckets_hold_the_same_limit_and_forget_the_longest_unused():
    buckets = LocalRateLimiter(size=2)

    taken = [buckets.take("a", interval=1.0, burst=3, now=100.0).allowed for _ in range(4)]
    later = buckets.take("a", interval=1.0, burst=3, now=101.0)
    for key in ("b", "c"):
        buckets.take(key, interval=1.0, burst=3, now=101.0)

    assert (taken, later.allowed, later.remaining) == ([True, True, True, False], True, 0)
    assert buckets.take("a", interval=1.0, burst=3, now=101.0).remaining == 2


def me(access):
    return Client().get("/api/v1/auth/me", headers={"Authorization": f"Bearer {access}"})


@pytest.mark.parametrize(
    "act",
    [
        lambda user: users.set_active(user.pk, False, actor=SYSTEM, now=timezone.now()),
        lambda user: roles.set_roles(user.pk, {"admin"}, actor=SYSTEM, now=timezone.now()),
        lambda user: users.set_password(user.pk, "another long password", actor=SYSTEM, now=timezone.now()),
        lambda user: sessions.close_all_sessions(user.pk, actor=SYSTEM, now=timezone.now()),
        lambda user: users.delete_user(user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION),
    ],
    ids=["disabled", "roles", "password", "signed-out", "deleted"],
)
def test_what_changes_about_a_person_acts_on_their_next_request(api, act, django_assert_num_queries):
    assert me(api.access).status_code == 200

    act(api.user)

    with django_assert_num_queries(0):
        answer = me(api.access)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")


def test_one_request_is_one_round_trip(own_redis):
    api = sign_in(UserFactory())
    me(api.access)
    before = redis.client().info("stats")["total_commands_processed"]

    api.get("config")

    spent = redis.client().info("stats")["total_commands_processed"] - before - 1
    # Commands that a script runs count too: TIME, GET and SET of the limit, MGET of the revocation, and
    # EVALSHA itself.
    assert spent == 5


def test_an_empty_redis_is_filled_again_and_revoked_stays_revoked(api, other, django_assert_num_queries):
    sessions.close_all_sessions(api.user.pk, actor=SYSTEM, now=timezone.now())
    redis.client().flushdb()

    assert me(api.access).status_code == 401
    assert me(other.access).status_code == 200
    assert redis.client().exists("gate:complete", f"revoked:{api.session.pk}", f"epoch:{api.user.pk}") == 3
    with django_assert_num_queries(0):
        assert me(api.access).status_code == 401


def test_without_redis_the_database_answers_and_the_limit_holds(own_redis, settings):
    settings.RATE_LIMIT = 5
    good = sign_in(UserFactory())
    revoked = sign_in(UserFactory())
    own_redis.stop()
    sessions.close_all_sessions(revoked.user.pk, actor=SYSTEM, now=timezone.now())

    started = time.monotonic()
    statuses = [good.get("auth/me").status_code for _ in range(7)]

    assert (statuses, me(revoked.access).status_code) == ([200] * 5 + [429] * 2, 401)
    assert time.monotonic() - started < 5


def test_tombstones_that_redis_did_not_take_are_written_by_the_sweep(own_redis):
    person = sign_in(UserFactory())
    own_redis.stop()
    sessions.close_all_sessions(person.user.pk, actor=SYSTEM, now=timezone.now())
    assert Session.objects.get(pk=person.session.pk).mirrored_at is None
    assert User.objects.get(pk=person.user.pk).epoch_mirrored_at is None

    settings.REDIS_URL = own_redis.start(print)
    redis.client.cache_clear()
    redis.close_breaker()

    assert revocation.mirror_missing_tombstones(now=timezone.now()) == 2
    assert redis.client().exists(f"revoked:{person.session.pk}", f"epoch:{person.user.pk}") == 2
    assert revocation.mirror_missing_tombstones(now=timezone.now()) == 0


def test_an_unknown_address_of_the_api_is_a_problem_too(api):
    answer = api.get("nothing/here")

    assert (answer.status_code, json.loads(answer.content)["code"]) == (404, "not_found")


def test_refusals_reach_who_listens(api, settings):
    from core import error_events

    heard = []
    before = list(error_events._listeners)
    error_events.subscribe(lambda request, refusal: heard.append((request.path, refusal.code)))
    try:
        Client().get("/api/v1/sites", headers={"Authorization": "Bearer x"})
        settings.RATE_LIMIT = 1
        api.get("config")
        api.get("config")
    finally:
        error_events._listeners[:] = before

    assert heard == [("/api/v1/sites", "token_invalid"), ("/api/v1/config", "too_many_requests")]


def test_the_local_limit_lets_exactly_the_burst_and_then_one_each_interval_through():
    buckets = LocalRateLimiter()

    taken = [
        buckets.take("a", interval=1.0, burst=1, now=now).allowed for now in (10.0, 10.5, 11.0, 11.0, 12.0)
    ]

    assert taken == [True, False, True, False, True]


def test_a_publish_that_redis_did_not_take_is_announced_by_the_sweep(own_redis):
    site = SiteFactory()
    own_redis.stop()
    with tenancy.context(tenancy.SYSTEM):
        publish_site(site, actor=SYSTEM, if_match=ANY_VERSION)
    with tenancy.context(tenancy.SYSTEM):
        assert [row.host for row in Announcement.objects.all()] == [f"{site.subdomain}.localhost"]

    settings.REDIS_URL = own_redis.start(print)
    redis.client.cache_clear()
    redis.close_breaker()

    assert change_stream.sweep(now=timezone.now()) == 0  # the process that made it still has its moment
    assert change_stream.sweep(now=timezone.now() + change_stream.GRACE) == 1
    (entry,) = redis.client().xrange(change_stream.STREAM)
    assert entry[1] == {b"host": f"{site.subdomain}.localhost".encode()}


@pytest.mark.parametrize(("wait", "seconds"), [(0.0, "1"), (0.2, "1"), (1.2, "2"), (60.0, "60")])
def test_who_waits_as_long_as_told_is_not_refused_again(settings, wait, seconds):
    settings.RATE_LIMIT = 60

    headers = TooManyRequests(RateLimitResult(False, 0, wait, 60)).headers

    assert (headers["Retry-After"], headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == (
        seconds,
        "60",
        "0",
    )
