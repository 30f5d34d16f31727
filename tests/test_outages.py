"""Pages, API and revocations while PostgreSQL or Redis is stopped, frozen or empty, over real processes."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis

from sites.tests.factories import document, page
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.stack
MAX_SECONDS_OF_REQUEST = 2  # with Redis frozen: at most two timeouts of 0.25 s, on a busy machine


@pytest.fixture(scope="module")
def stack():
    """A stack for this file alone, because its tests stop, freeze and empty PostgreSQL and Redis."""
    own_stack = Stack("outage-stack")
    yield own_stack
    own_stack.close()


def responses_of_all_processes(stack, path, host, times=6):
    """Status and body from every web process, as a set.

    Each request is a new connection, so that both workers of the first process answer some of them.
    """
    return {
        (response.status_code, response.text)
        for web in stack.webs
        for response in (web.get(path, host) for _ in range(times))
    }


def statuses_of_all_processes(stack, path, host, times=6):
    return {status for status, _ in responses_of_all_processes(stack, path, host, times)}


def save_and_publish(person, site_id, title):
    """Publish a one-page site with `title`; return the monotonic time when the publish was answered."""
    etag = person.call("GET", f"sites/{site_id}/blueprint").headers["ETag"]
    blueprint = document(page("/"), settings={"title": title})
    response = person.call("PUT", f"sites/{site_id}/blueprint", blueprint, **{"If-Match": etag})
    assert response.status_code == 200, response.text
    assert person.call("POST", f"sites/{site_id}/publish").status_code == 201
    return time.monotonic()


def shows_title_everywhere(stack, host, title):
    return all(
        status == 200 and f"<title>{title}</title>" in body
        for status, body in responses_of_all_processes(stack, "/", host)
    )


@pytest.mark.parametrize("redis_runs", [True, False])
def test_publish_and_unpublish_reach_every_process_within_two_seconds(stack, person, redis_runs):
    site_id, host = person.publish()
    assert statuses_of_all_processes(stack, "/", host) == {200}
    if not redis_runs:
        stack.stop_redis()
    try:
        for number in range(2):
            title = f"Title {number}"
            published_at = save_and_publish(person, site_id, title)
            wait_until(lambda title=title: shows_title_everywhere(stack, host, title), seconds=2)
            assert time.monotonic() - published_at < 3  # the requests to all processes take time too
        assert person.call("POST", f"sites/{site_id}/unpublish").status_code == 200
        wait_until(lambda: statuses_of_all_processes(stack, "/", host) == {404}, seconds=2)
    finally:
        if not redis_runs:
            stack.start_redis()


def test_publish_during_a_redis_outage_reaches_every_process_after_it(stack, person):
    site_id, host = person.publish()
    assert statuses_of_all_processes(stack, "/", host) == {200}
    stack.stop_redis()
    try:
        save_and_publish(person, site_id, "Meanwhile")
    finally:
        stack.start_redis()
    wait_until(lambda: shows_title_everywhere(stack, host, "Meanwhile"), seconds=6)


def assert_api_is_unavailable(web, person):
    """The API, the sign-in and the readiness check answer 503; what needs no store answers 200."""
    ready = web.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["database"] in {"unavailable", "no answer"}  # connecting again may take two seconds
    response = person.call("GET", "sites")
    assert (response.status_code, response.headers["Content-Type"]) == (503, "application/problem+json")
    assert "Retry-After" in response.headers
    credentials = {"email": "x", "password": "y"}
    assert httpx.post(f"{web.url}/api/v1/auth/login", json=credentials, timeout=10).status_code == 503
    assert web.get("/api/v1/config").status_code == 200


def test_site_server_serves_cached_pages_while_redis_and_postgresql_are_stopped(stack, person):
    _, host = person.publish()
    _, uncached_host = person.publish()
    before = responses_of_all_processes(stack, "/", host, times=12)
    stack.stop_redis()
    stack.stop_postgres()
    try:
        time.sleep(1.5)  # longer than a process waits before it reads the announcements of publishes again
        assert responses_of_all_processes(stack, "/", host) == before
        # Each of these requests waits for the database, so there are few.
        assert statuses_of_all_processes(stack, "/", uncached_host, times=3) == {503}
        assert {web.get("/health/live").status_code for web in stack.webs} == {200}
        assert_api_is_unavailable(stack.webs[0], person)
    finally:
        stack.start_postgres()
        stack.start_redis()
    wait_until(lambda: all(stack.is_ready(web) for web in stack.webs), seconds=10)
    wait_until(lambda: statuses_of_all_processes(stack, "/", uncached_host) == {200}, seconds=5)
    assert wait_until(lambda: person.call("GET", "sites").status_code == 200, seconds=5)


def test_api_and_site_server_answer_quickly_while_redis_is_frozen(stack, person):
    site_id, host = person.publish()
    person.call("GET", f"sites/{site_id}")
    stack.freeze_redis(True)
    try:
        statuses = set()
        slowest_seconds = 0.0
        for _ in range(10):
            started = time.monotonic()
            statuses.add(person.call("GET", f"sites/{site_id}").status_code)
            statuses.add(stack.webs[0].get("/", host).status_code)
            slowest_seconds = max(slowest_seconds, time.monotonic() - started)
        assert statuses == {200}
        assert slowest_seconds < MAX_SECONDS_OF_REQUEST
        assert person.call("POST", f"sites/{site_id}/unpublish").status_code == 200
        assert stack.webs[0].get("/health/ready").json()["status"] == "degraded"
    finally:
        stack.freeze_redis(False)
    wait_until(lambda: stack.webs[0].get("/health/ready").json()["status"] == "ok", seconds=6)


def test_logout_all_stays_in_force_after_redis_lost_its_data(stack, person, other_person):
    assert person.call("POST", "auth/logout-all").status_code == 204

    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()

    bearer = {"Authorization": f"Bearer {person.access}"}
    responses = [httpx.get(f"{web.url}/api/v1/auth/me", headers=bearer) for web in stack.webs]
    assert [response.status_code for response in responses] == [401] * len(stack.webs)
    assert other_person.call("GET", "auth/me").status_code == 200


@pytest.mark.parametrize("data", ["with the data of before", "empty", "with older data"])
def test_logout_all_during_a_redis_outage_acts_on_the_next_request_after_it(
    stack, person, other_person, data
):
    """In every web process, also in one that has noticed nothing of the outage."""
    bearer = {"Authorization": f"Bearer {person.access}"}

    def statuses():
        return {httpx.get(f"{web.url}/api/v1/auth/me", headers=bearer).status_code for web in stack.webs * 2}

    assert statuses() == {200}
    with redis.Redis.from_url(stack.redis_url) as client:
        saved = {key: (client.dump(key), max(0, client.pttl(key))) for key in client.keys("*")}
    stack.stop_redis()
    try:
        assert person.call("POST", "auth/logout-all").status_code == 204
    finally:
        stack.start_redis()
    with redis.Redis.from_url(stack.redis_url) as client:
        if data != "with the data of before":
            client.flushall()
        if data == "with older data":
            for key, (value, ttl) in saved.items():
                client.restore(key, ttl, value)

    assert statuses() == {401}
    assert other_person.call("GET", "auth/me").status_code == 200


def test_logout_all_while_redis_is_frozen_acts_when_redis_goes_on(stack, person):
    bearer = {"Authorization": f"Bearer {person.access}"}
    stack.freeze_redis(True)
    try:
        assert person.call("POST", "auth/logout-all").status_code == 204
    finally:
        stack.freeze_redis(False)
    time.sleep(0.5)  # the process that revoked clears the marker within a tenth of a second

    for web in stack.webs * 2:
        assert httpx.get(f"{web.url}/api/v1/auth/me", headers=bearer).status_code == 401


def test_web_processes_answer_at_once_while_postgresql_is_frozen(stack, person):
    """A frozen server accepts connections and never answers: only deadlines of the client help."""
    _, host = person.publish()
    web = stack.webs[1]
    for _ in range(2):  # between the two the process has learnt of the publish, and loads the host again
        assert web.get("/", host).status_code == 200
        time.sleep(1.1)
    stack.freeze_postgres(True)
    try:
        with ThreadPoolExecutor(8) as pool:
            refused = list(pool.map(lambda _: person.call("GET", "sites"), range(8)))
        assert {response.status_code for response in refused} == {503}
        assert all("Retry-After" in response.headers for response in refused)
        seconds = []
        for path, name, status in [
            ("/", host, 200),
            ("/health/live", "localhost", 200),
            ("/health/ready", "localhost", 503),
        ] * 3:
            started = time.monotonic()
            assert web.get(path, name).status_code == status
            seconds.append(time.monotonic() - started)
        assert max(seconds) < 4  # the bound of readiness is 2 s
        internal = httpx.get(f"http://127.0.0.1:{web.internal_port}/health/ready", timeout=10)
        assert (internal.status_code, internal.json()["database"]) == (503, "no answer")
        assert httpx.get(f"http://127.0.0.1:{web.internal_port}/health/live").status_code == 200
    finally:
        stack.freeze_postgres(False)
    wait_until(lambda: all(stack.is_ready(web) for web in stack.webs), seconds=10)


@pytest.mark.parametrize("requests_meanwhile", [0, 20])
def test_first_request_after_a_restart_of_postgresql_succeeds(stack, person, requests_meanwhile):
    """No request pays for a connection of the pool that the restart has closed."""
    _, host = person.publish()
    public_site = f"/api/v1/public/sites/{host}/posts"
    with ThreadPoolExecutor(12) as pool:  # uses every connection of the pools
        list(pool.map(lambda web: web.get(public_site), stack.webs * 6))
    stack.stop_postgres()
    try:
        for web in stack.webs * (requests_meanwhile // 2):
            assert web.get(public_site).status_code == 503
    finally:
        stack.start_postgres()
    time.sleep(1.5)  # longer than a process waits between two attempts

    for web in stack.webs * 3:
        assert web.get(public_site).status_code == 200


def test_probes_answer_while_idle_connections_fill_the_public_listener(stack):
    web = stack.webs[1]
    connections = []
    try:
        for _ in range(1200):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", web.port))
            connections.append(connection)
        for path in ("live", "ready"):
            response = httpx.get(f"http://127.0.0.1:{web.internal_port}/health/{path}", timeout=4)
            assert response.status_code == 200, response.text
    finally:
        for connection in connections:
            connection.close()
