"""A whole platform for the tests of faults: PostgreSQL, Redis, web processes, workers and beat."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    """A stack whose workers and beat run too. Mail goes to `mail_port`, where a test may start a server."""

    def __init__(self, name: str, *, certificate: Path) -> None:
        self.mail_port = embedded_servers.free_port()
        self.mail_settings = {
            "MAIL_URL": f"smtps://localhost:{self.mail_port}",
            "SSL_CERT_FILE": str(certificate / "certificate.pem"),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        super().__init__(name)
        for worker in WORKERS:
            self.start_worker(worker)
        self.start_beat()

    def launch_web(self, *, workers: int, **environ: str) -> WebProcess:
        return super().launch_web(workers=workers, **self.mail_settings, **environ)

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
                    **self.mail_settings,
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

    @property
    def redis_client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.redis_url)

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement as superuser, outside of row-level security."""
        import json

        state = json.loads(self.postgres.state_file.read_text())
        address = self.database_url.rpartition("@")[2]
        url = f"postgresql://postgres:{state['superuser_password']}@{address}"
        with psycopg.connect(url, autocommit=True) as connection:
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
        super().close()


@contextmanager
def running_platform(name: str, certificate: Path) -> Iterator[Platform]:
    platform = Platform(name, certificate=certificate)
    try:
        platform.wait_until_complete()
        yield platform
    finally:
        platform.close()
