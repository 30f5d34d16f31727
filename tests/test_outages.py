"""Promises kept over HTTP by real processes, also while PostgreSQL and Redis are away."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from sites.tests.factories import document, page
from tests.stack import BROWSER_HEADERS, Stack, wait_until

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def stack():
    """A stack of this file alone: its tests stop, freeze and empty PostgreSQL and Redis."""
    running = Stack("outage-stack")
    yield running
    running.close()


def everywhere(stack, path, host, times=6):
    """Status and body from every web process; each request is a new connection, so both workers of the first
    answer.
    """
    return {
        (answer.status_code, answer.text)
        for web in stack.webs
        for answer in (web.get(path, host) for _ in range(times))
    }


def statuses(stack, path, host, times=6):
    return {status for status, _ in everywhere(stack, path, host, times)}


def retitle(person, site, title):
    """Save and publish a one-page site with `title`; return when that was answered."""
    current = person.call("GET", f"sites/{site}/blueprint").headers["ETag"]
    saved = person.call(
        "PUT",
        f"sites/{site}/blueprint",
        document(page("/"), settings={"title": title}),
        **{"If-Match": current},
    )
    assert saved.status_code == 200, saved.text
    assert person.call("POST", f"sites/{site}/publish").status_code == 201
    return time.monotonic()


def shows_everywhere(stack, host, title):
    return all(
        status == 200 and f"<title>{title}</title>" in body for status, body in everywhere(stack, "/", host)
    )


@pytest.mark.parametrize("redis_runs", [True, False])
def test_publish_and_unpublish_show_on_every_process_within_two_seconds(stack, person, redis_runs):
    site, host = person.publish()
    assert statuses(stack, "/", host) == {200}
    if not redis_runs:
        stack.stop_redis()
    try:
        for number in range(2):
            published = retitle(person, site, f"Title {number}")
            wait_until(lambda wanted=number: shows_everywhere(stack, host, f"Title {wanted}"), seconds=2)
            assert time.monotonic() - published < 3  # asking everybody takes a while too
        assert person.call("POST", f"sites/{site}/unpublish").status_code == 200
        wait_until(lambda: statuses(stack, "/", host) == {404}, seconds=2)
    finally:
        if not redis_runs:
            stack.start_redis()


def test_a_publish_while_redis_was_away_is_known_after_it_came_back(stack, person):
    site, host = person.publish()
    assert statuses(stack, "/", host) == {200}
    stack.stop_redis()
    try:
        retitle(person, site, "Meanwhile")
    finally:
        stack.start_redis()
    wait_until(lambda: shows_everywhere(stack, host, "Meanwhile"), seconds=6)


def test_pages_that_were_read_answer_with_redis_and_postgresql_stopped(stack, person):
    _, host = person.publish()
    _, unread = person.publish()
    before = everywhere(stack, "/", host, times=12)
    stack.stop_redis()
    stack.stop_postgres()
    try:
        time.sleep(1.5)  # past the moment in which nobody asks
        assert everywhere(stack, "/", host) == before
        assert statuses(stack, "/", unread, times=3) == {503}  # each waits for the database
        assert {web.get("/health/live").status_code for web in stack.webs} == {200}
        ready = stack.webs[0].get("/health/ready")
        assert (ready.status_code, ready.json()["database"]) == (503, "unavailable")
        api = person.call("GET", "sites")
        assert (api.status_code, api.headers["Content-Type"], "Retry-After" in api.headers) == (
            503,
            "application/problem+json",
            True,
        )
        assert (
            httpx.post(
                f"{stack.webs[0].url}/api/v1/auth/login", json={"email": "x", "password": "y"}, timeout=10
            ).status_code
            == 503
        )
        assert stack.webs[0].get("/api/v1/config").status_code == 200
    finally:
        stack.start_postgres()
        stack.start_redis()
    wait_until(lambda: all(stack.ready(web) for web in stack.webs), seconds=10)
    wait_until(lambda: statuses(stack, "/", unread) == {200}, seconds=5)
    assert wait_until(lambda: person.call("GET", "sites").status_code == 200, seconds=5)


def test_a_frozen_redis_costs_little_and_breaks_nothing(stack, person):
    site, host = person.publish()
    person.call("GET", f"sites/{site}")
    stack.freeze_redis(True)
    try:
        answers = set()
        slowest = 0.0
        for _ in range(10):
            started = time.monotonic()
            answers.add(person.call("GET", f"sites/{site}").status_code)
            answers.add(stack.webs[0].get("/", host).status_code)
            slowest = max(slowest, time.monotonic() - started)
        assert answers == {200}
        assert slowest < 2  # two waits of 0.25 s at most, on a noisy machine
        assert person.call("POST", f"sites/{site}/unpublish").status_code == 200
        assert stack.webs[0].get("/health/ready").json()["status"] == "degraded"
    finally:
        stack.freeze_redis(False)
    wait_until(lambda: stack.webs[0].get("/health/ready").json()["status"] == "ok", seconds=6)


def test_revocation_holds_when_redis_lost_everything(stack, person, other_person):
    assert person.call("POST", "auth/logout-all").status_code == 204
    import redis

    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()

    answers = {
        (
            web.url,
            httpx.get(
                f"{web.url}/api/v1/auth/me", headers={"Authorization": f"Bearer {person.access}"}
            ).status_code,
        )
        for web in stack.webs
    }
    assert {status for _, status in answers} == {401}
    assert other_person.call("GET", "auth/me").status_code == 200


def test_fifty_parallel_refreshes_over_two_processes_give_one_successor_and_a_late_replay_ends_it(
    stack, person
):
    token = person.browser.cookies["refresh"]

    def refresh(number, value=token):
        web = stack.webs[number % len(stack.webs)]
        headers = {**BROWSER_HEADERS, "Cookie": f"refresh={value}"}
        for _ in range(
            5
        ):  # 503: a pool that still mends after the outage of an earlier test; a client comes back
            answer = httpx.post(f"{web.url}/api/v1/auth/refresh", json={}, headers=headers, timeout=30)
            if answer.status_code != 503:
                break
            time.sleep(int(answer.headers["Retry-After"]))
        return answer.status_code, answer.cookies.get("refresh"), answer.json().get("access")

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(refresh, range(50)))
    assert {(status, successor) for status, successor, _ in answers} == {(200, answers[0][1])}
    assert answers[0][1] != token

    person.access = answers[0][2]
    assert person.call("GET", "auth/me").status_code == 200
    time.sleep(10.5)
    assert refresh(0)[0] == 401
    assert person.call("GET", "auth/me").json()["code"] == "token_revoked"
    assert refresh(1, answers[0][1])[0] == 401


def test_metrics_count_every_request_of_every_worker_and_stay_inside(stack):
    web = stack.webs[0]

    def counted():
        text = httpx.get(f"http://127.0.0.1:{web.internal_port}/metrics").text
        wanted = 'getyousite_requests_total{method="GET",route="api/v1/config",status="200"}'
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(wanted))

    before = counted()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: web.get("/api/v1/config"), range(200)))

    assert [counted() - before for _ in range(5)] == [200.0] * 5
    assert {web.get(path).status_code for path in ("/metrics", "/internal/", "/internal/metrics")} == {404}


def raw(web, request):
    """What the server answers to these exact bytes: the status code, or 0 when it closed without a word."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=15) as connection:
        connection.sendall(request)
        answer = connection.recv(65536)
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@pytest.mark.parametrize(
    "host",
    [
        "",
        "unknown.localhost",
        "localhost:8000:1",
        "localhost@evil.example",
        "localhost, evil.example",
        "localhost:80a",
        "bakery.localhost.evil.example",
        "[::1",
        "127.1",
        "2130706433",
        "a" * 300,
        "..",
        "-",
        "%6cocalhost",
        "localhost/..",
        "*.localhost",
        "_.localhost",
        "xn--a.localhost",
    ],
)
def test_no_host_header_reaches_what_it_should_not(stack, host):
    status = raw(
        stack.webs[0], f"GET /api/v1/config HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    )

    assert status in {0, 400, 404, 421}


def test_two_host_headers_or_an_absolute_address_do_not_mix_hosts(stack, person):
    _, host = person.publish()

    twice = raw(
        stack.webs[0],
        f"GET /api/v1/config HTTP/1.1\r\nHost: {host}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
    )
    absolute = raw(
        stack.webs[0],
        f"GET http://localhost/api/v1/config HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode(),
    )

    assert (twice in {0, 400, 404}, absolute in {0, 400, 404}) == (True, True)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_oversized_body_is_refused_however_it_is_framed(stack, person, framing):
    body = b'{"name": "' + b"x" * 100_000 + b'"}'
    content = body if framing == "length" else iter([body[:50_000], body[50_000:]])

    headers = {"Authorization": f"Bearer {person.access}", "Content-Type": "application/json"}
    answer = person.browser.post("/api/v1/sites", content=content, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_a_chunked_body_of_allowed_size_is_read(stack, person):
    body = b'{"name": "Chunked", "subdomain": "chunked-site"}'

    headers = {"Authorization": f"Bearer {person.access}", "Content-Type": "application/json"}
    answer = person.browser.post("/api/v1/sites", content=iter([body[:10], body[10:]]), headers=headers)

    assert answer.status_code == 201, answer.text


def test_app_and_sites_are_two_origins(stack, person):
    _, host = person.publish()
    web = stack.webs[0]

    assert {
        web.get(path, host).status_code
        for path in ("/api/v1/config", "/admin/", "/api/docs", "/health", "/static/admin/css/base.css")
    } == {404}
    assert web.get("/bread", "localhost").status_code == 404
    page = httpx.get(f"{web.url}/", headers={"Host": host, "Cookie": "refresh=x; admin-session=y"})
    assert ("set-cookie" in page.headers, page.text == web.get("/", host).text) == (False, True)


def test_a_probe_that_knows_only_our_address_is_answered(stack):
    assert stack.webs[0].get("/health/live", "10.1.2.3:8000").status_code == 200
    assert stack.webs[0].get("/api/v1/config", "10.1.2.3:8000").status_code == 404
