"""The web process: the public listener, and the internal one beside it.

On SIGTERM readiness fails first; after DRAIN_SECONDS the listeners close, and what is under way has 30 s to
finish.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from core import processes
from core.observability import startup_checks

FINISH_SECONDS = 30


class Command(BaseCommand):
    help = "Serve the API, the admin and published sites on HOST:PORT, and /metrics on INTERNAL_HOST:INTERNAL_PORT."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        env = settings.ENV
        for name, host, port in (
            ("PORT", env.host, env.port),
            ("INTERNAL_PORT", env.internal_host, env.internal_port),
        ):
            if not processes.port_is_free(host, port):
                raise CommandError(f"{host}:{port} is busy: stop what listens there, or set {name}.")
        startup_checks.run_checks()
        draining = settings.VAR_DIR / "draining"
        draining.unlink(missing_ok=True)
        delete_metrics_of_dead_processes(settings.METRICS_DIR)
        children = [
            processes.start_process(
                "",
                granian_command(
                    "config.wsgi:application", env.host, env.port, env.web_workers, env.web_threads
                ),
                environ={"PROCESS": "web"},
            ),
            processes.start_process(
                "",
                granian_command(
                    "config.wsgi:internal_application", env.internal_host, env.internal_port, 1, 1
                ),
                environ={"PROCESS": "web", "WEB_THREADS": "1"},
            ),
        ]
        stopping: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: stopping.append(received))
        while not stopping and all(child.process.poll() is None for child in children):
            time.sleep(0.1)
        failed = not stopping
        draining.parent.mkdir(parents=True, exist_ok=True)
        draining.touch()
        if not failed:
            time.sleep(env.drain_seconds)
        processes.stop_processes(children, seconds=FINISH_SECONDS)
        draining.unlink(missing_ok=True)
        if failed:
            raise CommandError("A listener stopped by itself; its lines above say why.")


def granian_command(target: str, host: str, port: int, workers: int, threads: int) -> list[str]:
    """The command line of one listener. What Granian leaves open by default is pinned here."""
    options = {
        "interface": "wsgi",
        "http": "1",
        "host": host,
        "port": str(port),
        "workers": str(workers),
        "blocking-threads": str(threads),
        "backpressure": "512",  # connections that a worker holds at once
        "backlog": "1024",
        "http1-header-read-timeout": "10000",
        "workers-kill-timeout": str(FINISH_SECONDS),
        "respawn-interval": "1",
        "log-level": "warning",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [
        str(Path(sys.executable).with_name("granian")),
        *flags,
        "--respawn-failed-workers",
        "--no-ws",
        target,
    ]


def delete_metrics_of_dead_processes(folder: Path) -> None:
    """Delete the metric files of processes that are gone; a running worker keeps its own."""
    for path in folder.glob("*.db"):
        pid = path.stem.rsplit("_", 1)[-1]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)
    os.makedirs(folder, exist_ok=True)
