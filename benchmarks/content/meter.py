"""Sends requests through the web process without its listener, and measures the share of PostgreSQL."""

import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from config.wsgi import application
from sites.serving.site_server import SiteServer


@dataclass(slots=True)
class Cost:
    """What one request took: `total` and `sql` are seconds.

    `trips` counts exchanges with PostgreSQL, also BEGIN, COMMIT and the checks of the pool.
    """

    total: float = 0.0
    sql: float = 0.0
    trips: int = 0


@dataclass
class CostSamples:
    """What many requests of one kind took."""

    samples: list[Cost] = field(default_factory=list)

    def as_json(self) -> dict[str, float | int]:
        """Statistics in milliseconds. The least one hardly changes on a busy machine."""
        sql = [cost.sql for cost in self.samples]
        total = [cost.total for cost in self.samples]
        return {
            "runs": len(self.samples),
            "trips": round(statistics.median(cost.trips for cost in self.samples)),
            "sql_least_ms": milliseconds(min(sql)),
            "sql_median_ms": milliseconds(statistics.median(sql)),
            "sql_p95_ms": milliseconds(percentile(sql, 95)),
            "whole_least_ms": milliseconds(min(total)),
            "whole_median_ms": milliseconds(statistics.median(total)),
            "whole_p95_ms": milliseconds(percentile(total, 95)),
        }


@contextmanager
def measure_sql() -> Iterator[Cost]:
    """Measure the block. SQL time is the time in which psycopg waits for PostgreSQL.

    It includes the network, the server, COMMIT with its fsync, and the conversion of parameters into bytes,
    but not what Django does with the rows afterwards.
    """
    cost = Cost()
    original_wait: Any = psycopg.Connection.wait

    def timed(connection: Any, *arguments: Any, **keywords: Any) -> Any:
        started = time.perf_counter()
        try:
            return original_wait(connection, *arguments, **keywords)
        finally:
            cost.sql += time.perf_counter() - started
            cost.trips += 1

    psycopg.Connection.wait = timed  # type: ignore[method-assign, assignment]
    started = time.perf_counter()
    try:
        yield cost
    finally:
        cost.total = time.perf_counter() - started
        psycopg.Connection.wait = original_wait  # type: ignore[method-assign]


class InProcessServer:
    """A web process without its listener: site server, Django behind it, and the pool of production.

    `cost` is what the last request took, until its connection was back in the pool.
    """

    def __init__(self) -> None:
        self.site_server = application
        self.cost = Cost()

    def clear_site_server(self) -> None:
        """Empty the maps of hosts and the cache of pages in process memory, as after a start."""
        self.site_server = SiteServer(application.app)

    def request(
        self,
        method: str,
        path: str,
        *,
        host: str = "localhost",
        body: bytes = b"",
        token: str = "",
        if_match: str = "",
    ) -> tuple[int, bytes]:
        """Send a request, signed in with the access token `token`; return status and body."""
        path, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_HOST": host,
            "SERVER_NAME": host,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.input": io.BytesIO(body),
            "wsgi.url_scheme": "http",
            "wsgi.errors": io.StringIO(),
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)) if body else "",
        }
        if token:
            environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        if if_match:
            environ["HTTP_IF_MATCH"] = if_match
        statuses: list[str] = []
        with measure_sql() as self.cost:
            response: Any = self.site_server(environ, lambda status, *_: statuses.append(status))
            content = b"".join(response)
            getattr(response, "close", lambda: None)()
        return int(statuses[0][:3]), content

    def expect(
        self,
        status: int,
        method: str,
        path: str,
        *,
        host: str = "localhost",
        body: bytes = b"",
        token: str = "",
        if_match: str = "",
    ) -> bytes:
        """Send a request; return its body. Raises AssertionError when the status is not `status`."""
        answered, content = self.request(method, path, host=host, body=body, token=token, if_match=if_match)
        assert answered == status, f"{method} {path} answered {answered}: {content[:300]!r}"
        return content


def repeat(process: InProcessServer, runs: int, once: Callable[[int], None]) -> CostSamples:
    """Call `once(number)` `runs` times after three uncounted calls, and collect `process.cost` of each."""
    costs = CostSamples()
    for number in range(runs + 3):
        once(number)
        if number >= 3:
            costs.samples.append(process.cost)
    return costs


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)
