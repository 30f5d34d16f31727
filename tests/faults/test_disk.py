"""A web process that cannot write a single byte to a file serves pages, the API and metrics."""

import resource
import subprocess
import sys

import httpx
import pytest

from config import embedded_servers
from tests.stack import ROOT, WebProcess, wait_until

pytestmark = pytest.mark.stack


@pytest.fixture
def web_without_disk(stack, tmp_path):
    """A web process for which every file system is full: the limit of RLIMIT_FSIZE is 0 bytes."""
    port, internal_port = embedded_servers.free_port(), embedded_servers.free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env={
            **stack.environ,
            "PORT": str(port),
            "INTERNAL_PORT": str(internal_port),
            "SITES_PORT": str(port),
            "WEB_WORKERS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),  # noqa: PLW1509 - a system call
    )
    web = WebProcess(port, internal_port, process, tmp_path / "log")
    wait_until(lambda: process.poll() is not None or stack.is_ready(web), seconds=60)
    assert process.poll() is None
    yield web
    process.terminate()
    process.wait(40)


def test_a_full_disk_stops_neither_pages_nor_the_api_nor_metrics(web_without_disk, stack, person):
    _, host = person.publish()

    for _ in range(20):
        assert web_without_disk.get("/", host).status_code == 200
        assert web_without_disk.get("/api/v1/config").status_code == 200
    metrics = httpx.get(f"http://127.0.0.1:{web_without_disk.internal_port}/metrics")
    assert (metrics.status_code, "getyousite_store_up" in metrics.text) == (200, True)
    assert web_without_disk.process.poll() is None
