"""One request through the whole web process but its listener, and the time that PostgreSQL takes of it."""

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
    """What one request took, in seconds.

    `trips` counts exchanges with PostgreSQL: BEGIN, COMMIT and pool checks too.
    """

    whole: float = 0.0
    sql: float = 0.0
    trips: int = 0


@dataclass
class Costs:
    """What many requests of one kind took."""

    all: list[Cost] = field(default_factory=list)

    def facts(self) -> dict[str, float | int]:
        """Milliseconds. The least is what a busy machine hardly moves."""
        sql = [cost.sql for cost in self.all]
        whole = [cost.whole for cost in self.all]
        return {
            "runs": len(self.all),
            "trips": round(statistics.median(cost.trips for cost in self.all)),
            "sql_least_ms": milliseconds(min(sql)),
            "sql_median_ms": milliseconds(statistics.median(sql)),
            "sql_p95_ms": milliseconds(percentile(sql, 95)),
            "whole_least_ms": milliseconds(min(whole)),
            "whole_median_ms": milliseconds(statistics.median(whole)),
            "whole_p95_ms": milliseconds(percentile(whole, 95)),
        }


@contextmanager
def metered() -> Iterator[Cost]:
    """SQL time is what this process spends in psycopg waiting for PostgreSQL: the network, the server, COMMIT
    with its fsync, and turning parameters into bytes. What Django makes of the rows afterwards is not in it.
    """
    cost = Cost()
    genuine: Any = psycopg.Connection.wait

    def timed(connection: Any, *given: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return genuine(connection, *given, **named)
        finally:
            cost.sql += time.perf_counter() - started
            cost.trips += 1

    psycopg.Connection.wait = timed  # type: ignore[method-assign, assignment]
    started = time.perf_counter()
    try:
        yield cost
    finally:
        cost.whole = time.perf_counter() - started
        psycopg.Connection.wait = genuine  # type: ignore[method-assign]


class Process:
    """A web process without its listener: the edge, Django behind it, and the connection pool of production."""

    def __init__(self) -> None:
        self.edge = application
        self.cost = Cost()

    def forget(self) -> None:
        """Know no host and keep no page, as after a start."""
        self.edge = SiteServer(application.app)

    def ask(
        self, method: str, path: str, *, host: str = "localhost", body: bytes = b"", **headers: str
    ) -> tuple[int, bytes]:
        """Status and body; `cost` is what it took, until the connection was back in the pool."""
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
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }
        statuses: list[str] = []
        with metered() as self.cost:
            answer: Any = self.edge(environ, lambda status, given, *_: statuses.append(status))
            content = b"".join(answer)
            getattr(answer, "close", lambda: None)()
        return int(statuses[0][:3]), content

    def expect(self, status: int, method: str, path: str, **how: Any) -> bytes:
        """As `ask`. Raises AssertionError when it answers something else."""
        found, content = self.ask(method, path, **how)
        assert found == status, f"{method} {path} answered {found}: {content[:300]!r}"
        return content


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def repeat(process: Process, runs: int, once: Callable[[int], None]) -> Costs:
    """Do `once(number)` `runs` times, after three that are not counted; it leaves what counts in
    `process.cost`.
    """
    costs = Costs()
    for number in range(runs + 3):
        once(number)
        if number >= 3:
            costs.all.append(process.cost)
    return costs


def percentile(values: list[float], which: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * which // 100)]


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)
