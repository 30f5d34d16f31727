"""The web process: starts the public and the internal listener, and stops them gracefully.

On SIGTERM readiness fails first. After DRAIN_SECONDS the listeners close, and the requests in progress have
30 seconds to finish.
"""

import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from core import processes
from core.observability import runtime_folder, startup_checks

GRACEFUL_STOP_SECONDS = 30
INTERNAL_THREADS = 4  # a probe must not wait for a slow /metrics
INTERNAL_CONNECTIONS = 2  # to the database: for readiness and for /metrics
# A password hash fills 64 MiB three times. With huge pages a sign-in takes a fifth less processor time.
HUGE_PAGES = "glibc.malloc.hugetlb=1"


class Command(BaseCommand):
    help = (
        "Serve the API, the admin and published sites on HOST:PORT, and /metrics on "
        "INTERNAL_HOST:INTERNAL_PORT."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        require_free_ports()
        startup_checks.run_checks()
        folder = runtime_folder.create()
        children = start_listeners(runtime_folder.environ_of(folder))
        received_signals: list[int] = []
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda received, _: received_signals.append(received))
        while not received_signals and all(child.process.poll() is None for child in children):
            time.sleep(0.1)
        failed = not received_signals  # a listener ended without a signal to us
        runtime_folder.draining_flag(folder).touch()
        if not failed:
            time.sleep(settings.ENV.drain_seconds)
        processes.stop_processes(children, seconds=GRACEFUL_STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
        if failed:
            raise CommandError("A listener stopped unexpectedly; see its output above.")


def require_free_ports() -> None:
    """Raise CommandError when another process listens on the public or the internal port."""
    env = settings.ENV
    for name, host, port in (
        ("PORT", env.host, env.port),
        ("INTERNAL_PORT", env.internal_host, env.internal_port),
    ):
        if not processes.port_is_free(host, port):
            raise CommandError(f"{host}:{port} is busy: stop the process that uses it, or set {name}.")


def start_listeners(environ: dict[str, str]) -> list[processes.ChildProcess]:
    """Start the public and the internal listener with these environment variables."""
    env = settings.ENV
    public = granian_command("config.wsgi:application", env.host, env.port, env.web_workers, env.web_threads)
    internal = granian_command(
        "config.wsgi:internal_application",
        env.internal_host,
        env.internal_port,
        workers=1,
        threads=INTERNAL_THREADS,
    )
    environ = {"GLIBC_TUNABLES": HUGE_PAGES, **environ, "PROCESS": "web"}
    return [
        processes.start_process("", public, environ=environ),
        processes.start_process("", internal, environ={**environ, "WEB_THREADS": str(INTERNAL_CONNECTIONS)}),
    ]


def granian_command(target: str, host: str, port: int, workers: int, threads: int) -> list[str]:
    """Return the command line of a listener. Sets every option that matters, not relying on defaults."""
    options = {
        "interface": "wsgi",
        "http": "1",
        "host": host,
        "port": str(port),
        "workers": str(workers),
        "blocking-threads": str(threads),
        "backpressure": "512",  # connections that a worker accepts at the same time
        "backlog": "1024",
        "http1-header-read-timeout": "10000",
        "workers-kill-timeout": str(GRACEFUL_STOP_SECONDS),
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
