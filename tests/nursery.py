"""A process that has Django loaded and no connection open: each thing it is told to do becomes a child, which
a test may kill at any moment.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from tests.stack import ROOT


def tend(database: str) -> None:
    """The process itself: a line is `[module, function, arguments]`, done in a child.

    Prints its pid, what it returned, `ended`.
    """
    import django

    django.setup()
    from django.db import connection
    from django.urls import get_resolver

    connection.settings_dict["NAME"] = database
    for line in sys.stdin:
        module, function, arguments = json.loads(line)
        act = getattr(importlib.import_module(module), function)
        get_resolver().url_patterns  # noqa: B018 - loads every view, once for all children
        child = os.fork()
        if not child:
            print(os.getpid(), flush=True)
            print(json.dumps(act(*arguments)), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print("ended", flush=True)


class Nursery:
    def __init__(self) -> None:
        name = connections["default"].settings_dict["NAME"]
        command = [sys.executable, "-c", f"from tests.nursery import tend; tend({name!r})"]
        environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        )

    def run(self, act: Any, *arguments: Any, kill_after: float | None = None) -> tuple[float, list[Any]]:
        """Seconds that `act` took in a child of its own, and what it returned; nothing when it was killed
        before.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([act.__module__, act.__name__, arguments]) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        started = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # it was done
                os.kill(child, signal.SIGKILL)
        said = []
        while (line := self.process.stdout.readline().strip()) != "ended":
            said.append(json.loads(line))
        return time.monotonic() - started, said

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(30) == 0


@pytest.fixture
def nursery(transactional_db: None) -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()
