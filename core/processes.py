"""Starts and stops child processes: the processes of the platform and of its tests.

Each child has a session of its own, and stops when its parent is killed.
"""

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


def _stop_with_parent() -> None:
    """Make the kernel send SIGTERM to this process when its parent ends, even by SIGKILL (prctl(2)).

    Runs in the child, between fork and exec.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class ChildProcess:
    """A child process. Its output is printed with `name` before each line, unless `name` is empty."""

    name: str
    process: "subprocess.Popen[str]"
    output_thread: threading.Thread | None = field(default=None, repr=False)


def start_process(name: str, arguments: list[str], *, environ: dict[str, str]) -> ChildProcess:
    """Start a program in a session of its own, so that Ctrl-C reaches only us and we stop the children.

    `environ` is added to the environment of this process.
    """
    process = subprocess.Popen(  # noqa: S603 - our own program and arguments
        arguments,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if name else None,
        stderr=subprocess.STDOUT if name else None,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_stop_with_parent,  # noqa: PLW1509 - one system call, no Python lock is taken
    )
    child = ChildProcess(name, process)
    if name:
        child.output_thread = threading.Thread(target=_print_lines, args=(child,), daemon=True)
        child.output_thread.start()
    return child


def _print_lines(child: ChildProcess) -> None:
    assert child.process.stdout is not None
    for line in child.process.stdout:
        sys.stdout.write(f"{child.name:<6} │ {line}")
        sys.stdout.flush()


def stop_processes(children: Iterable[ChildProcess], *, seconds: float) -> None:
    """Send SIGTERM to all children, wait `seconds` for all of them together, then kill the remaining ones.

    A child is killed with its descendants and its process group.
    """
    children = list(children)
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    deadline = time.monotonic() + seconds
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, deadline - time.monotonic()))
        if child.process.poll() is None:
            _kill_with_descendants(child.process.pid)
        _kill_group(child.process.pid)
        child.process.wait()
        if child.output_thread:
            child.output_thread.join(1)


def _kill_with_descendants(pid: int) -> None:
    for process_id in [*descendants(pid), pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the ids of the processes that `pid` started, and of those that they started, in all sessions."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    result = []
    unvisited = [pid]
    while unvisited:
        started = children.get(unvisited.pop(), [])
        result += started
        unvisited += started
    return result


def _kill_group(pid: int) -> None:
    """Kill the process group of a child, also when the child itself has ended.

    The id of the group is the id of the child, because the child has a session of its own.
    """
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def port_is_free(host: str, port: int) -> bool:
    """Return whether this process can bind the TCP port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
