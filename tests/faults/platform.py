"""A whole platform for the tests of faults: PostgreSQL, Redis, web processes, workers and beat."""

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from config import embedded_servers
from tests.stack import ROOT, Stack, WebProcess, wait_until

# Each queue has a worker with one process, as docs/running.md recommends, but those that no test needs.
WORKERS = {"critical": "critical", "mail": "mail", "others": "default,bulk"}


class Platform(Stack):
    """A stack with one web process, whose workers and beat run too.

    Mail goes to `mail_port`, where a test may start a server.
    """

    web_workers = (2,)

    def __init__(self, name: str, *, certificate: Path) -> None:
        self.mail_port = embedded_servers.free_port()
        self.certificate = certificate
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        super().__init__(name)
        for worker in WORKERS:
            self.start_worker(worker)
        self.start_beat()

    def own_settings(self) -> dict[str, str]:
        """What the processes of one installation share, which development would generate for each VAR_DIR."""
        return {
            "MAIL_URL": f"smtps://localhost:{self.mail_port}",
            "SSL_CERT_FILE": str(self.certificate / "certificate.pem"),
            "OBJECT_STORE_URL": f"file://{self.home}/objects",
            "AUDIT_KEYS": f"test:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        }

    def restart_web(self) -> None:
        """Stop the web process as a deployment does, and start it again on the same ports."""
        web = self.web
        web.process.terminate()
        web.process.wait(60)
        ports = {"PORT": str(web.port), "INTERNAL_PORT": str(web.internal_port)}
        launched = self.launch_web(workers=2, **ports)
        self.webs[0] = WebProcess(web.port, web.internal_port, launched.process, launched.log)
        self.wait_until_ready(self.web)

    @property
    def web(self) -> WebProcess:
        return self.webs[0]

    def start_worker(self, name: str, **environ: str) -> None:
        """Start the worker `name` of WORKERS."""
        self._start(name, "worker", "--queues", WORKERS[name], **environ)

    def start_beat(self, name: str = "beat", **environ: str) -> None:
        self._start(name, "beat", **environ)

    def _start(self, name: str, *command: str, **environ: str) -> None:
        with self.log_path(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "manage.py", *command],
                cwd=ROOT,
                env={
                    **self.environ,
                    "VAR_DIR": str(self.home),
                    "PORT": str(self.web.port),
                    **environ,
                },
                stdout=log,
                stderr=log,
            )

    def log_path(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def log(self, name: str) -> str:
        """What a worker or beat has written so far."""
        return self.log_path(name).read_text()

    def stop(self, *names: str) -> None:
        """Send SIGTERM to workers or beat, and wait for them."""
        for name in names:
            self.processes[name].terminate()
        for name in names:
            self.processes.pop(name).wait(40)

    def kill(self, name: str) -> None:
        """Kill a worker and its children at once."""
        from core import processes

        pid = self.processes[name].pid
        for child in [*processes.descendants(pid), pid]:
            subprocess.run(["kill", "-9", str(child)], check=False)
        self.processes.pop(name).wait(10)

    @cached_property
    def redis_client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.redis_url)

    def query(self, statement: str, *parameters: Any, writable: bool = False) -> list[tuple[Any, ...]]:
        """Run a statement as superuser; if `writable`, also on a read-only server."""
        state = json.loads(self.postgres.state_file.read_text())
        address = self.database_url.rpartition("@")[2]
        url = f"postgresql://postgres:{state['superuser_password']}@{address}"
        options = "-c default_transaction_read_only=off" if writable else ""
        with psycopg.connect(url, autocommit=True, options=options) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def readiness(self) -> dict[str, str]:
        """Every part, as the internal listener reports it."""
        content: dict[str, str] = httpx.get(
            f"http://127.0.0.1:{self.web.internal_port}/health/ready", timeout=10
        ).json()
        return content

    def wait_until_complete(self) -> None:
        """Wait until web, workers and beat report themselves; those that nobody started are left out."""
        wanted = {"beat", *(f"worker_{queue}" for names in WORKERS.values() for queue in names.split(","))}
        wait_until(lambda: {self.readiness().get(name) for name in wanted} == {"ok"}, seconds=60)

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(40)
        self.processes.clear()
        self.redis_client.close()
        super().close()


@contextmanager
def running_platform(name: str, certificate: Path) -> Iterator[Platform]:
    platform = Platform(name, certificate=certificate)
    try:
        platform.wait_until_complete()
        yield platform
    finally:
        platform.close()
