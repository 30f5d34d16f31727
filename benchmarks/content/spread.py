"""How soon another web process shows what was published here."""

import http.client
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.content.documents import MARK
from benchmarks.content.meter import Process, milliseconds, percentile
from benchmarks.content.operations import patch, publish
from benchmarks.content.seed import Place
from benchmarks.contestants import ROOT
from config import embedded_servers
from core import processes

GOAL_SECONDS = 2.0
POLL_SECONDS = 0.005
PATIENCE = 30


def spread(process: Process, place: Place, *, runs: int) -> dict[str, Any]:
    """Seconds from the POST in this process until `manage.py serve` answers with the new front page.

    It is asked all the time, so that it reads the stream of announcements at moments that have nothing to do
    with ours.
    """
    seconds = []
    rng = random.Random(1)
    with other_process() as port:
        for number in range(runs + 1):
            text = f"by publish {number}"
            patch(process, place, text)
            wait_for(port, place, "", rng.random() * 1.2)  # visitors come meanwhile
            started = time.perf_counter()
            publish(process, place)
            wait_for(port, place, MARK + text, PATIENCE)
            seconds.append(time.perf_counter() - started)
    seconds = seconds[1:]
    return {
        "runs": len(seconds),
        "least_s": round(min(seconds), 3),
        "median_s": round(sorted(seconds)[len(seconds) // 2], 3),
        "p95_s": round(percentile(seconds, 95), 3),
        "most_s": round(max(seconds), 3),
        "publish_ms": milliseconds(process.cost.whole),
    }


@contextmanager
def other_process() -> Iterator[int]:
    """`manage.py serve` with one worker on the same stores; its port."""
    port = embedded_servers.free_port()
    internal = embedded_servers.free_port()
    ports = {"PORT": str(port), "SITES_PORT": str(port), "INTERNAL_PORT": str(internal)}
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


def wait_for(port: int, place: Place, text: str, seconds: float) -> None:
    """Ask for the front page until it says `text`, or for so long where it is empty. Raises TimeoutError."""
    deadline = time.perf_counter() + seconds
    visitor = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        while time.perf_counter() < deadline:
            visitor.request("GET", "/", headers={"Host": place.host})
            body = visitor.getresponse().read().decode()
            if text and text in body:
                return
            time.sleep(POLL_SECONDS)
    finally:
        visitor.close()
    if text:
        raise TimeoutError(f"nothing new at {place.host} within {seconds} seconds")
