"""Starting and stopping the processes of this platform: each in its own session, none left behind."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _follow_parent() -> None:
    """In the child, before it becomes the program: stop when whoever started it is gone, even killed
    (prctl(2)).
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class ChildProcess:
    """A running process. Its lines are printed with `name` before them, unless `name` is empty."""

    name: str
    process: "subprocess.Popen[str]"
    pump: threading.Thread | None = field(default=None, repr=False)


def start_process(name: str, arguments: list[str], *, environ: dict[str, str]) -> ChildProcess:
    """Run a program in its own session, so that Ctrl-C reaches us first and we stop it in order."""
    process = subprocess.Popen(  # noqa: S603 - our own program and arguments
        arguments,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if name else None,
        stderr=subprocess.STDOUT if name else None,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_follow_parent,  # noqa: PLW1509 - one system call, no Python lock is taken
    )
    child = ChildProcess(name, process)
    if name:
        child.pump = threading.Thread(target=_print_lines, args=(child,), daemon=True)
        child.pump.start()
    return child


def _print_lines(child: ChildProcess) -> None:
    assert child.process.stdout is not None
    for line in child.process.stdout:
        sys.stdout.write(f"{child.name:<6} │ {line}")
        sys.stdout.flush()


def stop_processes(children: Iterable[ChildProcess], *, seconds: float) -> None:
    """Ask all to stop, wait `seconds` for them together, then kill what is left with everything it started."""
    children = list(children)
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    deadline = time.monotonic() + seconds
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, deadline - time.monotonic()))
        for pid in (
            [*descendants(child.process.pid), child.process.pid] if child.process.poll() is None else []
        ):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _kill_group(child.process.pid)
        child.process.wait()
        if child.pump:
            child.pump.join(1)


def descendants(pid: int) -> list[int]:
    """Processes that `pid` started, and those that they started, in whatever session."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = []
    waiting = [pid]
    while waiting:
        started = children.get(waiting.pop(), [])
        found += started
        waiting += started
    return found


def _kill_group(pid: int) -> None:
    """The session of a child has its pid as its group; what ignored the request or outlived its parent goes
    too.
    """
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def port_is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
