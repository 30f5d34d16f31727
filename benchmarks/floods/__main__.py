"""`python -m benchmarks.floods` measures how long a neighbour waits while others send expensive requests.

A neighbour asks for one of its sites and a published page, fifty times a second together: first alone, then
during each flood of eight clients, each of a user and an address of its own. The rate limit is set so high
that only the limits on costs act. Arguments choose floods by name. The result is the neighbour's median and
99th percentile in each flood beside those of the calm time just before it.
"""

import json
import multiprocessing
import os
import secrets
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks import machine, servers

VAR_DIR = servers.ROOT / "var" / "bench-floods"
ATTACKERS = 8
CALM_SECONDS = 15.0
FLOOD_SECONDS = 15.0
PAUSE_SECONDS = 0.04  # of the neighbour, between two pairs of requests
PASSWORD = secrets.token_urlsafe(12)
GOAL = 3.0  # times the calm value

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
Request = Callable[[], Any]


@dataclass
class Person:
    """A user who sends requests from an address of its own."""

    server: servers.BenchmarkServer
    address: str
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"X-Forwarded-For": self.address}
        self.client = httpx.Client(base_url=self.server.url, timeout=60, headers=headers)
        credentials = {"email": f"{secrets.token_hex(6)}@example.com", "password": PASSWORD}
        access = self.call("POST", "/api/v1/auth/register", credentials).json()["access"]
        self.client.headers["Authorization"] = f"Bearer {access}"

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        response = self.client.request(method, path, json=body, headers=headers)
        if response.status_code >= 500 and response.status_code != 503:
            raise servers.BenchmarkError(f"{method} {path}: {response.status_code} {response.text[:200]}")
        return response

    def create_site(self, blueprint: Any = None) -> str:
        """Create and publish a site, and return its id."""
        body = {"name": "Flood", "subdomain": f"f{secrets.token_hex(5)}", "template": "bakery"}
        site = self.call("POST", "/api/v1/sites", body).json()
        if blueprint is not None:
            self.save(site["id"], blueprint)
        self.call("POST", f"/api/v1/sites/{site['id']}/publish")
        return str(site["id"])

    def save(self, site: str, blueprint: Any) -> httpx.Response:
        return self.call("PUT", f"/api/v1/sites/{site}/blueprint", blueprint, **{"If-Match": "*"})


def large_document(pages: int, blocks: int, *, text: str, shift: int = 0) -> dict[str, Any]:
    """A blueprint of pages with headings. With `shift`, the blocks of each page are in another order."""

    def block(page: int, number: int) -> dict[str, Any]:
        return {"id": f"b{page}-{number}", "type": "heading", "v": 1, "props": {"text": text}}

    return {
        "schema": 1,
        "settings": {"title": "Large"},
        "pages": [
            {
                "id": f"p{page}",
                "path": f"/p{page}" if page else "/",
                "title": "Page",
                "blocks": [block(page, (number + shift) % blocks) for number in range(blocks)],
            }
            for page in range(pages)
        ],
    }


def rich_text_flood(person: Person) -> Request:
    """Saves of 200 KB of rich text."""
    html = "<p>" + "<b><i>text</i></b> " * 2_400 + "</p>"
    blueprint = large_document(1, 1, text="x")
    blueprint["pages"][0]["blocks"] += [
        {"id": f"rich{number}", "type": "text", "v": 1, "props": {"html": html}} for number in range(4)
    ]
    site = person.create_site()
    return lambda: person.save(site, blueprint)


def difference_flood(person: Person) -> Request:
    """Comparisons of two drafts of 20,000 blocks in another order."""
    site = person.create_site(large_document(10, 2_000, text="Text"))
    person.save(site, large_document(10, 2_000, text="Text", shift=1_000))
    return lambda: person.call("GET", f"/api/v1/sites/{site}/differences?from=live&to=draft")


def preview_flood(person: Person) -> Request:
    """Looks at the preview of a draft of 9 MB."""
    site = person.create_site(large_document(45, 1_500, text="A heading of some length for this page " * 2))
    url = httpx.URL(person.call("POST", f"/api/v1/sites/{site}/previews", {}).json()["url"])
    host = {"Host": url.host}
    return lambda: person.client.get(url.raw_path.decode(), headers=host)


def share_flood(person: Person) -> Request:
    """Looks at a shared dashboard, each with another filter."""
    site = person.create_site()
    link = person.call("POST", f"/api/v1/sites/{site}/analytics/shares", {"name": "All"}).json()["url"]
    path = httpx.URL(link).path
    return lambda: person.client.get(
        path, params={"filter": f"page==/{secrets.token_hex(2)}", "period": "90d"}
    )


def schema_flood(person: Person) -> Request:
    """The OpenAPI document."""
    return lambda: person.client.get("/api/schema")


def sign_up_flood(person: Person) -> Request:
    """Sign-ups from one address."""
    body = {"password": PASSWORD}
    headers = {"X-Forwarded-For": "198.51.100.200"}
    return lambda: person.client.post(
        "/api/v1/auth/register",
        json={**body, "email": f"{secrets.token_hex(6)}@example.com"},
        headers=headers,
    )


FLOODS = {
    "rich text of 200 KB": rich_text_flood,
    "difference of 20,000 blocks": difference_flood,
    "preview of 9 MB": preview_flood,
    "shared dashboard": share_flood,
    "OpenAPI document": schema_flood,
    "sign-ups": sign_up_flood,
}


class Neighbour:
    """Sends cheap requests at a constant rate, and measures their times."""

    def __init__(self, person: Person) -> None:
        site = person.create_site()
        subdomain = person.call("GET", f"/api/v1/sites/{site}").json()["subdomain"]
        host = {"Host": f"{subdomain}.localhost"}
        self.requests: list[Request] = [
            lambda: person.client.get(f"/api/v1/sites/{site}"),
            lambda: person.client.get("/", headers=host),
        ]

    def measure(self, seconds: float) -> dict[str, float]:
        """Return median and 99th percentile in milliseconds, and the number of refused requests."""
        times = []
        refused = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for request in self.requests:
                started = time.perf_counter()
                refused += request().status_code >= 400
                times.append((time.perf_counter() - started) * 1000)
            time.sleep(PAUSE_SECONDS)
        return {
            "median": statistics.median(times),
            "p99": statistics.quantiles(times, n=100)[98],
            "refused": refused,
        }


def send_again_and_again(request: Request, stopping: Any, statuses: Any) -> None:
    """Send a request until `stopping`, and put the numbers of answers by status into the queue `statuses`."""
    os.nice(19)  # attackers have machines of their own
    counts: Counter[int] = Counter()
    while not stopping.is_set():
        try:
            status = request().status_code
        except httpx.HTTPError:
            status = 0
        counts[status] += 1
        if status in {429, 503}:
            stopping.wait(0.2)  # an impatient client
    statuses.put(counts)


@contextmanager
def flooding(requests: list[Request], counts: Counter[int]) -> Iterator[None]:
    """Send each request again and again; `counts` gets the statuses.

    Each has a process of its own, so that the clients of the flood do not slow down the neighbour's.
    """
    context = multiprocessing.get_context("fork")
    stopping = context.Event()
    statuses = context.Queue()
    children = [
        context.Process(target=send_again_and_again, args=(request, stopping, statuses))
        for request in requests
    ]
    for child in children:
        child.start()
    try:
        yield
    finally:
        stopping.set()
        for _ in children:
            counts.update(statuses.get(timeout=120))
        for child in children:
            child.join()


def measure_floods(server: servers.BenchmarkServer) -> dict[str, Any]:
    neighbour = Neighbour(Person(server, "203.0.113.1"))
    results = {}
    for number, (name, flood) in enumerate(FLOODS.items()):
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        people = [Person(server, f"198.51.{number}.{attacker + 1}") for attacker in range(ATTACKERS)]
        requests = [flood(person) for person in people]
        neighbour.measure(1)
        calm = neighbour.measure(CALM_SECONDS)
        counts: Counter[int] = Counter()
        with flooding(requests, counts):
            time.sleep(1)
            during = neighbour.measure(FLOOD_SECONDS)
        for person in people:
            person.client.close()
        results[name] = {"calm": calm, "flood": during, "statuses": counts}
        console.print(f"{name}: {describe(results[name])}")
    return results


def describe(result: dict[str, Any]) -> str:
    calm, flood = result["calm"], result["flood"]
    return ", ".join(
        f"{name} {calm[name]:.1f} -> {flood[name]:.1f} ms ({flood[name] / calm[name]:.1f} x)"
        for name in ("median", "p99")
    )


def results_table(results: dict[str, Any]) -> Table:
    table = Table(title="A neighbour's times in milliseconds")
    for column in (
        "flood",
        "median calm",
        "median",
        "ratio",
        "p99 calm",
        "p99",
        "ratio",
        "answers of the flood",
    ):
        table.add_column(column)
    for name, result in results.items():
        calm, flood = result["calm"], result["flood"]
        cells = [
            text
            for key in ("median", "p99")
            for text in (f"{calm[key]:.1f}", f"{flood[key]:.1f}", f"{flood[key] / calm[key]:.1f}")
        ]
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(result["statuses"].items()))
        table.add_row(name, *cells, statuses)
    return table


def main() -> int:
    """Print a table, and write the results to VAR_DIR. Returns 1 when a ratio is above GOAL."""
    VAR_DIR.mkdir(parents=True, exist_ok=True)
    settings = {"RATE_LIMIT": "6000", "TRUSTED_PROXY_COUNT": "1"}
    with (
        servers.start_stores(VAR_DIR) as urls,
        servers.start_getyousite(urls, VAR_DIR, settings=settings) as server,
    ):
        results = measure_floods(server)
        report = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": machine.checked_out_commit(),
            "machine": machine.describe_platform(urls),
            "floods": results,
        }
    console.print(results_table(results))
    path = VAR_DIR / "floods.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    worst = max(
        result["flood"][key] / result["calm"][key] for result in results.values() for key in ("median", "p99")
    )
    console.print(f"The worst ratio is {worst:.1f}; the goal is {GOAL:g}.")
    return int(worst > GOAL)


if __name__ == "__main__":
    sys.exit(main())
