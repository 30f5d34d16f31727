"""The development stack in one command: migrations, demo data, web, worker and beat, one log stream."""

import http.client
import io
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.panel import Panel

from core import processes
from core.observability import startup_checks

READY_SECONDS = 60
STOP_SECONDS = 6  # Ctrl-C ends everything within 10 s; PostgreSQL and Redis come after this


class Command(BaseCommand):
    help = "Start everything on this machine: migrations, demo data on the first run, then web, worker and beat. Ctrl-C stops it."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        env = settings.ENV
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        children: list[processes.ChildProcess] = []
        try:
            for name, host, port in (
                ("PORT", env.host, env.port),
                ("INTERNAL_PORT", env.internal_host, env.internal_port),
            ):
                if not processes.port_is_free(host, port):
                    raise CommandError(f"{host}:{port} is busy: stop what listens there, or set {name}.")
            startup_checks.run_checks()
            startup_checks.check_redis_url()
            self.say("applying migrations")
            call_command("migrate", verbosity=0, interactive=False)
            self.make_demo()
            self.say("starting web, worker and beat")
            children = start_processes()
            wait_until_ready(children)
            self.panel()
            while all(child.process.poll() is None for child in children):
                time.sleep(0.2)
            raise CommandError("A process stopped by itself; its lines above say why.")
        except KeyboardInterrupt:
            self.say("stopping")
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
            processes.stop_processes(reversed(children), seconds=STOP_SECONDS)

    def say(self, line: str) -> None:
        self.stdout.write(f"· {line}")
        self.stdout.flush()

    def make_demo(self) -> None:
        """Accounts, a site and, with the first of them, visits of the last 90 days."""
        self.say("looking for demo data")
        fresh = not self.facts_path.exists()
        call_command("demo")
        if fresh and json.loads(self.facts_path.read_text())["owner"]:
            self.say("inventing visits")
            call_command("analytics_simulate", "--sites", "bakery", stdout=io.StringIO())

    @property
    def facts_path(self) -> Path:
        path: Path = settings.VAR_DIR / "demo.json"
        return path

    def panel(self) -> None:
        demo = json.loads(self.facts_path.read_text())
        base = demo["base_url"]
        lines = [
            f"Demo site    {demo['site_url']}",
            f"API docs     {base}/api/docs",
            f"Admin        {base}/admin/",
            f"Accounts     {self.facts_path}",
            f"Mails        {settings.MAIL_FOLDER}",
            f"Metrics      http://{settings.ENV.internal_host}:{settings.ENV.internal_port}/metrics",
        ]
        Console().print(
            Panel(
                "\n".join(lines),
                title="Getyousite is running",
                subtitle="Ctrl-C stops it",
                expand=False,
                padding=(1, 3),
            )
        )


def start_processes() -> list[processes.ChildProcess]:
    manage = [sys.executable, str(settings.BASE_DIR / "manage.py")]
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "config.celery"]
    beat_file = str(settings.VAR_DIR / "beat-schedule")
    worker = [
        *celery,
        "worker",
        "--pool",
        "prefork",
        "--without-gossip",
        "--without-mingle",
        "--loglevel",
        "WARNING",
    ]
    beat = [*celery, "beat", "--schedule", beat_file, "--pidfile", "", "--loglevel", "WARNING"]
    return [
        processes.start_process("web", [*manage, "serve"], environ={"PROCESS": "web"}),
        processes.start_process("worker", worker, environ={"PROCESS": "worker"}),
        processes.start_process(
            "backup",
            ["nice", *worker, "--queues", "backups", "--concurrency", "1"],
            environ={"PROCESS": "worker"},
        ),
        processes.start_process("beat", beat, environ={"PROCESS": "beat"}),
    ]


def wait_until_ready(children: list[processes.ChildProcess]) -> None:
    """Return when the public listener says that it is ready.

    Raises CommandError when a process ends or time is up.
    """
    # Compared, not bound.
    host = settings.ENV.host if settings.ENV.host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if any(child.process.poll() is not None for child in children):
            raise CommandError("A process stopped while starting; its lines above say why.")
        connection = http.client.HTTPConnection(host, settings.ENV.port, timeout=2)
        try:
            connection.request("GET", "/health/ready", headers={"Host": settings.APP_HOST})
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise CommandError(f"The web process was not ready within {READY_SECONDS} s.")
