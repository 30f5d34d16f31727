"""Runs functions in child processes that a test may kill at any time.

One parent process has Django loaded and no database connection open. It forks a child for each call, so that
a call costs milliseconds instead of the seconds that a start of Django takes.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from tests.stack import ROOT


def serve_calls(database: str) -> None:
    """The parent process: each line of stdin is `[module, function, arguments]` and runs in a forked child.

    Prints the pid of the child, the JSON of its result (missing when it was killed) and `ended`.
    """
    import django

    django.setup()
    from django.db import connection
    from django.urls import get_resolver

    connection.settings_dict["NAME"] = database
    for line in sys.stdin:
        module, name, arguments = json.loads(line)
        function = getattr(importlib.import_module(module), name)
        get_resolver().url_patterns  # noqa: B018 - loads every view, once for all children
        child_pid = os.fork()
        if not child_pid:
            print(os.getpid(), flush=True)
            print(json.dumps(function(*arguments)), flush=True)
            os._exit(0)
        os.waitpid(child_pid, 0)
        print("ended", flush=True)


class ChildProcessRunner:
    """Starts the parent process on the database of the test."""

    def __init__(self) -> None:
        database = connections["default"].settings_dict["NAME"]
        script = f"from tests.child_processes import serve_calls; serve_calls({database!r})"
        environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )

    def run(
        self, function: Callable[..., Any], *arguments: Any, kill_after: float | None = None
    ) -> tuple[float, list[Any]]:
        """Call `function` in a child of its own, and kill the child after `kill_after` seconds.

        Returns the seconds that it took and a list with its result; the list is empty when it was killed.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([function.__module__, function.__name__, arguments]) + "\n")
        self.process.stdin.flush()
        child_pid = int(self.process.stdout.readline())
        started = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # it has finished already
                os.kill(child_pid, signal.SIGKILL)
        results = []
        while (line := self.process.stdout.readline().strip()) != "ended":
            results.append(json.loads(line))
        return time.monotonic() - started, results

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(30) == 0


@pytest.fixture
def child_process_runner(transactional_db: None) -> Iterator[ChildProcessRunner]:
    """Runs functions in child processes on the database of the test."""
    runner = ChildProcessRunner()
    yield runner
    runner.close()
