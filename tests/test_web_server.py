"""The HTTP servers of real web processes: refresh races, metrics, host headers, body limits, slow clients."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.stack import BROWSER_HEADERS

pytestmark = pytest.mark.stack


def test_refresh_in_parallel_over_two_processes_gives_one_successor_and_a_late_replay_ends_the_session(
    stack, person
):
    token = person.browser.cookies["refresh"]

    def refresh(number, value=token):
        """Status, new refresh token and new access token. A 503 of a busy process is repeated."""
        web = stack.webs[number % len(stack.webs)]
        headers = {**BROWSER_HEADERS, "Cookie": f"refresh={value}"}
        for _ in range(5):
            response = httpx.post(f"{web.url}/api/v1/auth/refresh", json={}, headers=headers, timeout=30)
            if response.status_code != 503:
                break
            time.sleep(int(response.headers["Retry-After"]))
        return response.status_code, response.cookies.get("refresh"), response.json().get("access")

    with ThreadPoolExecutor(25) as pool:
        results = list(pool.map(refresh, range(50)))
    _, successor, access = results[0]
    assert {(status, refresh_token) for status, refresh_token, _ in results} == {(200, successor)}
    assert successor != token

    person.access = access
    assert person.call("GET", "auth/me").status_code == 200
    time.sleep(10.5)  # a repeat is accepted for ten seconds
    assert refresh(0)[0] == 401
    assert person.call("GET", "auth/me").json()["code"] == "token_revoked"
    assert refresh(1, successor)[0] == 401


def test_metrics_count_requests_of_every_worker_and_only_the_internal_port_serves_them(stack):
    web = stack.webs[0]
    metric = 'getyousite_requests_total{method="GET",route="api/v1/config",status="200"}'

    def read_count():
        text = httpx.get(f"http://127.0.0.1:{web.internal_port}/metrics").text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(metric))

    before = read_count()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: web.get("/api/v1/config"), range(200)))

    assert [read_count() - before for _ in range(5)] == [200.0] * 5
    assert {web.get(path).status_code for path in ("/metrics", "/internal/", "/internal/metrics")} == {404}


def test_two_web_processes_in_one_folder_do_not_disturb_each_other(stack):
    """As two containers with the same volume: one stops, and the other stays ready and keeps its counts."""
    first = stack.start_web(workers=1)
    second = stack.start_web(workers=1, VAR_DIR=str(first.log.parent))
    first.get("/api/v1/config")
    second.process.terminate()
    second.process.wait(40)
    try:
        assert stack.is_ready(first)
        metrics = httpx.get(f"http://127.0.0.1:{first.internal_port}/metrics").text
        assert 'getyousite_requests_total{method="GET",route="api/v1/config",status="200"} 1.0' in metrics
    finally:
        first.process.terminate()
        first.process.wait(40)


def send_bytes(web, request):
    """Send these exact bytes; return the status code, or 0 when the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=15) as connection:
        connection.sendall(request)
        response = connection.recv(65536)
    return int(response.split(b" ")[1]) if response.startswith(b"HTTP/1.1 ") else 0


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
def test_host_routing_refuses_unknown_and_malformed_hosts(stack, host):
    request = f"GET /api/v1/config HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"

    assert send_bytes(stack.webs[0], request.encode()) in {0, 400, 404, 421}


@pytest.mark.parametrize(
    "request_lines",
    [
        ["GET /api/v1/config HTTP/1.1", "Host: {host}", "Host: localhost"],
        ["GET http://localhost/api/v1/config HTTP/1.1", "Host: {host}"],
    ],
    ids=["two host headers", "absolute address"],
)
def test_host_routing_refuses_two_hosts_in_one_request(stack, person, request_lines):
    _, host = person.publish()
    request = "\r\n".join([*request_lines, "Connection: close", "", ""]).format(host=host)

    assert send_bytes(stack.webs[0], request.encode()) in {0, 400, 404}


def test_host_routing_keeps_the_api_and_sites_apart(stack, person):
    _, host = person.publish()
    web = stack.webs[0]
    app_paths = ("/api/v1/config", "/admin/", "/api/docs", "/health", "/static/admin/css/base.css")

    assert {web.get(path, host).status_code for path in app_paths} == {404}
    assert web.get("/bread", "localhost").status_code == 404
    with_cookies = httpx.get(f"{web.url}/", headers={"Host": host, "Cookie": "refresh=x; admin-session=y"})
    assert "set-cookie" not in with_cookies.headers
    assert with_cookies.text == web.get("/", host).text


def test_health_live_answers_a_probe_that_uses_the_ip_address_as_host(stack):
    assert stack.webs[0].get("/health/live", "10.1.2.3:8000").status_code == 200
    assert stack.webs[0].get("/api/v1/config", "10.1.2.3:8000").status_code == 404


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_limit_refuses_an_oversized_body_with_any_framing(stack, person, framing):
    body = b'{"name": "' + b"x" * 100_000 + b'"}'
    content = body if framing == "length" else iter([body[:50_000], body[50_000:]])

    headers = {"Authorization": f"Bearer {person.access}", "Content-Type": "application/json"}
    response = person.browser.post("/api/v1/sites", content=content, headers=headers)

    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


def test_body_limit_accepts_a_small_chunked_body(stack, person):
    body = b'{"name": "Chunked", "subdomain": "chunked-site"}'

    headers = {"Authorization": f"Bearer {person.access}", "Content-Type": "application/json"}
    response = person.browser.post("/api/v1/sites", content=iter([body[:10], body[10:]]), headers=headers)

    assert response.status_code == 201, response.text


UNFINISHED_LOGIN = (
    b"POST /api/v1/auth/login HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n{"
)


def test_site_server_answers_while_unfinished_bodies_occupy_every_api_thread(stack, person):
    _, host = person.publish()
    web = stack.webs[1]
    assert web.get("/", host).status_code == 200
    slow_clients = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(16)]
    requests = [("/", host), ("/health/live",), ("/api/v1/config",)] * 8
    try:
        for connection in slow_clients:
            connection.sendall(UNFINISHED_LOGIN)
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(lambda arguments: web.get(*arguments).status_code, requests))
        credentials = {"email": "a", "password": "b"}
        refused = httpx.post(f"{web.url}/api/v1/auth/login", json=credentials, timeout=10)
    finally:
        for connection in slow_clients:
            connection.close()

    assert statuses == {200}
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)


def test_site_server_renders_uncached_pages_right_after_a_publish(stack, person):
    site_id, host = person.publish()
    for path in ("/bread", "/our-story", "/sitemap.xml"):
        stack.webs[0].get("/", host)
        assert person.call("POST", f"sites/{site_id}/publish").status_code == 201
        statuses = {web.get(path, host).status_code for web in stack.webs for _ in range(4)}
        assert statuses == {200}
    assert person.call("POST", f"sites/{site_id}/unpublish").status_code == 200

    after_unpublish = {
        web.get(path, host).status_code for web in stack.webs for path in ("/visit", "/favicon.svg")
    }
    assert after_unpublish <= {200, 404}
