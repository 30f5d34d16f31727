"""Describes the machine and the versions that the numbers depend on, and measures processor time."""

import json
import os
import platform
import re
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import redis

from benchmarks.servers import ROOT, YARDSTICK_FOLDER


def describe_all(urls: dict[str, str]) -> dict[str, Any]:
    """The machine, and the versions of both servers, their stores and wrk."""
    return {
        **describe_platform(urls),
        "node": _first_line("node", "--version").removeprefix("v"),
        "wrk": " ".join(_first_line("wrk", "--version").split()[:2]),
        "fastify": json.loads((YARDSTICK_FOLDER / "node_modules/fastify/package.json").read_text())[
            "version"
        ],
    }


def describe_platform(urls: dict[str, str]) -> dict[str, Any]:
    """The machine, and the versions of the platform and its stores. Connects to the stores in `urls`."""
    with psycopg.connect(urls["DATABASE_URL"]) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        redis_version = client.info("server")["redis_version"]
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    packages = ("django", "djangorestframework", "granian")
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory.group(1)) / 1024**2, 1) if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "postgres": row[0] if row else None,
        "redis": redis_version,
    }


def checked_out_commit() -> str | None:
    """The id of the commit that is checked out, read from `.git`. None outside a repository."""
    folder = ROOT / ".git"
    try:
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (folder / name).exists():
            return (folder / name).read_text().strip()
        lines = (folder / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)
    except OSError:
        return None


def busy_share(seconds: float = 1.0) -> float:
    """Wait for `seconds`; return the share (0 to 1) of the processors that other programs used meanwhile."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    spent = [new - old for old, new in zip(before, after, strict=True)]
    idle = spent[3] + spent[4]  # idle and waiting for disks: the fourth and fifth columns, proc(5)
    return 1 - idle / max(1, sum(spent))


def cpu_seconds(root_pid: int) -> float:
    """The processor time that a process and its descendants have used.

    A busy machine makes a run slower, but hardly changes this number.
    """
    parents = {}
    ticks = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
    tree = {root_pid}
    while children := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= children
    return sum(ticks.get(pid, 0) for pid in tree) / os.sysconf("SC_CLK_TCK")


def _ticks() -> list[int]:
    """The time that all processors spent in each state since the boot, in clock ticks (proc(5))."""
    with open("/proc/stat") as file:
        return [int(part) for part in file.readline().split()[1:9]]


def _cpu() -> str:
    match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return match.group(1) if match else platform.processor()


def _first_line(*command: str) -> str:
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    return (completed.stdout or completed.stderr).strip().splitlines()[0]
