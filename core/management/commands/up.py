"""The development stack in one command: migrations, demo data, web, worker and beat, with one output."""

import http.client
import io
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.panel import Panel

from core import processes
from core.jobs import celery_processes
from core.management.commands.serve import require_free_ports
from core.observability import startup_checks

READY_SECONDS = 60
STOP_SECONDS = 6  # Ctrl-C must end everything within 10 s, and PostgreSQL and Redis stop after this


class Command(BaseCommand):
    help = (
        "Start everything on this machine: migrations, demo data on the first run, then web, worker and "
        "beat. Ctrl-C stops it."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signal_number, signal.default_int_handler)
        children: list[processes.ChildProcess] = []
        try:
            require_free_ports()
            startup_checks.run_checks()
            startup_checks.check_redis_url()
            self.write_step("applying migrations")
            call_command("migrate", verbosity=0, interactive=False)
            self.create_demo_data()
            self.write_step("starting web, worker and beat")
            children = start_processes()
            wait_until_ready(children)
            self.print_addresses()
            while all(child.process.poll() is None for child in children):
                time.sleep(0.2)
            raise CommandError("A process stopped unexpectedly; see its output above.")
        except KeyboardInterrupt:
            self.write_step("stopping")
        finally:
            # A second Ctrl-C must not interrupt the stopping of the processes.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            processes.stop_processes(reversed(children), seconds=STOP_SECONDS)

    def write_step(self, line: str) -> None:
        self.stdout.write(f"· {line}")
        self.stdout.flush()

    def create_demo_data(self) -> None:
        """Create demo accounts and a site unless they exist; on the first run also visits of 90 days."""
        self.write_step("checking the demo data")
        first_run = not self.accounts_path.exists()
        call_command("demo")
        if first_run and json.loads(self.accounts_path.read_text())["owner"]:
            self.write_step("simulating visits")
            call_command(*settings.DEMO_VISITS_COMMAND, stdout=io.StringIO())

    @property
    def accounts_path(self) -> Path:
        path: Path = settings.VAR_DIR / "demo.json"
        return path

    def print_addresses(self) -> None:
        demo = json.loads(self.accounts_path.read_text())
        base = demo["base_url"]
        lines = [
            f"Demo site    {demo['site_url']}",
            f"API docs     {base}/api/docs",
            f"Admin        {base}/admin/",
            f"Accounts     {self.accounts_path}",
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
    """Start web, three workers and beat: one for what is urgent, one for the rest, and one for long tasks."""
    web = [sys.executable, str(settings.BASE_DIR / "manage.py"), "serve"]
    return [
        processes.start_process("web", web, environ={"PROCESS": "web"}),
        start_worker("urgent", ["critical"]),
        start_worker("worker", ["default", "mail", "bulk"]),
        start_worker("backup", ["backups", "restores"], prefix=["nice"]),
        processes.start_process(
            "beat", celery_processes.beat_command(), environ=celery_processes.environ_of("beat")
        ),
    ]


def start_worker(name: str, queues: list[str], *, prefix: Sequence[str] = ()) -> processes.ChildProcess:
    """Start a worker with one process for each of its queues. `prefix` stands before its command line."""
    command = [*prefix, *celery_processes.worker_command(queues, processes=len(queues))]
    return processes.start_process(name, command, environ=celery_processes.environ_of("worker"))


def wait_until_ready(children: list[processes.ChildProcess]) -> None:
    """Return when the public listener is ready.

    Raises CommandError when a process ends, or after `READY_SECONDS`.
    """
    # The addresses are compared here, not bound.
    host = settings.ENV.host if settings.ENV.host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if any(child.process.poll() is not None for child in children):
            raise CommandError("A process stopped while starting; see its output above.")
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
