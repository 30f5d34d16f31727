"""The command lines and the environment of Celery's worker and beat."""

import os
import sys

# Celery reads REMAP_SIGTERM when it is imported. With it SIGTERM starts the soft shutdown, in which a task
# has CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT to finish. Without it a worker waits for its tasks as long as they
# take.
REMAP_SIGTERM = {"REMAP_SIGTERM": "SIGQUIT"}


def worker_command(queues: list[str], *, processes: int) -> list[str]:
    """Return the command line of a worker of these queues that runs up to `processes` tasks at once."""
    # Without gossip and mingle, because workers need not know of each other.
    options = ["--pool", "prefork", "--without-gossip", "--without-mingle"]
    return [*_celery("worker"), *options, "--queues", ",".join(queues), "--concurrency", str(processes)]


def beat_command() -> list[str]:
    """Return the command line of beat, which writes no file."""
    return [*_celery("beat"), "--pidfile", ""]


def environ_of(process: str) -> dict[str, str]:
    """Return the environment variables of a `worker` or `beat`."""
    return {"PROCESS": process, **REMAP_SIGTERM}


def replace_this_process(command: list[str], *, process: str) -> None:
    """Execute `command` in place of the running program."""
    os.execve(command[0], command, {**os.environ, **environ_of(process)})  # noqa: S606 - our own program


def _celery(command: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "celery",
        "--quiet",
        "-A",
        "config.celery",
        command,
        "--loglevel",
        "WARNING",
    ]
