"""The web process behind nginx and Caddy with our configurations, and slow bodies without a proxy."""

import json
import secrets
import select
import socket
import time
from contextlib import contextmanager

import httpx
import pytest

from sites.blueprint.schema import MAX_BLUEPRINT_BYTES
from tests.proxies import slow_bodies, start_proxy
from tests.stack import PASSWORD, RegisteredUser

pytestmark = pytest.mark.stack
NAMES = ["nginx", "caddy"]
CANARY = "canary0Token1of2a3Path"


@pytest.fixture(scope="module")
def web(stack):
    """A web process that trusts one proxy."""
    web = stack.start_web(workers=1, TRUSTED_PROXY_COUNT="1")
    yield web
    web.process.terminate()
    web.process.wait(40)


@pytest.fixture(scope="module")
def user(web):
    """A user, whose requests do not pass through a proxy."""
    user = RegisteredUser(web)
    yield user
    user.browser.close()


@pytest.fixture(scope="module", params=NAMES)
def proxy(request, web, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with start_proxy(request.param, folder, f"127.0.0.1:{web.port}") as proxy:
        yield proxy


@contextmanager
def slow_clients(proxy, number):
    """Clients that send one byte of their bodies each second, all from 127.0.0.1."""
    with slow_bodies([proxy.connect() for _ in range(number)]):
        time.sleep(0.2)
        yield


def create_site(client, user):
    """Create a site over `client`, and return the response."""
    body = {"name": "Behind a proxy", "subdomain": f"s{secrets.token_hex(6)}"}
    return client.post("/api/v1/sites", json=body, headers={"Authorization": f"Bearer {user.access}"})


@pytest.mark.parametrize("number", [8, 40])
def test_clients_that_send_slowly_do_not_delay_other_requests_of_their_own_address(proxy, user, number):
    with slow_clients(proxy, number), proxy.client() as client:
        started = time.monotonic()
        statuses = [create_site(client, user).status_code for _ in range(5)]

    assert statuses == [201] * 5
    assert time.monotonic() - started < 5


def test_nginx_limits_the_requests_that_an_address_makes_at_the_same_time(web, user, tmp_path):
    with (
        start_proxy("nginx", tmp_path, f"127.0.0.1:{web.port}") as proxy,
        slow_clients(proxy, 64),
        proxy.client() as same_address,
        proxy.client("127.0.0.2") as other_address,
    ):
        statuses = (create_site(same_address, user).status_code, create_site(other_address, user).status_code)

    assert statuses == (429, 201)


def test_the_address_of_a_client_is_not_the_one_that_it_claims(proxy):
    claimed = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    credentials = {"email": f"{secrets.token_hex(6)}@example.com", "password": PASSWORD}
    with proxy.client("127.1.2.3") as client:
        access = client.post("/api/v1/auth/register", json=credentials, headers=claimed).json()["access"]
        sessions = client.get("/api/v1/auth/sessions", headers={"Authorization": f"Bearer {access}"}).json()

    assert [session["network"] for session in sessions["results"]] == ["127.1.2.0/24"]


def test_a_body_of_the_largest_size_passes_and_a_larger_one_is_refused(proxy, user):
    site_id = user.call("POST", "sites", {"name": "Large", "subdomain": f"s{secrets.token_hex(6)}"}).json()[
        "id"
    ]
    blueprint = user.call("GET", f"sites/{site_id}/blueprint")
    body = json.dumps(blueprint.json()).encode()
    headers = {
        "Authorization": f"Bearer {user.access}",
        "Content-Type": "application/json",
        "If-Match": blueprint.headers["ETag"],
    }

    def put(size):
        content = body.ljust(size)
        return client.put(f"/api/v1/sites/{site_id}/blueprint", content=content, headers=headers)

    with proxy.client() as client:
        too_large = put(MAX_BLUEPRINT_BYTES + 1)
        largest = put(MAX_BLUEPRINT_BYTES)

    assert (too_large.status_code, largest.status_code) == (413, 200), largest.text


def test_a_site_is_served_under_its_own_host_and_the_internal_paths_are_not(proxy, user):
    _, host = user.publish()
    with proxy.client() as client:
        page = client.get("/", headers={"Host": host})
        unknown = client.get("/", headers={"Host": "unknown.localhost"})
        metrics = client.get("/metrics")

    assert (page.status_code, page.text) == (200, user.web.get("/", host).text)
    assert (unknown.status_code, metrics.status_code) == (404, 404)


def test_the_encoding_of_a_page_is_the_one_that_the_application_chose(proxy, user):
    _, host = user.publish()
    with proxy.client() as client:
        encodings = [
            client.get("/", headers={"Host": host, "Accept-Encoding": accepted}).headers.get(
                "Content-Encoding"
            )
            for accepted in ("br, gzip", "gzip", "identity")
        ]

    assert encodings == ["br", "gzip", None]


def test_links_have_the_scheme_of_the_client_and_plain_http_is_redirected(proxy, user):
    for _ in range(2):
        assert user.call("POST", "sites", {"name": "x", "subdomain": f"s{secrets.token_hex(6)}"}).is_success
    with proxy.client() as client:
        headers = {"Authorization": f"Bearer {user.access}", "X-Forwarded-Proto": "http"}
        sites = client.get("/api/v1/sites?limit=1", headers=headers).json()
    redirect = httpx.get(
        f"http://localhost:{proxy.http_port}/api/v1/config?a=b", headers={"Host": "localhost"}
    )

    assert sites["next"].startswith("https://localhost")
    assert (redirect.status_code, redirect.headers["Location"]) == (
        308,
        "https://localhost/api/v1/config?a=b",
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("upstream", ["running", "stopped"])
def test_logs_of_the_proxy_have_no_tokens(name, upstream, web, tmp_path):
    port = web.port if upstream == "running" else 9  # nothing listens on the port of the discard service
    with start_proxy(name, tmp_path, f"127.0.0.1:{port}") as proxy, proxy.client() as client:
        headers = {
            "Referer": f"https://localhost/{CANARY}",
            "Cookie": f"refresh={CANARY}",
            "Authorization": f"Bearer {CANARY}",
        }
        path = f"/shared/{CANARY}?code={CANARY}"
        statuses = [
            client.request(method, path, headers=headers, content=content).status_code
            for method, content in (("GET", b""), ("POST", CANARY.encode() * 3), ("POST", b"x" * 11_000_000))
        ]
        redirected = httpx.get(f"http://localhost:{proxy.http_port}{path}").status_code
    logged = proxy.logged_text()

    assert redirected == 308
    assert (statuses[0] == 502, statuses[2]) == (upstream == "stopped", 413)
    assert CANARY not in logged
    assert str(statuses[0]) in logged, "the requests were logged"


def test_without_a_proxy_slow_clients_of_one_network_leave_requests_of_other_networks_answering(web, user):
    connections = [socket.create_connection(("127.0.0.1", web.port), 10) for _ in range(8)]
    with (
        slow_bodies(connections, b"X-Forwarded-For: 203.0.113.5\r\n"),
        httpx.Client(base_url=web.url, headers={"X-Forwarded-For": "203.0.113.6"}) as client,
    ):
        time.sleep(0.2)
        started = time.monotonic()
        statuses = [create_site(client, user).status_code for _ in range(5)]
        elapsed = time.monotonic() - started
        # One body is read by the thread of its request, which cannot stop waiting.
        slow_statuses = read_statuses(connections, number=7, seconds=10)

    assert statuses == [201] * 5
    assert elapsed < 5
    assert slow_statuses == [503] * 6 + [408]


def read_statuses(connections, *, number, seconds):
    """Return the statuses of the first `number` responses, in the order in which they arrive."""
    statuses = []
    waiting = list(connections)
    deadline = time.monotonic() + seconds
    while len(statuses) < number and time.monotonic() < deadline:
        readable, _, _ = select.select(waiting, [], [], 0.1)
        statuses += [int(connection.recv(65536).split(b" ")[1]) for connection in readable]
        waiting = [connection for connection in waiting if connection not in readable]
    return statuses
