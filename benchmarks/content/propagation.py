"""Measures how soon another web process shows a publish of this process."""

import http.client
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.content.documents import MARK
from benchmarks.content.meter import InProcessServer, milliseconds, percentile
from benchmarks.content.operations import patch_block, publish_site
from benchmarks.content.seed import SeededSite
from benchmarks.servers import ROOT
from config import embedded_servers
from core import processes

GOAL_SECONDS = 2.0
POLL_SECONDS = 0.005
TIMEOUT_SECONDS = 30


def measure_propagation(process: InProcessServer, site: SeededSite, *, run_count: int) -> dict[str, Any]:
    """Seconds from the POST in this process until `manage.py serve` answers with the new front page.

    Requests for the front page never pause. So the other process reads the stream of announcements at times
    that do not depend on the publish.
    """
    seconds = []
    random_source = random.Random(1)
    with other_process() as port:
        for number in range(run_count + 1):
            text = f"by publish {number}"
            patch_block(process, site, text)
            wait_for(port, site, "", random_source.random() * 1.2)  # seconds of requests before it
            started = time.perf_counter()
            publish_site(process, site)
            wait_for(port, site, MARK + text, TIMEOUT_SECONDS)
            seconds.append(time.perf_counter() - started)
    seconds = seconds[1:]
    return {
        "runs": len(seconds),
        "least_s": round(min(seconds), 3),
        "median_s": round(sorted(seconds)[len(seconds) // 2], 3),
        "p95_s": round(percentile(seconds, 95), 3),
        "most_s": round(max(seconds), 3),
        "publish_ms": milliseconds(process.cost.total),
    }


@contextmanager
def other_process() -> Iterator[int]:
    """Start `manage.py serve` with one worker on the same stores; yield its port."""
    port = embedded_servers.free_port()
    internal_port = embedded_servers.free_port()
    ports = {"PORT": str(port), "SITES_PORT": str(port), "INTERNAL_PORT": str(internal_port)}
    environ = {**ports, "WEB_WORKERS": "1", "WEB_THREADS": "4", "PROCESS": "command", "LOG_LEVEL": "ERROR"}
    child = processes.start_process("", [sys.executable, str(ROOT / "manage.py"), "serve"], environ=environ)
    try:
        deadline = time.monotonic() + 60
        while processes.port_is_free("127.0.0.1", port):
            if child.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("manage.py serve did not start; the lines above say why.")
            time.sleep(0.1)
        yield port
    finally:
        processes.stop_processes([child], seconds=40)


def wait_for(port: int, site: SeededSite, text: str, seconds: float) -> None:
    """Request the front page until it contains `text`, or for all of `seconds` when `text` is empty.

    Raises TimeoutError when the text did not appear.
    """
    deadline = time.perf_counter() + seconds
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        while time.perf_counter() < deadline:
            connection.request("GET", "/", headers={"Host": site.host})
            body = connection.getresponse().read().decode()
            if text and text in body:
                return
            time.sleep(POLL_SECONDS)
    finally:
        connection.close()
    if text:
        raise TimeoutError(f"nothing new at {site.host} within {seconds} seconds")
